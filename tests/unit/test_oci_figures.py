"""pycontain-oci update and events: options, sizes, durations, runc's JSON."""

from __future__ import annotations

import pytest

from pycontain.cgroup import stats
from pycontain.kernel.errors import UsageError
from pycontain.oci import events, update
from pycontain.oci.arguments import parse
from pycontain.oci.options import GLOBAL, VERBS


def test_the_verbs_table_has_the_options() -> None:
    assert VERBS["update"].values == update.OPTIONS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("-1", -1),
        ("1024", 1024),
        ("512m", 512 << 20),
        ("512MB", 512 << 20),
        ("1.5GiB", 3 << 29),
        ("2 k", 2048),
        ("7b", 7),
        ("1T", 1 << 40),
        (str((1 << 63) - 1), (1 << 63) - 1),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert update.size("memory", text) == expected


@pytest.mark.parametrize("text", ["", "m", "-2", "1x", "1.m", ".5m", "1mm", "1_0", "٣", "9223372036854775808", "1ki2"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="update: --memory: "):
        update.size("memory", text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["--memory", "1k", "--memory-swap=-1"], {"memory": {"limit": 1024, "swap": -1}}),
        (["--cpu-quota", "-1", "--cpu-share", "2"], {"cpu": {"quota": -1, "shares": 2}}),
        (["--cpuset-cpus", "0-1"], {"cpu": {"cpus": "0-1"}}),
        (["--pids-limit", "7", "--blkio-weight", "10"], {"pids": {"limit": 7}, "blockIO": {"weight": 10}}),
        (["--cpu-idle", "1", "--cpu-burst", "5"], {"cpu": {"idle": 1, "burst": 5}}),
        (["--memory", ""], {}),
    ],
)  # fmt: skip
def test_flags(words: list[str], expected: dict[str, object]) -> None:
    call = parse(["update", *words, "id"], GLOBAL, VERBS)
    assert update._wanted(call) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("5s", 5.0), ("500ms", 0.5), ("1m30s", 90.0), ("1h", 3600.0), ("1.5s", 1.5)]
)
def test_durations(text: str, expected: float) -> None:
    assert events.duration(text) == expected


@pytest.mark.parametrize("text", ["", "5", "s", "0s", "-1s", "5x", "1.2.3s", "5ss", "1s5"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        events.duration(text)


def figures(**more: object) -> stats.Stats:
    values: dict[str, object] = {
        "path": "/",
        "populated": True,
        "frozen": False,
        "groups": 0,
        "cpu": None,
        "memory": None,
        "swap": None,
        "pids": None,
        "io": None,
        "huge_pages": {},
        "pressure": {},
    }
    return stats.Stats(**{**values, **more})  # type: ignore[arg-type]


def test_the_format_without_controllers() -> None:
    assert events.data(figures()) == {
        "cpu": {},
        "cpuset": {},
        "memory": {},
        "pids": {},
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def test_the_format() -> None:
    pressure = stats.Pressure(stats.Stall(1.0, 2.0, 3.0, 4), None)
    data = events.data(
        figures(
            cpu=stats.Cpu(10, 6, 4, 3, 2, 1),
            memory=stats.Memory(100, 150, max=200, events={"max": 7, "oom_kill": 1}, stat={"file": 5, "kernel": 6}),
            swap=stats.Memory(50, max=None, events={"fail": 8}),
            pids=stats.Pids(3, max=9),
            io=[stats.Device(8, 0, 1, 2, 3, 4)],
            huge_pages={"2MB": stats.HugePages(4096, None, 5)},
            pressure={"memory": pressure},
        )
    )
    assert data["cpu"]["usage"] == {"total": 10000, "kernel": 4000, "user": 6000}, "nanoseconds"
    assert data["cpu"]["throttling"] == {"periods": 3, "throttledPeriods": 2, "throttledTime": 1000}
    assert data["memory"]["usage"] == {"limit": 200, "usage": 100, "max": 150, "failcnt": 7}
    assert data["memory"]["swap"] == {"limit": (1 << 64) - 1, "usage": 150, "failcnt": 8}, "memory and swap together"
    assert (data["memory"]["cache"], data["memory"]["kernel"]["usage"]) == (5, 6)
    assert data["memory"]["psi"] == {"some": {"avg10": 1.0, "avg60": 2.0, "avg300": 3.0, "total": 4}}
    assert data["pids"] == {"current": 3, "limit": 9}
    assert data["blkio"]["ioServiceBytesRecursive"] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 1},
        {"major": 8, "minor": 0, "op": "Write", "value": 2},
    ]
    assert data["hugetlb"] == {"2MB": {"usage": 4096, "failcnt": 5}}
