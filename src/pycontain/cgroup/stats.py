"""What a cgroup has used: one object from the files that exist. Not for the start road.

A controller that does not work in the group gives None; a figure that the kernel is too old for gives None. Sizes are
bytes, times are microseconds (Documentation/admin-guide/cgroup-v2.rst).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pycontain.cgroup import group as groups

if TYPE_CHECKING:
    from pycontain.cgroup.group import Group

_PAGE = os.sysconf("SC_PAGE_SIZE")
#: How a beancounter says "no limit" (LONG_MAX).
UNLIMITED = (1 << 63) - 1


@dataclass(frozen=True)
class Cpu:
    """cpu.stat, cpu.weight, cpu.max, cpu.max.burst, cpu.idle. The times are there without the controller.

    quota None is no limit. bursts, burst_time: how often, and for how long, it used more than the quota, saved before.
    """

    usage: int
    user: int
    system: int
    periods: int | None = None
    throttled_periods: int | None = None
    throttled: int | None = None
    weight: int | None = None
    quota: int | None = None
    period: int | None = None
    burst: int | None = None
    bursts: int | None = None
    burst_time: int | None = None
    idle: bool | None = None

    @property
    def limit(self) -> float | None:
        """How many processors it may use at the most; None for no limit."""
        return self.quota / self.period if self.quota is not None and self.period else None


@dataclass(frozen=True)
class Memory:
    """memory.* or memory.swap.*: a limit of None is none. events: memory.events, memory.swap.events."""

    current: int
    peak: int | None = None
    low: int | None = None
    high: int | None = None
    max: int | None = None
    events: dict[str, int] = field(default_factory=dict)
    stat: dict[str, int] = field(default_factory=dict)

    @property
    def working_set(self) -> int:
        """What cannot be dropped at once: usage without the inactive file pages, as Docker and Kubernetes show it."""
        return max(0, self.current - self.stat.get("inactive_file", 0))

    @property
    def killed(self) -> int:
        """How many processes memory.max has killed, here and below."""
        return self.events.get("oom_kill", 0)


@dataclass(frozen=True)
class Pids:
    """pids.*: tasks, that is threads. failures: forks that the limit refused."""

    current: int
    peak: int | None = None
    max: int | None = None
    failures: int | None = None


@dataclass(frozen=True)
class Device:
    """io.stat and io.max of one disk. limits: rbps, wbps, riops, wiops where they are set. discarded: bytes."""

    major: int
    minor: int
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0
    limits: dict[str, int] = field(default_factory=dict)
    discarded: int = 0
    discards: int = 0


@dataclass(frozen=True)
class HugePages:
    """hugetlb.SIZE.*, in bytes; reserved: by mmap(2), whether used yet or not."""

    current: int
    max: int | None = None
    failures: int | None = None
    reserved: int | None = None


@dataclass(frozen=True)
class Stall:
    """One line of pressure stall information: percent of the last 10, 60, 300 s, and the total in µs."""

    avg10: float
    avg60: float
    avg300: float
    total: int


@dataclass(frozen=True)
class Pressure:
    """Part of the time in which some or all (full) tasks waited for a resource (Documentation/accounting/psi.rst)."""

    some: Stall | None
    full: Stall | None


@dataclass(frozen=True)
class Stats:
    """All figures of one cgroup."""

    path: str
    populated: bool
    frozen: bool
    groups: int | None
    cpu: Cpu | None
    memory: Memory | None
    swap: Memory | None
    pids: Pids | None
    io: list[Device] | None
    huge_pages: dict[str, HugePages]
    pressure: dict[str, Pressure]


@dataclass(frozen=True)
class Beancounter:
    """A row as /proc/user_beancounters of OpenVZ had it; None where this kernel has no such figure."""

    resource: str
    held: int
    maxheld: int | None
    barrier: int | None
    limit: int | None
    failcnt: int | None


class _Files:
    """The files of a group, each "" where it is missing."""

    def __init__(self, group: Group) -> None:
        self.group = group

    def text(self, name: str) -> str:
        try:
            return self.group.read(name)
        except OSError:
            return ""

    def number(self, name: str) -> int | None:
        """One number; "max" and a missing file are None."""
        text = self.text(name).strip()
        return int(text) if text.isdigit() else None

    def flat(self, name: str) -> dict[str, int]:
        return {key: int(value) for key, value in groups.flat(self.text(name)).items() if value.isdigit()}

    def nested(self, name: str) -> dict[str, dict[str, str]]:
        """``KEY a=1 b=2`` lines."""
        found = {}
        for row in map(str.split, self.text(name).splitlines()):
            pairs = [word.split("=", 1) for word in row if "=" in word]
            # Kernels before 6.4 put keys without figures in front of the next line of io.stat.
            keys = row[: len(row) - len(pairs)]
            if keys:
                found[keys[-1]] = {pair[0]: pair[1] for pair in pairs}
        return found

    def exists(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self.group.fd)
            return True
        except OSError:
            return False


def read(group: Group) -> Stats:
    """The figures of a group. Raises OSError where it is gone."""
    events = group.events()
    files = _Files(group)
    return Stats(
        path=group.path,
        populated=events.get("populated") == "1",
        frozen=events.get("frozen") == "1",
        groups=files.flat("cgroup.stat").get("nr_descendants"),
        cpu=_cpu(files),
        memory=_memory(files, "memory"),
        swap=_memory(files, "memory.swap"),
        pids=_pids(files),
        io=_io(files),
        huge_pages=_huge_pages(files),
        pressure=_pressure(files),
    )


def _cpu(files: _Files) -> Cpu | None:
    stat = files.flat("cpu.stat")
    if "usage_usec" not in stat:
        return None
    quota, period = [*files.text("cpu.max").split(), "", ""][:2]
    return Cpu(
        usage=stat["usage_usec"],
        user=stat.get("user_usec", 0),
        system=stat.get("system_usec", 0),
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        throttled=stat.get("throttled_usec"),
        weight=files.number("cpu.weight"),
        quota=int(quota) if quota.isdigit() else None,
        period=int(period) if period.isdigit() else None,
        burst=files.number("cpu.max.burst"),
        bursts=stat.get("nr_bursts"),
        burst_time=stat.get("burst_usec"),
        idle=None if (idle := files.number("cpu.idle")) is None else bool(idle),
    )


def _memory(files: _Files, prefix: str) -> Memory | None:
    current = files.number(f"{prefix}.current")
    if current is None:
        return None
    return Memory(
        current=current,
        peak=files.number(f"{prefix}.peak"),
        low=files.number(f"{prefix}.low"),
        high=files.number(f"{prefix}.high"),
        max=files.number(f"{prefix}.max"),
        events=files.flat(f"{prefix}.events"),
        stat=files.flat(f"{prefix}.stat"),
    )


def _pids(files: _Files) -> Pids | None:
    current = files.number("pids.current")
    if current is None:
        return None
    return Pids(current, files.number("pids.peak"), files.number("pids.max"), files.flat("pids.events").get("max"))


def _io(files: _Files) -> list[Device] | None:
    if not files.exists("io.stat"):
        return None
    stat, limits = files.nested("io.stat"), files.nested("io.max")
    found = []
    for key in {**stat, **limits}:
        major, _, minor = key.partition(":")
        figures = {name: int(value) for name, value in stat.get(key, {}).items() if value.isdigit()}
        found.append(
            Device(
                major=int(major),
                minor=int(minor),
                read_bytes=figures.get("rbytes", 0),
                written_bytes=figures.get("wbytes", 0),
                reads=figures.get("rios", 0),
                writes=figures.get("wios", 0),
                discarded=figures.get("dbytes", 0),
                discards=figures.get("dios", 0),
                limits={name: int(value) for name, value in limits.get(key, {}).items() if value.isdigit()},
            )
        )
    return sorted(found, key=lambda device: (device.major, device.minor))


def _huge_pages(files: _Files) -> dict[str, HugePages]:
    names = [name for name in os.listdir(files.group.fd) if name.startswith("hugetlb.") and name.count(".") == 2]
    sizes = sorted({name.split(".")[1] for name in names if name.endswith(".current")})
    return {
        size: HugePages(
            current=files.number(f"hugetlb.{size}.current") or 0,
            max=files.number(f"hugetlb.{size}.max"),
            failures=files.flat(f"hugetlb.{size}.events").get("max"),
            reserved=files.number(f"hugetlb.{size}.rsvd.current"),
        )
        for size in sizes
    }


def _pressure(files: _Files) -> dict[str, Pressure]:
    found = {}
    for resource in ("cpu", "memory", "io", "irq"):
        rows = files.nested(f"{resource}.pressure")
        if rows:
            found[resource] = Pressure(_stall(rows.get("some")), _stall(rows.get("full")))
    return found


def _stall(row: dict[str, str] | None) -> Stall | None:
    if not row:
        return None
    return Stall(float(row["avg10"]), float(row["avg60"]), float(row["avg300"]), int(row["total"]))


# --- beancounters -----------------------------------------------------------------------------------------------


def beancounters(stats: Stats) -> list[Beancounter]:
    """The figures under the names and in the units of OpenVZ (vzctl(8), "Resource management parameters").

    Pages for physpages, swappages, oomguarpages, shmpages and lockedpages; bytes for kmemsize, dcachesize and
    othersockbuf; tasks for numproc; and, which OpenVZ had not, pages of each huge size for hugepages-SIZE. failcnt
    counts allocations that failed or ended in the OOM killer. What OpenVZ counted and this kernel does not (numtcpsock,
    numpty, …) has no row.
    """
    rows = []
    memory, swap, pids = stats.memory, stats.swap, stats.pids
    if memory:
        rows += _memory_rows(memory, swap)
    if pids:
        rows.append(Beancounter("numproc", pids.current, pids.peak, *_both(pids.max), pids.failures))
    for size, one in stats.huge_pages.items():
        rows.append(_huge_row(size, one))
    return rows


def _huge_row(size: str, one: HugePages) -> Beancounter:
    page = int(size[:-2]) << {"KB": 10, "MB": 20, "GB": 30}[size[-2:]]
    limit = UNLIMITED if one.max is None else one.max // page
    return Beancounter(f"hugepages-{size}", one.current // page, None, limit, limit, one.failures)


def _both(limit: int | None) -> tuple[int, int]:
    value = UNLIMITED if limit is None else limit
    return value, value


def _pages(size: int | None) -> int:
    return UNLIMITED if size is None else size // _PAGE


def _memory_rows(memory: Memory, swap: Memory | None) -> list[Beancounter]:
    stat = memory.stat
    peak = None if memory.peak is None else memory.peak // _PAGE
    rows = [
        Beancounter("kmemsize", kernel_memory(stat), None, UNLIMITED, UNLIMITED, None),
        Beancounter("lockedpages", stat.get("unevictable", 0) // _PAGE, None, UNLIMITED, UNLIMITED, None),
        Beancounter("shmpages", stat.get("shmem", 0) // _PAGE, None, UNLIMITED, UNLIMITED, None),
        Beancounter(
            "physpages",
            memory.current // _PAGE,
            peak,
            _pages(memory.high if memory.high is not None else memory.max),
            _pages(memory.max),
            memory.events.get("oom"),
        ),
        Beancounter(
            "oomguarpages",
            (memory.current + (swap.current if swap else 0)) // _PAGE,
            None,
            (memory.low or 0) // _PAGE,
            UNLIMITED,
            memory.killed,
        ),
        Beancounter("dcachesize", stat.get("slab_reclaimable", 0), None, UNLIMITED, UNLIMITED, None),
        Beancounter("othersockbuf", stat.get("sock", 0), None, UNLIMITED, UNLIMITED, None),
    ]
    if swap:
        held = None if swap.peak is None else swap.peak // _PAGE
        high = _pages(swap.high if swap.high is not None else swap.max)
        rows.append(
            Beancounter("swappages", swap.current // _PAGE, held, high, _pages(swap.max), swap.events.get("fail"))
        )
    return rows


def kernel_memory(stat: dict[str, int]) -> int:
    """Memory that the kernel holds for the group; ``kernel`` came with Linux 5.18."""
    if "kernel" in stat:
        return stat["kernel"]
    return sum(stat.get(name, 0) for name in ("slab", "kernel_stack", "pagetables", "percpu"))
