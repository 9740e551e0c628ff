"""A directory that is looked at as a root: no path leaves it, whatever links are in it. Off the start road.

Paths are resolved by openat2(2) with RESOLVE_IN_ROOT (links stay inside, "/" is the tree), RESOLVE_NO_MAGICLINKS and
RESOLVE_NO_XDEV (nothing that is mounted below is touched).
"""

from __future__ import annotations

import _stat
import errno
import os

from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

#: linux/openat2.h; the number is the same on all architectures but alpha (asm-generic/unistd.h).
_OPENAT2 = 437
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH, _IN_ROOT = 0x01, 0x02, 0x04, 0x08, 0x10

#: Directories deeper than this are moved up before they are removed, so that no tree costs more descriptors.
_DEEP = 64


def openat2(directory: int, path: str, flags: int, resolve: int) -> int:
    """openat2(2) without creation. Raises OSError."""
    import ctypes

    how = (ctypes.c_uint64 * 3)(flags, 0, resolve)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(
        ctypes.c_long(_OPENAT2),
        ctypes.c_int(directory),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return int(fd)


class Tree:
    """A tree to write into: a layer that is being made. All methods raise Error naming the path inside the tree.

    Parents that are missing are made (0755, root). What is in the way and no directory is replaced, never followed.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, _DIRECTORY)

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def open(self, path: str, flags: int) -> int:
        """A descriptor of what is at ``path``, links followed inside the tree. Raises OSError."""
        resolve = _IN_ROOT | _NO_MAGICLINKS | _NO_XDEV
        return openat2(self.fd, path.lstrip("/") or ".", flags | os.O_CLOEXEC, resolve)

    def exists(self, path: str) -> bool:
        """Whether ``path`` leads to something, links followed inside the tree."""
        try:
            os.close(self.open(path, os.O_PATH))
        except OSError:
            return False
        return True

    def directory(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """A directory with this mode and owner, made where it is missing."""
        with _Named(path):
            fd = self._directory(path)
            try:
                os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)
            finally:
                os.close(fd)

    def file(self, path: str, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """A regular file with this content."""
        with _Named(path), self._place(path) as (parent, name):
            fd = os.open(name, _NEW, 0o600, dir_fd=parent)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)
            finally:
                os.close(fd)

    def symlink(self, path: str, text: str) -> None:
        """A symbolic link at ``path`` that says ``text``."""
        with _Named(path), self._place(path) as (parent, name):
            os.symlink(text, name, dir_fd=parent)

    def copy(self, source: str, path: str, public: bool = False) -> int:
        """Copy a file, link or directory of the host to ``path``; give the number of files copied.

        Owner is root, modes lose set-user-ID and the like, times stay, links stay as they are. What is neither file,
        link nor directory is left out; public: so is what not every user of the host may read.
        """
        with _Named(source):
            status = os.lstat(source)
            if _stat.S_ISLNK(status.st_mode):
                self.symlink(path, os.readlink(source))
                return 1
            if _stat.S_ISDIR(status.st_mode):
                if public and status.st_mode & 0o005 != 0o005:
                    return 0
                self.directory(path, status.st_mode & 0o777)
                names = sorted(os.listdir(source))
                return sum(self.copy(f"{source}/{name}", f"{path}/{name}", public) for name in names)
            if not _stat.S_ISREG(status.st_mode):
                return 0
            return self._copy_file(source, path, public)

    def _copy_file(self, source: str, path: str, public: bool) -> int:
        reader = os.open(source, _SOURCE)
        try:
            status = os.fstat(reader)
            if not _stat.S_ISREG(status.st_mode) or (public and not status.st_mode & _stat.S_IROTH):
                return 0
            with self._place(path) as (parent, name):
                writer = os.open(name, _NEW, 0o600, dir_fd=parent)
                try:
                    while os.sendfile(writer, reader, None, 1 << 24):
                        pass
                    os.fchmod(writer, status.st_mode & 0o777)
                    os.utime(writer, ns=(status.st_atime_ns, status.st_mtime_ns))
                finally:
                    os.close(writer)
        finally:
            os.close(reader)
        return 1

    def remove(self, pattern: str) -> int:
        """Remove what the pattern matches (fnmatch(3) in each component), trees too; give how many there were."""
        with _Named(pattern):
            return sum(self._remove(path) for path in list(self._matches(pattern)))

    def _remove(self, path: str) -> int:
        try:
            parent, name = self._parent(path, make=False)
        except FileNotFoundError:
            return 0
        try:
            remove_at(parent, name)
        finally:
            os.close(parent)
        return 1

    def _matches(self, pattern: str, found: str = "") -> Iterator[str]:
        """The paths in the tree that a pattern of components matches; links on the way are followed inside."""
        from fnmatch import fnmatchcase

        head, _, rest = pattern.strip("/").partition("/")
        if not any(char in head for char in "*?["):
            path = f"{found}/{head}"
            if rest:
                yield from self._matches(rest, path)
            elif self._present(path):
                yield path
            return
        try:
            fd = self.open(found, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return
        try:
            names = sorted(os.listdir(fd))
        finally:
            os.close(fd)
        for name in names:
            if fnmatchcase(name, head):
                if rest:
                    yield from self._matches(rest, f"{found}/{name}")
                else:
                    yield f"{found}/{name}"

    def _present(self, path: str) -> bool:
        try:
            os.close(self.open(path, os.O_PATH | os.O_NOFOLLOW))
        except OSError:
            return False
        return True

    def _parent(self, path: str, make: bool = True) -> tuple[int, str]:
        """A descriptor of the directory above ``path``, and the last component."""
        above, _, name = path.rstrip("/").rpartition("/")
        if name in ("", ".", ".."):
            raise Error(f"{path!r} does not name an entry of a directory")
        return (self._directory(above) if make else self.open(above, os.O_RDONLY | os.O_DIRECTORY)), name

    def _directory(self, path: str) -> int:
        """A descriptor of a directory; components that are missing are made."""
        try:
            return self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            pass
        parent, name = self._parent(path)
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
            os.fchmod(fd, 0o755)
            return fd
        except FileExistsError:
            raise Error(f"{path} in the tree is a link to something that is not there") from None
        finally:
            os.close(parent)

    def _place(self, path: str) -> _Place:
        return _Place(*self._parent(path))


class _Place:
    """Where an entry is about to be made: nothing but a directory may be in the way, and that is an error."""

    def __init__(self, parent: int, name: str) -> None:
        self.parent, self.name = parent, name

    def __enter__(self) -> tuple[int, str]:
        try:
            os.unlink(self.name, dir_fd=self.parent)
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(self.parent)
            raise
        return self.parent, self.name

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.parent)


class _Named:
    """Turns an OSError into an Error that names the path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise Error(f"{self.path}: {os_text(error)}{_hint(error)}") from error


def _hint(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return ": the file system of the image store is full: free space there or give --root elsewhere"
    if error.errno == errno.EDQUOT:
        return ": the disk quota is used up: free space there or give --root elsewhere"
    if error.errno == errno.EBUSY:
        return f": something is mounted on {error.filename}: unmount it first"
    if error.errno == errno.ENOSYS:
        return ": pycontain needs openat2(2), which Linux has since 5.6"
    return ""


def measure(path: str) -> int:
    """Bytes of the regular files in a tree: hard links once, links not followed, other file systems left out.

    Raises OSError.
    """
    fd = os.open(path, _DIRECTORY)
    try:
        return _measure(fd, os.fstat(fd).st_dev, set())
    finally:
        os.close(fd)


def _measure(directory: int, device: int, seen: set[int]) -> int:
    total = 0
    for entry in list(os.scandir(directory)):
        status = entry.stat(follow_symlinks=False)
        if status.st_dev != device:
            continue
        if _stat.S_ISDIR(status.st_mode):
            child = os.open(entry.name, _DIRECTORY, dir_fd=directory)
            try:
                total += _measure(child, device, seen)
            finally:
                os.close(child)
        elif _stat.S_ISREG(status.st_mode) and status.st_ino not in seen:
            if status.st_nlink > 1:
                seen.add(status.st_ino)
            total += status.st_size
    return total


def remove_tree(path: str) -> None:
    """Remove a directory with all that is below it; missing is no error.

    By descriptors, never through a link or into something mounted. Raises Error naming the path.
    """
    above, name = os.path.split(os.path.abspath(path))
    with _Named(path):
        try:
            parent = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            remove_at(parent, name)
        finally:
            os.close(parent)


def remove_at(parent: int, name: str) -> None:
    """Remove the entry ``name`` of a directory, whatever it is. Raises OSError."""
    try:
        os.unlink(name, dir_fd=parent)
        return
    except FileNotFoundError:
        return
    except IsADirectoryError:
        pass
    top = _open_to_empty(parent, name)
    try:
        _empty(top, top, [0], 0)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _open_to_empty(parent: int, name: str) -> int:
    """A descriptor of a directory that is a part of the tree, not one that is mounted there."""
    try:
        return openat2(parent, name, _DIRECTORY, _NO_XDEV | _NO_SYMLINKS | _BENEATH)
    except OSError as error:
        if error.errno == errno.EXDEV:
            # What rmdir(2) says of a mount point.
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), name) from None
        raise


def _empty(top: int, directory: int, counter: list[int], depth: int) -> None:
    """Remove the entries of ``directory``; what lies too deep is moved to ``top``, which is emptied last."""
    while True:
        names = os.listdir(directory)
        if not names:
            return
        for name in names:
            try:
                os.unlink(name, dir_fd=directory)
                continue
            except FileNotFoundError:
                continue
            except IsADirectoryError:
                pass
            if depth >= _DEEP:
                counter[0] += 1
                os.rename(name, f".deep-{os.getpid()}-{counter[0]}", src_dir_fd=directory, dst_dir_fd=top)
                continue
            child = _open_to_empty(directory, name)
            try:
                _empty(top, child, counter, depth + 1)
            finally:
                os.close(child)
            os.rmdir(name, dir_fd=directory)
