"""Work in the network namespace of another process. Not for the start road: there it is the helper."""

from __future__ import annotations

import os

from pycontain.kernel import libc

_NEWNET = 0x40000000


class Inside:
    """A context in which this thread is in the network namespace of a process. Raises OSError."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __enter__(self) -> None:
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(f"/proc/{self._pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc.setns(there, _NEWNET)
            finally:
                os.close(there)
        except BaseException:
            os.close(self._home)
            raise

    def __exit__(self, *_: object) -> None:
        try:
            libc.setns(self._home, _NEWNET)
        finally:
            os.close(self._home)
