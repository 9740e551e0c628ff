"""systemd's units as cgroups: the names of scopes and slices, and limits as unit properties. Pure data.

Sources: systemd.unit(5), systemd.slice(5), systemd.resource-control(5), org.freedesktop.systemd1(5); OCI
config-linux.md, cgroupsPath; what the properties are called is what runc and crun set.
"""

from __future__ import annotations

from pycontain.kernel.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from pycontain.cgroup.write import Write

    #: A D-Bus property: its name, its signature and value.
    Property = tuple[str, tuple[str, Any]]

#: systemd's word for "no limit", CGROUP_LIMIT_MAX and USEC_INFINITY.
INFINITY = (1 << 64) - 1
#: What a scope may have beyond its container's own limit, for who keeps it: the monitor, which is not to be killed for
#: what the container does.
ROOM = {"memory.max": 16 << 20, "memory.high": 16 << 20, "memory.swap.max": 16 << 20, "pids.max": 16}
_NAME_MAX = 255
_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
#: systemd writes a quota into a unit's file as whole percents, that is steps of 10 ms a second.
_STEP = 10000


class Unit:
    """A scope of a container. slice: the slice that it lies in. name: with ``.scope``."""

    __slots__ = ("name", "slice")

    def __init__(self, slice: str, name: str) -> None:
        self.slice = slice
        self.name = name

    def __repr__(self) -> str:
        return f"Unit({self.slice}, {self.name})"


def parse(text: object, container_id: str, where: str, *, user: bool = False) -> Unit:
    """``slice:prefix:name`` as in OCI's cgroupsPath for systemd; an empty slice is system.slice, or user.slice.

    ``text`` empty is ``:pycontain:ID``. Raises SpecError.
    """
    if not isinstance(text, str):
        raise SpecError(where, "expected a string")
    parts = (text or f":pycontain:{container_id}").split(":")
    if len(parts) != 3:
        raise SpecError(where, f'expected cgroupsPath to be of format "slice:prefix:name" for systemd, got {text!r}')
    slice, prefix, name = parts
    slice = slice or ("user.slice" if user else "system.slice")
    if not name:
        raise SpecError(where, f"{text!r} has no name after the second colon")
    if name.endswith(".slice"):
        raise SpecError(where, f"{name!r} is a slice: a container lives in a scope, so give a name without .slice")
    scope = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    check_name(scope, where)
    check_slice(slice, where)
    return Unit(slice, scope)


def check_name(name: str, where: str) -> None:
    """Raises SpecError for what systemd does not take as a unit's name."""
    if len(name) > _NAME_MAX:
        raise SpecError(where, f"the unit's name is longer than {_NAME_MAX} characters: {name[:40]!r}…")
    if not _CHARACTERS.issuperset(name) or name.startswith("."):
        raise SpecError(where, f"{name!r} is not a name of a systemd unit: letters, digits and :-_.\\@ only")


def check_slice(name: str, where: str) -> None:
    """Raises SpecError for what is not a slice's name: ``a-b.slice`` lies in ``a.slice``, so no dash stands alone."""
    check_name(name, where)
    stem = name.removesuffix(".slice")
    if stem == name or not stem or "/" in name:
        raise SpecError(where, f"{name!r} is not a slice: give a name such as machine.slice")
    if stem != "-" and (stem.startswith("-") or stem.endswith("-") or "--" in stem):
        raise SpecError(where, f"{name!r} is not a slice: its dashes separate the slices above it")


# --- limits as properties -----------------------------------------------------------------------------------------


def properties(writes: Iterable[Write], read: Callable[[str], str]) -> list[Property]:
    """What systemd is to know of a container's limits, for the scope around it.

    writes: which files were changed; read: the content of a file now, "" where it has none. Files that systemd never
    writes (hugetlb, rdma, cpu.max.burst, …) have no property.
    """
    found: dict[str, tuple[str, Any]] = {}
    named = _disks(writes)
    for file in dict.fromkeys(write.file for write in _all(writes)):
        content = read("cpu.weight" if file == "cpu.idle" else file)
        if content:
            found.update(_of_file(file, content, named))
    return list(found.items())


def _all(writes: Iterable[Write]) -> Iterator[Write]:
    """With what is written where a file does not do."""
    for write in writes:
        yield write
        if write.other is not None:
            yield write.other


def _disks(writes: Iterable[Write]) -> list[str]:
    """The disks that are named, as MAJOR:MINOR: one without a limit is in no file."""
    words = [line.split()[0] for write in writes for line in write.value.split("\n") if line.split()]
    return [word for word in dict.fromkeys(words) if ":" in word]


def _of_file(file: str, content: str, disks: list[str]) -> dict[str, tuple[str, Any]]:
    """The properties that one file is. cpu.weight is 0 while cpu.idle is 1 (CGROUP_WEIGHT_IDLE)."""
    if file in _PLAIN:
        value = _number(content)
        return {_PLAIN[file]: ("t", value if value == INFINITY else value + ROOM.get(file, 0))}
    if file == "cpu.max":
        return _quota(*content.split())
    if file in ("cpuset.cpus", "cpuset.mems"):
        return {"AllowedCPUs" if file == "cpuset.cpus" else "AllowedMemoryNodes": ("ay", mask(content))}
    if file in ("io.weight", "io.bfq.weight"):
        return _io_weight(file, content)
    return _io_max(content, disks) if file == "io.max" else {}


_PLAIN = {
    "cpu.idle": "CPUWeight",
    "cpu.weight": "CPUWeight",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.max": "MemoryMax",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}
_IO_MAX = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
}


def _number(value: str) -> int:
    """``max`` or what the kernel prints as a number."""
    return INFINITY if value == "max" else int(value)


def _quota(quota: str, period: str) -> dict[str, tuple[str, Any]]:
    """cpu.max, in µs. Rounded up to what systemd can keep; the container's own file has the exact value."""
    found: dict[str, tuple[str, Any]] = {"CPUQuotaPeriodUSec": ("t", int(period))}
    if quota == "max":
        found["CPUQuotaPerSecUSec"] = ("t", INFINITY)
    else:
        a_second = int(quota) * 1000000 // int(period)
        found["CPUQuotaPerSecUSec"] = ("t", max(_STEP, -(-a_second // _STEP) * _STEP))
    return found


def mask(value: str) -> bytes:
    """``0-3,8`` as systemd has a set of CPUs or memory nodes: bit N of byte N/8, the least significant bit first."""
    from pycontain.cgroup.write import parse_list

    numbers = parse_list(value) or set()
    found = bytearray(max(numbers, default=-1) // 8 + 1)
    for number in numbers:
        found[number // 8] |= 1 << number % 8
    return bytes(found)


def _io_weight(file: str, content: str) -> dict[str, tuple[str, Any]]:
    """systemd has one weight, 1 to 10000, for both files, and makes bfq's (1 to 1000) of it: its way is gone back."""
    found: dict[str, tuple[str, Any]] = {}
    disks = []
    for line in content.splitlines():
        name, number = line.split()
        weight = int(number)
        if file == "io.bfq.weight" and weight > 100:
            weight = 100 + (weight - 100) * 11  # BFQ_WEIGHT of systemd's cgroup-util.h
        if name == "default":
            found["IOWeight"] = ("t", weight)
        else:
            disks.append((f"/dev/block/{name}", weight))
    if disks:
        found["IODeviceWeight"] = ("a(st)", disks)
    return found


def _io_max(content: str, disks: list[str]) -> dict[str, tuple[str, Any]]:
    """Every kind of limit of every disk that is named or has one."""
    limits = {disk: dict.fromkeys(_IO_MAX, "max") for disk in disks}
    for line in content.splitlines():
        disk, *words = line.split()
        limits.setdefault(disk, {}).update(dict(word.split("=", 1) for word in words))
    return {
        name: ("a(st)", [(f"/dev/block/{disk}", _number(values.get(key, "max"))) for disk, values in limits.items()])
        for key, name in _IO_MAX.items()
    }
