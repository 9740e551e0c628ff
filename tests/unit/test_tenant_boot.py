"""Which tenants start with the host, in which order, and what a unit has to know of that."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from pycontain.engine import state as states
from pycontain.engine.paths import Paths
from pycontain.tenant import boot, crew, service, state
from pycontain.tenant.boot import Turn
from pycontain.tenant.place import Tenants


def names(steps: list[list[Turn]]) -> list[list[str]]:
    return [[one.name for one in step] for step in steps]


def test_higher_orders_first_and_one_order_together() -> None:
    some = [Turn("b"), Turn("low", -5), Turn("first", 10), Turn("a")]
    assert names(boot.steps(some)) == [["first"], ["a", "b"], ["low"]]
    assert boot.steps([]) == []


# --- as before ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tenants(tmp_path: Path) -> Tenants:
    found = Tenants(Paths(str(tmp_path / "root"), str(tmp_path / "run")), str(tmp_path / "etc"))
    found.paths.prepare()
    return found


def make(tenants: Tenants, name: str, text: str = "") -> None:
    Path(tenants.directory).mkdir(exist_ok=True)
    Path(tenants.settings_path(name)).write_text(f"version = 1\n{text}")
    Path(tenants.state_directory(name)).mkdir(parents=True)
    tenants.write_state(name, state.State(id=101, container=name * 64))
    Path(tenants.paths.container(name * 64)).mkdir()


def ended(tenants: Tenants, name: str, code: int, started: float) -> None:
    states.write_exit(tenants.paths, name * 64, states.Exit(code, 0, False, started, started + 1))


def test_one_that_never_ran_did_not_run_before(tenants: Tenants) -> None:
    make(tenants, "a")
    assert not boot.ran(tenants, "a") and not boot.running(tenants, "a")


def test_one_that_was_stopped_with_all_ran_before(tenants: Tenants) -> None:
    make(tenants, "a")
    ended(tenants, "a", 0, time.time() - 100)
    assert not boot.ran(tenants, "a")
    boot.remember(tenants, "a")
    assert boot.ran(tenants, "a")
    # a clock that was set back is of no account
    ended(tenants, "a", 0, time.time() + 100)
    assert boot.ran(tenants, "a")
    # started since, and stopped by somebody who meant it
    boot.forget(tenants, "a")
    boot.forget(tenants, "a")
    assert not boot.ran(tenants, "a")


def test_one_whose_end_nobody_saw_ran_before(tenants: Tenants) -> None:
    make(tenants, "a")
    ended(tenants, "a", -1, time.time())
    assert boot.ran(tenants, "a")
    ended(tenants, "a", 0, time.time())
    Path(states.unfinished(tenants.paths, "a" * 64)).write_text("")
    assert boot.ran(tenants, "a")
    # somebody has stopped what was dead already: it is not to come back
    tenants.write_state("a", state.State(id=101, container="a" * 64, wanted="stopped"))
    assert not boot.ran(tenants, "a")


@pytest.mark.parametrize(
    ("onboot", "before", "after"), [("no", False, False), ("yes", True, True), ("as-before", False, True)]
)
def test_who_starts_with_the_host(tenants: Tenants, onboot: str, before: bool, after: bool) -> None:
    make(tenants, "a")
    assert boot.wanted(tenants, Turn("a", onboot=onboot)) is before
    boot.remember(tenants, "a")
    assert boot.wanted(tenants, Turn("a", onboot=onboot)) is after


def test_settings_that_cannot_be_read_are_said(tenants: Tenants) -> None:
    make(tenants, "a", "[boot]\norder = 7\ndelay = 3\nonboot = 'as-before'\n")
    make(tenants, "b", "[boot]\norder = 'high'\n")
    found, problems = boot.turns(tenants, ["a", "b"])
    assert [(one.name, one.order, one.delay, one.onboot) for one in found] == [("a", 7, 3, "as-before")]
    assert len(problems) == 1 and "boot.order" in problems[0]


# --- many ---------------------------------------------------------------------------------------------------------


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def test_all_are_started_whatever_one_does(tmp_path: Path) -> None:
    said: list[tuple[str, bool]] = []

    def say(line: str, name: bool) -> None:
        said.append((line, name))

    order = tmp_path / "order"

    def command(name: str) -> list[str]:
        ending = "sys.exit('pycontain: no')" if name == "bad" else "sys.exit(0)"
        return python(f"import sys; open({str(order)!r}, 'a').write('{name} '); {ending}")

    some = [Turn("last", -1), Turn("bad", 5), Turn("good", 0)]
    assert not boot.start_all(some, command, 2, say)
    assert order.read_text() == "bad good last " and said == [("bad: no", False)]
    order.unlink()
    assert boot.stop_all([one for one in some if one.name != "bad"], command, 2, say)
    assert order.read_text() == "last good "


def test_as_many_at_one_time_as_wanted_and_no_more(tmp_path: Path) -> None:
    together = """
import os, sys, time
open(f"{sys.argv[1]}/{os.getpid()}", "x").close()
deadline = time.monotonic() + 30
while len(os.listdir(sys.argv[1])) < 3 and time.monotonic() < deadline:
    time.sleep(0.01)
print(len(os.listdir(sys.argv[1])))
"""
    alone = """
import os, sys
mine = f"{sys.argv[1]}/{os.getpid()}"
open(mine, "x").close()
print(len(os.listdir(sys.argv[1])))
os.unlink(mine)
"""
    for number, (code, at_once, seen) in enumerate(((together, 3, "3"), (alone, 1, "1"), (alone, 0, "1"))):
        here = tmp_path / str(number)
        here.mkdir()
        outcomes: list[crew.Outcome] = []
        crew.run([(str(one), [*python(code), str(here)]) for one in range(3)], at_once, outcomes.append)
        assert [(one.status, one.lines) for one in outcomes] == [(0, [seen])] * 3


# --- units --------------------------------------------------------------------------------------------------------


def test_a_unit_comes_after_all_of_a_higher_order() -> None:
    text = service.drop_in(Turn("web", 5), [5, 7, -1, 9, 7])
    lines = text.splitlines()
    assert "Before=pycontain-tenants-order@5.target" in lines
    assert "After=pycontain-tenants-order@9.target pycontain-tenants-order@7.target" in lines
    assert "Wants=pycontain-tenants-order@9.target pycontain-tenants-order@7.target" in lines
    assert "ExecStartPost" not in text and "ExecCondition" not in text


def test_a_unit_of_the_highest_order_waits_for_nobody() -> None:
    text = service.drop_in(Turn("web", 5, 30, "as-before"), [5, 0])
    assert "After" not in text and "Wants" not in text
    assert "ExecStartPost=sleep 30" in text and "ExecCondition=pycontain tenant service onboot %i" in text


def test_drop_ins_follow_the_settings(tenants: Tenants, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = tmp_path / "units"
    wants = units / f"{service.TARGET}.wants"
    wants.mkdir(parents=True)
    monkeypatch.setattr(service, "UNITS", str(units))
    monkeypatch.setattr(service, "booted", lambda: False)
    for name, order in (("a", 1), ("b", 2)):
        make(tenants, name, f"[boot]\norder = {order}\n")
        (wants / service.unit(name)).symlink_to("/dev/null")
    assert service.enabled() == ["a", "b"] and service.stale(tenants) == ["a", "b"]
    assert service.sync(tenants) == [] and service.stale(tenants) == []
    file = units / f"{service.unit('a')}.d" / service.DROP_IN
    assert "After=pycontain-tenants-order@2.target" in file.read_text()
    (file.parent / "mine.conf").write_text("")
    (wants / service.unit("a")).unlink()
    service.sync(tenants)
    # what is somebody else's stays
    assert not file.exists() and (file.parent / "mine.conf").exists()
    (wants / service.unit("b")).unlink()
    service.sync(tenants)
    assert not (units / f"{service.unit('b')}.d").exists()
