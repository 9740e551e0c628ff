"""Open file description locks (fcntl_locking(2)): inherited through fork and exec, and looked at without taking them.

The container's lock is held by whoever is making it, then by its monitor: the lock is held as long as one of them
lives, however they end.
"""

from __future__ import annotations

import fcntl
import os
from _struct import Struct

# asm-generic/fcntl.h
_F_OFD_GETLK, _F_OFD_SETLK, _F_OFD_SETLKW = 36, 37, 38
_F_WRLCK, _F_UNLCK = 1, 2
#: struct flock with 64-bit offsets: type, whence, start, length, pid
_FLOCK = Struct("hhqqi0q")


def open_lock(path: str) -> int:
    """A descriptor of a lock file, made where it is missing. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def try_lock(fd: int) -> bool:
    """Take the lock; False where somebody has it."""
    try:
        fcntl.fcntl(fd, _F_OFD_SETLK, _FLOCK.pack(_F_WRLCK, 0, 0, 0, 0))
        return True
    except (BlockingIOError, PermissionError):  # EAGAIN, EACCES
        return False


def is_locked(fd: int) -> bool:
    """Whether somebody else has the lock."""
    answer = fcntl.fcntl(fd, _F_OFD_GETLK, _FLOCK.pack(_F_WRLCK, 0, 0, 0, 0))
    kind: int = _FLOCK.unpack(answer)[0]
    return kind != _F_UNLCK


class _TimeUp(Exception):
    pass


def _time_up(*_: object) -> None:
    raise _TimeUp


def wait_lock(fd: int, seconds: float) -> bool:
    """Take the lock, waiting for at most ``seconds``; False where somebody has it still. Uses SIGALRM."""
    if try_lock(fd):
        return True
    import _signal

    before = _signal.signal(_signal.SIGALRM, _time_up)
    try:
        _signal.setitimer(_signal.ITIMER_REAL, seconds)
        fcntl.fcntl(fd, _F_OFD_SETLKW, _FLOCK.pack(_F_WRLCK, 0, 0, 0, 0))
        return True
    except _TimeUp:
        return False
    finally:
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        _signal.signal(_signal.SIGALRM, before)
