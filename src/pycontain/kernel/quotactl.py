"""Project quotas: quotactl_fd(2), and the project of a directory (ioctl_fsxattr). Off the start road.

One interface for ext4 and XFS: what XFS' own commands say of limits ext4 says, too, and the other way round.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

# asm-generic/unistd.h, the same on every architecture since Linux 5.1
_QUOTACTL_FD = 443
# linux/quota.h, linux/dqblk_xfs.h
_PRJQUOTA = 2
_GETQUOTA, _SETQUOTA = 0x800007, 0x800008
_XGETQSTATV = ord("X") << 8 | 8
_ENFORCED = 1 << 5
_QIF_LIMITS = 1 | 4
_BLOCK = 1024
#: struct if_dqblk: bytes are given as blocks of 1 KiB, and what is used as bytes.
_DQBLK = struct.Struct("=8QI4x")
_STATV_SIZE = 160
# linux/fs.h: struct fsxattr
_GETXATTR, _SETXATTR = 0x801C581F, 0x401C5820
_FSXATTR = struct.Struct("=5I8x")
_PROJINHERIT = 0x200


class Quota:
    """What a project has and may have: bytes and inodes; a limit of 0 is none."""

    __slots__ = ("inodes", "size", "used", "used_inodes")

    def __init__(self, size: int, used: int, inodes: int, used_inodes: int) -> None:
        self.size = size
        self.used = used
        self.inodes = inodes
        self.used_inodes = used_inodes


def _call(fd: int, command: int, number: int, data: ctypes.Array[ctypes.c_char]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(
        ctypes.c_long(_QUOTACTL_FD),
        ctypes.c_uint(fd),
        ctypes.c_uint((command << 8 | _PRJQUOTA) & 0xFFFFFFFF),
        ctypes.c_uint(number),
        data,
    )
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def enforced(fd: int) -> bool:
    """Whether the file system of a directory keeps project quotas. Raises OSError where it cannot be asked."""
    data = ctypes.create_string_buffer(_STATV_SIZE)
    data[0] = b"\1"
    try:
        _call(fd, _XGETQSTATV, 0, data)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ESRCH, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOTBLK):
            return False
        raise
    flags: int = struct.unpack_from("=H", data, 2)[0]
    return bool(flags & _ENFORCED)


def read(fd: int, project: int) -> Quota:
    """The limits and the use of a project; one that nobody has used has nothing of either. Raises OSError."""
    data = ctypes.create_string_buffer(_DQBLK.size)
    try:
        _call(fd, _GETQUOTA, project, data)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):
            return Quota(0, 0, 0, 0)
        raise
    hard, _, used, ihard, _, inodes, _, _, _ = _DQBLK.unpack(data.raw)
    return Quota(hard * _BLOCK, used, ihard, inodes)


def write(fd: int, project: int, size: int, inodes: int) -> None:
    """Set a project's limits, bytes (rounded up to KiB) and inodes; 0: none. Raises OSError."""
    blocks = -(-size // _BLOCK)
    data = ctypes.create_string_buffer(_DQBLK.pack(blocks, 0, 0, inodes, 0, 0, 0, 0, _QIF_LIMITS), _DQBLK.size)
    _call(fd, _SETQUOTA, project, data)


def assign(fd: int, project: int) -> None:
    """Put a directory into a project, and all that will be made in it. Raises OSError."""
    data = bytearray(_FSXATTR.size)
    fcntl.ioctl(fd, _GETXATTR, data)
    flags, extent, extents, _, cow = _FSXATTR.unpack(data)
    fcntl.ioctl(fd, _SETXATTR, _FSXATTR.pack(flags | _PROJINHERIT, extent, extents, project, cow))


def project(fd: int) -> int:
    """The number of the project that a directory is in. Raises OSError."""
    data = bytearray(_FSXATTR.size)
    fcntl.ioctl(fd, _GETXATTR, data)
    return int(_FSXATTR.unpack(data)[3])
