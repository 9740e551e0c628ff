"""tar streams of what is known by descriptors: ``cp CONTAINER:PATH -`` and ``cp - CONTAINER:PATH``."""

from __future__ import annotations

import os
import stat
import tarfile

from pycontain.engine.transfer import DIRECTORY, MAX_DEPTH, READ, Copier
from pycontain.kernel import idmap
from pycontain.kernel.errors import Error, UsageError, os_text

#: Kinds of headers that stand before the one of a member, and how long they may be: attributes are 64K each.
_BEFORE = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MOST = 16 << 20
#: user_namespaces(7), /proc/sys/kernel/overflowuid
_NOBODY = 65534

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO, Any, Self, TypeVar

    T = TypeVar("T")


def write(parent: int, name: str, as_name: str, out: IO[bytes], copier: Copier, maps: idmap.Maps | None = None) -> None:
    """Write an entry of a directory, and what is below it, as a tar archive. Raises Error.

    maps: what the owners that are seen here are in the container; those that it does not have are 65534, nobody.
    """
    try:
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, parent, name, as_name, copier, 0, maps)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Error(f"{as_name}: {os_text(error)}") from None


def _inside(maps: idmap.Maps, uid: int, gid: int) -> tuple[int, int]:
    inner, group = idmap.to_inside(maps.uids, uid), idmap.to_inside(maps.gids, gid)
    return _NOBODY if inner < 0 else inner, _NOBODY if group < 0 else group


def _add(
    archive: tarfile.TarFile,
    parent: int,
    name: str,
    path: str,
    copier: Copier,
    depth: int,
    maps: idmap.Maps | None,
) -> None:
    if depth > MAX_DEPTH:
        raise Error(f"{path}: more than {MAX_DEPTH} directories inside each other")
    info = os.stat(name, dir_fd=parent, follow_symlinks=False)
    entry = tarfile.TarInfo(path)
    entry.mode, entry.uid, entry.gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
    if maps:
        entry.uid, entry.gid = _inside(maps, info.st_uid, info.st_gid)
    entry.mtime = int(info.st_mtime)
    if stat.S_ISDIR(info.st_mode):
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
        fd = os.open(name, DIRECTORY, dir_fd=parent)
        try:
            for child in sorted(os.listdir(fd)):
                _add(archive, fd, child, f"{path}/{child}", copier, depth + 1, maps)
        finally:
            os.close(fd)
    elif stat.S_ISLNK(info.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=parent)
        archive.addfile(entry)
    elif stat.S_ISREG(info.st_mode):
        with open(os.open(name, READ, dir_fd=parent), "rb") as file:
            entry.size = os.fstat(file.fileno()).st_size
            archive.addfile(entry, file)
    else:
        copier.warn(f"{path}: left out: it is no file, directory or symbolic link")


def parts_of(name: str) -> list[str]:
    """The components of a member's name, which may not lead up. Raises UsageError."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UsageError(f"the archive has a member {name!r}, which leads out of the directory")
    if "\0" in name:
        raise UsageError(f"the archive has a member {name!r}: no file can be called so")
    return parts


def extract(source: IO[bytes], target: int, copier: Copier) -> None:
    """Extract a tar archive, compressed or not, into a directory. Raises Error, UsageError."""
    try:
        with Archive(source) as archive:
            while member := archive.next():
                _extract(archive, member, target, copier)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Error(f"cannot extract the archive: {where}{os_text(error)}") from None


class _Source:
    """A stream that has an end. ``tarfile`` skips what a header says that there is by reading on, which for a header
    that says 2**63 is as good as for ever.
    """

    #: Behind the end it looks a few times for more, legitimately.
    _PATIENCE = 100

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._empty = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._empty = 0 if data else self._empty + 1
        if self._empty > self._PATIENCE:
            raise tarfile.ReadError("unexpected end of data")
        return data


class _Member(tarfile.TarInfo):
    """What is said before a member, of its names and attributes, ``tarfile`` reads into memory whole: a few hundred
    bytes of a compressed archive could stand for more than there is.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _BEFORE and found.size > _MOST:
            raise UsageError(f"the archive has a header of {found.size} bytes, where {_MOST} are the most")
        return found


class Content:
    """What is in one member. Errors are Archive's."""

    def __init__(self, guarded: Callable[[Callable[[], Any]], Any], data: IO[bytes]) -> None:
        self._guarded = guarded
        self._data = data

    def seek(self, offset: int) -> None:
        """Go on from there, which lies ahead."""
        self._guarded(lambda: self._data.seek(offset))

    def read(self, size: int) -> bytes:
        """So many bytes, less at the end of the member."""
        found: bytes = self._guarded(lambda: self._data.read(size))
        return found


class Archive:
    """An archive of unknown origin. ``tarfile`` and its decompressors answer one that is damaged with errors of a dozen
    kinds, among them AttributeError: here each becomes a UsageError. An OSError of the stream itself stays one.
    what: the source, for errors.
    """

    def __init__(self, source: IO[bytes], what: str = "standard input") -> None:
        self._what = what
        stream: Any = _Source(source)
        self._archive = self._guarded(lambda: tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Member))

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def next(self) -> tarfile.TarInfo | None:
        """The next member, None behind the last."""
        return self._guarded(self._archive.next)

    def content(self, member: tarfile.TarInfo) -> Content:
        """The content of a regular file, for who does not want all of it in one go."""
        data: Any = self._guarded(lambda: self._archive.extractfile(member))
        # its buffer would ask the stream whether it can be sought in; forward it can
        return Content(self._guarded, data.raw)

    def chunks(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """The content of a regular file."""
        data = self._guarded(lambda: self._archive.extractfile(member))
        assert data is not None
        while chunk := self._guarded(lambda: data.read(1 << 20)):
            yield chunk

    def _guarded(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except OSError as error:
            if error.errno:
                raise
            raise UsageError(f"{self._what} is not a tar archive: {error}") from None
        except (Error, MemoryError, RecursionError):
            raise
        except Exception as error:
            raise UsageError(f"{self._what} is not a tar archive: {error}") from None


def descend(target: int, parts: list[str], copier: Copier) -> int:
    """A descriptor of a directory below ``target``, made where it is missing, links not followed."""
    fd = os.dup(target)
    for part in parts:
        try:
            inner = copier.make_directory(fd, part, 0o755)
        finally:
            os.close(fd)
        fd = inner
    return fd


def _extract(archive: Archive, member: tarfile.TarInfo, target: int, copier: Copier) -> None:
    parts = parts_of(member.name)
    if not parts:
        return
    parent = descend(target, parts[:-1], copier)
    try:
        name = parts[-1]
        if member.isdir():
            fd = copier.make_directory(parent, name, 0o755)
            os.fchmod(fd, member.mode & 0o7777)
            os.close(fd)
        elif member.issym():
            if "\0" in member.linkname:
                raise UsageError(f"the archive has a symbolic link {member.name!r} to {member.linkname!r}")
            copier.new_link(parent, name, member.linkname)
        elif member.isreg():
            _extract_file(archive, member, parent, name, copier)
        elif member.islnk():
            _extract_hard_link(member, target, parent, name, copier)
        else:
            copier.warn(f"{member.name}: left out: it is no file, directory or link")
    finally:
        os.close(parent)


def _extract_file(archive: Archive, member: tarfile.TarInfo, parent: int, name: str, copier: Copier) -> None:
    with open(copier.new_file(parent, name, member.mode), "wb") as file:
        for chunk in archive.chunks(member):
            file.write(chunk)
        file.flush()
        try:
            os.utime(file.fileno(), (member.mtime, member.mtime))
        except (OverflowError, ValueError):
            raise UsageError(f"the archive has a member {member.name!r} of the time {member.mtime}") from None


def _extract_hard_link(member: tarfile.TarInfo, target: int, parent: int, name: str, copier: Copier) -> None:
    """A link to what the archive has brought before, under the same rules."""
    parts = parts_of(member.linkname)
    if not parts:
        raise UsageError(f"the archive has a hard link {member.name!r} to nothing")
    origin = descend(target, parts[:-1], copier)
    try:
        if not stat.S_ISREG(os.stat(parts[-1], dir_fd=origin, follow_symlinks=False).st_mode):
            raise UsageError(f"the archive has a hard link {member.name!r} to {member.linkname!r}, which is no file")
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        os.link(parts[-1], name, src_dir_fd=origin, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(origin)
