"""top: how times are written."""

from __future__ import annotations

import time

import pytest

from pycontain.engine import top

DAY = 86400.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00"), (59.9, "00:00:59"), (3661, "01:01:01"), (86399, "23:59:59"), (90061, "1-01:01:01")],
)
def test_processor_time(seconds: float, text: str) -> None:
    assert top.duration(seconds) == text


def test_start_times_shorten_with_age() -> None:
    now = time.mktime((2026, 6, 15, 12, 30, 0, 0, 0, -1))
    assert top._clock(now - 60, now) == "12:29"
    assert top._clock(now - 30 * DAY, now) == "May16"
    assert top._clock(now - 800 * DAY, now) == "2024"


def test_users_are_the_hosts() -> None:
    assert top.host_user(0) == "root"
    assert top.host_user(4_000_000_001) == "4000000001"
