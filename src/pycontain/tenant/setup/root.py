"""A tenant's root by a descriptor: files in it are read and written as its own root would find them.

Every path is resolved by openat2(2) with RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS and RESOLVE_NO_XDEV: a link leads to
another place in the root and never out of it, and nothing that is mounted in one that runs is looked at: it may be the
host's, or answer whoever looks as the guest wants (FUSE). What is written is a new file (O_EXCL) that takes the place
of what had its name.
"""

from __future__ import annotations

import errno
import os
import stat

from pycontain.storage.tree import openat2

# linux/openat2.h
_IN_ROOT, _NO_MAGICLINKS, _NO_XDEV = 0x10, 0x02, 0x01
_RESOLVE = _IN_ROOT | _NO_MAGICLINKS | _NO_XDEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: Attempts where a guest that runs moves directories meanwhile (openat2(2), EAGAIN).
_ATTEMPTS = 64
#: A file of accounts or of names that is larger is nobody's.
LIMIT = 1 << 20


class Root:
    """fd: its directory. owner: uid and gid of what is new in it. Methods raise OSError with the path in the root."""

    def __init__(self, fd: int, owner: tuple[int, int] = (0, 0)) -> None:
        self.fd = fd
        self.owner = owner

    def _open(self, path: str, flags: int) -> int:
        for attempt in range(_ATTEMPTS):
            try:
                return openat2(self.fd, path.lstrip("/") or ".", flags | os.O_CLOEXEC, _RESOLVE)
            except BlockingIOError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError

    def read(self, path: str) -> bytes | None:
        """The content of a regular file, links followed inside the root; None where there is none, or one too large."""
        try:
            found = self._open(path, os.O_PATH)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EXDEV):
                return None
            raise
        try:
            status = os.fstat(found)
            # by its kind first: a FIFO would wait for us, a device do something
            if not stat.S_ISREG(status.st_mode) or status.st_size > LIMIT:
                return None
            reader = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        finally:
            os.close(found)
        with os.fdopen(reader, "rb") as file:
            data = file.read(LIMIT + 1)
        return data if len(data) <= LIMIT else None

    def text(self, path: str) -> str:
        """As read, "" where there is none."""
        return (self.read(path) or b"").decode("utf-8", "surrogateescape")

    def exists(self, path: str) -> bool:
        """Whether ``path`` leads to something, links followed inside the root."""
        try:
            os.close(self._open(path, os.O_PATH))
        except OSError:
            return False
        return True

    def is_link(self, path: str) -> bool:
        """Whether the last component itself is a symbolic link."""
        try:
            parent = self._parent(path, False)
        except OSError:
            return False
        try:
            return stat.S_ISLNK(os.stat(_name(path), dir_fd=parent, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False
        finally:
            os.close(parent)

    def names(self, path: str) -> list[str]:
        """The entries of a directory; none where it is missing."""
        try:
            fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
        except OSError:
            return []
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def write(self, path: str, text: str, mode: int = 0o644, keep: bool = True) -> None:
        """A file with this content in place of what has its name. keep: a regular file keeps its mode and owner."""
        parent = self._parent(path, True)
        try:
            self._put(parent, _name(path), text.encode("utf-8", "surrogateescape"), mode, keep)
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
        finally:
            os.close(parent)

    def _put(self, parent: int, name: str, data: bytes, mode: int, keep: bool) -> None:
        owner = self.owner
        try:
            old = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if keep and stat.S_ISREG(old.st_mode):
                owner, mode = (old.st_uid, old.st_gid), stat.S_IMODE(old.st_mode) & 0o777
        except FileNotFoundError:
            pass
        new = f".{name}.pycontain"
        try:
            os.unlink(new, dir_fd=parent)  # of one that was interrupted
        except FileNotFoundError:
            pass
        fd = os.open(new, _NEW, 0o600, dir_fd=parent)
        try:
            os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.rename(new, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            os.unlink(new, dir_fd=parent)
            raise
        finally:
            os.close(fd)

    def link(self, path: str, text: str) -> None:
        """A symbolic link, where nothing has its name."""
        parent = self._parent(path, True)
        try:
            os.symlink(text, _name(path), dir_fd=parent)
            os.chown(_name(path), *self.owner, dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            pass
        finally:
            os.close(parent)

    def directory(self, path: str, mode: int = 0o755) -> None:
        """A directory, made where it is missing."""
        os.close(self._directory(path, mode))

    def remove(self, path: str) -> None:
        """A file or link; what is missing, or a directory, stays as it is."""
        try:
            parent = self._parent(path, False)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            os.unlink(_name(path), dir_fd=parent)
        except (FileNotFoundError, IsADirectoryError):
            pass
        finally:
            os.close(parent)

    def _parent(self, path: str, make: bool) -> int:
        """A descriptor of the directory that ``path`` lies in, links of the way followed inside the root."""
        directory = os.path.dirname(path.rstrip("/")) or "/"
        return self._directory(directory, 0o755) if make else self._open(directory, os.O_RDONLY | os.O_DIRECTORY)

    def _directory(self, path: str, mode: int) -> int:
        try:
            return self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            pass
        parent = self._parent(path, True)
        try:
            name = _name(path)
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                # a link that leads nowhere: what it is for is not ours to decide
                return os.open(name, _DIRECTORY, dir_fd=parent)
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
            os.fchown(fd, *self.owner)
            os.fchmod(fd, mode)
            return fd
        finally:
            os.close(parent)


def _name(path: str) -> str:
    name = os.path.basename(path.rstrip("/"))
    if name in ("", ".", ".."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return name
