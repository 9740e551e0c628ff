"""stats: figures of the network, and what is said where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pycontain.cgroup.group import Group
from pycontain.cgroup.hierarchy import Hierarchy
from pycontain.engine import record, stats
from pycontain.engine.paths import Paths
from pycontain.engine.stats import Row, traffic

ID = "f" * 64

NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
    lo: 5000      50    0    0    0     0          0         0     5000      50    0    0    0     0       0          0
  eth0:  1046      13    0    0    0     0          0         0      306       3    0    0    0     0       0          0
eth1:4294967296 1 0 0 0 0 0 0 8589934592 1 0 0 0 0 0 0
"""


def test_traffic_leaves_the_loopback_out() -> None:
    assert traffic(NET) == (1046 + (1 << 32), 306 + (1 << 33))
    assert traffic("") == (0, 0)


def test_a_row_knows_nothing_at_first() -> None:
    row = Row("4f5e", "web")
    values = row.record()
    assert (values.pop("Id"), values.pop("Name")) == ("4f5e", "web")
    assert set(values.values()) == {None}


def test_percent_of_the_limit() -> None:
    row = Row("4f5e", "web")
    row.memory, row.limit = 50, 200
    assert row.percent == 25.0
    row.limit = None
    assert row.percent is None


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> stats.Watch:
    """A container whose cgroup is a directory of plain files: the figures of controllers that no test may rely on."""
    paths = Paths(str(tmp_path / "root"), str(tmp_path / "run"))
    os.makedirs(paths.container(ID))
    record.write(paths, record.Record(id=ID, name="web", network="none"))
    directory = tmp_path / "cgroup" / "pycontain" / ID
    directory.mkdir(parents=True)
    for name, text in FILES.items():
        (directory / name).write_text(text)
    tree = Hierarchy(str(tmp_path / "cgroup"), "/", frozenset({"memory", "io"}))

    def open_group(*_: object) -> Group:
        return Group(tree, f"/pycontain/{ID}", os.open(directory, os.O_RDONLY), [])

    monkeypatch.setattr(stats, "open_group", open_group)
    return stats.Watch(paths, [ID])


FILES = {
    "cgroup.events": "populated 1\nfrozen 0\n",
    "cgroup.threads": "10\n11\n12\n",
    "cpu.stat": "usage_usec 1000000\nuser_usec 600000\nsystem_usec 400000\n",
    "memory.current": "10000000\n",
    "memory.max": "40000000\n",
    "memory.stat": "inactive_file 2000000\n",
    "io.stat": "8:0 rbytes=100 wbytes=200 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2 rios=1 wios=2\n",
    "pids.current": "5\n",
}


def directory_of(watch: stats.Watch) -> Path:
    return Path(watch.paths.root).parent / "cgroup" / "pycontain" / ID


def test_figures_of_the_controllers(watch: stats.Watch) -> None:
    (row,) = watch.look()
    assert (row.memory, row.limit, row.percent) == (8_000_000, 40_000_000, 20.0)
    assert (row.read, row.written, row.pids) == (101, 202, 5)
    assert row.cpu is None, "there was no look before this one"
    assert watch.reasons == []


def test_processor_time_is_the_difference_of_two_looks(watch: stats.Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.0, 103.0])
    monkeypatch.setattr("pycontain.engine.stats.time.monotonic", lambda: next(clock))
    watch.look()
    (directory_of(watch) / "cpu.stat").write_text("usage_usec 2500000\n")
    assert watch.look()[0].cpu == pytest.approx(75.0)
    # started again: its counter is a new one
    (directory_of(watch) / "cpu.stat").write_text("usage_usec 1000\n")
    assert watch.look()[0].cpu == 0.0


def test_no_limit_is_the_hosts_memory(watch: stats.Watch) -> None:
    (directory_of(watch) / "memory.max").write_text("max\n")
    assert watch.look()[0].limit == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_controller_that_is_there_but_not_enabled(watch: stats.Watch) -> None:
    for name in FILES:
        if name.partition(".")[0] in ("memory", "io", "pids"):
            (directory_of(watch) / name).unlink()
    (row,) = watch.look()
    assert (row.memory, row.limit, row.read) == (None, None, None)
    assert row.pids == 3, "tasks are counted where no controller counts them"
    memory, io = watch.reasons
    assert memory.startswith("MEM: the memory controller is not enabled for containers without such a limit: ")
    assert f"'echo +io >{directory_of(watch).parent}/cgroup.subtree_control'" in io
