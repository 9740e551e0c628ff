"""Hooks that the runtime executes itself: what a signal finds them at."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType

import pytest

from pycontain.launch.hooks import Entry
from pycontain.oci import hooks


class Stop(BaseException):
    pass


def stop(_number: int, _frame: FrameType | None) -> None:
    raise Stop


def test_a_signal_that_comes_while_a_hook_is_begun_ends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No moment is between the hook's beginning and that from which it is ended with us."""
    begun: list[int] = []
    spawn = hooks._spawn

    def spawn_and_signal(entry: Entry, stdin: int, output: int, directory: str) -> int:
        begun.append(spawn(entry, stdin, output, directory))
        os.kill(os.getpid(), signal.SIGTERM)
        return begun[0]

    monkeypatch.setattr(hooks, "_spawn", spawn_and_signal)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stop):
            hooks.run_one(Entry("/bin/sleep", ["sleep", "1000"], [], 0), "{}", str(tmp_path))
    finally:
        signal.signal(signal.SIGTERM, before)
    try:
        os.kill(begun[0], 0)
    except ProcessLookupError:
        gone = True
    else:
        gone = False
        os.kill(begun[0], signal.SIGKILL)
        os.waitpid(begun[0], 0)
    assert gone
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
