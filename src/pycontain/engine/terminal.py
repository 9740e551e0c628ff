"""The caller's terminal, as far as a start needs to know it."""

from __future__ import annotations

import fcntl
import os
from _struct import unpack

from pycontain.kernel.errors import UsageError

#: asm-generic/ioctls.h
_TIOCGWINSZ = 0x5413


def size(fd: int) -> tuple[int, int]:
    """Rows and columns, (0, 0) where the descriptor is no terminal."""
    try:
        rows, columns, _, _ = unpack("HHHH", fcntl.ioctl(fd, _TIOCGWINSZ, bytes(8)))
        return rows, columns
    except OSError:
        return 0, 0


def check_input(terminal: bool, interactive: bool) -> None:
    """A terminal on both ends: raw mode is set on the caller's. Raises UsageError where it has none."""
    if terminal and interactive and not os.isatty(0):
        raise UsageError("--tty: standard input is not a terminal: leave out -t to pass a file or a pipe")
