"""systemd's units as cgroups: the names of scopes and slices, and limits as unit properties. Pure data.

Sources: systemd.unit(5), systemd.slice(5), systemd.resource-control(5), org.freedesktop.systemd1(5); OCI
config-linux.md, cgroupsPath; what the properties are called is what runc and crun set.
"""

from __future__ import annotations

from pycontain.kernel.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pycontain.cgroup.write import Write

    #: A D-Bus property: its name, its signature and value.
    Property = tuple[str, tuple[str, Any]]

#: systemd's word for "no limit", CGROUP_LIMIT_MAX and USEC_INFINITY.
INFINITY = (1 << 64) - 1
_NAME_MAX = 255
_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
_PERIOD = 100000
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

    @property
    def path(self) -> str:
        """Its cgroup below the one that its manager has."""
        return f"{slice_path(self.slice)}/{self.name}"


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


def slice_path(name: str) -> str:
    """``a-b.slice`` is ``/a.slice/a-b.slice``; ``-.slice`` is the root, "" (systemd.slice(5))."""
    stem = name.removesuffix(".slice")
    if stem == "-":
        return ""
    parts = stem.split("-")
    return "".join(f"/{'-'.join(parts[:count])}.slice" for count in range(1, len(parts) + 1))


# --- limits as properties -----------------------------------------------------------------------------------------


def properties(writes: Iterable[Write], current: Callable[[str], str] = lambda file: "") -> list[Property]:
    """What systemd has to know of limits so that ``daemon-reload`` and ``set-property`` of others keep them.

    current: the content of a file, for a write that keeps a part of it. Files that systemd never writes (hugetlb, rdma,
    cpu.max.burst, …) have no property. The last write to a file decides, as in the kernel.
    """
    found: dict[str, tuple[str, Any]] = {}
    devices: dict[str, dict[str, int]] = {}
    for write in writes:
        if write.file in _PLAIN:
            found[_PLAIN[write.file]] = ("t", _number(write.value))
        elif write.file == "cpu.max":
            found.update(_quota(write.value, current("cpu.max")))
        elif write.file == "cpu.idle":
            if write.value == "1":
                found["CPUWeight"] = ("t", 0)  # CGROUP_WEIGHT_IDLE
        elif write.file in ("cpuset.cpus", "cpuset.mems"):
            name = "AllowedCPUs" if write.file == "cpuset.cpus" else "AllowedMemoryNodes"
            found[name] = ("ay", mask(write.value))
        elif write.file in ("io.weight", "io.bfq.weight"):
            _io_weight(write, found, devices)
        elif write.file == "io.max":
            _io_max(write.value, devices)
    for name, values in devices.items():
        found[name] = ("a(st)", [(f"/dev/block/{device}", value) for device, value in values.items()])
    return list(found.items())


_PLAIN = {
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
    return int(value) if value.isdigit() else INFINITY


def _quota(value: str, current: str) -> dict[str, tuple[str, Any]]:
    """cpu.max: quota and period in µs. Rounded up to what systemd can keep; the file itself has the exact value."""
    old_quota, old_period = [*current.split(), "max", str(_PERIOD)][:2] if current else ["max", str(_PERIOD)]
    words = value.split()
    quota = old_quota if words[0] == "{}" else words[0]
    period = int(words[1] if len(words) > 1 else old_period)
    found: dict[str, tuple[str, Any]] = {"CPUQuotaPeriodUSec": ("t", period)}
    if quota == "max":
        found["CPUQuotaPerSecUSec"] = ("t", INFINITY)
    else:
        a_second = int(quota) * 1000000 // period
        found["CPUQuotaPerSecUSec"] = ("t", -(-a_second // _STEP) * _STEP)
    return found


def mask(value: str) -> bytes:
    """``0-3,8`` as systemd has a set of CPUs or memory nodes: bit N of byte N/8, the least significant bit first."""
    from pycontain.cgroup.write import parse_list

    numbers = parse_list(value) or set()
    found = bytearray(max(numbers, default=-1) // 8 + 1)
    for number in numbers:
        found[number // 8] |= 1 << number % 8
    return bytes(found)


def _io_weight(write: Write, found: dict[str, tuple[str, Any]], devices: dict[str, dict[str, int]]) -> None:
    """systemd writes both files, bfq's from 1 to 1000 and io.weight from 1 to 10000, of one property of the latter."""
    words = (write.other or write).value.split()
    if len(words) == 1:
        found["IOWeight"] = ("t", int(words[0]))
    else:
        devices.setdefault("IODeviceWeight", {})[words[0]] = int(words[1])


def _io_max(value: str, devices: dict[str, dict[str, int]]) -> None:
    for line in value.split("\n"):
        device, *words = line.split()
        for word in words:
            key, _, rate = word.partition("=")
            if key in _IO_MAX:
                devices.setdefault(_IO_MAX[key], {})[device] = _number(rate)
