"""One request: a process of the planner takes the client's place, and what it would become goes back to the client.

``greet(link, prefix) -> str``, ``receive(link, process, ours) -> Request``, ``serve(link, …, again)``
    When the plan has gone, ``again`` takes the next client, deeper in the same stack: nothing of the request is
    unwound, since what it has made is the client's now.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
from _signal import SIGIO, default_int_handler, signal
from _socket import SO_PEERCRED, SOL_SOCKET
from _struct import unpack

from pycontain import road
from pycontain.cgroup import hierarchy
from pycontain.kernel.errors import Error, os_text
from pycontain.launch import start
from pycontain.planner import caller, wire
from pycontain.planner.clean import HIGH, deaf, move

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    #: What a command does with the words after its name; the exit status.
    Face = Callable[[list[str]], int]

#: asm-generic/socket.h
_SO_PEERPIDFD = 77


class Unfit(Exception):
    """A request that Python beside the client has to do."""


def _peer(link: socket) -> str:
    """The client's directory below /proc. Raises Unfit."""
    pid, uid, _ = unpack("=3i", link.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    if uid != os.geteuid() or pid <= 0:
        raise Unfit("another user's")
    return f"/proc/{pid}"


def _pidfd(link: socket) -> int:
    """Of the process that has connected; -1 before Linux 6.5."""
    try:
        return int(unpack("=i", link.getsockopt(SOL_SOCKET, _SO_PEERPIDFD, 4))[0])
    except OSError:
        return -1


def _take_place(request: wire.Request) -> None:
    """Have the client's descriptors, directory, umask and environment. Raises OSError."""
    high = [move(fd) for fd in request.fds]
    cwd, modules = move(request.cwd), road.move(HIGH)
    os.closerange(3, HIGH)
    for fd, number in zip(high, request.numbers, strict=True):
        os.dup2(fd, number)
        os.close(fd)
    if modules >= 0:
        road.move(3)  # the first thing that an interpreter opens: the plan's descriptors have the same numbers then
    os.fchdir(cwd)
    os.close(cwd)
    os.umask(request.umask)
    os.environb.update(request.environ)


def share_helper() -> None:
    """Have one sealed copy of the helper for all guests that may have it together. Raises Error, OSError."""
    fd = start.helper_fd()
    try:
        start.kept = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH)
    finally:
        os.close(fd)


def _watch(link: socket) -> None:
    """A client that is killed interrupts what is done for it, as ^C would (F_SETOWN and O_ASYNC of fcntl(2))."""
    signal(SIGIO, default_int_handler)
    fd = link.fileno()
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)


class _Answer:
    """What launch/start.py does instead of execve(2). again: takes the next client."""

    def __init__(self, link: socket, again: Callable[[], NoReturn]) -> None:
        self.link, self.again = link, again
        self.pid = os.getpid()

    def __call__(self, argv: list[str], environ: dict[str, str], shared: bool) -> None:
        if os.getpid() != self.pid:
            return  # a process that Python has made to become the helper in it
        signal(SIGIO, deaf)
        helper = start.shared_helper() if shared else start.helper_fd()
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
        # none of the planner's own can be inherited
        numbers = sorted([fd for fd in numbers if fd > 2 and _inherited(fd)])
        words = [os.fsencode(word) for word in argv]
        pairs = {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}
        try:
            wire.send_fds(self.link, [helper, *numbers])
            self.link.sendall(wire.answer(words, pairs, numbers))
        except OSError as error:
            raise Error(f"the command that asked for this is gone: {os_text(error)}") from None
        if numbers and numbers[-1] >= HIGH:
            os._exit(0)  # of so many, some would be here for the next client
        self.again()


def _inherited(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False  # the one that listed the others


def _installed(process: str, prefix: str) -> bool:
    """Whether the client is a command of this installation."""
    program = os.readlink(f"{process}/exe")  # one that was replaced has " (deleted)" at its end
    return program in (f"{prefix}/bin/pycontain", f"{prefix}/bin/pycontain-oci")


def greet(link: socket, prefix: str) -> str:
    """Say that we are ready, to a command of this installation; its directory below /proc.

    prefix: where this is installed. Raises Unfit, OSError.
    """
    process = _peer(link)
    if not _installed(process, prefix):
        raise Unfit("of another installation")
    link.sendall(wire.READY)
    return process


def _compare(link: socket, process: str, ours: tuple[object, ...]) -> None:
    """Whether the client could be this process. Raises Unfit, OSError."""
    pidfd = _pidfd(link)
    if caller.surroundings(process) != ours:
        raise Unfit("its namespaces, root or rights are others")
    if pidfd >= 0:
        ended = select.select([pidfd], [], [], 0)[0]
        os.close(pidfd)
        if ended:
            raise Unfit("what was looked at may be another process with its number")


def receive(link: socket, process: str, ours: tuple[object, ...]) -> wire.Request:
    """What a client that was greeted asks for; it is told that we begin. Raises Unfit, ProtocolError, OSError: we do
    not.

    ours: surroundings of this process. They are compared with the client's while it collects what it sends.
    """
    _compare(link, process, ours)
    request = wire.receive(link)
    if not caller.is_utf8(request.environ) or max(request.numbers) >= HIGH:
        raise Unfit("in another character set, or with a high descriptor")
    link.sendall(wire.GO)
    return request


def serve(
    link: socket,
    faces: Mapping[bool, Face],
    process: str,
    request: wire.Request,
    again: Callable[[], NoReturn],
) -> None:
    """Do what a client asks for, as it would. Returns where that has ended without a plan. Raises OSError.

    link: a high descriptor; faces: of pycontain-oci, and not.
    """
    _take_place(request)
    hierarchy.PROCESS = process
    _watch(link)
    start.instead = _Answer(link, again)
    sys.argv = ["-c", *request.argv]
    status = faces[request.oci](request.argv)
    signal(SIGIO, deaf)
    sys.stdout.flush()
    link.sendall(wire.exit_status(status))
