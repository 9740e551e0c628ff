"""When a process runs, where, and on whose memory: ``process.scheduler``, ``ioPriority``, ``execCPUAffinity`` and
``linux.memoryPolicy`` to records (runtime-spec config.md, config-linux.md)."""

from __future__ import annotations

from pycontain.kernel.errors import SpecError
from pycontain.launch import reader
from pycontain.launch.ops import Op
from pycontain.launch.ops_spec import Affinity, IoPriority, MemoryPolicy, Scheduler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# linux/sched.h; SCHED_ISO is in the specification and in no kernel
_ISO, _DEADLINE = 4, 6
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": _ISO,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": _DEADLINE,
}
SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
#: linux/ioprio.h
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
#: linux/mempolicy.h
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}
#: What the helper takes; more than any kernel is built for.
_MAX_CPUS, _MAX_NODES = 8192, 4096
_WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")


def _flags(section: dict[str, Any], where: str, known: dict[str, int]) -> int:
    bits = 0
    for index, name in enumerate(reader.texts(section, "flags", where)):
        if name not in known:
            raise SpecError(f"{where}.flags[{index}]", f"{name!r} is unknown: expected one of {', '.join(known)}")
        bits |= known[name]
    return bits


def scheduler(process: dict[str, Any], where: str) -> list[Op]:
    """``process.scheduler``. Raises SpecError."""
    section = reader.table(process, "scheduler", where)
    if not section:
        return []
    at = f"{where}.scheduler"
    policy = reader.choice(section, "policy", at, POLICIES)
    if policy == _ISO:
        raise SpecError(f"{at}.policy", "no kernel has SCHED_ISO")
    nice = reader.number(section, "nice", at, 0, low=-20, high=19)
    priority = reader.number(section, "priority", at, 0, high=99)
    if priority and policy not in (POLICIES["SCHED_FIFO"], POLICIES["SCHED_RR"]):
        raise SpecError(f"{at}.priority", "is for SCHED_FIFO and SCHED_RR alone")
    if not priority and policy in (POLICIES["SCHED_FIFO"], POLICIES["SCHED_RR"]):
        raise SpecError(f"{at}.priority", f"{section['policy']} needs a priority from 1 to 99")
    times = [reader.number(section, key, at, 0) for key in ("runtime", "deadline", "period")]
    if any(times) and policy != _DEADLINE:
        raise SpecError(f"{at}.runtime", "runtime, deadline and period are for SCHED_DEADLINE alone")
    if policy == _DEADLINE and not 0 < times[0] <= times[1] <= (times[2] or times[1]):
        raise SpecError(f"{at}.runtime", "SCHED_DEADLINE needs 0 < runtime <= deadline <= period, in nanoseconds")
    return [Scheduler(policy, _flags(section, at, SCHED_FLAGS), nice, priority, *times)]


def io_priority(process: dict[str, Any], where: str) -> list[Op]:
    """``process.ioPriority``. Raises SpecError."""
    section = reader.table(process, "ioPriority", where)
    if not section:
        return []
    at = f"{where}.ioPriority"
    class_ = reader.choice(section, "class", at, IO_CLASSES)
    return [IoPriority(class_ << 13 | reader.number(section, "priority", at, high=7))]


def bit_list(text: str, where: str, limit: int) -> bytes:
    """``0-3,7`` as a bit mask of whole 8 byte words. Raises SpecError."""
    mask = 0
    for part in text.replace(" ", "").strip(",").split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not all(word.isascii() and word.isdigit() and len(word) < 6 for word in (first, last)):
            raise SpecError(where, f"{text!r} is not a list such as 0-3,7")
        low, high = int(first), int(last)
        if low > high or high >= limit:
            raise SpecError(where, f"{part!r} is not a range below {limit}")
        mask |= (1 << high + 1) - (1 << low)
    return mask.to_bytes(((mask.bit_length() + 63) // 64) * 8, "little")


def cpu_affinity(process: dict[str, Any], where: str) -> tuple[list[Op], list[Op]]:
    """``process.execCPUAffinity``: before the process is in the container's cgroup, and after. Raises SpecError."""
    section = reader.table(process, "execCPUAffinity", where)
    at = f"{where}.execCPUAffinity"
    result: list[list[Op]] = []
    for key in ("initial", "final"):
        text = reader.text(section, key, at, "")
        result.append([Affinity(bit_list(text, f"{at}.{key}", _MAX_CPUS), f"CPUs {text}")] if text else [])
    return result[0], result[1]


def memory_policy(linux: dict[str, Any]) -> list[Op]:
    """``linux.memoryPolicy``. Raises SpecError."""
    section = reader.table(linux, "memoryPolicy", "linux")
    if not section:
        return []
    where = "linux.memoryPolicy"
    mode = reader.choice(section, "mode", where, MEMORY_MODES)
    text = reader.text(section, "nodes", where, "")
    if text and section["mode"] in _WITHOUT_NODES:
        raise SpecError(f"{where}.nodes", f"{section['mode']} takes no nodes")
    if not text and section["mode"] not in (*_WITHOUT_NODES, "MPOL_PREFERRED"):
        raise SpecError(f"{where}.nodes", f"{section['mode']} needs nodes, such as 0-1")
    flags = _flags(section, where, MEMORY_FLAGS)
    both = MEMORY_FLAGS["MPOL_F_RELATIVE_NODES"] | MEMORY_FLAGS["MPOL_F_STATIC_NODES"]
    if flags & both == both:
        raise SpecError(f"{where}.flags", "MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES exclude each other")
    return [MemoryPolicy(mode | flags, bit_list(text, f"{where}.nodes", _MAX_NODES) if text else b"")]
