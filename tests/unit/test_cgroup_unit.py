"""systemd's names for scopes and slices, and limits as unit properties."""

from __future__ import annotations

from typing import Any

import pytest

from pycontain.cgroup import limits, unit
from pycontain.kernel.errors import SpecError


@pytest.mark.parametrize(
    ("text", "slice", "name", "path"),
    [
        ("machine.slice:pycontain:abc", "machine.slice", "pycontain-abc.scope", "/machine.slice/pycontain-abc.scope"),
        (":cri-o:abc", "system.slice", "cri-o-abc.scope", "/system.slice/cri-o-abc.scope"),
        ("", "system.slice", "pycontain-ID.scope", "/system.slice/pycontain-ID.scope"),
        ("user.slice::abc", "user.slice", "abc.scope", "/user.slice/abc.scope"),
        ("-.slice:p:x", "-.slice", "p-x.scope", "/p-x.scope"),
        (
            "kubepods-besteffort-pod1.slice:cri:x",
            "kubepods-besteffort-pod1.slice",
            "cri-x.scope",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-x.scope",
        ),
    ],
)
def test_parse(text: str, slice: str, name: str, path: str) -> None:
    found = unit.parse(text, "ID", "linux.cgroupsPath")
    assert (found.slice, found.name, found.path) == (slice, name, path)


def test_a_users_own_manager_has_another_default() -> None:
    assert unit.parse("", "x", "w", user=True).slice == "user.slice"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (5, "expected a string"),
        ("/plain/path", 'of format "slice:prefix:name"'),
        ("a.slice:b", 'of format "slice:prefix:name"'),
        ("a.slice:b:c:d", 'of format "slice:prefix:name"'),
        ("a.slice:b:", "no name after the second colon"),
        ("a.slice:b:c.slice", "'c.slice' is a slice"),
        ("a.slice:b:c/d", "not a name of a systemd unit"),
        ("a.slice:b:c d", "not a name of a systemd unit"),
        ("a.slice:b:c\n", "not a name of a systemd unit"),
        ("a.slice:b:" + "x" * 250, "longer than 255"),
        ("a:b:c", "'a' is not a slice"),
        (".slice:b:c", "not a name of a systemd unit"),
        ("a--b.slice:b:c", "dashes separate"),
        ("-a.slice:b:c", "dashes separate"),
        ("a-.slice:b:c", "dashes separate"),
        ("a/b.slice:b:c", "not a name of a systemd unit"),
        ("../a.slice:b:c", "not a name of a systemd unit"),
    ],
)
def test_parse_refuses(text: object, answer: str) -> None:
    with pytest.raises(SpecError) as caught:
        unit.parse(text, "ID", "linux.cgroupsPath")
    assert answer in caught.value.message
    assert caught.value.message.startswith("linux.cgroupsPath: ")
    assert "\n" not in caught.value.message


def of(resources: Any, **current: str) -> dict[str, Any]:
    files = {key.replace("_", "."): value for key, value in current.items()}
    found = unit.properties(limits.compile(resources), lambda file: files.get(file, ""))
    assert len({name for name, _ in found}) == len(found)
    return {name: value for name, (_, value) in found}


MAX = unit.INFINITY


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, {}),
        ({"memory": {"limit": 5, "swap": 7}}, {"MemoryMax": 5, "MemorySwapMax": 2}),
        ({"memory": {"limit": -1}}, {"MemoryMax": MAX, "MemorySwapMax": MAX}),
        ({"memory": {"reservation": 9}}, {"MemoryLow": 9}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"idle": 1}}, {"CPUWeight": 0}),
        ({"cpu": {"quota": 20000}}, {"CPUQuotaPerSecUSec": 200000, "CPUQuotaPeriodUSec": 100000}),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": MAX, "CPUQuotaPeriodUSec": 100000}),
        # 24.69 % in steps of a percent, upwards
        ({"cpu": {"quota": 12345, "period": 50000}}, {"CPUQuotaPerSecUSec": 250000, "CPUQuotaPeriodUSec": 50000}),
        ({"cpu": {"period": 50000}}, {"CPUQuotaPerSecUSec": MAX, "CPUQuotaPeriodUSec": 50000}),
        ({"cpu": {"burst": 10}}, {}),
        ({"cpu": {"cpus": "0-2,9", "mems": "1"}}, {"AllowedCPUs": b"\x07\x02", "AllowedMemoryNodes": b"\x02"}),
        ({"pids": {"limit": 7}}, {"TasksMax": 7}),
        ({"pids": {"limit": -1}}, {"TasksMax": MAX}),
        ({"pids": {"limit": 5}, "unified": {"pids.max": "6"}}, {"TasksMax": 6}),
        (
            {"unified": {"memory.high": "3", "memory.min": "max", "cpu.max": "1000 2000", "hugetlb.2MB.max": "5"}},
            {"MemoryHigh": 3, "MemoryMin": MAX, "CPUQuotaPerSecUSec": 500000, "CPUQuotaPeriodUSec": 2000},
        ),
        ({"blockIO": {"weight": 10}}, {"IOWeight": 1}),
        (
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 1000}]}},
            {"IODeviceWeight": [("/dev/block/8:0", 10000)]},
        ),
        (
            {
                "blockIO": {
                    "throttleReadBpsDevice": [
                        {"major": 8, "minor": 0, "rate": 5},
                        {"major": 8, "minor": 16, "rate": 0},
                    ],
                    "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 6}],
                }
            },
            {
                "IOReadBandwidthMax": [("/dev/block/8:0", 5), ("/dev/block/8:16", MAX)],
                "IOWriteIOPSMax": [("/dev/block/8:0", 6)],
            },
        ),
    ],
)
def test_properties(resources: Any, expected: dict[str, Any]) -> None:
    assert of(resources) == expected


def test_what_an_update_leaves_is_of_the_file() -> None:
    assert of({"cpu": {"period": 50000}}, cpu_max="10000 100000") == {
        "CPUQuotaPerSecUSec": 200000,
        "CPUQuotaPeriodUSec": 50000,
    }
    assert of({"cpu": {"quota": 10000}}, cpu_max="max 20000") == {
        "CPUQuotaPerSecUSec": 500000,
        "CPUQuotaPeriodUSec": 20000,
    }
