"""kill and delete --regex: which containers, and what becomes of errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontain.kernel.errors import Error, UsageError
from pycontain.oci.chosen import each, names


def test_names(tmp_path: Path) -> None:
    for name in ("web-1", "web-2", "db"):
        (tmp_path / name).mkdir()
    assert names(str(tmp_path), "^web") == ["web-1", "web-2"]
    assert names(str(tmp_path), "[12]$|db") == ["db", "web-1", "web-2"]
    assert names(str(tmp_path), "moon") == names(str(tmp_path / "none"), ".") == []


@pytest.mark.parametrize("pattern", ["(", "[", "*", "a{1", "(?P<x>)(?P<x>)"])
def test_what_is_no_expression(tmp_path: Path, pattern: str) -> None:
    if pattern == "a{1":
        assert names(str(tmp_path), pattern) == []
        return
    with pytest.raises(UsageError, match="is not a regular expression"):
        names(str(tmp_path), pattern)


def test_one_that_fails_hinders_no_other(tmp_path: Path) -> None:
    done = []

    def do(name: str) -> None:
        done.append(name)
        if name != "b":
            raise Error(f"no {name}")

    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    with pytest.raises(Error, match="no a"):
        each(str(tmp_path), ".", do)
    assert done == ["a", "b", "c"]
