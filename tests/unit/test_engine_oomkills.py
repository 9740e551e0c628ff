"""The monitor's record of OOM kills, and what inspect makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pycontain.engine import inspect, oomkills, state
from pycontain.engine.oomkills import Kill
from pycontain.engine.paths import Paths
from pycontain.engine.state import Exit, State

ID = "a" * 64


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, []),
        ({"oom": "1700000000.500000000 1\n"}, [(1700000000.5, 1)]),
        ({"oom.1": "1.0 1\n2.0 3\n", "oom": "3.0 1\n"}, [(1.0, 1), (2.0, 3), (3.0, 1)]),
        ({"oom": "1.0 1\n2.\n\nx y\n3.0 2\n"}, [(1.0, 1), (3.0, 2)]),
    ],
)
def test_read(tmp_path: Path, files: dict[str, str], expected: list[tuple[float, int]]) -> None:
    paths = Paths(str(tmp_path), str(tmp_path / "run"))
    os.makedirs(paths.container(ID))
    for name, text in files.items():
        (Path(paths.container(ID)) / name).write_text(text)
    assert [(kill.time, kill.count) for kill in oomkills.read(paths, ID)] == expected


def test_record() -> None:
    assert Kill(1700000000.25, 2).record() == {"Time": "2023-11-14T22:13:20.250000Z", "Count": 2}


@pytest.mark.parametrize(
    ("found", "kills", "expected"),
    [
        (State(state.RUNNING, 5, 100.0), [], False),
        (State(state.RUNNING, 5, 100.0), [Kill(101.0, 1)], True),
        (State(state.RUNNING, 5, 100.0), [Kill(99.0, 1)], False),
        (State(state.RUNNING, 5, 100.0, Exit(137, 9, True, 50.0, 90.0)), [Kill(89.0, 1)], False),
        (State(state.EXITED, exit=Exit(137, 9, True, 50.0, 90.0)), [], True),
        (State(state.EXITED, exit=Exit(0, 0, False, 50.0, 90.0)), [Kill(40.0, 1)], False),
        (State(state.CREATED), [], False),
    ],
)
def test_killed_in_this_life(found: State, kills: list[Kill], expected: bool) -> None:
    assert inspect._state(found, kills)["OOMKilled"] is expected
