"""One request: a process of the planner takes the client's place, and what it would become goes back to the client.

``greet(link) -> str``, ``compare(link, process, …)``, ``receive(link) -> Request``, ``serve(link, …, again)``
    When the plan has gone, ``again`` takes the next client, deeper in the same stack: nothing of the request is
    unwound, since what it has made is the client's now.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
from _signal import SIGIO, signal
from _socket import MSG_DONTWAIT, MSG_PEEK, SO_PEERCRED, SOL_SOCKET
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
#: A sealed copy of the helper for the next guest that needs one of its own, made while nobody waited for it.
_copies: list[int] = []


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


def prepare() -> None:
    """What the next request needs and can be made before it; where it cannot, the request says why."""
    if _copies:
        return
    try:
        _copies.append(move(start.helper_fd()))
    except (Error, OSError):
        pass


def _take_copy() -> int:
    return _copies.pop() if _copies else start.helper_fd()


def _early(request: wire.Request) -> bool:
    """Whether the client executes its helper while the plan is made, which takes as long.

    Not what becomes a monitor: that begins with untouched memory, and may have its copy with others.
    """
    return request.oci or request.argv[:1] == ["exec"]


def _watch(link: socket) -> None:
    """A client that is killed interrupts what is done for it, as ^C would (F_SETOWN and O_ASYNC of fcntl(2)).

    Raises KeyboardInterrupt where it has gone already.
    """

    def heard(*_: object) -> None:
        """The kernel may tell late of what the client has sent, when it has been read: nobody has gone then."""
        try:
            if link.recv(1, MSG_PEEK | MSG_DONTWAIT):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        raise KeyboardInterrupt

    signal(SIGIO, heard)
    fd = link.fileno()
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    heard()


class _Answer:
    """What launch/start.py does instead of execve(2). again: takes the next client. has: it has its helper already."""

    def __init__(self, link: socket, again: Callable[[], NoReturn], has: bool) -> None:
        self.link, self.again, self.has = link, again, has
        self.pid = os.getpid()

    def __call__(self, argv: list[str], environ: dict[str, str], shared: bool) -> None:
        if os.getpid() != self.pid:
            return  # a process that Python has made to become the helper in it
        signal(SIGIO, deaf)
        helper = -1 if self.has else start.shared_helper() if shared else _take_copy()
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
        # none of the planner's own can be inherited
        numbers = sorted([fd for fd in numbers if fd > 2 and _inherited(fd)])
        words = [os.fsencode(word) for word in argv]
        pairs = {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}
        try:
            wire.send_fds(self.link, numbers if self.has else [helper, *numbers])
            self.link.sendall(wire.answer(words, pairs, numbers))
        except OSError as error:
            raise Error(f"the command that asked for this is gone: {os_text(error)}") from None
        if helper not in (-1, start.kept):
            os.close(helper)
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


def greet(link: socket) -> str:
    """Say that we are ready, to a command of this user; its directory below /proc. Raises Unfit, OSError."""
    process = _peer(link)
    link.sendall(wire.READY)
    return process


def compare(link: socket, process: str, prefix: str, ours: tuple[object, ...]) -> None:
    """Whether a client that was greeted is a command of this installation, and could be this process; it collects what
    it sends meanwhile.

    prefix: where this is installed. ours: surroundings of this process. Raises Unfit, OSError.
    """
    if not _installed(process, prefix):
        raise Unfit("of another installation")
    pidfd = _pidfd(link)
    if caller.surroundings(process, ours) != ours:
        raise Unfit("its namespaces, root or rights are others")
    if pidfd >= 0:
        ended = select.select([pidfd], [], [], 0)[0]
        os.close(pidfd)
        if ended:
            raise Unfit("what was looked at may be another process with its number")


def receive(link: socket) -> wire.Request:
    """What a client asks for; it is told that we begin. Raises Unfit, ProtocolError, OSError: we do not."""
    request = wire.receive(link)
    if not caller.is_utf8(request.environ) or max(request.numbers) >= HIGH:
        raise Unfit("in another character set, or with a high descriptor")
    if not _early(request):
        link.sendall(wire.GO)
        return request
    helper = _take_copy()
    wire.go_with(link, helper)
    os.close(helper)
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
    start.instead = _Answer(link, again, _early(request))
    sys.argv = ["-c", *request.argv]
    status = faces[request.oci](request.argv)
    signal(SIGIO, deaf)
    sys.stdout.flush()
    link.sendall(wire.exit_status(status))
