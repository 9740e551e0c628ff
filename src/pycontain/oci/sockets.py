"""The caller's unix sockets: for the terminal's other end, for a pidfd."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket

from pycontain.kernel.errors import Error, os_text


def connect(path: str, option: str) -> int:
    """A descriptor of a connection that the helper inherits. Raises Error naming the option."""
    link = socket(AF_UNIX, SOCK_STREAM)
    try:
        link.connect(path)
    except OSError as error:
        raise Error(f"--{option} {path}: {os_text(error)}", 1) from None
    os.set_inheritable(link.fileno(), True)
    return link.detach()


def console(path: str, *, terminal: bool, detached: bool) -> int:
    """A connection to the caller's console socket, -1 where the terminal stays here or there is none.

    Raises Error where the socket, the terminal and who waits do not agree; the words are runc's.
    """
    if detached and terminal and not path:
        raise Error("cannot allocate tty if pycontain-oci will detach without setting console socket", 1)
    if path and not (detached and terminal):
        raise Error("cannot use console socket if pycontain-oci will not detach or allocate tty", 1)
    return connect(path, "console-socket") if path else -1


def send(link: int, fd: int, name: str) -> None:
    """A descriptor over a connection, with a name as the text. Raises OSError."""
    end = socket(fileno=link)
    try:
        end.sendmsg([name.encode()], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))])
    finally:
        end.detach()
