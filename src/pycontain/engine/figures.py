"""The figures of a cgroup as ``stats --format json`` gives them: bytes, microseconds, null for what is not known."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.cgroup.stats import Cpu, Device, HugePages, Memory, Pids, Pressure, Stall, Stats

#: What a record has in all cases.
_KEYS = ("CpuTime", "Memory", "Swap", "PidsLimit", "Io", "HugePages", "Pressure")


def record(found: Stats | None) -> dict[str, Any]:
    """All of it; None: the container does not run."""
    if found is None:
        return dict.fromkeys(_KEYS)
    values = (
        found.cpu and _cpu(found.cpu),
        found.memory and _memory(found.memory),
        found.swap and _memory(found.swap),
        found.pids and _pids(found.pids),
        None if found.io is None else [_disk(disk) for disk in found.io],
        {size: _huge(one) for size, one in found.huge_pages.items()},
        {resource: _pressure(one) for resource, one in found.pressure.items()},
    )
    return dict(zip(_KEYS, values, strict=True))


def _cpu(cpu: Cpu) -> dict[str, Any]:
    return {
        "Usage": cpu.usage,
        "User": cpu.user,
        "System": cpu.system,
        "Weight": cpu.weight,
        "Quota": cpu.quota,
        "Period": cpu.period,
        "Burst": cpu.burst,
        "Idle": cpu.idle,
        "Periods": cpu.periods,
        "ThrottledPeriods": cpu.throttled_periods,
        "ThrottledTime": cpu.throttled,
        "Bursts": cpu.bursts,
        "BurstTime": cpu.burst_time,
    }


def _memory(memory: Memory) -> dict[str, Any]:
    return {
        "Current": memory.current,
        "Peak": memory.peak,
        "Low": memory.low,
        "High": memory.high,
        "Max": memory.max,
        "Events": memory.events,
    }


def _pids(pids: Pids) -> dict[str, Any]:
    return {"Current": pids.current, "Peak": pids.peak, "Max": pids.max, "Refused": pids.failures}


def _disk(disk: Device) -> dict[str, Any]:
    return {
        "Major": disk.major,
        "Minor": disk.minor,
        "ReadBytes": disk.read_bytes,
        "WrittenBytes": disk.written_bytes,
        "DiscardedBytes": disk.discarded,
        "Reads": disk.reads,
        "Writes": disk.writes,
        "Discards": disk.discards,
        "Limits": disk.limits,
    }


def _huge(pages: HugePages) -> dict[str, Any]:
    return {"Current": pages.current, "Reserved": pages.reserved, "Max": pages.max, "Refused": pages.failures}


def _pressure(pressure: Pressure) -> dict[str, Any]:
    return {"Some": _stall(pressure.some), "Full": _stall(pressure.full)}


def _stall(stall: Stall | None) -> dict[str, Any] | None:
    if stall is None:
        return None
    return {"Avg10": stall.avg10, "Avg60": stall.avg60, "Avg300": stall.avg300, "Total": stall.total}
