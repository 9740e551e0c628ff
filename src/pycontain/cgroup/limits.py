"""OCI ``linux.resources`` (runtime-spec 1.3, config-linux.md) as writes to the files of cgroup v2. Pure data.

The spec speaks of cgroup v1; what is converted is converted as runc 1.4 and crun 1.27 do (docs/cgroups.md). ``devices``
is devices.py's.
"""

from __future__ import annotations

from pycontain.cgroup.write import KEEP, Write
from pycontain.cgroup.write import apply as apply
from pycontain.cgroup.write import needed as needed
from pycontain.cgroup.write import place as place
from pycontain.kernel.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_INT64 = (1 << 63) - 1
_UINT64 = (1 << 64) - 1
_UINT32 = (1 << 32) - 1
#: kernel/sched/core.c: a quota or period is at least 1 ms, a period at most 1 s.
_CPU_MIN, _CPU_MAX = 1000, 1000000
_CPU_PERIOD = 100000
#: PID_MAX_LIMIT: what pids.max takes.
_PIDS_MAX = 4194304
#: Files that act on processes or on the group's form: what a limit must not do.
_NOT_LIMITS = (
    "cgroup.freeze",
    "cgroup.kill",
    "cgroup.procs",
    "cgroup.subtree_control",
    "cgroup.threads",
    "cgroup.type",
)
_THROTTLES = (
    ("throttleReadBpsDevice", "rbps", "read limit in bytes/s"),
    ("throttleWriteBpsDevice", "wbps", "write limit in bytes/s"),
    ("throttleReadIOPSDevice", "riops", "limit of reads/s"),
    ("throttleWriteIOPSDevice", "wiops", "limit of writes/s"),
)


class _Object:
    """A JSON object with its path: typed reading of its members. null counts as absent."""

    __slots__ = ("values", "where")

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise SpecError(where, f"must be an object, not {_kind(value)}")
        self.values: dict[str, Any] = value
        self.where = where

    def path(self, key: str) -> str:
        return f"{self.where}.{key}"

    def object(self, key: str) -> _Object:
        value = self.values.get(key)
        return _Object({} if value is None else value, self.path(key))

    def objects(self, key: str) -> list[_Object]:
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise SpecError(self.path(key), f"must be an array, not {_kind(value)}")
        return [_Object(item, f"{self.path(key)}[{index}]") for index, item in enumerate(value)]

    def number(self, key: str, low: int, high: int, *, required: bool = False) -> int | None:
        value = self.values.get(key)
        if value is None:
            if required:
                raise SpecError(self.path(key), "is missing")
            return None
        # bool is a subclass of int, JSON's true is no number.
        if type(value) is not int:
            raise SpecError(self.path(key), f"must be a whole number, not {_kind(value)}")
        if not low <= value <= high:
            raise SpecError(self.path(key), f"must be {low} to {high}, not {value}")
        return value

    def boolean(self, key: str) -> bool | None:
        value = self.values.get(key)
        if value is None or isinstance(value, bool):
            return value
        raise SpecError(self.path(key), f"must be true or false, not {_kind(value)}")

    def string(self, key: str, *, required: bool = False) -> str:
        value = self.values.get(key)
        if value is None and not required:
            return ""
        if not isinstance(value, str):
            raise SpecError(self.path(key), f"must be a string, not {_kind(value)}")
        if "\n" in value or "\0" in value:
            raise SpecError(self.path(key), f"must be one line: {value!r}")
        return value


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false", float: "a fraction"}
    return "null" if value is None else names.get(type(value), "a number")


def compile(resources: Any, where: str = "linux.resources") -> list[Write]:
    """The writes that a ``linux.resources`` object asks for, in the order of the spec's sections, ``unified`` last.

    Members that the spec does not know are left alone. Raises SpecError with the JSON path: a wrong type, a value out
    of range, or something that cgroup v2 does not have.
    """
    if resources is None:
        return []
    spec = _Object(resources, where)
    return [
        *_memory(spec.object("memory")),
        *_cpu(spec.object("cpu")),
        *_pids(spec.object("pids"), "pids" in spec.values),
        *_block_io(spec.object("blockIO")),
        *_huge_pages(spec),
        *_rdma(spec.object("rdma")),
        *_network(spec.object("network")),
        *_unified(spec.object("unified")),
    ]


def _max(value: int) -> str:
    return "max" if value == -1 else str(value)


# --- memory -----------------------------------------------------------------------------------------------------


def _memory(spec: _Object) -> list[Write]:
    limit = spec.number("limit", -1, _INT64) or 0
    reservation = spec.number("reservation", -1, _INT64) or 0
    swap = spec.number("swap", -1, _INT64) or 0
    _refuse_memory(spec)
    check = bool(spec.boolean("checkBeforeUpdate"))
    writes = []
    if limit:
        writes.append(
            Write(
                "memory",
                "memory.max",
                _max(limit),
                spec.path("limit"),
                "memory limit",
                default=limit == -1,
                usage=("memory.current",) if check and limit > 0 else (),
                limit=limit,
            )
        )
    writes += _swap(spec, limit, swap, check)
    if reservation:
        # Without a soft limit of v1 nothing is protected, and that is 0 in v2.
        value = "0" if reservation == -1 else str(reservation)
        writes.append(
            Write(
                "memory",
                "memory.low",
                value,
                spec.path("reservation"),
                "memory reservation",
                default=reservation == -1,
            )
        )
    return writes


def _swap(spec: _Object, limit: int, swap: int, check: bool) -> list[Write]:
    """memory.swap.max from v1's limit of memory and swap together. 0 is unset in both, as in runc."""
    where = spec.path("swap")
    if limit == -1 and not swap:
        swap = -1
    if not swap:
        return []
    if swap == -1 or limit == -1:
        alone = swap
    elif not limit:
        raise SpecError(where, "needs memory.limit beside it: it is the limit of memory and swap together")
    elif swap < limit:
        raise SpecError(where, f"is the limit of memory and swap together, so at least memory.limit, {limit}: {swap}")
    else:
        alone = swap - limit
    return [
        Write(
            "memory",
            "memory.swap.max",
            _max(alone),
            where,
            "swap limit",
            default=alone == -1,
            # A kernel that does not account swap: none is what its groups may be said to have.
            optional=alone == 0,
            usage=("memory.current", "memory.swap.current") if check and swap > 0 and limit > 0 else (),
            limit=swap,
        )
    ]


def _refuse_memory(spec: _Object) -> None:
    for key in ("kernel", "kernelTCP"):
        if (spec.number(key, -1, _INT64) or 0) > 0:
            raise SpecError(
                spec.path(key), "cgroup v2 has no limit of kernel memory alone: memory.limit counts it, use that"
            )
    if spec.number("swappiness", 0, 100) is not None:
        raise SpecError(
            spec.path("swappiness"), "cgroup v2 has no swappiness of a group: use memory.swap, or leave it out"
        )
    if spec.boolean("disableOOMKiller"):
        raise SpecError(
            spec.path("disableOOMKiller"),
            "the OOM killer of a group cannot be switched off in cgroup v2: "
            'use unified {"memory.high": …} to slow it down before the limit',
        )
    if spec.boolean("useHierarchy") is False:
        raise SpecError(spec.path("useHierarchy"), "cgroup v2 always counts the groups below: leave it out")


# --- cpu --------------------------------------------------------------------------------------------------------


def weight_of_shares(shares: int) -> int:
    """cpu.weight for cpu.shares of v1: 2 → 1, 1024 → 100, 262144 → 10000, and a curve through these.

    runc 1.3.2 and crun 1.23: ceil(10 ** ((l² + 125 l) / 612 - 7 / 34)) with l = log2(shares).
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    log = log2(shares)
    return ceil(10 ** ((log * log + 125 * log) / 612.0 - 7.0 / 34.0))


def _cpu(spec: _Object) -> list[Write]:
    for key in ("realtimeRuntime", "realtimePeriod"):
        if spec.number(key, -_INT64, _UINT64):
            raise SpecError(spec.path(key), "cgroup v2 has no budget for realtime processes: leave it out")
    writes = []
    shares = spec.number("shares", 0, _UINT64)
    if shares:
        weight = str(weight_of_shares(shares))
        writes.append(Write("cpu", "cpu.weight", weight, spec.path("shares"), "CPU shares", default=weight == "100"))
    writes += _bandwidth(spec)
    idle = spec.number("idle", 0, 1)
    if idle is not None:
        writes.append(Write("cpu", "cpu.idle", str(idle), spec.path("idle"), "CPU idle", default=not idle))
    for key, what in (("cpus", "CPU set"), ("mems", "memory nodes")):
        value = spec.string(key).strip()
        if value:
            writes.append(Write("cpuset", f"cpuset.{key}", value, spec.path(key), what))
    return writes


def _bandwidth(spec: _Object) -> list[Write]:
    quota = spec.number("quota", -1, _INT64) or 0
    period = spec.number("period", 0, _UINT64) or 0
    burst = spec.number("burst", 0, _UINT64)
    if 0 < quota < _CPU_MIN:
        raise SpecError(spec.path("quota"), f"must be at least {_CPU_MIN} µs, or -1 for no limit, not {quota}")
    if period and not _CPU_MIN <= period <= _CPU_MAX:
        raise SpecError(spec.path("period"), f"must be {_CPU_MIN} to {_CPU_MAX} µs, not {period}")
    if burst and 0 < quota < burst:
        raise SpecError(spec.path("burst"), f"must not be above quota, {quota} µs, but is {burst}")
    writes = []
    if quota or period:
        # One number sets the quota and leaves the period; a period alone leaves the quota.
        words = [_max(quota) if quota else KEEP, str(period) if period else ""]
        where = spec.path("quota" if quota else "period")
        default = quota <= 0 and period in (0, _CPU_PERIOD)
        what = "CPU quota" if quota else "CPU period"
        writes.append(Write("cpu", "cpu.max", " ".join(words).strip(), where, what, default=default))
    if burst is not None:
        writes.append(Write("cpu", "cpu.max.burst", str(burst), spec.path("burst"), "CPU burst", default=not burst))
    return writes


# --- pids, io, huge pages, rdma, network ------------------------------------------------------------------------


def _pids(spec: _Object, present: bool) -> list[Write]:
    if not present:
        return []
    limit = spec.number("limit", -1, _INT64)
    if limit is None:
        return []
    if limit > _PIDS_MAX:
        raise SpecError(spec.path("limit"), f"must be 0 to {_PIDS_MAX}, or -1 for no limit, not {limit}")
    return [Write("pids", "pids.max", _max(limit), spec.path("limit"), "pids limit", default=limit == -1)]


def _block_io(spec: _Object) -> list[Write]:
    writes = []
    weight = _weight(spec)
    if weight:
        writes.append(_weight_write("", weight, spec.path("weight"), "io weight"))
    for item in spec.objects("weightDevice"):
        device, weight = _device(item), _weight(item)
        if weight:
            writes.append(_weight_write(f"{device} ", weight, item.path("weight"), f"io weight of {device}"))
        elif item.values.get("weight") is None:
            raise SpecError(item.where, "has neither weight nor leafWeight")
    for key, name, what in _THROTTLES:
        for item in spec.objects(key):
            device, rate = _device(item), item.number("rate", 0, _UINT64, required=True)
            # 0 took a limit away in v1.
            value = f"{device} {name}={rate or 'max'}"
            writes.append(Write("io", "io.max", value, item.path("rate"), f"{what} of {device}", default=not rate))
    return writes


def _weight(spec: _Object) -> int:
    if spec.number("leafWeight", 0, 65535):
        raise SpecError(
            spec.path("leafWeight"), "cgroup v2 has no weight of a group against its own children: use weight"
        )
    weight = spec.number("weight", 0, 65535) or 0
    if weight and not 10 <= weight <= 1000:
        raise SpecError(spec.path("weight"), f"must be 10 to 1000, or 0 for none, not {weight}")
    return weight


def _weight_write(device: str, weight: int, where: str, what: str) -> Write:
    """bfq takes v1's weight as it is; iocost's io.weight goes from 1 to 10000."""
    other = Write("io", "io.weight", f"{device}{1 + (weight - 10) * 9999 // 990}", where, what)
    return Write("io", "io.bfq.weight", f"{device}{weight}", where, what, other=other)


def _device(spec: _Object) -> str:
    numbers = [spec.number(key, 0, _UINT32, required=True) for key in ("major", "minor")]
    return f"{numbers[0]}:{numbers[1]}"


def _huge_pages(spec: _Object) -> list[Write]:
    writes = []
    for item in spec.objects("hugepageLimits"):
        size = item.string("pageSize", required=True)
        digits, unit = size[:-2], size[-2:]
        if unit not in ("KB", "MB", "GB") or not digits.isdecimal() or not digits.isascii() or digits.startswith("0"):
            raise SpecError(item.path("pageSize"), f"must be a size such as 2MB or 1GB, not {size!r}")
        limit = str(item.number("limit", 0, _UINT64, required=True))
        where, what = item.path("limit"), f"huge page limit ({size})"
        writes.append(Write("hugetlb", f"hugetlb.{size}.max", limit, where, what))
        # Reservations (5.7) are refused by mmap, where a fault over the limit is a SIGBUS.
        writes.append(Write("hugetlb", f"hugetlb.{size}.rsvd.max", limit, where, what, optional=True))
    return writes


def _rdma(spec: _Object) -> list[Write]:
    writes = []
    for name in spec.values:
        item = spec.object(name)
        if not name or any(character.isspace() or character == "\0" for character in name):
            raise SpecError(item.where, f"must be the name of a device: {name!r}")
        words = []
        for key, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            number = item.number(key, 0, _UINT32)
            if number is not None:
                words.append(f"{word}={number}")
        if not words:
            raise SpecError(item.where, "has neither hcaHandles nor hcaObjects")
        writes.append(Write("rdma", "rdma.max", " ".join([name, *words]), item.where, f"rdma limit of {name}"))
    return writes


def _network(spec: _Object) -> list[Write]:
    if spec.number("classID", 0, _UINT32):
        raise SpecError(
            spec.path("classID"), "cgroup v2 has no network classes: match the cgroup in nftables (socket cgroupv2)"
        )
    if spec.objects("priorities"):
        raise SpecError(
            spec.path("priorities"),
            "cgroup v2 has no network priorities: match the cgroup in nftables (socket cgroupv2)",
        )
    return []


# --- unified ----------------------------------------------------------------------------------------------------


def _unified(spec: _Object) -> list[Write]:
    writes = []
    for key, value in spec.values.items():
        where = f'{spec.where}["{key}"]'
        controller, dot, rest = key.partition(".")
        if not (dot and controller and rest) or "/" in key or any(character < "!" for character in key):
            raise SpecError(spec.where, f"{key!r} must be the name of a file such as memory.high, without a slash")
        if key in _NOT_LIMITS:
            raise SpecError(where, "is not a limit: pycontain writes it itself")
        if not isinstance(value, str) or "\0" in value:
            raise SpecError(
                where, f"must be a string, not {_kind(value)}" if not isinstance(value, str) else "has a NUL"
            )
        lines = [line for line in value.split("\n") if line.strip()]
        if lines:
            # The core's own files and pressure stall information are there without any controller.
            owner = "" if controller == "cgroup" or key.endswith(".pressure") else controller
            writes.append(Write(owner, key, "\n".join(lines), where, key))
    return writes
