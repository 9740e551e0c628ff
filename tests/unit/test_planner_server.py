"""The planner's first process knows of the others what they have said before they ended, and hears of each client."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from pycontain.kernel.errors import Error
from pycontain.planner import serve, server
from pycontain.planner.serve import Unfit

if TYPE_CHECKING:
    from collections.abc import Iterator


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


@pytest.fixture
def watched() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's end and the planner's; what was told of them stays here."""
    ours, theirs = socket.socketpair()
    before = signal.getsignal(signal.SIGIO)
    with ours, theirs:
        yield theirs, ours
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # what is closed here is told of, too
    signal.signal(signal.SIGIO, before)


def test_what_the_kernel_tells_late_of_a_client_that_is_there_interrupts_nothing(
    watched: tuple[socket.socket, socket.socket],
) -> None:
    """A sender may be held up between the moment at which its words can be read and the signal for them."""
    theirs, ours = watched
    serve._watch(ours)
    theirs.send(b"late")
    assert ours.recv(4) == b"late"
    os.kill(os.getpid(), signal.SIGIO)
    with pytest.raises(KeyboardInterrupt):
        theirs.close()
        ours.recv(1)


def test_a_client_that_has_gone_before_it_is_watched(watched: tuple[socket.socket, socket.socket]) -> None:
    theirs, ours = watched
    theirs.close()
    with pytest.raises(KeyboardInterrupt):
        serve._watch(ours)
