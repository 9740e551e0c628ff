"""btrfs: subvolumes, snapshots of them, and the limits of their quota groups, by ioctl(2). Off the start road."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

# linux/btrfs.h
_SUBVOL_CREATE, _SNAP_DESTROY = 0x5000940E, 0x5000940F
_SNAP_CREATE_V2, _INO_LOOKUP, _FS_INFO = 0x50009417, 0xD0009412, 0x8400941F
_QGROUP_CREATE, _QGROUP_LIMIT = 0x4010942A, 0x8030942B
_MAX_REFERENCED = 1
_READ_ONLY = 1 << 1
_FIRST_INODE = 256
_NAME = 4088
_NAME_V2 = 4040


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)


def is_one(fd: int) -> bool:
    """Whether a directory is the root of a subvolume of btrfs."""
    if os.fstat(fd).st_ino != _FIRST_INODE:
        return False
    try:
        number(fd)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
            return False
        raise
    return True


def number(fd: int) -> int:
    """The number of the subvolume that a directory is in. Raises OSError: ENOTTY where it is not on btrfs."""
    data = bytearray(4096)
    struct.pack_into("=2Q", data, 0, 0, _FIRST_INODE)
    fcntl.ioctl(fd, _INO_LOOKUP, data)
    found: int = struct.unpack_from("=Q", data)[0]
    return found


def create(path: str, mode: int) -> None:
    """An empty subvolume. Raises OSError."""
    above, name = os.path.split(path)
    parent = _open(above)
    try:
        # bytes of more than a KiB it does not take
        fcntl.ioctl(parent, _SUBVOL_CREATE, bytearray(struct.pack(f"=q{_NAME}s", 0, os.fsencode(name))))
    finally:
        os.close(parent)
    os.chmod(path, mode)


def snapshot(source: int, path: str, read_only: bool = False) -> None:
    """A snapshot of the subvolume whose root ``source`` is. Raises OSError."""
    above, name = os.path.split(path)
    flags = _READ_ONLY if read_only else 0
    parent = _open(above)
    try:
        data = bytearray(struct.pack(f"=qQQ32x{_NAME_V2}s", source, 0, flags, os.fsencode(name)))
        fcntl.ioctl(parent, _SNAP_CREATE_V2, data)
    finally:
        os.close(parent)


def destroy(path: str) -> None:
    """Remove a subvolume with all that is in it, and its quota group. Raises OSError."""
    above, name = os.path.split(path)
    fd = _open(path)
    try:
        group = number(fd)
    finally:
        os.close(fd)
    parent = _open(above)
    try:
        fcntl.ioctl(parent, _SNAP_DESTROY, bytearray(struct.pack(f"=q{_NAME}s", 0, os.fsencode(name))))
        try:
            fcntl.ioctl(parent, _QGROUP_CREATE, struct.pack("=2Q", 0, group))
        except OSError:
            pass  # without quotas there is none, and with newer kernels it goes by itself
    finally:
        os.close(parent)


def forget(path: str) -> None:
    """As destroy, for what may be no subvolume, or not there. Raises OSError."""
    try:
        fd = _open(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        found = is_one(fd)
    finally:
        os.close(fd)
    if found:
        destroy(path)


def limit(path: str, size: int) -> None:
    """What a subvolume may refer to, in bytes; 0: no limit. Raises OSError."""
    fd = _open(path)
    try:
        # a limit of all ones takes it away
        value = size or (1 << 64) - 1
        fcntl.ioctl(fd, _QGROUP_LIMIT, struct.pack("=6Q", number(fd), _MAX_REFERENCED, value, 0, 0, 0))
    finally:
        os.close(fd)


def quotas(fd: int) -> bool:
    """Whether quota groups are kept on the file system of a directory. Raises OSError."""
    return os.path.isdir(f"{_sysfs(fd)}/qgroups")


def used(fd: int) -> int:
    """Bytes that a subvolume refers to, as its quota group has them; -1 where that is not kept. Raises OSError."""
    try:
        with open(f"{_sysfs(fd)}/qgroups/0_{number(fd)}/referenced", encoding="ascii") as file:
            return int(file.read())
    except FileNotFoundError:
        return -1


def _sysfs(fd: int) -> str:
    data = bytearray(1024)
    fcntl.ioctl(fd, _FS_INFO, data)
    text = data[16:32].hex()
    return f"/sys/fs/btrfs/{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
