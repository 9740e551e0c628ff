"""Tables, JSON and the figures in them; the times that logs takes."""

from __future__ import annotations

import io
import json
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontain.cli import table, times
from pycontain.cli.suggest import distance, suggestion
from pycontain.kernel.errors import UsageError

SECOND = times.SECOND


def test_columns_line_up() -> None:
    text = table.columns(("ID", "NAME"), [("1", "a"), ("23", "long name")])
    assert text == "ID   NAME\n1    a\n23   long name\n"


def test_no_rows_is_the_headers() -> None:
    assert table.columns(("ID", "NAME"), []) == "ID   NAME\n"


def test_wide_characters_take_two_columns() -> None:
    lines = table.columns(("A", "B"), [("容器", "x"), ("abcd", "y"), ("e\u0301", "z")]).splitlines()
    assert lines[1:] == ["容器   x", "abcd   y", "e\u0301      z"]


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_cells_cannot_move_the_cursor_or_add_lines(rows: list[tuple[str, str]]) -> None:
    text = table.columns(("A", "B"), rows)
    assert len(text.split("\n")) == len(rows) + 2
    assert text.replace("\n", "").isprintable()


def test_json_is_one_array_with_an_object_a_line() -> None:
    objects = [{"Id": "1", "Name": "a\nb"}, {"Id": "2", "Name": "ä"}]
    text = table.json_lines(objects)
    assert json.loads(text) == objects
    assert len(text.splitlines()) == 4
    assert table.json_lines([]) == "[]\n"


def test_json_pretty() -> None:
    assert table.json_pretty([{"a": 1}]) == '[\n    {\n        "a": 1\n    }\n]\n'


def test_show_list(capsys: pytest.CaptureFixture[str]) -> None:
    table.show_list("table", ("A",), [("x",)], [{"a": 1}])
    assert capsys.readouterr().out == "A\nx\n"
    table.show_list("json", ("A",), [("x",)], [{"a": 1}])
    assert json.loads(capsys.readouterr().out) == [{"a": 1}]


def test_show_what_the_terminal_cannot_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    table.show("ä\udcff…\n")
    assert raw.getvalue() == b"\\xe4\\udcff\\u2026\n"


def test_show_without_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    table.show("x")


@pytest.mark.parametrize(("text", "width", "shown"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("", 3, "")])
def test_shorten(text: str, width: int, shown: str) -> None:
    assert table.shorten(text, width) == shown


@pytest.mark.parametrize(
    ("count", "decimal", "binary"),
    [
        (0, "0B", "0B"),
        (999, "999B", "999B"),
        (1000, "1.00kB", "1000B"),
        (1024, "1.02kB", "1.00KiB"),
        (9_994, "9.99kB", "9.76KiB"),
        (9_996, "10.0kB", "9.76KiB"),
        (999_600, "1.00MB", "976KiB"),
        (4_210_000, "4.21MB", "4.01MiB"),
        (7 << 30, "7.52GB", "7.00GiB"),
        (1 << 62, "4612PB", "4096PiB"),
    ],
)
def test_sizes(count: int, decimal: str, binary: str) -> None:
    assert (table.human_size(count), table.binary_size(count)) == (decimal, binary)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "1 minute"),
        (3599, "59 minutes"),
        (3600, "1 hour"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert table.human_duration(seconds) == words


# --- times --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("10m", 600 * SECOND),
        ("1h30m", 5400 * SECOND),
        ("1.5h", 5400 * SECOND),
        ("250ms", SECOND // 4),
        ("1s500us", SECOND + 500_000),
        ("5µs", 5000),
        ("7ns", 7),
        ("0s", 0),
    ],
)
def test_duration(text: str, nanoseconds: int) -> None:
    assert times.duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "10", "m", "10 m", "-10m", "1d", "10mm5", "1_0s", "h1"])
def test_no_duration(text: str) -> None:
    assert times.duration(text) is None


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("1700000000", 1_700_000_000 * SECOND),
        ("20231114", 20231114 * SECOND),
        ("1700000000.5", 1_700_000_000 * SECOND + SECOND // 2),
        ("1700000000.123456789", 1_700_000_000_123_456_789),
        ("2023-11-14T22:13:20Z", 1_700_000_000 * SECOND),
        ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456_789),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000 * SECOND),
        ("2023-11-14T23:13:20.25+01:00", 1_700_000_000 * SECOND + SECOND // 4),
        ("1969-12-31T23:59:59Z", -SECOND),
    ],
)
def test_moment(text: str, nanoseconds: int) -> None:
    assert times.moment(text) == nanoseconds


def test_a_time_without_zone_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-2")
    time.tzset()
    try:
        assert times.moment("2023-11-15T00:13:20") == 1_700_000_000 * SECOND
        assert times.moment("2023-11-15T00:13") == 1_699_999_980 * SECOND
        assert times.moment("2023-11-15") == 1_699_999_200 * SECOND
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_duration_counts_back_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "now", lambda: 1000 * SECOND)
    assert times.moment("1m") == 940 * SECOND


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2023-11-14T22:13:20.Z", "2023-13-01", "2023-02-30", "2023-W01-1", "2023-11-14T25:00:00Z",
     "-5", "1e9", "99999999999999999999", "2023-11-14 ", "2023-11-14T22:13:20.5x", "9999-12-31T23:59:59-23:59"],
)  # fmt: skip
def test_no_moment(text: str) -> None:
    with pytest.raises(UsageError):
        times.moment(text)


@given(st.text("0123456789-:.TZ+hms ") | st.text())
def test_any_text_is_a_moment_or_a_usage_error(text: str) -> None:
    try:
        times.moment(text)
    except UsageError:
        pass


# --- suggestions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [
        ("", "", 0),
        ("run", "run", 0),
        ("rnu", "run", 1),
        ("rn", "run", 1),
        ("runn", "run", 1),
        ("abc", "xyz", 3),
        ("", "ab", 2),
    ],
)
def test_distance(one: str, other: str, steps: int) -> None:
    assert distance(one, other) == distance(other, one) == steps


def test_suggestion() -> None:
    known = ["run", "logs", "inspect", "--memory"]
    assert suggestion("inpsectt", known) == "; did you mean 'inspect'?"
    assert suggestion("--memroy", known) == "; did you mean '--memory'?"
    assert suggestion("bogus", known) == ""
    assert suggestion("x", []) == ""
