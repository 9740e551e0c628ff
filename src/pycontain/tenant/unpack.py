"""An archive of a tenant, of whatever origin: nothing of it comes to be outside of the upper directory that it is for.

Names are resolved component by component, links on the way not followed (engine/archive.py). Device nodes are made only
where they are whiteouts or harmless, extended attributes only those that a guest could have set itself.
"""

from __future__ import annotations

import os
import stat
import tarfile

from pycontain.engine import archive
from pycontain.engine.transfer import NEW, Copier, clear
from pycontain.kernel.errors import Error, UsageError, os_text
from pycontain.storage import tree
from pycontain.tenant.pack import END, FACTS, ROOT, SETTINGS, XATTR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

#: Facts and settings larger than this are nobody's.
_SMALL = 1 << 20
_CHUNK = 1 << 20
#: null, zero, full, random, urandom, tty; and what hides a file of the template.
_HARMLESS = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)}
_WHITEOUT = (0, 0)
_ATTRIBUTES = ("user.", "security.capability", "system.posix_acl_access", "system.posix_acl_default")
_OPAQUE = "trusted.overlay.opaque"


class Reader:
    """An archive that is read once, from its beginning to its end. what: the source, for errors."""

    def __init__(self, source: IO[bytes], what: str) -> None:
        self._what = what
        self._archive = archive.Archive(source, what)

    def head(self) -> tuple[bytes, bytes]:
        """The facts and the settings, with which it begins. Raises UsageError."""
        return self._small(FACTS), self._small(SETTINGS)

    def _small(self, name: str) -> bytes:
        member = self._archive.next()
        if member is None or member.name != name or not member.isreg() or member.size > _SMALL:
            raise UsageError(f"{self._what} is no archive of a tenant: {name} is missing or not where it should be")
        return b"".join(self._archive.chunks(member))

    def extract(self, upper: int, room: int, warn: Callable[[str], None]) -> None:
        """All of the root into an upper directory, whose content goes first. room: bytes that it may take, 0 for any.

        Raises Error, UsageError.
        """
        try:
            for name in os.listdir(upper):
                tree.remove_at(upper, name)
            unpacker = _Unpacker(self._archive, upper, room, warn)
            while True:
                member = self._archive.next()
                if member is None:
                    raise UsageError(f"{self._what} is not complete: it was cut off")
                if member.name == END:
                    break
                try:
                    unpacker.member(member)
                except OSError as error:
                    raise Error(f"cannot extract {self._what}: {member.name}: {os_text(error)}") from None
            unpacker.finish()
        except OSError as error:
            raise Error(f"cannot extract {self._what}: {os_text(error)}") from None


class _Unpacker:
    """directories: their facts are set last, the innermost first: what is made in one changes its times."""

    def __init__(self, source: archive.Archive, upper: int, room: int, warn: Callable[[str], None]) -> None:
        self.source = source
        self.upper = upper
        self.room = room
        self.left = room
        self.warn = warn
        self.copier = Copier((0, 0), warn)
        self.directories: dict[tuple[str, ...], tarfile.TarInfo] = {}

    def member(self, member: tarfile.TarInfo) -> None:
        parts = archive.parts_of(member.name)
        if parts[:1] != [ROOT] or member.name.startswith("/"):
            raise UsageError(f"the archive has a member {member.name!r}, which is not below {ROOT}/")
        below = parts[1:]
        if not below:
            if not member.isdir():
                raise UsageError(f"the archive has a member {member.name!r}, which is no directory")
            self.directories[()] = member
            return
        parent = archive.descend(self.upper, below[:-1], self.copier)
        try:
            self._make(member, parent, below)
        finally:
            os.close(parent)

    def _make(self, member: tarfile.TarInfo, parent: int, below: list[str]) -> None:
        name = below[-1]
        if member.isdir():
            os.close(self.copier.make_directory(parent, name, 0o700))
            self.directories[tuple(below)] = member
        elif member.isreg():
            self._file(member, parent, name)
        elif member.islnk():
            self._hard_link(member, parent, name)
        elif member.issym():
            if "\0" in member.linkname or not member.linkname:
                raise UsageError(f"the archive has a symbolic link {member.name!r} to {member.linkname!r}")
            self.copier.new_link(parent, name, member.linkname)
            self._facts_at(member, parent, name)
        elif member.ischr() or member.isblk() or member.isfifo():
            self._node(member, parent, name)
        else:
            self.warn(f"{member.name}: left out: it is no file, directory, link, device or FIFO")

    def _file(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        clear(parent, name)
        fd = os.open(name, NEW, 0o600, dir_fd=parent)
        try:
            content = self.source.content(member)
            # what typeshed has as one number is a list of pairs
            parts: Any = member.sparse
            for offset, length in [(0, member.size)] if parts is None else parts:
                if not 0 <= offset <= offset + length <= member.size < 1 << 63:
                    raise UsageError(f"the archive has a member {member.name!r} with a part that is not in it")
                self._part(content, fd, offset, length, member)
            os.ftruncate(fd, member.size)
            _facts(fd, member, self.warn)
        finally:
            os.close(fd)

    def _part(self, content: archive.Content, fd: int, offset: int, length: int, member: tarfile.TarInfo) -> None:
        if length <= 0:
            return
        content.seek(offset)
        os.lseek(fd, offset, os.SEEK_SET)
        while length:
            data = content.read(min(length, _CHUNK))
            if not data:
                raise UsageError(f"the archive ends in its member {member.name!r}")
            length -= len(data)
            self._take(len(data))
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]

    def _take(self, size: int) -> None:
        if self.room:
            self.left -= size
            if self.left < 0:
                raise Error(
                    f"the archive has more than the {self.room} bytes that disk.space gives: give the tenant more"
                )

    def _hard_link(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        parts = archive.parts_of(member.linkname)
        if parts[:1] != [ROOT] or not parts[1:] or member.linkname.startswith("/"):
            raise UsageError(f"the archive has a hard link {member.name!r} to {member.linkname!r}, which is not in it")
        origin = archive.descend(self.upper, parts[1:-1], self.copier)
        try:
            info = os.stat(parts[-1], dir_fd=origin, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                raise UsageError(f"the archive has a hard link {member.name!r} to a directory, {member.linkname!r}")
            clear(parent, name)
            os.link(parts[-1], name, src_dir_fd=origin, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise UsageError(
                f"the archive has a hard link {member.name!r} to {member.linkname!r}, which has not come before"
            ) from None
        finally:
            os.close(origin)

    def _node(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        device = 0
        kind = stat.S_IFIFO
        if not member.isfifo():
            numbers = (member.devmajor, member.devminor)
            if not member.ischr() or (numbers != _WHITEOUT and numbers not in _HARMLESS):
                self.warn(f"{member.name}: left out: a device {numbers[0]}:{numbers[1]} is none that a guest may have")
                return
            device, kind = os.makedev(*numbers), stat.S_IFCHR
        clear(parent, name)
        os.mknod(name, kind | 0o600, device, dir_fd=parent)
        self._facts_at(member, parent, name)

    def _facts_at(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            _facts(fd, member, self.warn)
        finally:
            os.close(fd)

    def finish(self) -> None:
        """Owners, modes and times of the directories. Raises OSError."""
        for below in sorted(self.directories, key=len, reverse=True):
            fd = archive.descend(self.upper, list(below), self.copier)
            try:
                _facts(fd, self.directories[below], self.warn)
            finally:
                os.close(fd)


def _facts(fd: int, member: tarfile.TarInfo, warn: Callable[[str], None]) -> None:
    """Owner, mode, extended attributes and times of what a descriptor is. Raises OSError, UsageError."""
    path = f"/proc/self/fd/{fd}"
    if not (0 <= member.uid < 1 << 32 and 0 <= member.gid < 1 << 32):
        raise UsageError(f"the archive has a member {member.name!r} of the owner {member.uid}:{member.gid}")
    os.chown(fd if _real(fd) else path, member.uid, member.gid)
    if not member.issym():
        os.chmod(path, member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        if key.startswith(XATTR):
            _attribute(path, key.removeprefix(XATTR), value, member, warn)
    nanoseconds = _time(member)
    if member.issym():
        return  # there is no call that sets it by a descriptor, and nobody looks at it
    os.utime(path, ns=(nanoseconds, nanoseconds))


def _real(fd: int) -> bool:
    """Whether it is more than a path (O_PATH)."""
    import fcntl

    return not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH


def _time(member: tarfile.TarInfo) -> int:
    text = str(member.pax_headers.get("mtime", member.mtime))
    whole, _, fraction = text.partition(".")
    try:
        found = int(whole) * 10**9 + int((fraction + "000000000")[:9])
        if -(1 << 62) < found < 1 << 62:
            return found
    except ValueError:
        pass
    raise UsageError(f"the archive has a member {member.name!r} of the time {text}")


def _attribute(path: str, name: str, value: str, member: tarfile.TarInfo, warn: Callable[[str], None]) -> None:
    data = value.encode("utf-8", "surrogateescape")
    if name == _OPAQUE:
        if data not in (b"y", b"x"):
            raise UsageError(f"the archive has a member {member.name!r} whose {name} is {data!r}")
    elif not name.startswith(_ATTRIBUTES) or "\0" in name:
        warn(f"{member.name}: its attribute {name} is left out")
        return
    os.setxattr(path, name, data)
