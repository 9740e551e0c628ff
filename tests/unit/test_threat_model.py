"""docs/threat-model.md: every known escape is a test or a reason, every attempt has its answer."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "threat-model.md").read_text()
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows(section: str) -> list[list[str]]:
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


ESCAPES = rows("Known escapes")
#: What the page has to speak about: the public identifiers of the regression list.
IDENTIFIERS = """
2016-9962 2019-5736 2019-16884 2019-19921 2023-27561 2021-30465 2021-43784 2022-29162 2022-27650 2022-27649 2022-24769
2025-27612 2023-25809 2023-28642 2024-21626 2024-45310 2025-31133 2025-52565 2025-52881 2026-41579 2026-47766
2019-18837 2025-24965 2026-30892 2025-62161 2025-62596 2025-54867 2020-15257 2022-23648 2022-31030 2024-40635
2024-25621 2018-15664 2019-14271 2022-0811 2022-4318 2026-23953 2023-6476 2024-3154 2019-10152 2022-1227 2023-0778
2024-9341 2024-9407 2024-9675 2024-9676 2021-20199 2020-1726 2022-47952 2026-39402 2016-8649 2026-23954 2026-48752
2026-33711 2026-48750 2026-33945 2026-48749 2026-63125 2026-63343 2026-33897 2026-48751 2026-62940 2026-62941
2026-48755 2026-41648 2026-41685 2026-33542 2026-48769 2026-41684 2026-48754 2025-52889 2025-52890 2025-62313
2022-0492 2022-0185 2022-0847 2016-5195 2026-31431 2017-5226 2025-23266
""".split()


@pytest.mark.parametrize("row", ESCAPES, ids=[row[0][:60] for row in ESCAPES])
def test_a_row_is_a_test_or_a_reason(row: list[str]) -> None:
    assert len(row) == 2, row
    answer = row[1]
    if answer.startswith("test: "):
        assert NAMED.search(answer), row
    else:
        assert answer.startswith("does not apply") and len(answer) > 40, row


def test_every_known_escape_has_a_row() -> None:
    text = " ".join(row[0] for row in ESCAPES)
    assert [name for name in IDENTIFIERS if f"CVE-{name}" not in text] == []
    assert len(ESCAPES) >= 47


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(PAGE))))
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    assert re.search(rf"^def {name}\(", (TESTS / file).read_text(), re.MULTILINE)


def test_every_attempt_is_a_row() -> None:
    """The names that attempts.py gives as they stand; the test itself compares all of them with the page."""
    given = {row[0].replace("\\", "") for row in rows("Guest root")}
    tree = ast.parse((TESTS / "escapes" / "attempts.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    found = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id in ("add", "attempt")]
    names = {node.value for node in found if isinstance(node, ast.Constant)}
    assert len(given) >= 60 and names and names <= given, names - given


def test_every_test_of_an_escape_stands_in_the_page() -> None:
    named = {(file, name) for file, name in NAMED.findall(PAGE)}
    for file in ("test_bundle.py", "test_cli.py", "test_overlay.py", "test_races.py", "test_supervised.py"):
        text = (TESTS / "escapes" / file).read_text()
        tests = set(re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)) - {"test_an_innocent_bundle_runs"}
        assert tests <= {name for place, name in named if place == f"escapes/{file}"}
