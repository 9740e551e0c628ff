"""Figures from files as kernels have written them; the figures of a running kernel are read in tests/host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontain.cgroup import stats
from pycontain.cgroup.group import Group
from pycontain.cgroup.hierarchy import Hierarchy

PAGE = os.sysconf("SC_PAGE_SIZE")

FILES = {
    "cgroup.events": "populated 1\nfrozen 0\n",
    "cgroup.stat": "nr_descendants 3\nnr_dying_descendants 9\n",
    "cpu.stat": "usage_usec 300\nuser_usec 200\nsystem_usec 100\nnr_periods 10\nnr_throttled 4\nthrottled_usec 77\n"
    "nr_bursts 3\nburst_usec 9\n",
    "cpu.max.burst": "2000\n",
    "cpu.idle": "0\n",
    "cpu.weight": "100\n",
    "cpu.max": "50000 100000\n",
    "memory.current": f"{100 * PAGE}\n",
    "memory.peak": f"{150 * PAGE}\n",
    "memory.low": f"{10 * PAGE}\n",
    "memory.high": "max\n",
    "memory.max": f"{200 * PAGE}\n",
    "memory.events": "low 0\nhigh 1\nmax 22\noom 3\noom_kill 2\noom_group_kill 0\n",
    "memory.stat": f"anon 5\nfile 6\nkernel 7000\ninactive_file {30 * PAGE}\nshmem {2 * PAGE}\nsock 11\n",
    "memory.swap.current": f"{5 * PAGE}\n",
    "memory.swap.max": "max\n",
    "memory.swap.events": "high 0\nmax 0\nfail 6\n",
    "pids.current": "4\n",
    "pids.max": "max\n",
    "pids.events": "max 8\n",
    "io.stat": "7:0 7:1 8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=30 dios=4\n",
    "io.max": "8:0 rbps=max wbps=1000 riops=max wiops=max\n259:3 rbps=5 wbps=max riops=max wiops=max\n",
    "hugetlb.2MB.current": "4194304\n",
    "hugetlb.2MB.rsvd.current": "2097152\n",
    "hugetlb.2MB.max": "max\n",
    "hugetlb.2MB.events": "max 5\n",
    "memory.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.10 avg300=0 total=3\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    yield tmp_path


def read(directory: Path) -> stats.Stats:
    with Group(Hierarchy(str(directory), "/", frozenset()), "/", os.open(directory, os.O_RDONLY), []) as group:
        return stats.read(group)


def test_everything(directory: Path) -> None:
    got = read(directory)
    assert (got.populated, got.frozen, got.groups) == (True, False, 3)
    assert got.cpu == stats.Cpu(300, 200, 100, 10, 4, 77, 100, 50000, 100000, 2000, 3, 9, False)
    assert got.cpu.limit == 0.5
    assert got.memory
    assert (got.memory.current, got.memory.peak, got.memory.high) == (100 * PAGE, 150 * PAGE, None)
    assert (got.memory.working_set, got.memory.killed) == (70 * PAGE, 2)
    assert got.swap == stats.Memory(5 * PAGE, events={"high": 0, "max": 0, "fail": 6})
    assert got.pids == stats.Pids(4, None, None, 8)
    assert got.io == [
        stats.Device(8, 0, 10, 20, 1, 2, {"wbps": 1000}, 30, 4),
        stats.Device(259, 3, limits={"rbps": 5}),
    ]
    assert got.huge_pages == {"2MB": stats.HugePages(4194304, None, 5, 2097152)}
    assert got.pressure["memory"].some == stats.Stall(1.5, 0.0, 0.0, 12)
    assert got.pressure["cpu"].full is None
    assert "io" not in got.pressure


def test_a_group_without_controllers(directory: Path) -> None:
    for path in directory.iterdir():
        if path.name not in ("cgroup.events", "cpu.stat"):
            path.unlink()
    (directory / "cpu.stat").write_text("usage_usec 1\nuser_usec 1\nsystem_usec 0\n")
    got = read(directory)
    assert got.cpu == stats.Cpu(1, 1, 0)
    assert got.cpu.limit is None
    assert (got.memory, got.swap, got.pids, got.io, got.groups) == (None, None, None, None, None)
    assert (got.huge_pages, got.pressure) == ({}, {})
    assert stats.beancounters(got) == []


def test_a_group_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path)


def test_beancounters(directory: Path) -> None:
    rows = {row.resource: row for row in stats.beancounters(read(directory))}
    unlimited = stats.UNLIMITED
    assert rows["physpages"] == stats.Beancounter("physpages", 100, 150, 200, 200, 3)
    assert rows["swappages"] == stats.Beancounter("swappages", 5, None, unlimited, unlimited, 6)
    assert rows["numproc"] == stats.Beancounter("numproc", 4, None, unlimited, unlimited, 8)
    assert rows["oomguarpages"] == stats.Beancounter("oomguarpages", 105, None, 10, unlimited, 2)
    assert rows["hugepages-2MB"] == stats.Beancounter("hugepages-2MB", 2, None, unlimited, unlimited, 5)
    assert rows["kmemsize"].held == 7000
    assert rows["shmpages"].held == 2
    assert rows["othersockbuf"].held == 11


def test_kernel_memory_before_it_was_counted_whole(directory: Path) -> None:
    (directory / "memory.stat").write_text("slab 5\nkernel_stack 6\npagetables 7\npercpu 8\n")
    rows = {row.resource: row for row in stats.beancounters(read(directory))}
    assert rows["kmemsize"].held == 26
