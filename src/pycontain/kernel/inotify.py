"""inotify(7): being told what changes in a directory. Not for the start road: it goes through ctypes."""

from __future__ import annotations

import ctypes
import errno
import os
from _struct import Struct

from pycontain.kernel.errors import Error, os_text

# linux/inotify.h
MODIFY = 0x0002
CLOSE_WRITE = 0x0008
MOVED_FROM = 0x0040
MOVED_TO = 0x0080
CREATE = 0x0100
DELETE = 0x0200
DELETE_SELF = 0x0400
OVERFLOW = 0x4000
IGNORED = 0x8000
_ONLY_DIRECTORY = 0x01000000

#: struct inotify_event: wd, mask, cookie, length of the name that follows.
_EVENT = Struct("iIII")
_BUFFER = 64 << 10


class Event:
    """Something that happened. watch: what add() gave; -1 with OVERFLOW. name: of the entry, "" for the directory."""

    __slots__ = ("mask", "name", "watch")

    def __init__(self, watch: int, mask: int, name: str) -> None:
        self.watch = watch
        self.mask = mask
        self.name = name

    def __repr__(self) -> str:
        return f"Event({self.watch}, {self.mask:#x}, {self.name!r})"


class Inotify:
    """One inotify instance; ``fd`` is readable when there are events."""

    __slots__ = ("_libc", "fd")

    def __init__(self) -> None:
        """Raises Error where the user has no instance left, or the kernel none at all."""
        self.fd = -1
        self._libc = ctypes.CDLL(None, use_errno=True)
        fd = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if fd < 0:
            number = ctypes.get_errno()
            hint = {
                errno.EMFILE: ": this user's instances are used up: raise sysctl fs.inotify.max_user_instances",
                errno.ENOSYS: ": the kernel is built without it (CONFIG_INOTIFY_USER)",
            }.get(number, "")
            raise Error(f"cannot watch files with inotify: {os.strerror(number)}{hint}")
        self.fd = fd

    def __enter__(self) -> Inotify:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def add(self, directory: str, mask: int) -> int:
        """Watch a directory; the number of the watch, -1 where it does not exist. Raises Error."""
        watch: int = self._libc.inotify_add_watch(
            self.fd, os.fsencode(directory), ctypes.c_uint32(mask | _ONLY_DIRECTORY)
        )
        if watch < 0:
            number = ctypes.get_errno()
            if number == errno.ENOENT:
                return -1
            hint = ": raise sysctl fs.inotify.max_user_watches" if number == errno.ENOSPC else ""
            raise Error(f"cannot watch {directory}: {os_text(OSError(number, ''))}{hint}")
        return watch

    def read(self) -> list[Event]:
        """The events since the last time; none where nothing happened."""
        try:
            data = os.read(self.fd, _BUFFER)
        except BlockingIOError:
            return []
        return events(data)


def events(data: bytes) -> list[Event]:
    """The events in what the kernel wrote."""
    found = []
    at = 0
    while at + _EVENT.size <= len(data):
        watch, mask, _, length = _EVENT.unpack_from(data, at)
        at += _EVENT.size
        name = data[at : at + length].rstrip(b"\0")
        found.append(Event(watch, mask, os.fsdecode(name)))
        at += length
    return found
