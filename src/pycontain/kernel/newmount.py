"""A file system mounted nowhere: fsopen(2), fsconfig(2), fsmount(2). Off the start road."""

from __future__ import annotations

import ctypes
import os

# asm-generic/unistd.h, the same on every architecture
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC = 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6


class MountRefused(OSError):
    """With what the kernel said of it."""


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def mount(type: str, source: str, flags: tuple[str, ...] = ()) -> int:
    """A descriptor of the root of a mount that is attached nowhere: with its last descriptor it goes.

    flags: options without a value. Raises MountRefused, OSError.
    """
    context = _call(_FSOPEN, type.encode(), ctypes.c_uint(_CLOEXEC))
    try:
        _configure(context, _SET_STRING, b"source", os.fsencode(source))
        for flag in flags:
            _configure(context, _SET_FLAG, flag.encode(), None)
        _configure(context, _CREATE, None, None)
        return _call(_FSMOUNT, ctypes.c_int(context), ctypes.c_uint(_CLOEXEC), ctypes.c_uint(0))
    except OSError as error:
        raise MountRefused(error.errno, f"{error.strerror}{_said(context)}") from None
    finally:
        os.close(context)


def _configure(context: int, command: int, key: bytes | None, value: bytes | None) -> None:
    _call(_FSCONFIG, ctypes.c_int(context), ctypes.c_uint(command), key, value, ctypes.c_int(0))


def _said(context: int) -> str:
    """The kernel's log of a context, as the end of a sentence."""
    try:
        text = os.read(context, 4096).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return f": {text[2:]}" if text else ""
