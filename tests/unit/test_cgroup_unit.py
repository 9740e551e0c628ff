"""systemd's names for scopes and slices, and limits as unit properties."""

from __future__ import annotations

from typing import Any

import pytest

from pycontain.cgroup import limits, unit
from pycontain.kernel.errors import SpecError


@pytest.mark.parametrize(
    ("text", "slice", "name"),
    [
        ("machine.slice:pycontain:abc", "machine.slice", "pycontain-abc.scope"),
        (":cri-o:abc", "system.slice", "cri-o-abc.scope"),
        ("", "system.slice", "pycontain-ID.scope"),
        ("user.slice::abc", "user.slice", "abc.scope"),
        ("-.slice:p:x", "-.slice", "p-x.scope"),
        ("kubepods-besteffort-pod1.slice:cri:x", "kubepods-besteffort-pod1.slice", "cri-x.scope"),
    ],
)
def test_parse(text: str, slice: str, name: str) -> None:
    found = unit.parse(text, "ID", "linux.cgroupsPath")
    assert (found.slice, found.name) == (slice, name)


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


MAX = unit.INFINITY
ROOM = 16 << 20


def of(resources: Any, files: dict[str, str]) -> dict[str, Any]:
    found = unit.properties(limits.compile(resources), lambda file: files.get(file, ""))
    assert len({name for name, _ in found}) == len(found)
    return {name: value for name, (_, value) in found}


DISK = {"major": 8, "minor": 0}
UNLIMITED = [("/dev/block/8:0", MAX)]


@pytest.mark.parametrize(
    ("resources", "files", "expected"),
    [
        ({}, {"memory.max": "5"}, {}),
        (
            {"memory": {"limit": 4096, "swap": 8192}},
            {"memory.max": "4096", "memory.swap.max": "max"},
            {"MemoryMax": 4096 + ROOM, "MemorySwapMax": MAX},
        ),
        # what the kernel has made of it counts, whatever it was given
        ({"unified": {"memory.max": "64M"}}, {"memory.max": "67108864"}, {"MemoryMax": 67108864 + ROOM}),
        ({"unified": {"pids.max": " 50"}}, {"pids.max": "50"}, {"TasksMax": 50 + 16}),
        ({"unified": {"memory.min": "max"}}, {"memory.min": "max"}, {"MemoryMin": MAX}),
        ({"memory": {"reservation": 9}}, {"memory.low": "0"}, {"MemoryLow": 0}),
        # a controller that is missing: no file, no property
        ({"memory": {"limit": 4096}}, {}, {}),
        ({"cpu": {"shares": 1024}}, {"cpu.weight": "100"}, {"CPUWeight": 100}),
        ({"cpu": {"idle": 1}}, {"cpu.weight": "0", "cpu.idle": "1"}, {"CPUWeight": 0}),
        ({"cpu": {"idle": 0}}, {"cpu.weight": "59", "cpu.idle": "0"}, {"CPUWeight": 59}),
        (
            {"cpu": {"quota": 20000}},
            {"cpu.max": "20000 100000"},
            {"CPUQuotaPerSecUSec": 200000, "CPUQuotaPeriodUSec": 100000},
        ),
        ({"cpu": {"quota": -1}}, {"cpu.max": "max 50000"}, {"CPUQuotaPerSecUSec": MAX, "CPUQuotaPeriodUSec": 50000}),
        # 24.69 % in steps of a percent, upwards
        (
            {"cpu": {"quota": 12345}},
            {"cpu.max": "12345 50000"},
            {"CPUQuotaPerSecUSec": 250000, "CPUQuotaPeriodUSec": 50000},
        ),
        (
            {"cpu": {"quota": 1000, "period": 1000000}},
            {"cpu.max": "1000 1000000"},
            {"CPUQuotaPerSecUSec": 10000, "CPUQuotaPeriodUSec": 1000000},
        ),
        ({"cpu": {"burst": 10}}, {"cpu.max.burst": "10"}, {}),
        (
            {"cpu": {"cpus": "0-2,9", "mems": "1"}},
            {"cpuset.cpus": "0-2,9", "cpuset.mems": "1"},
            {"AllowedCPUs": b"\x07\x02", "AllowedMemoryNodes": b"\x02"},
        ),
        ({"blockIO": {"weight": 500}}, {"io.bfq.weight": "default 500"}, {"IOWeight": 4500}),
        ({"blockIO": {"weight": 50}}, {"io.bfq.weight": "default 50"}, {"IOWeight": 50}),
        (
            {"blockIO": {"weight": 10, "weightDevice": [{**DISK, "weight": 1000}]}},
            {"io.weight": "default 1\n8:0 10000"},
            {"IOWeight": 1, "IODeviceWeight": [("/dev/block/8:0", 10000)]},
        ),
        (
            {
                "blockIO": {
                    "throttleReadBpsDevice": [{**DISK, "rate": 5}],
                    "throttleWriteIOPSDevice": [{**DISK, "rate": 6}],
                }
            },
            {"io.max": "8:0 rbps=5 wbps=max riops=max wiops=6"},
            {
                "IOReadBandwidthMax": [("/dev/block/8:0", 5)],
                "IOWriteBandwidthMax": UNLIMITED,
                "IOReadIOPSMax": UNLIMITED,
                "IOWriteIOPSMax": [("/dev/block/8:0", 6)],
            },
        ),
        # taken away: the file has no line for it any more
        (
            {"blockIO": {"throttleReadBpsDevice": [{**DISK, "rate": 0}]}},
            {"io.max": "8:16 rbps=7 wbps=max riops=max wiops=max"},
            {
                "IOReadBandwidthMax": [*UNLIMITED, ("/dev/block/8:16", 7)],
                "IOWriteBandwidthMax": [*UNLIMITED, ("/dev/block/8:16", MAX)],
                "IOReadIOPSMax": [*UNLIMITED, ("/dev/block/8:16", MAX)],
                "IOWriteIOPSMax": [*UNLIMITED, ("/dev/block/8:16", MAX)],
            },
        ),
    ],
)
def test_properties(resources: Any, files: dict[str, str], expected: dict[str, Any]) -> None:
    assert of(resources, files) == expected
