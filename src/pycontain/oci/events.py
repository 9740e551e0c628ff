"""events: figures of a container in runc's JSON, and word of its OOM kills, until it ends.

What is waited for is the kernel's notice: poll(2) on cgroup.events and memory.events.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import time

from pycontain.cgroup import group as groups
from pycontain.cgroup import hierarchy, stats
from pycontain.cgroup.stats import Device, Memory, Pressure, Stats
from pycontain.kernel import jsontext
from pycontain.kernel.errors import Error, NotFound, UsageError
from pycontain.oci import state
from pycontain.oci.state import STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.cgroup.group import Group
    from pycontain.oci.arguments import Call

_NO_LIMIT = (1 << 64) - 1
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_GONE = (errno.ENOENT, errno.ENODEV)


def events(root: str, call: Call) -> int:
    """Print them, one JSON object a line; with --stats once. Raises Error where the container does not run."""
    container = state.find(root, call.id())
    interval = duration(call.text("interval", "5s"))
    if container.status() == STOPPED:
        raise Error(f"container with id {container.id} is not running", 1)
    tree = hierarchy.find()
    try:
        group = groups.find(tree, tree.path(container.known_cgroup()))
    except NotFound:
        raise Error(f"container with id {container.id} is not running", 1) from None
    with group:
        if call.flag("stats"):
            _print("stats", container.id, data(stats.read(group)))
        else:
            try:
                _follow(group, container.id, interval)
            except KeyboardInterrupt:
                return 130
    return 0


def duration(text: str) -> float:
    """Seconds of a Go duration such as 5s, 1m30s, 500ms. Raises UsageError."""
    total, rest = 0.0, text
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        unit = rest[len(digits) :]
        unit = unit[: len(unit) - len(unit.lstrip("hms"))]
        if unit not in _UNITS or digits.count(".") > 1 or not digits.strip("."):
            break
        total += float(digits) * _UNITS[unit]
        rest = rest[len(digits) + len(unit) :]
    if rest or total <= 0:
        raise UsageError(f"events: --interval: {text!r} is not a duration above 0: give one such as 5s or 500ms", 1)
    return total


def _print(kind: str, container_id: str, figures: dict[str, Any] | None = None) -> None:
    event = {"type": kind, "id": container_id}
    try:
        sys.stdout.write(jsontext.dumps(event if figures is None else {**event, "data": figures}) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(1)  # nobody reads it any more


class _File:
    """A file of a cgroup whose changes poll(2) reports."""

    __slots__ = ("fd",)

    def __init__(self, group: Group, name: str) -> None:
        """Raises OSError."""
        self.fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=group.fd)

    def read(self) -> dict[str, str] | None:
        """Its values, and the notice is taken; None where the group is gone."""
        try:
            return groups.flat(os.pread(self.fd, 4096, 0).decode())
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise


def _follow(group: Group, container_id: str, interval: float) -> None:
    try:
        life = _File(group, "cgroup.events")
    except OSError:
        return  # it has just ended
    try:
        memory: _File | None = _File(group, "memory.events")
    except OSError:
        memory = None  # without the controller nobody kills for its limit
    poll = select.poll()
    for file in (life, memory):
        if file is not None:
            poll.register(file.fd, select.POLLPRI)
    killed = _killed(memory)
    due = time.monotonic() + interval
    while True:
        values = life.read()
        now = _killed(memory)
        for _ in range(now - killed):
            _print("oom", container_id)
        killed = max(now, killed)
        if values is None or values.get("populated") != "1":
            return
        left = due - time.monotonic()
        if left <= 0:
            due += interval
            try:
                _print("stats", container_id, data(stats.read(group)))
            except OSError:
                return  # it ended between the two
            continue
        poll.poll(min(left * 1000, 1 << 30))  # poll(2) has an int


def _killed(memory: _File | None) -> int:
    values = memory.read() if memory is not None else None
    return int((values or {}).get("oom_kill", "0"))


# --- runc's format ------------------------------------------------------------------------------------------------


def data(figures: Stats) -> dict[str, Any]:
    """Figures under the names and in the units of runc's ``events``: bytes, and nanoseconds for processor time."""
    return {
        "cpu": _cpu(figures),
        "cpuset": {},
        "memory": _memory(figures),
        "pids": _pids(figures),
        "blkio": _blkio(figures),
        "hugetlb": {
            size: {"usage": one.current, "failcnt": one.failures or 0} for size, one in figures.huge_pages.items()
        },
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _with_pressure(result: dict[str, Any], pressure: Pressure | None) -> dict[str, Any]:
    if pressure is None:
        return result
    stalls = {"some": pressure.some, "full": pressure.full}
    psi = {
        name: {"avg10": one.avg10, "avg60": one.avg60, "avg300": one.avg300, "total": one.total}
        for name, one in stalls.items()
        if one is not None
    }
    return {**result, "psi": psi}


def _cpu(figures: Stats) -> dict[str, Any]:
    cpu = figures.cpu
    if cpu is None:
        return {}
    usage = {"total": cpu.usage * 1000, "kernel": cpu.system * 1000, "user": cpu.user * 1000}
    throttling = {
        "periods": cpu.periods or 0,
        "throttledPeriods": cpu.throttled_periods or 0,
        "throttledTime": (cpu.throttled or 0) * 1000,
    }
    return _with_pressure({"usage": usage, "throttling": throttling}, figures.pressure.get("cpu"))


def _entry(memory: Memory | None, failures: str, more: Memory | None = None) -> dict[str, Any]:
    """``more``: what is counted with it, as v1 counted memory and swap."""
    if memory is None:
        return {"limit": 0, "failcnt": 0}
    parts = [memory] if more is None else [memory, more]
    limits = [part.max for part in parts]
    return {
        "limit": _NO_LIMIT if None in limits else sum(limit or 0 for limit in limits),
        "usage": sum(part.current for part in parts),
        **({} if memory.peak is None or more is not None else {"max": memory.peak}),
        "failcnt": memory.events.get(failures, 0),
    }


def _memory(figures: Stats) -> dict[str, Any]:
    memory = figures.memory
    if memory is None:
        return {}
    result = {
        "cache": memory.stat.get("file", 0),
        "usage": _entry(memory, "max"),
        "swap": _entry(figures.swap, "fail", memory) if figures.swap else {"limit": 0, "failcnt": 0},
        "kernel": {"limit": 0, "usage": stats.kernel_memory(memory.stat), "failcnt": 0},
        "kernelTCP": {"limit": 0, "usage": memory.stat.get("sock", 0), "failcnt": 0},
        "raw": memory.stat,
    }
    return _with_pressure(result, figures.pressure.get("memory"))


def _pids(figures: Stats) -> dict[str, Any]:
    pids = figures.pids
    if pids is None:
        return {}
    # as runc: no limit is 0
    return {"current": pids.current, "limit": pids.max or 0}


def _operations(disk: Device, read: int, write: int) -> list[dict[str, Any]]:
    place = {"major": disk.major, "minor": disk.minor}
    return [{**place, "op": "Read", "value": read}, {**place, "op": "Write", "value": write}]


def _blkio(figures: Stats) -> dict[str, Any]:
    if figures.io is None:
        return {}
    moved, served = [], []
    for disk in figures.io:
        moved += _operations(disk, disk.read_bytes, disk.written_bytes)
        served += _operations(disk, disk.reads, disk.writes)
    result = {"ioServiceBytesRecursive": moved, "ioServicedRecursive": served}
    return _with_pressure(result, figures.pressure.get("io"))
