"""The bench leaves out what does not run, and says so; its page has all parts whatever has failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.bench import page
from tests.bench.timing import Clock, Failed, Row, interleave, spawn


def _times(*times: float) -> list[float]:
    return list(times)


def test_two_rounds_do_not_count_and_all_take_turns() -> None:
    row, turns = Row("run"), []

    def measure(who: str) -> float:
        turns.append(who)
        return float(len(turns))

    interleave(row, [("a", lambda: measure("a")), ("b", lambda: measure("b"))], 3, Clock(60), 60)
    assert "".join(turns) == "ab" * 5
    assert row.columns["a"].times == [5.0, 7.0, 9.0]
    assert row.median("b") == 8.0


def test_who_fails_is_left_out() -> None:
    def fails() -> float:
        raise Failed("no such thing")

    row = Row("run")
    interleave(row, [("a", fails), ("b", lambda: 1.0)], 4, Clock(60), 60)
    assert row.median("a") is None and row.columns["a"].trouble == "no such thing"
    assert [column.who for column in row.known()] == ["b"]


def test_the_time_ends_a_row() -> None:
    row = Row("run")
    interleave(row, [("a", lambda: 1.0)], 1000, Clock(-1), 60)
    assert len(row.columns["a"].times) == 3


@pytest.mark.parametrize(
    ("argv", "words"),
    [(["/no/such"], "No such file"), (["sh", "-c", "echo first; echo why >&2; exit 3"], "why")],
)
def test_a_command_that_fails(argv: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=words):
        spawn(argv, {"PATH": "/usr/bin:/bin"}, tmp_path / "errors")


def _row(name: str, **times: list[float]) -> Row:
    row = Row(name)
    for who, found in times.items():
        row.column(who).times = found
    return row


def test_targets() -> None:
    results = page.Results()
    results.verbs = [
        _row("run", cold=_times(10, 12, 14), warm=_times(4, 4), crun=_times(8, 8), runc=_times(40, 40)),
        _row("state", cold=_times(1, 1), runc=_times(5, 5)),
    ]
    found = {what: (wanted, seen) for what, wanted, seen in page.targets(results)}
    assert found == {
        "`run`, cold, to crun": (1.5, 1.5),
        "`run`, cold, to runc": (0.4, 0.3),
        "`run`, warm, to crun": (0.5, 0.5),
    }
    assert "| `run`, warm, to crun | 0.50 | 0.50 | yes |" in page.text(results, pictures=True)


def test_the_page_of_nothing() -> None:
    results = page.Results()
    results.trouble["programs"] = "nothing works here"
    text = page.text(results, pictures=False)
    assert "{{" not in text and "- programs: nothing works here" in text
