"""docs/oci-conformance.md: every property has a row, every row its test or its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from full_spec import FREE, full, json_path, paths

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "oci-conformance.md").read_text()
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| property"))
]
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
