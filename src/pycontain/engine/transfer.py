"""Copying trees between two directories that are only known by descriptors: nothing on either side is followed.

Names are single components below a descriptor that is held; what is written is always new (O_EXCL), so a link or a
device that somebody puts in the way is never written to. Off the start road.
"""

from __future__ import annotations

import errno
import os
import stat

from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: O_NONBLOCK: a FIFO that takes a file's place must not stop us.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

#: Each level of a tree costs two descriptors; deeper ones are somebody's attack.
MAX_DEPTH = 400
_CHUNK = 1 << 20
#: The mode bits that something of a guest's keeps on the host: not set-user-ID, not set-group-ID.
TO_HOST = 0o1777


class Copier:
    """Copies entries.

    owner: uid and gid of all that is written. warn: gets a line for what is left out. modes: the mode bits that are
    kept; a guest's set-user-ID program would be one of the caller's, with the guest's content, on the host.
    """

    def __init__(self, owner: tuple[int, int], warn: Callable[[str], None], modes: int = 0o7777) -> None:
        self.owner = owner
        self.warn = warn
        self.modes = modes

    def entry(self, source: int, name: str, target: int, new_name: str, shown: str, depth: int = 0) -> None:
        """Copy one entry of a directory into another directory, under a name. Raises Error naming ``shown``."""
        if depth > MAX_DEPTH:
            raise Error(f"{shown}: more than {MAX_DEPTH} directories inside each other")
        try:
            info = os.stat(name, dir_fd=source, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                self._directory(source, name, target, new_name, info, shown, depth)
            elif stat.S_ISREG(info.st_mode):
                self._file(source, name, target, new_name)
            elif stat.S_ISLNK(info.st_mode):
                self._link(source, name, target, new_name, info)
            else:
                self.warn(f"{shown}: left out: it is no file, directory or symbolic link")
        except OSError as error:
            raise Error(f"{shown}: {os_text(error)}") from None

    def content(self, source: int, target: int, shown: str, depth: int = 0) -> None:
        """Copy all entries of a directory into another. Raises Error."""
        for name in sorted(os.listdir(source)):
            self.entry(source, name, target, name, f"{shown}/{name}", depth)

    def make_directory(self, parent: int, name: str, mode: int) -> int:
        """A descriptor of the directory ``name``, made where it is missing. Raises OSError."""
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            return os.open(name, DIRECTORY, dir_fd=parent)
        fd = os.open(name, DIRECTORY, dir_fd=parent)
        os.fchown(fd, *self.owner)
        os.fchmod(fd, mode & self.modes)
        return fd

    def new_file(self, parent: int, name: str, mode: int) -> int:
        """A descriptor of a new file in place of what had its name. Raises OSError."""
        clear(parent, name)
        fd = os.open(name, NEW, 0o600, dir_fd=parent)
        os.fchown(fd, *self.owner)
        os.fchmod(fd, mode & self.modes)
        return fd

    def new_link(self, parent: int, name: str, text: str) -> None:
        """A symbolic link in place of what had its name. Raises OSError."""
        clear(parent, name)
        os.symlink(text, name, dir_fd=parent)
        os.chown(name, *self.owner, dir_fd=parent, follow_symlinks=False)

    def _directory(
        self, source: int, name: str, target: int, new_name: str, info: os.stat_result, shown: str, depth: int
    ) -> None:
        inside = os.open(name, DIRECTORY, dir_fd=source)
        try:
            made = self.make_directory(target, new_name, stat.S_IMODE(info.st_mode))
            try:
                self.content(inside, made, shown, depth + 1)
                os.utime(made, ns=(info.st_atime_ns, info.st_mtime_ns))
            finally:
                os.close(made)
        finally:
            os.close(inside)

    def _file(self, source: int, name: str, target: int, new_name: str) -> None:
        fd = os.open(name, READ, dir_fd=source)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EAGAIN, "it was exchanged while it was copied")
            new = self.new_file(target, new_name, info.st_mode)
            try:
                while chunk := os.read(fd, _CHUNK):
                    view = memoryview(chunk)
                    while view:
                        view = view[os.write(new, view) :]
                os.utime(new, ns=(info.st_atime_ns, info.st_mtime_ns))
            finally:
                os.close(new)
        finally:
            os.close(fd)

    def _link(self, source: int, name: str, target: int, new_name: str, info: os.stat_result) -> None:
        self.new_link(target, new_name, os.readlink(name, dir_fd=source))
        os.utime(new_name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def clear(parent: int, name: str) -> None:
    """Take away a file or link that has a name; a directory stays, and is an error. Raises OSError."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
