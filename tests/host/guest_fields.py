"""Fields of linux.resources that need what User-mode Linux has not. Runs in the emulated machine; see
test_host_emulated.py."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.host.scenarios import Scenarios

from pycontain.cgroup import hierarchy, limits, write
from pycontain.cgroup import update as updates
from pycontain.cgroup.group import Group
from pycontain.kernel.errors import Error

SCENARIOS = Scenarios()
MIB = 1 << 20


@contextmanager
def placed(resources: Any) -> Iterator[Group]:
    group, warnings = write.place(hierarchy.find(), "/test/group", limits.compile(resources))
    assert warnings == []
    with group:
        try:
            yield group
        finally:
            group.kill()
            group.remove()


def modprobe(*words: str) -> None:
    subprocess.run(["modprobe", *words], check=True)


def disk(scheduler: str) -> tuple[str, int, int]:
    """A disk in memory with a scheduler: its name and numbers."""
    if not Path("/sys/block/nullb0").exists():
        modprobe("null_blk", "nr_devices=1")
    Path("/sys/block/nullb0/queue/scheduler").write_text(scheduler)
    major, minor = map(int, Path("/sys/block/nullb0/dev").read_text().split(":"))
    return "nullb0", major, minor


@SCENARIOS.add
def cpus_and_memory_nodes() -> None:
    with placed({"cpu": {"cpus": "1", "mems": "0"}}) as group:
        assert group.read("cpuset.cpus") == "1\n" and group.read("cpuset.cpus.effective") == "1\n"
        assert group.read("cpuset.mems") == "0\n"
        pid = os.fork()
        if pid == 0:
            group.add(0)
            os._exit(os.sched_getaffinity(0) != {1})
        assert os.waitpid(pid, 0)[1] == 0
        updates.update(group.hierarchy, group.path, {"cpu": {"cpus": "0-1"}})
        assert group.read("cpuset.cpus") == "0-1\n"


@SCENARIOS.add
def cpus_that_are_not_there() -> None:
    try:
        with placed({"cpu": {"cpus": "0-7"}}):
            raise AssertionError("not refused")
    except Error as error:
        assert "2-7 cannot be had: the group above" in error.message, error.message
    assert not Path("/sys/fs/cgroup/test/group").exists()


@SCENARIOS.add
def weights_of_bfq() -> None:
    modprobe("bfq")
    _, major, minor = disk("bfq")
    block = {"weight": 500, "weightDevice": [{"major": major, "minor": minor, "weight": 300}]}
    with placed({"blockIO": block}) as group:
        assert group.read("io.bfq.weight").splitlines() == ["default 500", f"{major}:{minor} 300"]
        updates.update(group.hierarchy, group.path, {"blockIO": {"weight": 10}})
        assert group.read("io.bfq.weight").splitlines() == ["default 10", f"{major}:{minor} 300"], group.read(
            "io.bfq.weight"
        )
    disk("none")
    subprocess.run(["rmmod", "bfq"], check=True)


@SCENARIOS.add
def weights_of_iocost() -> None:
    _, major, minor = disk("none")
    Path("/sys/fs/cgroup/io.cost.qos").write_text(f"{major}:{minor} enable=1")
    block = {"weight": 1000, "weightDevice": [{"major": major, "minor": minor, "weight": 10}]}
    with placed({"blockIO": block}) as group:
        assert group.read("io.weight").splitlines() == ["default 10000", f"{major}:{minor} 1"]


@SCENARIOS.add
def throttles_of_a_disk() -> None:
    _, major, minor = disk("none")
    device = {"major": major, "minor": minor}
    block = {"throttleReadBpsDevice": [{**device, "rate": MIB}], "throttleWriteIOPSDevice": [{**device, "rate": 40}]}
    with placed({"blockIO": block}) as group:
        assert group.read("io.max") == f"{major}:{minor} rbps={MIB} wbps=max riops=max wiops=40\n"


@SCENARIOS.add
def huge_pages() -> None:
    with placed({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}) as group:
        assert group.read("hugetlb.2MB.max") == group.read("hugetlb.2MB.rsvd.max") == f"{4 * MIB}\n"
        updates.update(group.hierarchy, group.path, {"hugepageLimits": [{"pageSize": "2MB", "limit": 8 * MIB}]})
        assert group.read("hugetlb.2MB.max") == group.read("hugetlb.2MB.rsvd.max") == f"{8 * MIB}\n"


@SCENARIOS.add
def rdma_handles() -> None:
    modprobe("dummy")
    modprobe("crc32_generic")
    modprobe("rdma_rxe")
    subprocess.run(["ip", "link", "add", "eth9", "type", "dummy"], check=True)
    subprocess.run(["ip", "link", "set", "eth9", "up"], check=True)
    subprocess.run(["rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "eth9"], check=True)
    with placed({"rdma": {"rxe0": {"hcaHandles": 3, "hcaObjects": 10000}}}) as group:
        assert group.read("rdma.max").split() == ["rxe0", "hca_handle=3", "hca_object=10000"], group.read("rdma.max")
        updates.update(group.hierarchy, group.path, {"rdma": {"rxe0": {"hcaHandles": 5}}})
        assert group.read("rdma.max").split() == ["rxe0", "hca_handle=5", "hca_object=10000"], group.read("rdma.max")
    try:
        with placed({"rdma": {"mlx5_0": {"hcaHandles": 3}}}):
            raise AssertionError("not refused")
    except Error as error:
        assert "the host has no RDMA device of this name" in error.message, error.message


@SCENARIOS.add
def realtime_and_the_rest_have_no_files() -> None:
    for resources in (
        {"cpu": {"realtimeRuntime": 1000}},
        {"memory": {"swappiness": 10}},
        {"memory": {"disableOOMKiller": True}},
        {"network": {"classID": 1}},
    ):
        try:
            with placed(resources):
                raise AssertionError("not refused")
        except Error as error:
            assert "cgroup v2" in error.message, error.message


if __name__ == "__main__":
    SCENARIOS.main(sys.argv[1:])
