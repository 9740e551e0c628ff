"""Loop devices: a file as a block device. They go by themselves with the last that uses them (loop(4)).

A file that two devices have is lost: two file systems write to it that do not know of each other. So a file that has a
device already is used by that one, also where it is just about to go.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from pycontain.kernel.errors import Error, os_text

# linux/loop.h
_GET_FREE, _CONFIGURE, _STATUS, _CAPACITY = 0x4C82, 0x4C0A, 0x4C05, 0x4C07
_AUTOCLEAR = 4
#: struct loop_info64; its first two members are device and inode of the file.
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
#: struct loop_config: descriptor, block size, the above, eight reserved numbers.
_CONFIG = struct.Struct(f"=2I{_INFO.size}s8Q")
_TRIES = 64


class Loop:
    """A device with a descriptor of it, that keeps it."""

    __slots__ = ("fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd

    def close(self) -> None:
        """Without a file system that is mounted from it the device is free again."""
        os.close(self.fd)

    def grown(self) -> None:
        """Tell the device that its file has another size. Raises OSError."""
        fcntl.ioctl(self.fd, _CAPACITY, 0)


def attach(image: str) -> Loop:
    """The device of a file, a free one where it has none. Raises Error."""
    try:
        # two that attach it at once; not the lock of what the device is given, which keeps it
        lock = os.open(image, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            file = os.open(f"/proc/self/fd/{lock}", os.O_RDWR | os.O_CLOEXEC)
            try:
                return find(file) or _new(file, image)
            finally:
                os.close(file)
        finally:
            os.close(lock)
    except OSError as error:
        hint = ": the loop module is not there (modprobe loop)" if error.errno in (errno.ENOENT, errno.ENODEV) else ""
        raise Error(f"cannot make a loop device of {image}: {error.filename or ''} {os_text(error)}{hint}") from None


def find(file: int) -> Loop | None:
    """The device that a file has. Raises OSError."""
    status = os.fstat(file)
    for name in _names():
        found = _open(name, status.st_dev, status.st_ino)
        if found is not None:
            return found
    return None


def _names() -> list[str]:
    """Those that have a file."""
    try:
        names = [name for name in os.listdir("/sys/block") if name.startswith("loop")]
    except FileNotFoundError:
        return []
    return [name for name in names if os.path.exists(f"/sys/block/{name}/loop/backing_file")]


def _open(name: str, device: int, inode: int) -> Loop | None:
    """A device where it is that of a file; open, it does not go. Judged after it was opened."""
    path = f"/dev/{name}"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None  # it goes just now, or is not in this /dev
    data = bytearray(_INFO.size)
    try:
        fcntl.ioctl(fd, _STATUS, data)
        if struct.unpack_from("=2Q", data) == (device, inode):
            return Loop(path, fd)
    except OSError:
        pass  # without a file by now
    os.close(fd)
    return None


def _new(file: int, image: str) -> Loop:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            path = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, _CONFIGURE, _config(file, image))
                return Loop(path, fd)
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:  # somebody else was quicker
                    raise
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _config(file: int, image: str) -> bytes:
    name = os.fsencode(image)[:63]
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR, name, b"", b"", 0, 0)
    return _CONFIG.pack(file, 0, info, *[0] * 8)
