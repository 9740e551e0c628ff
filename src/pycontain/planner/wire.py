"""What a client (src/helper/planner.c) and the planner say to each other: docs/planner.md has the messages.

The client is of the same user, and what it sends is checked nevertheless: a message that is cut off, or of another
version, is a ``ProtocolError``, and then nothing has been done.
"""

from __future__ import annotations

import os
from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC, MSG_CTRUNC, SCM_RIGHTS, SOL_SOCKET
from _struct import Struct, pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

MAGIC = b"PYCREQ1\0"
#: Descriptors of one message; the kernel has SCM_MAX_FD, 253.
FDS_MAX = 240
#: Descriptors, and bytes, of one request or answer.
TOTAL_MAX, TEXT_MAX = 4096, 8 << 20
#: What a message begins with.
FDS, REQUEST, READY, GO, PLAN, EXIT, NO = b"F", b"Q", b"R", b"G", b"P", b"X", b"N"

_REQUEST = Struct("=8s6I")
_ANSWER = Struct("=4I")


class ProtocolError(Exception):
    """What came is no request of ours."""


class Request:
    """A command line with all that belongs to it. numbers: the client's numbers of ``fds``; cwd: a descriptor."""

    __slots__ = ("argv", "cwd", "environ", "fds", "numbers", "oci", "umask")

    def __init__(self, data: bytes, fds: list[int]) -> None:
        """data: from its head on; fds: the working directory's and the client's. Raises ProtocolError."""
        magic, size, oci, argc, envc, count, self.umask = _REQUEST.unpack_from(data)
        if magic != MAGIC or size != len(data):
            raise ProtocolError("the head of a request is wrong")
        if len(fds) != count + 1 or size < _REQUEST.size + 4 * count:
            raise ProtocolError("descriptors are missing")
        self.oci = bool(oci)
        self.cwd, self.fds = fds[0], fds[1:]
        self.numbers = list(unpack(f"={count}i", data[_REQUEST.size : _REQUEST.size + 4 * count]))
        if self.numbers != sorted(set(self.numbers)) or self.numbers[:3] != [0, 1, 2]:
            raise ProtocolError("the numbers of the descriptors are wrong")
        words = data[_REQUEST.size + 4 * count :].split(b"\0")
        if len(words) != argc + envc + 1 or words[-1]:
            raise ProtocolError("the words of a request are wrong")
        self.argv = [os.fsdecode(word) for word in words[:argc]]
        pairs = [word.partition(b"=") for word in words[argc:-1]]
        # as CPython reads its environment: the first of a name counts, what has no name or no sign is left out
        self.environ: dict[bytes, bytes] = {}
        for name, sign, value in pairs:
            if name and sign:
                self.environ.setdefault(name, value)


def _receive(link: socket, fds: list[int]) -> bytes:
    """The byte that says what comes; descriptors that came with it are appended. Empty at the end."""
    data, parts, flags, _ = link.recvmsg(1, CMSG_SPACE(4 * FDS_MAX), MSG_CMSG_CLOEXEC)
    for level, kind, body in parts:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds += unpack(f"={len(body) // 4}i", body[: len(body) // 4 * 4])
    if flags & MSG_CTRUNC or len(fds) > TOTAL_MAX + 1:
        raise ProtocolError("too many descriptors")
    return data


def _exactly(link: socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = link.recv(size - len(data))
        if not part:
            raise ProtocolError("the client is gone")
        data += part
    return data


def receive(link: socket) -> Request:
    """The request of a client. Raises ProtocolError, OSError; its descriptors end with the process then."""
    fds: list[int] = []
    while (kind := _receive(link, fds)) == FDS:
        pass
    if kind != REQUEST:
        raise ProtocolError("no request")
    head = _exactly(link, _REQUEST.size)
    size = _REQUEST.unpack(head)[1]
    if not _REQUEST.size <= size <= TEXT_MAX:
        raise ProtocolError("a request of a wrong size")
    return Request(head + _exactly(link, size - _REQUEST.size), fds)


def answer(argv: list[bytes], environ: dict[bytes, bytes], numbers: list[int]) -> bytes:
    """What follows the descriptors of a plan: the helper's command line, and which number each descriptor gets."""
    words = [*argv, *[name + b"=" + value for name, value in environ.items()]]
    body = pack(f"={len(numbers)}i", *numbers) + b"".join([word + b"\0" for word in words])
    return PLAN + _ANSWER.pack(len(body), len(argv), len(environ), len(numbers)) + body


def send_fds(link: socket, fds: list[int]) -> None:
    """Raises OSError."""
    for at in range(0, len(fds), FDS_MAX):
        part = fds[at : at + FDS_MAX]
        link.sendmsg([FDS], [(SOL_SOCKET, SCM_RIGHTS, pack(f"={len(part)}i", *part))])


def go_with(link: socket, helper: int) -> None:
    """The word that we begin, with a copy of the helper, which the client executes at once. Raises OSError."""
    link.sendmsg([GO], [(SOL_SOCKET, SCM_RIGHTS, pack("=i", helper))])


def exit_status(status: int) -> bytes:
    """The answer of a command that has ended in Python."""
    return EXIT + bytes([status & 0xFF])
