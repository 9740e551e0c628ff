"""A file as a guest would see it in an image's layers, without a mount.

This is what overlayfs(5) does for a lookup: the top layer first, whiteouts hide, opaque directories end the search,
the first thing that is not a directory hides what is below. Every step is one component from a descriptor with
O_NOFOLLOW; symbolic links are resolved inside the merged view, so nothing leaves the layers, and nothing but a
regular file is opened for reading: a FIFO or a device in place of /etc/passwd (CVE-2024-9676) costs nothing.
"""

from __future__ import annotations

import _stat
import errno
import os

from pycontain.kernel.errors import Error, os_text

#: As the kernel's limit (path_resolution(7)).
MAX_LINKS = 40
#: Directories on the way; each costs a descriptor a layer.
MAX_DEPTH = 64

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_PREFIXES = ("trusted.overlay.", "user.overlay.")


def find_file(root: str, layers: list[str], path: str, limit: int) -> bytes | None:
    """The content of ``path`` in the merged layers (IDs, bottom first), None where the guest would not find it.

    limit: bytes; a larger file is an Error, as is anything that is no regular file.
    """
    return find_in([f"{root}/layers/{layer}" for layer in reversed(layers)], path, limit)


def find_in(directories: list[str], path: str, limit: int) -> bytes | None:
    """As find_file, for the trees themselves, the top one first; or for one tree, as a container's root is.

    One tree has nothing below it: the attributes of overlayfs mean nothing there, and a guest may set them (user.*).
    """
    opened: list[int] = []
    try:
        for directory in directories:
            opened.append(os.open(directory, _DIRECTORY))
        return _View(opened, path).read(limit)
    except _Missing:
        return None
    except OSError as error:
        raise Error(f"cannot look up {path} in the image: {os_text(error)}: its layers are damaged") from None
    finally:
        for fd in opened:
            os.close(fd)


class _Missing(Exception):
    """The guest would see ENOENT."""


class _View:
    """A walk through merged layers: a stack of directories, each a list of descriptors, top layer first."""

    def __init__(self, roots: list[int], path: str) -> None:
        self.stack = [roots]
        self.merged = len(roots) > 1
        self.path = path
        self.links = 0

    def read(self, limit: int) -> bytes:
        try:
            fd = self._walk(self.path)
            try:
                return self._content(fd, limit)
            finally:
                os.close(fd)
        finally:
            while len(self.stack) > 1:
                self._leave()

    def _leave(self) -> None:
        for fd in self.stack.pop():
            os.close(fd)

    def _walk(self, path: str) -> int:
        """A descriptor (O_PATH) of the file at the end of ``path``."""
        todo = path.split("/")[::-1]
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(self.stack) > 1:
                    self._leave()
                continue
            fd = self._enter(name)
            if fd < 0:
                continue
            if not _stat.S_ISLNK(os.fstat(fd).st_mode):
                if any(part not in ("", ".") for part in todo):
                    os.close(fd)
                    raise _Missing
                return fd
            text = self._link(fd)
            if text.startswith("/"):
                while len(self.stack) > 1:
                    self._leave()
            todo += text.split("/")[::-1]
        raise Error(f"{self.path} in the image is a directory, not a regular file")

    def _enter(self, name: str) -> int:
        """Go into the merged directory ``name`` (-1), or give a descriptor of what else it is."""
        found: list[int] = []
        try:
            for parent in self.stack[-1]:
                try:
                    fd = os.open(name, _LOOK, dir_fd=parent)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if error.errno == errno.ENAMETOOLONG:
                        raise _Missing from None
                    raise
                status = os.fstat(fd)
                if not _stat.S_ISDIR(status.st_mode):
                    whiteout = _stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
                    if found or whiteout:
                        os.close(fd)
                        break
                    return fd
                try:
                    found.append(os.open(".", _DIRECTORY, dir_fd=fd))
                finally:
                    os.close(fd)
                if self._ends(found[-1]):
                    break
        except BaseException:
            for fd in found:
                os.close(fd)
            raise
        if not found:
            raise _Missing
        self.stack.append(found)
        if len(self.stack) > MAX_DEPTH:
            raise Error(f"cannot look up {self.path} in the image: more than {MAX_DEPTH} directories deep")
        return -1

    def _ends(self, directory: int) -> bool:
        """Whether the layers below do not show through this directory."""
        if not self.merged:
            return False
        for prefix in _PREFIXES:
            if _attribute(directory, prefix + "redirect"):
                raise Error(
                    f"cannot look up {self.path} in the image: a layer has a redirected directory "
                    "(overlayfs redirect_dir), which only a mount can resolve"
                )
            if _attribute(directory, prefix + "opaque") == b"y":
                return True
        return False

    def _link(self, fd: int) -> str:
        """The text of a symbolic link; closes the descriptor."""
        try:
            text = os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)
        self.links += 1
        if self.links > MAX_LINKS:
            raise Error(f"cannot look up {self.path} in the image: more than {MAX_LINKS} symbolic links on the way")
        return text

    def _content(self, fd: int, limit: int) -> bytes:
        status = os.fstat(fd)
        if not _stat.S_ISREG(status.st_mode):
            raise Error(f"{self.path} in the image is {_kind(status.st_mode)}, not a regular file")
        if status.st_size > limit:
            raise Error(f"{self.path} in the image has {status.st_size} bytes, more than {limit}")
        if self.merged and any(_attribute(fd, prefix + "metacopy") is not None for prefix in _PREFIXES):
            raise Error(f"cannot read {self.path} in the image: only its metadata is in the layer (overlayfs metacopy)")
        reader = os.open(f"/proc/self/fd/{fd}", _READ)
        try:
            return _read_up_to(reader, limit, self.path)
        finally:
            os.close(reader)


def _read_up_to(fd: int, limit: int, path: str) -> bytes:
    chunks: list[bytes] = []
    total = 0
    while chunk := os.read(fd, 65536):
        chunks.append(chunk)
        total += len(chunk)
        if total > limit:
            raise Error(f"{path} in the image has more than {limit} bytes")
    return b"".join(chunks)


def _attribute(fd: int, name: str) -> bytes | None:
    """An extended attribute of what ``fd`` names, be it O_PATH; None where there is none or cannot be any."""
    try:
        return os.getxattr(f"/proc/self/fd/{fd}", name)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM):
            return None
        raise


def _kind(mode: int) -> str:
    if _stat.S_ISFIFO(mode):
        return "a FIFO"
    if _stat.S_ISSOCK(mode):
        return "a socket"
    if _stat.S_ISBLK(mode) or _stat.S_ISCHR(mode):
        return "a device"
    return "of an unknown kind"
