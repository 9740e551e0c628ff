"""docs/coming-from.md names nothing that is not there, and leaves no setting out."""

from __future__ import annotations

import re
from pathlib import Path

from pycontain.cli import verbs
from pycontain.tenant import settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "coming-from.md").read_text()
#: What stands between backticks.
WORDS = re.findall(r"`([^`\n]+)`", PAGE)


def columns() -> list[str]:
    """What stands in the middle column: ours."""
    rows = [re.split(r"(?<!\\)\|", line) for line in PAGE.splitlines() if line.startswith("| ")]
    assert all(len(row) == 5 for row in rows), [row for row in rows if len(row) != 5]
    return [word for row in rows for word in re.findall(r"`([^`\n]+)`", row[2])]


def all_keys() -> set[str]:
    """Every key, also those of the tables in lists."""
    found = set(settings.flat(settings.Settings(version=1).plain()))
    for name, model in (("network", settings.Network), ("mounts", settings.Mount)):
        found.discard(name)
        found |= {f"{name}.{key}" for key in model.model_fields}
    return found


def is_key(word: str) -> bool:
    return word in all_keys()


def verb(word: str) -> str:
    """The command that ``pycontain tenant …`` names, "" for one that is not there."""
    words = word.split()[1:]
    known = {*verbs.COMMANDS, *verbs.ALIASES}
    return next((name for name in (" ".join(words[:3]), " ".join(words[:2])) if name in known), "")


def test_every_verb_that_is_named_is_there() -> None:
    named = {word for word in WORDS if word.startswith("pycontain tenant ") and word.split()[2] != "VERB"}
    assert len(named) > 30
    assert not {word for word in named if not verb(word)}


def test_the_middle_column_has_verbs_and_keys_alone() -> None:
    for word in columns():
        assert word.startswith(("pycontain tenant ", "pycontain image ")) or is_key(word), word


def test_every_flag_that_is_named_is_there() -> None:
    for word in columns():
        if word.startswith("pycontain tenant ") and verb(word):
            flags = {part for part in word.split() if part.startswith("--")}
            assert flags <= set(verbs.load(verb(word)).spellings()), word


def test_every_key_of_the_settings_is_named() -> None:
    keys = all_keys() - {"version"}
    assert not {key for key in keys if f"`{key}`" not in PAGE}
