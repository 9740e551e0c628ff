"""wait, and a container that removes itself."""

from __future__ import annotations

import pytest

from pycontain.engine import life, names, state
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import Error, NotFound


def ended(monkeypatch: pytest.MonkeyPatch, there: list[bool]) -> None:
    """there: whether it is found, one look after the other."""
    looks = iter(there)

    def find(_: Paths, text: str) -> str:
        if next(looks):
            return text
        raise NotFound(f"no container {text}")

    monkeypatch.setattr(names, "find", find)
    monkeypatch.setattr(life, "_monitor", lambda *_: None)
    monkeypatch.setattr(state, "read_exit", lambda *_: None)
    life.wait(Paths("/none", "/none"), "one")


def test_one_that_was_never_started(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Error, match="one was never started"):
        ended(monkeypatch, [True, True])


def test_one_that_has_removed_itself_since(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="no container one"):
        ended(monkeypatch, [True, False])
