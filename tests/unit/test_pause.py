"""pause meets the life that it has looked at, or none."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pycontain.engine import life, names, state
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator


class Group:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def freeze(self) -> None:
        self.asked.append("freeze")

    def thaw(self) -> None:
        self.asked.append("thaw")


class Monitor:
    def close(self) -> None:
        pass


def paused(monkeypatch: pytest.MonkeyPatch, pids: list[int]) -> Group:
    """pids: what the pid file says, one look after the other."""
    group = Group()

    @contextmanager
    def found(*_: object) -> Iterator[Group]:
        yield group

    looks = iter(pids)
    monkeypatch.setattr(names, "find", lambda _, text: text)
    monkeypatch.setattr(life, "_monitor", lambda *_: Monitor())
    monkeypatch.setattr(life, "_group", found)
    monkeypatch.setattr(state, "read", lambda *_: state.State(state.RUNNING, 7))
    monkeypatch.setattr(state, "read_pid", lambda *_: (next(looks), 0.0))
    life.pause(Paths("/none", "/none"), "one", True)
    return group


def test_the_same_life(monkeypatch: pytest.MonkeyPatch) -> None:
    assert paused(monkeypatch, [7, 7]).asked == ["freeze"]


@pytest.mark.parametrize("pids", [[7, 8], [7, 0], [0, 8]], ids=str)
def test_another_life(monkeypatch: pytest.MonkeyPatch, pids: list[int]) -> None:
    """Its start would never end: a guest that freezes on its way to its program keeps the helper waiting."""
    with pytest.raises(Error, match="one is not running"):
        paused(monkeypatch, pids)
