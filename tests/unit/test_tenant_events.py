"""What is told of a tenant: the difference between two looks."""

from __future__ import annotations

from typing import Any

import pytest

from pycontain.engine.state import Exit
from pycontain.tenant.events import Life, Seen, _moved, differences


def seen(**values: Any) -> Seen:
    found = Seen(101)
    found.settings = {"memory.limit": "", "hostname": "a"}
    for key, value in values.items():
        setattr(found, key, value)
    return found


def exit(code: int, signal: int = 0) -> Exit:
    return Exit(code, signal, False, 1.0, 2.0)


UP = Life("10 99")
STARTED, DESTROYED, CREATED = {"event": "started"}, {"event": "destroyed"}, {"event": "created"}

CASES = [
    ("nothing", seen(), seen(), []),
    ("never there", None, None, []),
    ("made", None, seen(), [CREATED]),
    ("made and started meanwhile", None, seen(life=UP), [CREATED, STARTED]),
    ("gone", seen(), None, [DESTROYED]),
    ("started", seen(), seen(life=UP), [STARTED]),
    ("up at once", seen(), seen(life=Life("10 99", ready=True)), [STARTED, {"event": "ready"}]),
    ("up", seen(life=UP), seen(life=Life("10 99", ready=True)), [{"event": "ready"}]),
    ("stopped", seen(life=UP), seen(end=exit(3)), [{"event": "stopped", "status": 3}]),
    ("nobody saw its end", seen(life=UP), seen(end=exit(-1)), [{"event": "stopped", "status": None}]),
    ("its monitor was killed", seen(life=UP), seen(), [{"event": "stopped", "status": None}]),
    ("rebooted", seen(life=UP), seen(life=Life("11 105"), end=exit(129, 1)), [{"event": "rebooted"}]),
    (
        "stopped and started",
        seen(life=UP),
        seen(life=Life("11 105"), end=exit(0)),
        [{"event": "stopped", "status": 0}, STARTED],
    ),
    ("frozen", seen(life=UP), seen(life=Life("10 99", frozen=True)), [{"event": "suspended"}]),
    ("thawed", seen(life=Life("10 99", frozen=True)), seen(life=UP), [{"event": "resumed"}]),
    ("saved", seen(life=UP), seen(saved=True, end=exit(137, 9)), [{"event": "suspended", "disk": True}]),
    ("restored", seen(saved=True), seen(life=UP), [{"event": "resumed", "disk": True}]),
    ("stopped on the disk", seen(saved=True), seen(), []),
    ("out of memory", seen(life=UP, kills=1), seen(life=UP, kills=4), [{"event": "oom", "killed": 3}]),
    (
        "settings",
        seen(),
        seen(settings={"memory.limit": "1G", "hostname": "a"}),
        [{"event": "settings", "changed": ["memory.limit"]}],
    ),
    ("settings that cannot be read", seen(), seen(settings=None), []),
]


@pytest.mark.parametrize(("before", "now", "told"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_told(before: Seen | None, now: Seen | None, told: list[dict[str, Any]]) -> None:
    assert differences(before, now) == told


def test_a_number_stays_with_its_tenant() -> None:
    other = Seen(102)
    assert _moved({"old": seen(), "b": other}, {"old": None, "new": seen(), "b": other}) == {"new": "old"}
    assert _moved({"old": seen()}, {"old": None, "new": Seen(103)}) == {}
