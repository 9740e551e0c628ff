"""System calls that Python 3.11 has no name for, through ctypes. Not for the start road: there it is the helper."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)

# sched.h, sys/mount.h, linux/prctl.h, linux/keyctl.h
NEWNS = 0x20000
BIND, REC, SLAVE = 0x1000, 0x4000, 0x80000
DETACH = 2
_PDEATHSIG = 1
_JOIN_SESSION_KEYRING = 1
_KEYCTL = {"x86_64": 250, "i686": 288, "armv7l": 311, "s390x": 280, "ppc64le": 271}.get(os.uname().machine, 219)


def _check(result: int, path: str = "") -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path) if path else OSError(code, os.strerror(code))


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError."""
    _check(_libc.unshare(flags))


def setns(fd: int, kind: int) -> None:
    """setns(2). Raises OSError."""
    _check(_libc.setns(fd, kind))


def mount(source: str, target: str, flags: int, kind: str = "") -> None:
    """mount(2) of what needs no data: binds, changes of propagation, a file system of type ``kind``. Raises OSError."""
    type_ = os.fsencode(kind) if kind else None
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), type_, ctypes.c_ulong(flags), None), target)


def unmount(target: str) -> None:
    """umount2(2) with MNT_DETACH. Raises OSError."""
    _check(_libc.umount2(os.fsencode(target), DETACH), target)


def die_with_parent(signal: int) -> None:
    """prctl(2), PR_SET_PDEATHSIG. Raises OSError."""
    _check(_libc.prctl(_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0))


def join_session_keyring(name: str) -> None:
    """keyctl(2): a session keyring of this name, for us and all that we start. Raises OSError."""
    _check(_libc.syscall(_KEYCTL, _JOIN_SESSION_KEYRING, name.encode()))


def syncfs(fd: int) -> None:
    """syncfs(2): all of the file system that ``fd`` is on is on the disk. Raises OSError."""
    _check(_libc.syncfs(fd))


def exchange(one: str, other: str) -> None:
    """renameat2(2), RENAME_EXCHANGE: two names change places, in one step. Raises OSError."""
    at = ctypes.c_int(-100)
    _check(_libc.renameat2(at, os.fsencode(one), at, os.fsencode(other), ctypes.c_uint(2)), one)
