"""What is tried inside the test host: every limit in a kernel that has the controllers. See test_host_limits.py.

Run there as ``python guest_limits.py``: prints one JSON object a scenario. Imported elsewhere it only gives the names.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.host.scenarios import Scenarios

from pycontain.cgroup import controllers, limits, stats
from pycontain.cgroup import group as groups
from pycontain.cgroup import hierarchy as hierarchies
from pycontain.cgroup.group import Group
from pycontain.kernel.errors import Error, SpecError

MIB = 1 << 20
SCENARIOS = Scenarios()


@contextmanager
def placed(resources: Any, path: str = "/test/group", missing: str = "error") -> Iterator[Group]:
    """A group with limits, killed and removed at the end."""
    group, warnings = limits.place(hierarchies.find(), path, limits.compile(resources), missing)
    assert bool(warnings) == (missing == "warn"), warnings
    with group:
        try:
            yield group
        finally:
            group.kill()
            group.remove()


def update(group: Group, resources: Any) -> None:
    limits.apply(group, limits.compile(resources))


def child(group: Group, body: Callable[[], None]) -> int:
    """A process in the group; the wait status comes from os.waitpid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        group.add(0)
        body()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)


def error_of(action: Callable[[], object], kind: type[Error] = Error) -> str:
    try:
        action()
    except kind as error:
        assert "\n" not in error.message
        return error.message
    raise AssertionError("no error")


@contextmanager
def loop_device(size: int) -> Iterator[tuple[str, int, int]]:
    """A block device of the guest's own: its path and numbers."""
    subprocess.run(["busybox", "modprobe", "loop"], check=False)
    image = Path("/tmp/image")
    image.write_bytes(bytes(size))
    run = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True)
    path = run.stdout.strip()
    number = os.stat(path).st_rdev
    try:
        yield path, os.major(number), os.minor(number)
    finally:
        subprocess.run(["losetup", "-d", path], check=True)
        image.unlink()


# --- read back --------------------------------------------------------------------------------------------------


def _read_back(name: str, resources: Any, file: str, expected: str) -> None:
    def check() -> None:
        with placed(resources) as group:
            assert group.read(file).rstrip("\n") == expected, group.read(file)

    SCENARIOS[f"read_back_{name}"] = check


_read_back("memory_limit", {"memory": {"limit": 64 * MIB}}, "memory.max", str(64 * MIB))
_read_back("memory_reservation", {"memory": {"reservation": 8 * MIB}}, "memory.low", str(8 * MIB))
_read_back("swap", {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, "memory.swap.max", str(32 * MIB))
_read_back("no_swap", {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}, "memory.swap.max", "0")
_read_back("cpu_shares", {"cpu": {"shares": 102}}, "cpu.weight", "17")
_read_back("cpu_most_shares", {"cpu": {"shares": 262144}}, "cpu.weight", "10000")
_read_back("cpu_quota", {"cpu": {"quota": 20000}}, "cpu.max", "20000 100000")
_read_back("cpu_period", {"cpu": {"quota": 20000, "period": 50000}}, "cpu.max", "20000 50000")
_read_back("cpu_period_alone", {"cpu": {"period": 50000}}, "cpu.max", "max 50000")
_read_back("cpu_least", {"cpu": {"quota": 1000, "period": 1000000}}, "cpu.max", "1000 1000000")
_read_back("cpu_burst", {"cpu": {"quota": 20000, "burst": 20000}}, "cpu.max.burst", "20000")
_read_back("cpu_idle", {"cpu": {"idle": 1}}, "cpu.idle", "1")
_read_back("pids", {"pids": {"limit": 17}}, "pids.max", "17")
_read_back("pids_none", {"pids": {"limit": 0}}, "pids.max", "0")
_read_back("pids_most", {"pids": {"limit": 4194304}}, "pids.max", "4194304")
_read_back("unified", {"unified": {"memory.high": "33554432"}}, "memory.high", "33554432")
_read_back("unified_wins", {"pids": {"limit": 5}, "unified": {"pids.max": "6"}}, "pids.max", "6")
_read_back("unified_core", {"unified": {"cgroup.max.depth": "3"}}, "cgroup.max.depth", "3")


@SCENARIOS.add
def read_back_io_throttles() -> None:
    with loop_device(4 * MIB) as (_, major, minor):
        device = {"major": major, "minor": minor}
        block = {
            "throttleReadBpsDevice": [{**device, "rate": 1000000}],
            "throttleWriteBpsDevice": [{**device, "rate": 2000000}],
            "throttleReadIOPSDevice": [{**device, "rate": 30}],
            "throttleWriteIOPSDevice": [{**device, "rate": 40}],
        }
        key = f"{major}:{minor}"
        with placed({"blockIO": block}) as group:
            assert group.read("io.max") == f"{key} rbps=1000000 wbps=2000000 riops=30 wiops=40\n"
            update(group, {"blockIO": {"throttleReadBpsDevice": [{**device, "rate": 0}]}})
            assert group.read("io.max") == f"{key} rbps=max wbps=2000000 riops=30 wiops=40\n"
            (disk,) = [d for d in stats.read(group).io or [] if (d.major, d.minor) == (major, minor)]
            assert disk.limits == {"wbps": 2000000, "riops": 30, "wiops": 40}


@SCENARIOS.add
def no_limit_needs_no_controller() -> None:
    none = {"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1, "shares": 1024}}
    with placed(none, "/plain/group") as group:
        assert group.controllers() == frozenset()


# --- update -----------------------------------------------------------------------------------------------------


@SCENARIOS.add
def update_enables_a_controller_under_a_running_process() -> None:
    with placed({}, "/late/group") as group:
        child(group, lambda: time.sleep(100))
        while not group.processes():
            os.sched_yield()
        update(group, {"pids": {"limit": 9}})
        assert group.read("pids.max") == "9\n"


@SCENARIOS.add
def update_is_all_or_nothing() -> None:
    start = {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}, "pids": {"limit": 50}, "cpu": {"quota": 30000}}
    with placed(start) as group:
        before = {file: group.read(file) for file in ("memory.max", "memory.swap.max", "pids.max", "cpu.max")}
        wrong = {
            "memory": {"limit": 32 * MIB, "swap": 256 * MIB},
            "pids": {"limit": 5},
            "cpu": {"quota": 50000, "period": 200000},
            "blockIO": {"throttleReadBpsDevice": [{"major": 250, "minor": 7, "rate": 5}]},
        }
        text = error_of(lambda: update(group, wrong), SpecError)
        assert text == (
            "read limit in bytes/s of 250:7: cgroup /test/group: cannot write '250:7 rbps=5' to io.max: "
            "No such device; give the numbers of a whole disk, not of a partition (lsblk shows them)"
        ), text
        assert {file: group.read(file) for file in before} == before


@SCENARIOS.add
def a_file_that_is_missing_is_known_before_anything_is_written() -> None:
    with placed({"pids": {"limit": 50}}) as group:
        wrong = {"pids": {"limit": 5}, "unified": {"memory.nonsense": "1"}}
        text = error_of(lambda: update(group, wrong))
        assert text.startswith("memory.nonsense: cgroup /test/group has no memory.nonsense"), text
        assert group.read("pids.max") == "50\n"


@SCENARIOS.add
def burst_and_quota_go_up_and_down_together() -> None:
    with placed({"cpu": {"quota": 20000, "burst": 20000}}) as group:
        for quota in (80000, 5000, 40000, 10000):
            update(group, {"cpu": {"quota": quota, "burst": quota}})
            assert group.read("cpu.max") == f"{quota} 100000\n"
            assert group.read("cpu.max.burst") == f"{quota}\n"
        text = error_of(lambda: update(group, {"cpu": {"quota": 5000}}))
        assert text.endswith("lower the burst as well"), text


@SCENARIOS.add
def idle_and_shares_change_together() -> None:
    with placed({"cpu": {"idle": 1, "shares": 2048}}) as group:
        assert group.read("cpu.idle") == "1\n"
        update(group, {"cpu": {"idle": 0, "shares": 102}})
        assert (group.read("cpu.idle"), group.read("cpu.weight")) == ("0\n", "17\n")
        update(group, {"cpu": {"idle": 1, "shares": 102}})
        text = error_of(lambda: update(group, {"cpu": {"shares": 2048}}))
        assert "cannot be set while cpu.idle is 1" in text, text


@SCENARIOS.add
def a_period_alone_keeps_the_quota_and_a_quota_alone_the_period() -> None:
    with placed({"cpu": {"quota": 20000, "period": 50000}}) as group:
        update(group, {"cpu": {"period": 200000}})
        assert group.read("cpu.max") == "20000 200000\n"
        update(group, {"cpu": {"quota": 30000}})
        assert group.read("cpu.max") == "30000 200000\n"
        update(group, {"cpu": {"quota": -1}})
        assert group.read("cpu.max") == "max 200000\n"


def allocate(size: int) -> None:
    region = mmap.mmap(-1, size)
    for at in range(0, size, 4096):
        region[at] = 1


@SCENARIOS.add
def a_limit_below_the_usage_is_refused_when_asked_for() -> None:
    with placed({"memory": {"limit": 128 * MIB}}) as group:
        done, tell = os.pipe()

        def body() -> None:
            region = mmap.mmap(-1, 40 * MIB)
            for at in range(0, 40 * MIB, 4096):
                region[at] = 1
            os.write(tell, b"x")
            time.sleep(100)

        pid = child(group, body)
        assert os.read(done, 1) == b"x"
        text = error_of(lambda: update(group, {"memory": {"limit": 16 * MIB, "checkBeforeUpdate": True}}))
        assert re.match(r"memory limit: 16777216 bytes is not above what cgroup /test/group uses now, \d+ bytes", text)
        assert group.read("memory.max") == f"{128 * MIB}\n"
        update(group, {"memory": {"limit": 100 * MIB, "checkBeforeUpdate": True}})
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)


# --- what the limits do -----------------------------------------------------------------------------------------


@SCENARIOS.add
def memory_limit_kills() -> None:
    with placed({"memory": {"limit": 24 * MIB, "swap": 24 * MIB}}) as group:
        _, status = os.waitpid(child(group, lambda: allocate(96 * MIB)), 0)
        assert os.WIFSIGNALED(status), status
        assert os.WTERMSIG(status) == 9, status
        got = stats.read(group)
        assert got.memory
        assert got.memory.killed == 1, got.memory.events
        assert got.memory.max == 24 * MIB
        rows = {row.resource: row for row in stats.beancounters(got)}
        assert rows["physpages"].limit == 24 * MIB // 4096
        assert (rows["physpages"].failcnt or 0) >= 1
        assert (rows["physpages"].maxheld or 0) > 20 * MIB // 4096
        assert rows["oomguarpages"].failcnt == 1
        assert rows["kmemsize"].limit == stats.UNLIMITED
        _, status = os.waitpid(child(group, lambda: allocate(2 * MIB)), 0)
        assert status == 0, status


@SCENARIOS.add
def pids_limit_stops_a_fork_bomb() -> None:
    with placed({"pids": {"limit": 30}, "memory": {"limit": 128 * MIB}}) as group:

        def bomb() -> None:
            while True:
                try:
                    os.fork()
                except BlockingIOError:
                    os.sched_yield()

        pid = child(group, bomb)
        deadline = time.monotonic() + 60
        while True:
            got = stats.read(group).pids
            assert got
            assert got.current <= 30, got
            if got.failures:
                break
            assert time.monotonic() < deadline, got
            os.sched_yield()
        assert len(group.processes()) <= 30
        group.kill()
        os.waitpid(pid, 0)
        group.remove()
        assert not os.path.exists(group.directory)


@SCENARIOS.add
def the_fork_bomb_dies_without_cgroup_kill() -> None:
    with placed({"pids": {"limit": 30}}) as group:

        def bomb() -> None:
            while True:
                try:
                    os.fork()
                except BlockingIOError:
                    os.sched_yield()

        pid = child(group, bomb)
        while len(group.processes()) < 20:
            os.sched_yield()
        group._kill_each(10)
        os.waitpid(pid, 0)
        group.remove()


def burn() -> None:
    while True:
        pass


@SCENARIOS.add
def cpu_quota_holds() -> None:
    with placed({"cpu": {"quota": 20000}}) as group:
        pid = child(group, burn)
        while not group.processes():
            os.sched_yield()
        shares: list[float] = []
        # this host itself may be held up for a while, so once is enough: without the limit it is never so
        while not shares or (not 0.15 < shares[-1] < 0.25 and len(shares) < 5):
            first, began = stats.read(group).cpu, time.monotonic()
            time.sleep(2.5)
            last, took = stats.read(group).cpu, time.monotonic() - began
            assert first
            assert last
            shares.append((last.usage - first.usage) / 1e6 / took)
        print(f"cpu shares {shares}", file=sys.stderr)
        assert 0.15 < shares[-1] < 0.25, shares
        assert last
        assert last.limit == 0.2
        assert (last.throttled_periods or 0) > 5, last
        group.kill()
        os.waitpid(pid, 0)


@SCENARIOS.add
def cpu_shares_divide() -> None:
    with placed({"cpu": {"shares": 1024}}, "/shares/small") as small:
        big, _ = limits.place(hierarchies.find(), "/shares/big", limits.compile({"unified": {"cpu.weight": "400"}}))
        with big:
            pids = [child(small, burn), child(big, burn)]
            time.sleep(2.5)
            used = [got.usage for got in (stats.read(small).cpu, stats.read(big).cpu) if got]
            for group in (small, big):
                group.kill()
            for pid in pids:
                os.waitpid(pid, 0)
            big.remove()
            ratio = used[1] / used[0]
            print(f"cpu ratio {ratio:.2f}", file=sys.stderr)
            assert 2.5 < ratio < 6, used


@SCENARIOS.add
def io_limit_slows_a_disk() -> None:
    with loop_device(8 * MIB) as (path, major, minor):

        def read(size: int) -> None:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
            buffer = mmap.mmap(-1, 256 << 10)
            for _ in range(size // len(buffer)):
                assert os.readv(fd, [buffer]) == len(buffer)

        def timed(group: Group, size: int) -> float:
            began = time.monotonic()
            _, status = os.waitpid(child(group, lambda: read(size)), 0)
            assert status == 0
            return time.monotonic() - began

        limit = {"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 2 * MIB}]}
        with placed({"unified": {"io.max": f"{major}:{minor} rbps=max"}}) as group:
            free = min(timed(group, 4 * MIB) for _ in range(3))  # this host itself may be held up for a while
            update(group, {"blockIO": limit})
            slow = timed(group, 4 * MIB)
            print(f"io free {free:.2f} s, limited {slow:.2f} s", file=sys.stderr)
            assert free < 1.2 < slow, (free, slow)
            (disk,) = [d for d in stats.read(group).io or [] if (d.major, d.minor) == (major, minor)]
            assert disk.read_bytes >= 8 * MIB


# --- what cannot be ---------------------------------------------------------------------------------------------


@SCENARIOS.add
def a_controller_that_is_not_built_in_is_named() -> None:
    path = "/missing/group"
    text = error_of(lambda: limits.place(hierarchies.find(), path, limits.compile({"cpu": {"cpus": "0"}})))
    assert text == (
        "CPU set: the cpuset controller is not available in cgroup v2 on this host: "
        "the kernel is built without it (CONFIG_CPUSETS)"
    ), text
    assert not os.path.exists("/sys/fs/cgroup/missing")
    wanted = limits.compile({"cpu": {"cpus": "0"}, "pids": {"limit": 5}})
    group, warnings = limits.place(hierarchies.find(), path, wanted, "warn")
    with group:
        assert group.read("pids.max") == "5\n"
        assert warnings == [f"CPU set: not enforced: {text.removeprefix('CPU set: ')}"], warnings
        group.remove()


@SCENARIOS.add
def no_io_weight_without_a_scheduler() -> None:
    text = error_of(
        lambda: limits.place(hierarchies.find(), "/x/y", limits.compile({"blockIO": {"weight": 100}})),
    )
    assert text.startswith("io weight: cgroup /x/y has no io.weight: no disk uses the scheduler bfq"), text
    assert not os.path.exists("/sys/fs/cgroup/x")


@SCENARIOS.add
def a_refused_value_leaves_nothing() -> None:
    wanted = limits.compile({"pids": {"limit": 5}, "unified": {"memory.high": "nonsense"}})
    text = error_of(lambda: limits.place(hierarchies.find(), "/nothing/left", wanted))
    assert "cannot write 'nonsense' to memory.high: Invalid argument" in text, text
    assert not os.path.exists("/sys/fs/cgroup/nothing")


@SCENARIOS.add
def processes_in_the_parent_are_explained() -> None:
    with groups.create(hierarchies.find(), "/busy") as parent:
        pid = child(parent, lambda: time.sleep(100))
        while not parent.processes():
            os.sched_yield()
        wanted = limits.compile({"memory": {"limit": 64 * MIB}})
        text = error_of(lambda: limits.place(hierarchies.find(), "/busy/group", wanted))
        assert text.startswith(
            f"memory limit: the memory controller cannot be enabled below cgroup /busy: process {pid} ("
        ), text
        assert "no internal processes" in text
        assert not os.path.exists("/sys/fs/cgroup/busy/group")
        parent.kill()
        os.waitpid(pid, 0)
        parent.remove()


@SCENARIOS.add
def a_threaded_parent_is_explained() -> None:
    with groups.create(hierarchies.find(), "/threads") as parent, groups.create(hierarchies.find(), "/threads/a") as a:
        a.write("cgroup.type", "threaded")
        refused = controllers.enable(hierarchies.find(), "/threads/b", {"memory"})
        assert refused["memory"].startswith(
            "the memory controller cannot be enabled below cgroup /threads: its cgroup.type is 'domain threaded'"
        ), refused
        a.remove()
        parent.remove()


@SCENARIOS.add
def a_user_gets_what_is_delegated() -> None:
    resources = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}}
    wanted = limits.compile(resources)
    hierarchy = hierarchies.find()
    with placed(resources, "/users/one") as home:
        home.delegate(1000, 1000)

        def as_user() -> None:
            os.setgid(1000)
            os.setuid(1000)
            group, _ = limits.place(hierarchy, "/users/one/box", wanted)
            assert group.read("memory.max") == f"{64 * MIB}\n"
            group.remove()
            text = error_of(lambda: limits.place(hierarchy, "/users/two", wanted))
            assert "Permission denied in cgroup /users" in text, text
            text = error_of(lambda: update(home, {"memory": {"limit": 128 * MIB}}))
            assert "Permission denied" in text, text

        pid = os.fork()
        if not pid:
            try:
                as_user()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(70)
        _, status = os.waitpid(pid, 0)
        assert status == 0


@SCENARIOS.add
def what_is_not_delegated_is_named_with_its_level() -> None:
    hierarchy = hierarchies.find()
    with groups.create(hierarchy, "/seat/user", {"pids"}) as home:
        home.delegate(1000, 1000)

        def as_user() -> None:
            os.setgid(1000)
            os.setuid(1000)
            wanted = limits.compile({"pids": {"limit": 5}, "memory": {"limit": 64 * MIB}})
            text = error_of(lambda: limits.place(hierarchy, "/seat/user/box", wanted))
            assert text.startswith(
                "memory limit: the memory controller cannot be enabled below cgroup /seat: "
                "Permission denied on its cgroup.subtree_control"
            ), text
            group, warnings = limits.place(hierarchy, "/seat/user/box", wanted, "warn")
            assert group.read("pids.max") == "5\n"
            assert len(warnings) == 1, warnings
            group.remove()

        pid = os.fork()
        if not pid:
            try:
                as_user()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(70)
        _, status = os.waitpid(pid, 0)
        assert status == 0
        home.remove()


@SCENARIOS.add
def ten_starts_at_once_with_limits() -> None:
    hierarchy = hierarchies.find()
    wanted = limits.compile({"memory": {"limit": 16 * MIB}, "pids": {"limit": 5}, "cpu": {"shares": 512}})
    ready, go = os.pipe()
    pids = []
    for number in range(10):
        pid = os.fork()
        if not pid:
            try:
                os.close(go)
                os.read(ready, 1)
                for round in range(5):
                    group, _ = limits.place(hierarchy, f"/many/{number}-{round}", wanted)
                    assert group.read("pids.max") == "5\n"
                    group.undo()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(70)
        pids.append(pid)
    os.close(go)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 10


# --- the other tests, in this kernel ----------------------------------------------------------------------------


@SCENARIOS.add
def the_hierarchy_is_unified() -> None:
    hierarchy = hierarchies.find()
    assert (hierarchy.mount, hierarchy.root) == ("/sys/fs/cgroup", "/")
    assert hierarchy.controllers >= {"cpu", "io", "memory", "pids"}
    assert not hierarchy.hybrid
    libc = ctypes.CDLL(None, use_errno=True)
    with placed({}) as group:
        pid = os.fork()
        if not pid:
            try:
                group.add(0)
                # CLONE_NEWCGROUP | CLONE_NEWNS: this group is the root from here on.
                assert libc.unshare(0x02000000 | 0x00020000) == 0
                inside = hierarchies.find()
                assert (inside.mount, inside.own()) == ("/sys/fs/cgroup", "/"), inside
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(70)
        assert os.waitpid(pid, 0)[1] in (0, 70 << 8)


@SCENARIOS.add
def the_integration_tests_pass_in_this_kernel() -> None:
    tests = Path(__file__).resolve().parents[1] / "integration"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [str(tests / name) for name in ("test_cgroup_group.py", "test_cgroup_filter.py")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    print(run.stdout[-200:], file=sys.stderr)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


if __name__ == "__main__":
    SCENARIOS.main(sys.argv[1:])
