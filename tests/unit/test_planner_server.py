"""A process of the planner and a client that it does nothing for: the first process hears that it has had one."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from pycontain.planner import server
from pycontain.planner.serve import Unfit

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def process() -> Iterator[tuple[server.Planner, int]]:
    """One without a listener, and where the first process would read its news."""
    news, tell = os.pipe()
    os.set_blocking(news, False)
    planner = server.Planner.__new__(server.Planner)
    planner._tell, planner.ours, planner.installed = tell, (), server._fingerprint()
    yield planner, news
    os.close(news)
    os.close(tell)


@pytest.mark.parametrize(
    "reason",
    [PermissionError(13, "not to be looked at"), FileNotFoundError(2, "gone"), Unfit("another")],
    ids=str,
)
def test_a_client_that_is_refused(
    process: tuple[server.Planner, int], monkeypatch: pytest.MonkeyPatch, reason: Exception
) -> None:
    """One that cannot be looked at, too: a process that ended with an error before its news would end them all."""

    def compare(*_: object) -> None:
        raise reason

    planner, news = process
    monkeypatch.setattr(server, "compare", compare)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        planner._serve(ours)
        assert theirs.recv(16) == b"RN"
    assert [pid for (pid,) in server._NEWS.iter_unpack(os.read(news, 64))] == [os.getpid()]


def test_an_error_of_our_own(process: tuple[server.Planner, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process knows all the same that there was a client: one request's fault is no other's."""

    def compare(*_: object) -> None:
        raise ValueError("a bug")

    planner, news = process
    monkeypatch.setattr(server, "compare", compare)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ValueError, match="a bug"):
        planner._serve(ours)
    assert os.read(news, 64) == server._NEWS.pack(os.getpid())
