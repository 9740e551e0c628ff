"""A tenant as a service of systemd: its unit, when it starts, and what the unit runs (pycontain-tenant@.service).

Order among tenants is in drop-ins, one for each enabled tenant, which ``enable``, ``disable`` and ``set`` write. A
generator would read all settings with every start of systemd, before the file systems that they may lie on are there;
drop-ins are files that ``systemctl cat`` shows.
"""

from __future__ import annotations

import os
import subprocess
import sys

from pycontain.kernel import files
from pycontain.kernel.errors import Error, os_text
from pycontain.tenant import boot, place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pycontain.tenant.boot import Turn
    from pycontain.tenant.hold import Tenant
    from pycontain.tenant.place import Tenants
    from pycontain.tenant.settings import Settings

TARGET = "pycontain-tenants.target"
TEMPLATE = "pycontain-tenant@.service"
PREFIX, SUFFIX = "pycontain-tenant@", ".service"
#: Where the units' own pycontain has its tenants.
_ROOT = "/var/lib/pycontain"
#: sd_booted(3)
_BOOTED = "/run/systemd/system"
#: Where an administrator's units are.
UNITS = "/etc/systemd/system"
_PLACES = (
    UNITS,
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
DROP_IN = "50-pycontain-order.conf"
_HEAD = "# Made by pycontain from boot.order, boot.delay and boot.onboot of the tenants that are enabled.\n"


def unit(name: str) -> str:
    """The unit of a tenant."""
    return f"{PREFIX}{name}{SUFFIX}"


def booted() -> bool:
    """Whether the host's init is systemd."""
    return os.path.isdir(_BOOTED)


def installed() -> bool:
    """Whether systemd has our units."""
    return any(os.path.exists(f"{place}/{TEMPLATE}") for place in _PLACES)


def enabled() -> list[str]:
    """The tenants whose unit starts with the target."""
    try:
        entries = os.listdir(f"{UNITS}/{TARGET}.wants")
    except OSError:
        return []
    names = [one[len(PREFIX) : -len(SUFFIX)] for one in entries if one.startswith(PREFIX) and one.endswith(SUFFIX)]
    return sorted(name for name in names if name)


def ours(tenants: Tenants) -> bool:
    """Whether these are the tenants that units know of: those of the usual directories, on a host with our units."""
    usual = (tenants.paths.root, tenants.directory) == (_ROOT, place.DIRECTORY)
    return usual and booted() and installed()


def manages(tenants: Tenants, name: str) -> bool:
    """Whether the start of this tenant is systemd's business."""
    return ours(tenants) and name in enabled()


def systemctl(*words: str) -> None:
    """Raises Error with what it said."""
    try:
        done = subprocess.run(
            ["systemctl", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise Error(f"systemctl: {os_text(error)}") from None
    if done.returncode:
        said = " ".join(line.strip() for line in done.stderr.splitlines() if line.strip())
        raise Error(f"systemctl {' '.join(words)}: {said or f'ended with status {done.returncode}'}")


def going_down() -> bool:
    """Whether the host is on its way down."""
    return booted() and _word("is-system-running") == "stopping"


def target_active() -> bool:
    """Whether all tenants that start with the host have been started: not yet while it boots."""
    return booted() and _word("is-active", TARGET) == "active"


def comes_again(name: str) -> bool:
    """Whether systemd starts the unit of a tenant again by itself, after a failure."""
    return booted() and _word("show", "--property=NRestarts", "--value", unit(name)) not in ("", "0")


def _word(*words: str) -> str:
    """What systemctl says of a state, whatever its exit status."""
    try:
        done = subprocess.run(
            ["systemctl", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip()


# --- order --------------------------------------------------------------------------------------------------------


def drop_in(one: Turn, orders: Iterable[int]) -> str:
    """What systemd has to know of a tenant's place. orders: all that there are.

    For each order there is a target, up when all tenants of that order have started or failed: a tenant starts after
    the targets of all higher orders, and is stopped before them. So what a file says does not grow with the number of
    tenants.
    """
    above = sorted((order for order in set(orders) if order > one.order), reverse=True)
    lines = [f"{_HEAD}[Unit]", f"Before={order_target(one.order)}"]
    if above:
        lines += [f"{key}={' '.join(order_target(order) for order in above)}" for key in ("Wants", "After")]
    lines += ["", "[Service]"]
    if one.onboot == boot.AS_BEFORE:
        lines.append("ExecCondition=pycontain tenant service onboot %i")
    if one.delay:
        # the unit is not up before: who comes after it waits
        lines.append(f"ExecStartPost=sleep {one.delay}")
    return "\n".join(lines) + "\n"


def order_target(order: int) -> str:
    """The unit that is up when all tenants of an order are."""
    return f"pycontain-tenants-order@{order}.target"


def sync(tenants: Tenants, instead: Turn | None = None) -> list[str]:
    """Make the drop-ins what the settings say, and tell systemd. instead: of what the settings of that tenant say.

    A line for each tenant that cannot be read. Raises Error.
    """
    found, problems = boot.turns(tenants, enabled())
    if instead is not None:
        found = [instead if one.name == instead.name else one for one in found]
    orders = {one.order for one in found}
    changed = False
    for one in found:
        changed |= _put(f"{UNITS}/{unit(one.name)}.d/{DROP_IN}", drop_in(one, orders))
    changed |= _sweep({one.name for one in found})
    if changed and booted():
        systemctl("daemon-reload")
    return problems


def stale(tenants: Tenants) -> list[str]:
    """The enabled tenants whose drop-in is not what the settings say."""
    found, _ = boot.turns(tenants, enabled())
    orders = {one.order for one in found}
    return [one.name for one in found if _text(f"{UNITS}/{unit(one.name)}.d/{DROP_IN}") != drop_in(one, orders)]


def _text(path: str) -> str:
    try:
        return files.read_text(path)
    except OSError:
        return ""


def _put(path: str, text: str) -> bool:
    """Whether it was another one."""
    if _text(path) == text:
        return False
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        files.replace(path, text.encode(), 0o644)
    except OSError as error:
        raise Error(f"cannot write {path}: {os_text(error)}") from None
    return True


def _sweep(keep: set[str]) -> bool:
    """Take away the drop-ins of those that are not enabled; whether there were any."""
    there = False
    try:
        entries = os.listdir(UNITS)
    except OSError:
        return False
    for entry in entries:
        name = entry[len(PREFIX) : -len(f"{SUFFIX}.d")]
        if not entry.startswith(PREFIX) or not entry.endswith(f"{SUFFIX}.d") or not name or name in keep:
            continue
        try:
            os.unlink(f"{UNITS}/{entry}/{DROP_IN}")
            there = True
            os.rmdir(f"{UNITS}/{entry}")
        except OSError:
            pass  # somebody has another drop-in there, or never had ours
    return there


# --- enable and disable -------------------------------------------------------------------------------------------


def need_units() -> None:
    """Raises Error where systemd does not have our units."""
    if not installed():
        raise Error(
            f"{TEMPLATE} is not installed: copy the files of contrib/systemd to {UNITS}, then 'systemctl daemon-reload'"
        )


def follow(tenants: Tenants, names: Iterable[str], instead: Turn | None = None) -> list[str]:
    """Enable the units of those tenants that start with the host, and disable those of the others, among these names.

    instead: as in sync. Lines of warning. Raises Error.
    """
    if not ours(tenants):
        return []
    known = enabled()
    start: list[str] = []
    for name in names:
        found, _ = boot.turns(tenants, [name]) if tenants.exists(name) else ([], [])
        one = instead if instead is not None and instead.name == name else next(iter(found), None)
        if one is not None and one.onboot != boot.NO:
            start += [name] if name not in known else []
        elif name in known:
            systemctl("disable", "--quiet", unit(name))
    if start:
        systemctl("enable", "--quiet", TARGET, *[unit(name) for name in start])
    return sync(tenants, instead) if known or start else []


def follow_or_say(tenants: Tenants, *names: str) -> None:
    """As follow, for what cannot be taken back any more: problems are warnings."""
    try:
        problems = follow(tenants, names)
    except Error as error:
        problems = [error.message]
    for text in problems:
        print(f"pycontain: warning: {text}", file=sys.stderr, flush=True)


def change(tenant: Tenant, old: Settings, new: Settings, keys: list[str]) -> list[str]:
    """Other settings of boot: what is in force at once (tenant/change.py). Raises Error."""
    if {"boot.onboot", "boot.order", "boot.delay"} & set(keys):
        follow(tenant.tenants, [tenant.name], boot.turn(tenant.name, new.boot))
    return [key for key in keys if key not in ("boot.init", "boot.stop_signal")]


# --- what other verbs do through systemd --------------------------------------------------------------------------


def start(tenants: Tenants, name: str) -> None:
    """Have systemd start it; back when it has started. Raises Error."""
    # who asks for it does not ask how it was before
    boot.remember(tenants, name)
    _run("start", name)


def restart(tenants: Tenants, name: str) -> None:
    """Have systemd stop and start it. Raises Error."""
    boot.remember(tenants, name)  # as start
    _run("restart", name)


def _run(verb: str, name: str) -> None:
    try:
        systemctl("reset-failed", unit(name))
    except Error:
        pass  # it has not failed, or systemd does not know it yet
    try:
        systemctl(verb, unit(name))
    except Error:
        said = _reason(unit(name)) or f"'journalctl -u {unit(name)}' has the reason"
        raise Error(f"tenant {name}: {unit(name)} did not start: {said}") from None


def _reason(name: str) -> str:
    """The last error that a command of a unit has written to the journal."""
    words = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=20", f"--unit={name}"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    lines = [line.removeprefix("pycontain: ") for line in done.stdout.splitlines() if line.startswith("pycontain: ")]
    return next((line for line in reversed(lines) if not line.startswith("warning: ")), "")


def stop(tenants: Tenants, name: str) -> None:
    """Its unit, if it has one, is not to start it again. Raises Error."""
    if ours(tenants):
        systemctl("stop", unit(name))
