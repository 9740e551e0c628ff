"""docs/oci-conformance.md: every property, verb and option has a row, every row its test or its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.clients.test_same_as_runc import EXPLAINED

from full_spec import FREE, full, json_path, paths
from pycontain.oci.arguments import parse
from pycontain.oci.main import _FUNCTIONS
from pycontain.oci.options import GLOBAL, VERBS

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "oci-conformance.md").read_text()
LINES = PAGE.splitlines()
#: Sections whose rows are about no property, verb or option: heading → what their tests below hold.
DIFFERENCES, SUITES = "## Differences to runc", "## Suites of other runtimes"
CELLS = [
    (tuple(cell.strip() for cell in line.strip("|").split("|")), line)
    for line, below in zip(LINES, [*LINES[1:], ""], strict=True)
    if line.startswith("| ") and not line.startswith("| ---") and not below.startswith("| ---")
]


def section(heading: str) -> list[tuple[str, ...]]:
    """The rows of the tables below a heading."""
    text = PAGE.partition(heading + "\n")[2].partition("\n## ")[0]
    lines = set(text.splitlines())
    return [row for row, line in CELLS if line in lines]


ROWS = [row for row, _ in CELLS if row not in (*section(DIFFERENCES), *section(SUITES))]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def named_in(text: str) -> list[tuple[str, str]]:
    return NAMED.findall(text)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_is_done_or_refused(row: tuple[str, ...]) -> None:
    assert len(row) == 2, row
    _, answer = row
    if answer.startswith("done: "):
        assert named_in(answer), row
    else:
        assert answer.startswith("refused: ") and len(answer) > 30, row
    assert "partly" not in answer


def test_every_difference_to_runc_is_explained() -> None:
    """The reasons of the differential test, and no others."""
    reasons = {why for _, _, why in EXPLAINED}
    assert len(reasons) == len(EXPLAINED)
    assert {row[1] for row in section(DIFFERENCES)} == reasons


def test_every_suite_says_what_became_of_it() -> None:
    rows = section(SUITES)
    assert len(rows) >= 6
    for suite, answer in rows:
        counted = re.match(r"run: \d+ passed, \d+ failed, \d+ skipped", answer)
        assert counted or (answer.startswith("not run: ") and len(answer) > 40), suite


@pytest.mark.parametrize(("file", "name"), sorted(set(named_in(PAGE))))
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    assert re.search(rf"^def {name}\(", (TESTS / file).read_text(), re.MULTILINE)


def test_every_property_has_a_row() -> None:
    rows = {found for row in ROWS for found in re.findall(r"`([\w.*]+)`", row[0])}
    missing = set()
    for at in paths(full()):
        name = re.sub(r"\[\d+\]", "", json_path(at))
        free = next((free for free in FREE if name.startswith(free + ".")), name)
        parts = free.split(".")
        # a row about an object is one about what is in it; "linux" alone says nothing
        above = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        if not any(part in rows for part in above if part != "linux") and free not in ("process", "root", "linux"):
            if free in ("process.user", "linux.resources"):
                continue
            missing.add(free)
    assert not missing


def options_with_rows() -> dict[str, set[str]]:
    """Verb → its options that a row is about: ``| `create`, `run`: `--bundle`, `--pid-file` |``."""
    found: dict[str, set[str]] = {}
    for row in ROWS:
        verbs, _, options = row[0].partition(": ")
        names = verbs.replace("`", "").split(", ")
        if all(name in VERBS or name == "pycontain-oci" for name in names):
            for name in names:
                found.setdefault(name, set()).update(re.findall(r"`--([a-z0-9-]+)`", options))
    return found


def test_every_verb_and_option_has_a_row_and_no_other() -> None:
    rows = options_with_rows()
    for name, table in {"pycontain-oci": GLOBAL, **VERBS}.items():
        assert rows.get(name) == (table.values | table.flags) - {"help"}, name


def test_a_verb_that_is_missing_is_not_done() -> None:
    for row in ROWS:
        name = row[0].partition(":")[0].strip("`")
        if name in VERBS and name not in _FUNCTIONS:
            assert row[1].startswith("refused: "), row


def test_options_without_effect_are_taken() -> None:
    for line in ("exec --no-subreaper c true", "run --no-subreaper c", "--debug --criu=/x --rootless=false state c"):
        assert parse(line.split(), GLOBAL, VERBS).words[0] == "c"
