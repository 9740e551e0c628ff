from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontain.cgroup import limits, write
from pycontain.cgroup.group import Group
from pycontain.cgroup.hierarchy import Hierarchy
from pycontain.cgroup.write import Write
from pycontain.kernel.errors import Error, SpecError


def files(resources: Any) -> dict[str, str]:
    return {item.file: item.value for item in limits.compile(resources)}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"memory": None, "cpu": {}, "pids": None, "unknown": 7}, {}),
        # memory
        ({"memory": {"limit": 1 << 20}}, {"memory.max": "1048576"}),
        ({"memory": {"limit": 0, "reservation": 0, "swap": 0}}, {}),
        ({"memory": {"limit": -1}}, {"memory.max": "max", "memory.swap.max": "max"}),
        ({"memory": {"limit": 100, "swap": 300}}, {"memory.max": "100", "memory.swap.max": "200"}),
        ({"memory": {"limit": 100, "swap": 100}}, {"memory.max": "100", "memory.swap.max": "0"}),
        ({"memory": {"limit": 100, "swap": -1}}, {"memory.max": "100", "memory.swap.max": "max"}),
        ({"memory": {"limit": -1, "swap": 300}}, {"memory.max": "max", "memory.swap.max": "300"}),
        ({"memory": {"swap": -1}}, {"memory.swap.max": "max"}),
        ({"memory": {"reservation": 50}}, {"memory.low": "50"}),
        ({"memory": {"reservation": -1}}, {"memory.low": "0"}),
        ({"memory": {"kernel": -1, "kernelTCP": 0, "disableOOMKiller": False, "useHierarchy": True}}, {}),
        # cpu
        ({"cpu": {"shares": 0}}, {}),
        ({"cpu": {"shares": 1024}}, {"cpu.weight": "100"}),
        ({"cpu": {"quota": 20000}}, {"cpu.max": "20000"}),
        ({"cpu": {"quota": 20000, "period": 50000}}, {"cpu.max": "20000 50000"}),
        ({"cpu": {"quota": -1}}, {"cpu.max": "max"}),
        ({"cpu": {"quota": -1, "period": 50000}}, {"cpu.max": "max 50000"}),
        ({"cpu": {"quota": 0, "period": 0}}, {}),
        ({"cpu": {"period": 50000}}, {"cpu.max": "{} 50000"}),
        ({"cpu": {"quota": 20000, "burst": 20000}}, {"cpu.max": "20000", "cpu.max.burst": "20000"}),
        ({"cpu": {"idle": 1}}, {"cpu.idle": "1"}),
        ({"cpu": {"cpus": "0-1", "mems": "0"}}, {"cpuset.cpus": "0-1", "cpuset.mems": "0"}),
        ({"cpu": {"cpus": "", "realtimeRuntime": 0, "realtimePeriod": 0}}, {}),
        # pids
        ({"pids": {"limit": 0}}, {"pids.max": "0"}),
        ({"pids": {"limit": 10}}, {"pids.max": "10"}),
        ({"pids": {"limit": -1}}, {"pids.max": "max"}),
        ({"pids": {}}, {}),
        # io
        ({"blockIO": {"weight": 0}}, {}),
        ({"blockIO": {"weight": 10}}, {"io.bfq.weight": "10"}),
        ({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 500}]}}, {"io.bfq.weight": "8:0 500"}),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}]}},
            {"io.max": "8:0 rbps=600"},
        ),
        (
            {"blockIO": {"throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}},
            {"io.max": "8:16 wiops=max"},
        ),
        # the others
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]},
            {"hugetlb.2MB.max": "4194304", "hugetlb.2MB.rsvd.max": "4194304"},
        ),
        ({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}}}, {"rdma.max": "mlx5_1 hca_handle=3 hca_object=10"}),
        ({"rdma": {"rxe3": {"hcaObjects": 10}}}, {"rdma.max": "rxe3 hca_object=10"}),
        ({"network": {"classID": 0, "priorities": []}}, {}),
        ({"unified": {"memory.high": "1G", "foo.bar.baz": "x"}}, {"memory.high": "1G", "foo.bar.baz": "x"}),
        ({"unified": {"io.max": "8:0 rbps=1\n8:16 wbps=2\n"}}, {"io.max": "8:0 rbps=1\n8:16 wbps=2"}),
        ({"unified": {"memory.high": ""}}, {}),
    ],
)
def test_compile(resources: Any, expected: dict[str, str]) -> None:
    assert files(resources) == expected


@pytest.mark.parametrize(
    ("resources", "where"),
    [
        (3, ""),
        ({"memory": []}, ".memory"),
        ({"memory": {"limit": "1G"}}, ".memory.limit"),
        ({"memory": {"limit": True}}, ".memory.limit"),
        ({"memory": {"limit": 1.0}}, ".memory.limit"),
        ({"memory": {"limit": -2}}, ".memory.limit"),
        ({"memory": {"limit": 1 << 63}}, ".memory.limit"),
        ({"memory": {"swap": 300}}, ".memory.swap"),
        ({"memory": {"limit": 100, "swap": 99}}, ".memory.swap"),
        ({"memory": {"kernel": 1}}, ".memory.kernel"),
        ({"memory": {"kernelTCP": 1}}, ".memory.kernelTCP"),
        ({"memory": {"swappiness": 0}}, ".memory.swappiness"),
        ({"memory": {"disableOOMKiller": True}}, ".memory.disableOOMKiller"),
        ({"memory": {"disableOOMKiller": 1}}, ".memory.disableOOMKiller"),
        ({"memory": {"useHierarchy": False}}, ".memory.useHierarchy"),
        ({"memory": {"checkBeforeUpdate": "yes"}}, ".memory.checkBeforeUpdate"),
        ({"cpu": {"shares": -1}}, ".cpu.shares"),
        ({"cpu": {"quota": 999}}, ".cpu.quota"),
        ({"cpu": {"quota": -2}}, ".cpu.quota"),
        ({"cpu": {"period": 999}}, ".cpu.period"),
        ({"cpu": {"period": 1000001}}, ".cpu.period"),
        ({"cpu": {"quota": 2000, "burst": 2001}}, ".cpu.burst"),
        ({"cpu": {"idle": 2}}, ".cpu.idle"),
        ({"cpu": {"realtimeRuntime": 950000}}, ".cpu.realtimeRuntime"),
        ({"cpu": {"realtimePeriod": 1000000}}, ".cpu.realtimePeriod"),
        ({"cpu": {"cpus": "0\n1"}}, ".cpu.cpus"),
        ({"cpu": {"mems": 0}}, ".cpu.mems"),
        ({"pids": {"limit": -2}}, ".pids.limit"),
        ({"pids": {"limit": 4194305}}, ".pids.limit"),
        ({"blockIO": {"weight": 9}}, ".blockIO.weight"),
        ({"blockIO": {"weight": 1001}}, ".blockIO.weight"),
        ({"blockIO": {"leafWeight": 10}}, ".blockIO.leafWeight"),
        ({"blockIO": {"weightDevice": {}}}, ".blockIO.weightDevice"),
        ({"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}, ".blockIO.weightDevice[0]"),
        ({"blockIO": {"weightDevice": [{"major": 8, "weight": 10}]}}, ".blockIO.weightDevice[0].minor"),
        ({"blockIO": {"throttleReadBpsDevice": [1]}}, ".blockIO.throttleReadBpsDevice[0]"),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0}]}},
            ".blockIO.throttleReadBpsDevice[0].rate",
        ),
        ({"hugepageLimits": [{"pageSize": "2M", "limit": 1}]}, ".hugepageLimits[0].pageSize"),
        ({"hugepageLimits": [{"pageSize": "../x.MB", "limit": 1}]}, ".hugepageLimits[0].pageSize"),
        ({"hugepageLimits": [{"pageSize": "2MB"}]}, ".hugepageLimits[0].limit"),
        ({"rdma": {"mlx5_1": {}}}, ".rdma.mlx5_1"),
        ({"rdma": {"a b": {"hcaHandles": 1}}}, ".rdma.a b"),
        ({"network": {"classID": 1048577}}, ".network.classID"),
        ({"network": {"priorities": [{"name": "eth0", "priority": 1}]}}, ".network.priorities"),
        ({"unified": {"../memory.max": "1"}}, ".unified"),
        ({"unified": {"memory": "1"}}, ".unified"),
        ({"unified": {"..": "1"}}, ".unified"),
        ({"unified": {"memory.\nmax": "1"}}, ".unified"),
        ({"unified": {"memory.max": 1}}, '.unified["memory.max"]'),
        ({"unified": {"cgroup.procs": "0"}}, '.unified["cgroup.procs"]'),
        ({"unified": {"cgroup.kill": "1"}}, '.unified["cgroup.kill"]'),
    ],
)
def test_compile_names_what_is_wrong(resources: Any, where: str) -> None:
    with pytest.raises(SpecError) as caught:
        limits.compile(resources)
    assert caught.value.where == f"linux.resources{where}"
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "resources",
    [
        {"cpu": {"shares": 1024}},
        {"cpu": {"shares": 0}},
        {"cpu": {"quota": -1}},
        {"cpu": {"quota": -1, "period": 100000}},
        {"cpu": {"idle": 0, "burst": 0}},
        {"memory": {"limit": -1, "reservation": -1}},
        {"memory": {"swap": -1}},
        {"pids": {"limit": -1}},
        {"blockIO": {"weight": 0, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}},
        {"unified": {"cgroup.max.depth": "3", "cpu.pressure": "some 1 2"}},
    ],
)
def test_what_the_kernel_has_anyway_needs_no_controller(resources: Any) -> None:
    assert limits.needed(limits.compile(resources)) == set()


@pytest.mark.parametrize(
    ("resources", "controller"),
    [
        ({"cpu": {"shares": 1023 // 2}}, "cpu"),
        ({"cpu": {"quota": 1000}}, "cpu"),
        ({"cpu": {"period": 50000}}, "cpu"),
        ({"cpu": {"cpus": "0"}}, "cpuset"),
        ({"memory": {"limit": 1}}, "memory"),
        ({"memory": {"limit": -1, "swap": 5}}, "memory"),
        ({"pids": {"limit": 0}}, "pids"),
        ({"blockIO": {"weight": 10}}, "io"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}, "hugetlb"),
        ({"rdma": {"a": {"hcaHandles": 1}}}, "rdma"),
        ({"unified": {"misc.max": "x 1"}}, "misc"),
    ],
)
def test_what_a_limit_needs(resources: Any, controller: str) -> None:
    assert limits.needed(limits.compile(resources)) == {controller}


# The pairs that kubernetes.io names for the formula of runc 1.3.2 and crun 1.23.
@pytest.mark.parametrize(
    ("shares", "weight"), [(1, 1), (2, 1), (102, 17), (1024, 100), (262143, 10000), (262144, 10000), (1 << 60, 10000)]
)
def test_weight_of_shares(shares: int, weight: int) -> None:
    assert limits.weight_of_shares(shares) == weight


def test_weight_of_shares_grows_and_stays_in_range() -> None:
    weights = [limits.weight_of_shares(shares) for shares in range(2, 262145, 37)]
    assert weights == sorted(weights)
    assert weights[0] == 1
    assert 9990 < weights[-1] <= 10000


def test_io_weight_where_there_is_no_bfq() -> None:
    def other(weight: int) -> str:
        fallback = limits.compile({"blockIO": {"weight": weight}})[0].other
        assert fallback is not None
        assert fallback.file == "io.weight"
        return fallback.value

    assert [other(weight) for weight in (10, 500, 1000)] == ["1", "4950", "10000"]


def test_unified_comes_last_and_so_wins() -> None:
    writes = limits.compile({"unified": {"memory.max": "7"}, "memory": {"limit": 5}, "pids": {"limit": 1}})
    assert [(item.file, item.value) for item in writes][-1] == ("memory.max", "7")


def test_where_and_what() -> None:
    item = limits.compile({"memory": {"limit": 5}}, "resources")[0]
    assert (item.where, item.what, item.controller) == ("resources.memory.limit", "memory limit", "memory")


KEYS = ["memory", "cpu", "pids", "blockIO", "unified", "rdma", "hugepageLimits", "network", "limit", "swap", "quota"]
KEYS += ["period", "burst", "idle", "shares", "weight", "weightDevice", "major", "minor", "rate", "pageSize", "cpus"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_any_json_gives_writes_or_one_clear_line(value: Any) -> None:
    try:
        for item in limits.compile(value):
            assert item.file
            assert "/" not in item.file
            assert "\0" not in item.value
    except SpecError as error:
        assert error.where.startswith("linux.resources")
        assert "\n" not in error.message


@pytest.mark.parametrize(
    ("file", "value", "before", "expected"),
    [
        ("memory.max", "5", "max", ["max"]),
        ("cpu.max", "5000 10000", "max 100000", ["max 100000"]),
        ("cpuset.cpus", "0", "", [""]),
        (
            "io.max",
            "8:0 rbps=5",
            "7:0 rbps=1 wbps=max riops=max wiops=max\n8:0 rbps=max wbps=3 riops=max wiops=max",
            ["8:0 rbps=max wbps=3 riops=max wiops=max"],
        ),
        ("io.max", "8:0 rbps=5", "", ["8:0 rbps=max wbps=max riops=max wiops=max"]),
        ("io.weight", "50", "default 100\n8:0 30", ["default 100"]),
        ("io.weight", "8:0 50", "default 100\n8:0 30", ["8:0 30"]),
        ("io.bfq.weight", "8:0 50", "100", ["8:0 default"]),
        ("io.weight", "default 50", "default 100", ["default 100"]),
        ("rdma.max", "a hca_handle=1", "a hca_handle=max\nb hca_handle=2", ["a hca_handle=max"]),
        ("rdma.max", "c hca_handle=1", "a hca_handle=max", []),
    ],
)
def test_what_sets_a_write_back(file: str, value: str, before: str, expected: list[str]) -> None:
    assert write.earlier(file, value, before) == expected


def test_lists_of_numbers() -> None:
    assert write.parse_list("0-3,8") == {0, 1, 2, 3, 8}
    assert write.parse_list("5") == {5}
    for odd in ("", "all", "0-6:2/3", "0-", "-1", "0-99999999999", "x"):
        assert write.parse_list(odd) is None
    assert write.format_list({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8"


def test_writes_compare_and_print() -> None:
    first = Write("pids", "pids.max", "1", "w", "pids limit")
    assert first == Write("pids", "pids.max", "1", "w", "pids limit")
    assert first != Write("pids", "pids.max", "2", "w", "pids limit")
    assert "pids.max" in repr(first)


# --- cpuset: no kernel of the tests has it in cgroup v2, so a directory stands in for a group ---------------------


@pytest.fixture
def cpuset(tmp_path: Path) -> Iterator[Group]:
    (tmp_path / "cpuset.cpus.effective").write_text("0-3\n")
    directory = tmp_path / "group"
    directory.mkdir()
    (directory / "cgroup.controllers").write_text("cpuset\n")
    (directory / "cpuset.cpus").write_text("")
    group = Group(Hierarchy(str(tmp_path), "/", frozenset({"cpuset"})), "/group", os.open(directory, os.O_RDONLY), [])
    with group:
        yield group


def test_cpus_that_the_parent_has(cpuset: Group) -> None:
    limits.apply(cpuset, limits.compile({"cpu": {"cpus": "1-2"}}))
    assert cpuset.read("cpuset.cpus") == "1-2\n"


def test_cpus_that_the_parent_does_not_have_are_named(cpuset: Group) -> None:
    with pytest.raises(Error) as caught:
        limits.apply(cpuset, limits.compile({"cpu": {"cpus": "2-5,9"}}))
    assert caught.value.message == "CPU set: 4-5,9 cannot be had: the group above cgroup /group has 0-3"
    assert cpuset.read("cpuset.cpus") == ""
