"""The planner's first process knows of the others what they have said before they ended."""

from __future__ import annotations

import os

import pytest

from pycontain.kernel.errors import Error
from pycontain.planner import server


def first_process() -> tuple[server.Planner, int]:
    """What it knows by, and where the others write."""
    planner = object.__new__(server.Planner)
    planner.news, tell = os.pipe()
    os.set_blocking(planner.news, False)
    planner.waiting, planner.busy, planner._dismissed, planner._stale = set(), set(), 0, False
    return planner, tell


def ended(planner: server.Planner, tell: int, has_client: bool) -> None:
    """One of the others fails, with a client or without."""
    pid = os.fork()
    if pid == 0:
        if has_client:
            os.write(tell, server._NEWS.pack(os.getpid()))
        os._exit(1)
    planner.waiting.add(pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_one_that_failed_with_a_client_is_replaced() -> None:
    planner, tell = first_process()
    ended(planner, tell, has_client=True)
    planner._reap()  # what it said has not been read
    assert (planner.waiting, planner.busy) == (set(), set())


def test_one_that_failed_before_its_first_client_is_an_error() -> None:
    planner, tell = first_process()
    ended(planner, tell, has_client=False)
    with pytest.raises(Error, match="failed before it had a client"):
        planner._reap()
