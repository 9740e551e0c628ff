"""A tenant as a tar: its facts, its settings, its upper directory with all that treecopy.py keeps.

    tenant.json settings.toml root/ root/… tenant.end

Owners are numbers as the tenant has them, extended attributes PAX headers (SCHILY.xattr, as GNU tar, star and
libarchive have them), files with holes GNU's sparse format 1.0. What belongs to one host only is left out: sockets, and
what overlayfs notes of the layers' inodes. The last member is empty: tar itself does not tell a file that was cut off.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import tarfile

from pycontain.kernel.errors import Error, os_text
from pycontain.storage.treecopy import MAX_DEPTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from _typeshed import ReadableBuffer

FACTS, SETTINGS, ROOT, END = "tenant.json", "settings.toml", "root", "tenant.end"
XATTR = "SCHILY.xattr."
#: They speak of inodes of this host's layers.
LOCAL = ("trusted.overlay.origin", "trusted.overlay.impure", "trusted.overlay.uuid", "trusted.overlay.nlink")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 512


def write(out: IO[bytes], facts: bytes, settings: bytes, upper: int, warn: Callable[[str], None]) -> None:
    """Write the archive. warn: gets a line for what is left out. Raises Error, BrokenPipeError."""
    sink = _Sink(out)
    try:
        with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 18) as archive:
            try:
                for name, data in ((FACTS, facts), (SETTINGS, settings)):
                    entry = tarfile.TarInfo(name)
                    entry.size, entry.mode = len(data), 0o600
                    archive.addfile(entry, io.BytesIO(data))
                _Packer(archive, warn).directory(upper, ROOT, 0)
                archive.addfile(tarfile.TarInfo(END))
            except BaseException:
                sink.given_up = True
                raise
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Error(f"cannot write the archive: {os_text(error)}") from None


class _Sink(io.RawIOBase):
    """What tarfile writes to. given_up: nothing more goes out: the rest would wait for a reader that has perhaps gone,
    and with it a tenant that stands still.
    """

    def __init__(self, out: IO[bytes]) -> None:
        self.out = out
        self.given_up = False

    def write(self, data: ReadableBuffer) -> int:
        return memoryview(data).nbytes if self.given_up else self.out.write(data)


class _Packer:
    """links: of files with several names, by inode, the first name in the archive."""

    def __init__(self, archive: tarfile.TarFile, warn: Callable[[str], None]) -> None:
        self.archive = archive
        self.warn = warn
        self.links: dict[tuple[int, int], str] = {}

    def directory(self, fd: int, path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Error(f"{path}: more than {MAX_DEPTH} directories inside each other cannot be exported")
        entry = _entry(path, os.fstat(fd), tarfile.DIRTYPE)
        _add(entry, _attributes(fd))
        self.archive.addfile(entry)
        for name in sorted(os.listdir(fd)):
            self._child(fd, name, f"{path}/{name}", depth)

    def _child(self, parent: int, name: str, path: str, depth: int) -> None:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
            try:
                self.directory(fd, path, depth + 1)
            finally:
                os.close(fd)
            return
        key = (info.st_dev, info.st_ino)
        if info.st_nlink > 1 and key in self.links:
            entry = _entry(path, info, tarfile.LNKTYPE)
            entry.linkname = self.links[key]
            self.archive.addfile(entry)
            return
        if stat.S_ISREG(info.st_mode):
            self._file(parent, name, path)
        elif not self._special(parent, name, path, info):
            return
        if info.st_nlink > 1:
            self.links[key] = path

    def _file(self, parent: int, name: str, path: str) -> None:
        fd = os.open(name, _READ, dir_fd=parent)
        with open(fd, "rb", buffering=0) as file:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            entry = _entry(path, info, tarfile.REGTYPE)
            _add(entry, _attributes(fd))
            if info.st_blocks * _BLOCK < info.st_size:
                self._sparse(entry, fd, info.st_size)
                return
            entry.size = info.st_size
            self.archive.addfile(entry, file)

    def _sparse(self, entry: tarfile.TarInfo, fd: int, size: int) -> None:
        """GNU's format 1.0: a map of what is no hole, then that."""
        parts = list(_data(fd, size))
        if not parts or parts[-1][0] + parts[-1][1] < size:
            parts.append((size, 0))
        numbers = [len(parts), *(number for part in parts for number in part)]
        table = "".join(f"{number}\n" for number in numbers).encode()
        table += bytes(-len(table) % _BLOCK)
        sparse = {"major": "1", "minor": "0", "name": entry.name, "realsize": str(size)}
        _add(entry, {f"GNU.sparse.{key}": value for key, value in sparse.items()})
        entry.size = len(table) + sum(length for _, length in parts)
        self.archive.addfile(entry, _Parts(table, fd, parts))

    def _special(self, parent: int, name: str, path: str, info: os.stat_result) -> bool:
        kind = _KINDS.get(stat.S_IFMT(info.st_mode))
        if kind is None:
            self.warn(f"{path}: left out: a socket is there only while its program runs")
            return False
        entry = _entry(path, info, kind)
        if kind == tarfile.SYMTYPE:
            entry.linkname = os.readlink(name, dir_fd=parent)
        elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            entry.devmajor, entry.devminor = os.major(info.st_rdev), os.minor(info.st_rdev)
        fd = os.open(name, _PATH, dir_fd=parent)
        try:
            _add(entry, _attributes(fd))
        finally:
            os.close(fd)
        self.archive.addfile(entry)
        return True


_KINDS = {
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


class _Parts(io.RawIOBase):
    """What is to be read of a file with holes: its map, then its parts."""

    def __init__(self, table: bytes, fd: int, parts: list[tuple[int, int]]) -> None:
        self._table = table
        self._fd = fd
        self._parts = [part for part in parts if part[1]]

    def read(self, size: int = -1) -> bytes:
        """Never less than asked for, but at the end."""
        found = bytearray()
        while len(found) < size:
            piece = self._next(size - len(found))
            if not piece:
                break
            found += piece
        return bytes(found)

    def _next(self, size: int) -> bytes:
        if self._table:
            piece, self._table = self._table[:size], self._table[size:]
            return piece
        if not self._parts:
            return b""
        offset, length = self._parts[0]
        # what has become shorter meanwhile is a hole
        piece = os.pread(self._fd, min(size, length), offset) or bytes(min(size, length))
        rest = (offset + len(piece), length - len(piece))
        self._parts[:1] = [rest] if rest[1] else []
        return piece


def _data(fd: int, size: int) -> list[tuple[int, int]]:
    """Offset and length of what is no hole."""
    found = []
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        end = min(os.lseek(fd, at, os.SEEK_HOLE), size)
        found.append((at, end - at))
        at = end
    return found


def _entry(path: str, info: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type = kind
    entry.mode, entry.uid, entry.gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
    entry.mtime = info.st_mtime_ns // 10**9
    if info.st_mtime_ns % 10**9:
        entry.pax_headers = {"mtime": f"{entry.mtime}.{info.st_mtime_ns % 10**9:09d}"}
    return entry


def _add(entry: tarfile.TarInfo, headers: dict[str, str]) -> None:
    entry.pax_headers = {**entry.pax_headers, **headers}


def _attributes(fd: int) -> dict[str, str]:
    try:
        names = os.listxattr(f"/proc/self/fd/{fd}")
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA):
            return {}
        raise
    found = {}
    for name in names:
        if name not in LOCAL:
            value = os.getxattr(f"/proc/self/fd/{fd}", name)
            found[XATTR + name] = value.decode("utf-8", "surrogateescape")
    return found
