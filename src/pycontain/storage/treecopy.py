"""A copy of an overlay's upper directory with all that it says: owners, modes, times, extended attributes (opaque
directories, file capabilities), whiteouts, devices, hard links, holes. Off the start road.

By descriptors: a guest has named what is in it. Nobody writes to either side meanwhile. Blocks are shared with the
original where the file system can (FICLONE).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from pycontain.kernel.errors import Error, os_text

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: linux/fs.h
_FICLONE = 0x40049409
_CHUNK = 1 << 24
#: Each level costs two descriptors and frames of Python; who nests deeper does it to be a nuisance.
MAX_DEPTH = 300
#: The kernel's own answers to extended attributes that cannot be set there.
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.ENODATA)


class Copied:
    """What was copied. cloned: whether the blocks of all its files are shared with the original."""

    __slots__ = ("cloned", "files", "size")

    def __init__(self) -> None:
        self.files = 0
        self.size = 0
        self.cloned = True


class _Copier:
    """links: of files with several names, by device and inode, the first name in the copy."""

    def __init__(self, top: int) -> None:
        self.top = top
        self.links: dict[tuple[int, int], str] = {}
        self.copied = Copied()

    def content(self, source: int, target: int, path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Error(f"{path}: more than {MAX_DEPTH} directories inside each other cannot be copied")
        for name in sorted(os.listdir(source)):
            inner = f"{path}/{name}" if path else name
            try:
                self._entry(source, target, name, inner, depth)
            except OSError as error:
                raise Error(f"cannot copy {inner!r}: {os_text(error)}{_hint(error)}") from None

    def _entry(self, source: int, target: int, name: str, path: str, depth: int) -> None:
        info = os.stat(name, dir_fd=source, follow_symlinks=False)
        self.copied.files += 1
        if stat.S_ISDIR(info.st_mode):
            self._directory(source, target, name, path, depth)
            return
        several = info.st_nlink > 1
        key = (info.st_dev, info.st_ino)
        if several and key in self.links:
            os.link(self.links[key], name, src_dir_fd=self.top, dst_dir_fd=target, follow_symlinks=False)
            return
        if stat.S_ISREG(info.st_mode):
            self._file(source, target, name)
        else:
            self._special(source, target, name, info)
        if several:
            self.links[key] = path

    def _directory(self, source: int, target: int, name: str, path: str, depth: int) -> None:
        inside = os.open(name, _DIRECTORY, dir_fd=source)
        try:
            os.mkdir(name, 0o700, dir_fd=target)
            made = os.open(name, _DIRECTORY, dir_fd=target)
            try:
                self.content(inside, made, path, depth + 1)
                facts(inside, made)
            finally:
                os.close(made)
        finally:
            os.close(inside)

    def _file(self, source: int, target: int, name: str) -> None:
        origin = os.open(name, _READ, dir_fd=source)
        try:
            info = os.fstat(origin)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            new = os.open(name, _NEW, 0o600, dir_fd=target)
            try:
                self.copied.cloned &= content(origin, new, info.st_size)
                self.copied.size += info.st_blocks * 512
                facts(origin, new)
            finally:
                os.close(new)
        finally:
            os.close(origin)

    def _special(self, source: int, target: int, name: str, info: os.stat_result) -> None:
        """A link, device, FIFO or socket. Whiteouts are devices 0:0."""
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            os.mknod(name, info.st_mode, info.st_rdev, dir_fd=target)
        origin = os.open(name, _PATH, dir_fd=source)
        try:
            new = os.open(name, _PATH, dir_fd=target)
            try:
                os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
                if not stat.S_ISLNK(info.st_mode):
                    os.chmod(f"/proc/self/fd/{new}", stat.S_IMODE(info.st_mode))
                _attributes(origin, new)
                os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=target, follow_symlinks=False)
            finally:
                os.close(new)
        finally:
            os.close(origin)


def _hint(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return ": there is no room left: free some, or give the disk more"
    if error.errno == errno.EDQUOT:
        return ": the quota is used up: give the disk more"
    return ""


def facts(source: int, target: int) -> None:
    """Owner, mode, extended attributes and times of a file or directory. Raises OSError."""
    info = os.fstat(source)
    os.fchown(target, info.st_uid, info.st_gid)
    os.fchmod(target, stat.S_IMODE(info.st_mode))
    # after the owner: chown(2) takes file capabilities away
    _attributes(source, target)
    os.utime(f"/proc/self/fd/{target}", ns=(info.st_atime_ns, info.st_mtime_ns))


def _attributes(source: int, target: int) -> None:
    # by the path: a descriptor of a link or a device is one that these calls do not take
    try:
        names = os.listxattr(f"/proc/self/fd/{source}")
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return
        raise
    for name in names:
        os.setxattr(f"/proc/self/fd/{target}", name, os.getxattr(f"/proc/self/fd/{source}", name))


def content(source: int, target: int, size: int) -> bool:
    """The content of a file that is empty yet, with its holes; whether its blocks are shared. Raises OSError."""
    if not size:
        return True
    try:
        fcntl.ioctl(target, _FICLONE, source)
        return True
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS):
            raise
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break  # a hole to its end
            raise
        end = os.lseek(source, at, os.SEEK_HOLE)
        os.lseek(target, at, os.SEEK_SET)
        while at < end:
            done = os.sendfile(target, source, at, min(end - at, _CHUNK))
            if not done:
                return False  # it has become shorter
            at += done
    return False


def tree(source: int, target: int) -> Copied:
    """Copy what is in a directory into an empty one, and its own facts. Raises Error naming what could not be."""
    copier = _Copier(target)
    copier.content(source, target, "", 0)
    try:
        facts(source, target)
    except OSError as error:
        raise Error(f"cannot copy the facts of the root: {os_text(error)}") from None
    return copier.copied
