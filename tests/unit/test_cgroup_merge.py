"""What an update makes of the limits that a container has."""

from __future__ import annotations

from typing import Any

import pytest

from pycontain.cgroup.merge import complete, kept_swap, merge

MIB = 1 << 20
SDA, SDB = {"major": 8, "minor": 0}, {"major": 8, "minor": 16}


@pytest.mark.parametrize(
    ("old", "change", "expected"),
    [
        ({}, {}, {}),
        ({"pids": {"limit": 5}}, {}, {"pids": {"limit": 5}}),
        ({"pids": {"limit": 5}}, {"pids": None}, {"pids": {"limit": 5}}),
        ({"pids": None}, {"pids": {"limit": 5}}, {"pids": {"limit": 5}}),
        ({"memory": {"limit": 1, "swap": 2}}, {"memory": {"limit": 3}}, {"memory": {"limit": 3, "swap": 2}}),
        ({"memory": {"limit": 1}}, {"memory": {"limit": None}}, {"memory": {"limit": 1}}),
        ({"unified": {"a.b": "1"}}, {"unified": {"c.d": "2"}}, {"unified": {"a.b": "1", "c.d": "2"}}),
        (
            {"rdma": {"mlx": {"hcaHandles": 1, "hcaObjects": 2}}},
            {"rdma": {"mlx": {"hcaHandles": 3}}},
            {"rdma": {"mlx": {"hcaHandles": 3, "hcaObjects": 2}}},
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 2}]},
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 3}]},
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 3}, {"pageSize": "1GB", "limit": 2}]},
        ),
        (
            {"blockIO": {"weight": 10, "throttleReadBpsDevice": [{**SDA, "rate": 1}, {**SDB, "rate": 2}]}},
            {"blockIO": {"throttleReadBpsDevice": [{**SDA, "rate": 0}]}},
            {"blockIO": {"weight": 10, "throttleReadBpsDevice": [{**SDB, "rate": 2}]}},
        ),
        ({"devices": [{"allow": True}]}, {"devices": [{"allow": False}]}, {"devices": [{"allow": False}]}),
        ({"devices": [{"allow": True}]}, {"devices": []}, {"devices": []}),
    ],
)
def test_merge(old: dict[str, Any], change: dict[str, Any], expected: dict[str, Any]) -> None:
    before = repr((old, change))
    assert merge(old, change) == expected
    assert repr((old, change)) == before, "neither is touched"


@pytest.mark.parametrize(
    ("old", "change", "expected"),
    [
        ({"memory": {"limit": 5}}, {"memory": {"swap": 9}}, {"memory": {"swap": 9, "limit": 5}}),
        ({"memory": {"limit": 5}}, {"memory": {"swap": 9, "limit": 7}}, {"memory": {"swap": 9, "limit": 7}}),
        ({"memory": {"limit": 5}}, {"memory": {"reservation": 9}}, {"memory": {"reservation": 9}}),
        ({}, {"memory": {"swap": 9}}, {"memory": {"swap": 9}}),
        ({"memory": None}, {"memory": {"swap": -1}}, {"memory": {"swap": -1}}),
        ({}, {"pids": {"limit": 1}}, {"pids": {"limit": 1}}),
    ],
)
def test_swap_needs_the_limit(old: dict[str, Any], change: dict[str, Any], expected: dict[str, Any]) -> None:
    assert complete(old, change) == expected


@pytest.mark.parametrize(
    ("old", "memory", "swap"),
    [
        ({"limit": 64, "swap": 96}, {"limit": 128}, 160),
        ({"limit": 64, "swap": 64}, {"limit": 32}, 32),
        ({"limit": 64, "swap": -1}, {"limit": 32}, None),
        ({}, {"limit": 32}, None),
        ({"limit": 64, "swap": 96}, {"limit": -1}, -1),
        ({"limit": 64, "swap": 96}, {"limit": 32, "swap": 33}, 33),
        ({"limit": 64, "swap": 96}, {"reservation": 3}, None),
    ],
)
def test_the_sum_that_is_true_afterwards(old: dict[str, Any], memory: dict[str, Any], swap: int | None) -> None:
    assert kept_swap({"memory": old}, {"memory": memory})["memory"].get("swap") == swap
