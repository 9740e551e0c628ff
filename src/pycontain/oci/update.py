"""update: other limits for a container that was created, runs or is paused."""

from __future__ import annotations

import os
import sys

from pycontain.cgroup import hierarchy, limits, merge
from pycontain.cgroup import update as cgroup_update
from pycontain.kernel import config, files, jsontext
from pycontain.kernel.errors import Error, SpecError, UsageError, os_text
from pycontain.oci import state
from pycontain.oci.report import report
from pycontain.oci.state import CACHE, CREATED, PAUSED, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.oci.arguments import Call
    from pycontain.oci.state import Container

#: Flag → section and member of linux.resources.
_SIZES = {
    "memory": ("memory", "limit"),
    "memory-swap": ("memory", "swap"),
    "memory-reservation": ("memory", "reservation"),
}
_NUMBERS = {
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-idle": ("cpu", "idle"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "pids-limit": ("pids", "limit"),
    "blkio-weight": ("blockIO", "weight"),
}
_TEXTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_REFUSED = {
    "l3-cache-schema": "Intel RDT (resctrl) is not supported",
    "mem-bw-schema": "Intel RDT (resctrl) is not supported",
    "kernel-memory": "cgroup v2 has no limit of kernel memory alone: --memory counts it",
    "kernel-memory-tcp": "cgroup v2 has no limit of kernel memory alone: --memory counts it",
}
OPTIONS = {"resources", *_SIZES, *_NUMBERS, *_TEXTS, *_REFUSED}

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_SIZE_MAX = (1 << 63) - 1


def update(root: str, call: Call) -> int:
    """Change the limits that the options, or the file of -r, name. Raises Error; then nothing has changed."""
    container = state.find(root, call.id())
    change = _wanted(call)
    try:
        lock = os.open(container.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Error(f"cannot update container {container.id}: {os_text(error)}", 1) from None
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        for text in _change(container, change, _missing(call)):
            report(text, call.globals, "warning")
    finally:
        os.close(lock)
    return 0


def _missing(call: Call) -> str:
    """What becomes of limits without a controller."""
    return call.globals.get("missing-controllers") or config.load(CACHE)["missing_controllers"]


def _change(container: Container, change: dict[str, Any], missing: str) -> list[str]:
    status = container.status()
    if status not in (CREATED, RUNNING, PAUSED):
        raise Error(f"cannot update container {container.id}: it is {status}, not created, running or paused", 1)
    path = container.path("config.json")
    try:
        spec = files.read_json(path)
        linux = spec.setdefault("linux", {})
        old = linux.get("resources") or {}
    except (OSError, AttributeError):
        raise Error(f"container {container.id}: its config.json is damaged: delete it with --force", 1) from None
    change = merge.complete(old, change)
    limits.compile(change)
    linux["resources"] = merge.merge(old, merge.kept_swap(old, change))
    tree = hierarchy.find()

    def commit() -> None:
        try:
            files.replace(path, jsontext.dumps(spec).encode(), 0o600)
        except OSError as error:
            raise Error(f"cannot write {path}: {os_text(error)}", 1) from None

    facts = container.facts
    return cgroup_update.update(
        tree, tree.path(container.known_cgroup()), change, missing, commit, facts.get("unit") or ""
    )


def _wanted(call: Call) -> dict[str, Any]:
    """The part of linux.resources that is to change. As in runc, -r makes the other options void. Raises Error."""
    for name, reason in _REFUSED.items():
        if name in call.options:
            raise UsageError(f"update: --{name}: {reason}", 1)
    if "resources" in call.options:
        return _read(call.options["resources"])
    change: dict[str, dict[str, Any]] = {}
    for table, read in ((_SIZES, size), (_NUMBERS, _number), (_TEXTS, _text)):
        for name, (section, member) in table.items():
            if call.text(name):
                change.setdefault(section, {})[member] = read(name, call.options[name])
    return change


def _read(path: str) -> dict[str, Any]:
    """A JSON file, or standard input for ``-``."""
    what = "standard input" if path == "-" else path
    try:
        data = sys.stdin.buffer.read(files.LIMIT + 1) if path == "-" else files.read_bytes(path)
    except OSError as error:
        raise Error(f"update: cannot read {what}: {os_text(error)}", 1) from None
    found = jsontext.load_bytes(data, what)
    if type(found) is not dict:
        raise SpecError("", f"{what}: expected a JSON object of linux.resources", 1)
    return found


def size(name: str, text: str) -> int:
    """Bytes, with a unit of 1024 where there is one (512m, 1.5GiB); -1 for no limit. Raises UsageError."""
    lower = text.lower()
    digits = lower.rstrip("bikmgtp ")
    unit = lower[len(digits) :].strip()
    whole, point, fraction = digits.partition(".")
    good = unit in ("", "b") or (unit[0] in "kmgtp" and unit[1:] in ("", "b", "ib"))
    if text == "-1":
        return -1
    if not good or not _digits(whole) or (point and not _digits(fraction)):
        raise UsageError(f"update: --{name}: {text!r} is not a size: give bytes, or a number with k, m or g", 1)
    scale = 1 << _UNITS[unit.rstrip("ib")]
    value = int(whole) * scale + (int(fraction) * scale // 10 ** len(fraction) if point else 0)
    if value > _SIZE_MAX:
        raise UsageError(f"update: --{name}: {text!r} is too large", 1)
    return value


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20


def _number(name: str, text: str) -> int:
    if not _digits(text.removeprefix("-")):
        raise UsageError(f"update: --{name}: {text!r} is not a whole number", 1)
    return int(text)


def _text(name: str, text: str) -> str:
    return text
