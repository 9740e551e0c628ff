"""set: other settings, all or nothing; what the kernel can change in a running tenant is changed at once."""

from __future__ import annotations

import sys
from importlib import import_module

from pycontain.engine import update
from pycontain.kernel.errors import Error
from pycontain.tenant import boot, disk_of, file, service, show, state, wish
from pycontain.tenant.hold import Tenant, hold
from pycontain.tenant.place import Tenants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pycontain.tenant.settings import Settings

#: Settings that are limits of a cgroup. An empty mask, which says "all", waits for the next start.
LIMITS = (
    "cpu.cpus",
    "cpu.limit",
    "cpu.units",
    "cpu.mask",
    "cpu.nodes",
    "memory.limit",
    "memory.swap",
    "memory.guarantee",
    "processes.max",
    "io.weight",
    "io.read_bps",
    "io.write_bps",
    "io.read_iops",
    "io.write_iops",
)
#: What else can change while a tenant runs: beginning of keys → module of this room, and its function
#: (Tenant, old, new, keys) -> keys that it has changed. Called the other way round it undoes. Raises Error; then it has
#: changed nothing. ``stopped``: also called where the tenant does not run.
LIVE: dict[str, tuple[str, str]] = {
    "boot.": ("service", "change"),
    "disk.": ("disk", "change"),
    "network": ("network", "change"),
    "dns.": ("setup.steps", "change"),
}
STOPPED: tuple[str, ...] = ("boot.", "disk.")


class Outcome:
    """What a change has led to. waiting: keys that are in force after a restart. warnings: what could not be done."""

    __slots__ = ("changed", "waiting", "warnings")

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.waiting: list[str] = []
        self.warnings: list[str] = []


def set_keys(tenants: Tenants, text: str, changes: file.Changes) -> Outcome:
    """Change keys of a tenant. Raises Missing, UsageError, Error."""
    with hold(tenants, text) as tenant:
        before = file.read_text(tenant.path)
        return replace_held(tenant, file.changed(before, changes(file.raw(before, tenant.path))))


def replace_held(tenant: Tenant, text: str) -> Outcome:
    """Give a tenant, whose lock is held, another settings file. Raises Error; then nothing has changed."""
    before = file.read_text(tenant.path)
    new = file.parse(text, tenant.path)
    old = _old(tenant, before)
    _check(tenant, old, new)
    tenant.phase(state.SETTING, before=before)
    try:
        file.write(tenant.path, text)
        outcome = _apply(tenant, old, new)
    except BaseException:
        # what was changed in the kernel was put back where it was refused
        file.write(tenant.path, before)
        tenant.settle()
        raise
    tenant.settle()
    return outcome


def _old(tenant: Tenant, before: str) -> Settings | None:
    """What the file said; None where it could not be used, which is what this change may put right."""
    try:
        return file.parse(before, tenant.path)
    except Error:
        return None


def _check(tenant: Tenant, old: Settings | None, new: Settings) -> None:
    from pycontain.tenant import life, needs

    if old is not None and new.template != old.template:
        name = new.template or "IMAGE"
        raise Error(
            f"template: its files lie on {old.template}: 'pycontain tenant reinstall --template {name}' changes it"
        )
    if new.id and new.id != tenant.state.id:
        raise Error(f"id: {new.id}: the number of a tenant is {tenant.state.id} for its life")
    with tenant.tenants.all_lock():
        life.check_addresses(tenant.tenants, tenant.name, new)
    # what could not be started is refused now; what was missing before keeps nobody from changing something else
    needs.check(new, needs.KEYS if old is None else _differences(old.plain(), new.plain()))
    life.request_of(tenant, new)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    from pycontain.tenant.settings import flat

    before, after = flat(old), flat(new)
    return [key for key in after if before.get(key) != after[key]]


def _apply(tenant: Tenant, old: Settings | None, new: Settings) -> Outcome:
    outcome = Outcome()
    outcome.changed = _differences(old.plain(), new.plain()) if old is not None else []
    if not tenant.alive():
        _apply_stopped(tenant, old, new, outcome)
        return outcome
    running = tenant.state.running
    applied = _live(tenant, running, new, outcome)
    tenant.state.running = _advanced(running, new.plain(), applied)
    outcome.waiting = show.pending(tenant.state.running, new)
    return outcome


def _apply_stopped(tenant: Tenant, old: Settings | None, new: Settings, outcome: Outcome) -> None:
    if old is None:
        # nobody knows what has changed: what is not read at its next start is made what it says now
        service.follow(tenant.tenants, [tenant.name], boot.turn(tenant.name, new.boot))
        return
    done: list[tuple[str, list[str]]] = []
    try:
        _call_all(STOPPED, tenant, old, new, outcome.changed, done)
    except BaseException:
        _call_back(tenant, old, new, done)
        raise


def _live(tenant: Tenant, running: dict[str, Any], new: Settings, outcome: Outcome) -> list[str]:
    """Change what can be changed; the keys of it. Raises Error; then nothing has changed."""
    from pycontain.tenant import settings

    before = settings.check(running, f"{tenant.directory}/state.json: running")
    differing = _differences(running, new.plain())
    done: list[tuple[str, list[str]]] = []
    try:
        _call_all(LIVE, tenant, before, new, differing, done)
        applied = [key for _, changed in done for key in changed]
        keys = [key for key in differing if key in LIMITS and (key not in ("cpu.mask", "cpu.nodes") or _set(new, key))]
        if keys:
            limits = wish.limits(new, disk_of.find(tenant.paths.root), keys)
            outcome.warnings += update.update(tenant.paths, tenant.container, update.Change(limits))
            applied += keys
            if {"cpu.units", "io.weight", "memory.guarantee"} & set(keys):
                from pycontain.tenant import supervise

                problem = supervise.tell_weights(tenant.tenants, tenant.name, tenant.container)
                outcome.warnings += [problem] if problem else []
    except BaseException:
        _call_back(tenant, before, new, done)
        raise
    return applied


def _set(new: Settings, key: str) -> bool:
    return bool(getattr(new.cpu, key.partition(".")[2]))


def _call(prefix: str, tenant: Tenant, old: Settings, new: Settings, keys: list[str]) -> list[str]:
    module, function = LIVE[prefix]
    changed: list[str] = getattr(import_module(f"pycontain.tenant.{module}"), function)(tenant, old, new, keys)
    return changed


def _call_all(
    prefixes: Iterable[str],
    tenant: Tenant,
    old: Settings,
    new: Settings,
    differing: list[str],
    done: list[tuple[str, list[str]]],
) -> None:
    """Change what there are functions for; done: gets what each has changed."""
    for prefix in prefixes:
        keys = [key for key in differing if key.startswith(prefix)]
        if keys:
            done.append((prefix, _call(prefix, tenant, old, new, keys)))


def _call_back(tenant: Tenant, old: Settings, new: Settings, done: list[tuple[str, list[str]]]) -> None:
    for prefix, keys in reversed(done):
        _call(prefix, tenant, new, old, keys)


def _advanced(running: dict[str, Any], new: dict[str, Any], applied: list[str]) -> dict[str, Any]:
    """What the container has now: the settings that it was started with, but for what was changed since."""
    found = {key: dict(value) if isinstance(value, dict) else value for key, value in running.items()}
    for key in applied:
        section, _, name = key.partition(".")
        if name:
            found[section][name] = new[section][name]
        else:
            found[section] = new[section]
    return found


def undo(tenant: Tenant) -> None:
    """Put back what an interrupted change has begun: what it has applied, then the file. Raises Error."""
    before = tenant.state.detail.get("before")
    if isinstance(before, str):
        now = file.read_text(tenant.path)
        if now != before:
            _restore(tenant, before, now)
            file.write(tenant.path, before)
    file.discard_leftover(tenant.path)
    tenant.settle()


def _restore(tenant: Tenant, before: str, now: str) -> None:
    """What cannot be put back is said, and keeps nobody from going on."""
    try:
        if tenant.alive():
            _restore_limits(tenant, now)
        else:
            _restore_stopped(tenant, before, now)
    except Error as error:
        text = f"tenant {tenant.name}: an interrupted set could not be undone: {error.message}"
        print(f"pycontain: warning: {text}", file=sys.stderr, flush=True)


def _restore_stopped(tenant: Tenant, before: str, refused: str) -> None:
    old, wanted = _old(tenant, before), _old(tenant, refused)
    if old is not None and wanted is not None:
        _call_all(STOPPED, tenant, wanted, old, _differences(wanted.plain(), old.plain()), [])


def _restore_limits(tenant: Tenant, refused: str) -> None:
    """The limits that the container had: some of the new ones may be in force already."""
    from pycontain.tenant import settings

    old = settings.check(tenant.state.running, f"{tenant.directory}/state.json: running")
    try:
        wanted = file.parse(refused, tenant.path)
    except Error:
        return  # then none was
    keys = [key for key in _differences(tenant.state.running, wanted.plain()) if key in LIMITS]
    for prefix in LIVE:
        live = [key for key in _differences(tenant.state.running, wanted.plain()) if key.startswith(prefix)]
        if live:
            _call(prefix, tenant, wanted, old, live)
    if keys:
        limits = wish.limits(old, disk_of.find(tenant.paths.root), keys)
        update.update(tenant.paths, tenant.container, update.Change(limits))
