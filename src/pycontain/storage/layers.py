"""Layers: the trees that images are made of. Off the start road.

``layers/ID`` is a tree, ``layers/ID.json`` its facts. A layer is made in ``layers/.tmp-ID`` and renamed, so one that
has its name is complete. The directory is locked (flock(2)) while somebody makes or removes it, which survives the
rename and ends with the process: a ``.tmp-`` directory whose lock is free is a leftover, whatever became of its maker.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from pycontain.kernel import files
from pycontain.kernel.errors import Error, os_text
from pycontain.storage import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_TEMPORARY = ".tmp-"
_HEX = frozenset("0123456789abcdef")
#: Bytes of randomness in an ID: 24 characters keep the lowerdir option of a mount short.
_ID_BYTES = 12
_HINTS = {
    errno.ENOSPC: ": the file system is full: free space there (pycontain image prune) or give --root elsewhere",
    errno.EDQUOT: ": the disk quota is used up: free space there or give --root elsewhere",
    errno.EROFS: ": give --root on a file system that is mounted for writing",
    errno.EACCES: ": pycontain needs to be root",
    errno.EPERM: ": pycontain needs to be root",
    errno.EEXIST: ": give --root elsewhere",
    errno.ENOTDIR: ": give --root elsewhere",
}


class Draft:
    """A layer that is being made: write into ``tree``, then commit() and release(), or discard()."""

    def __init__(self, root: str, layer: str, lock: int) -> None:
        self.id = layer
        self.root = root
        self.path = _temporary(root, layer)
        self.tree = tree.Tree(self.path)
        self._lock = lock

    def commit(self, created_by: str) -> int:
        """Write all of it to the disk and give the layer its name; give its size in bytes. Raises Error.

        It stays locked until release(), so that nobody takes it for unused before an image has it.
        """
        try:
            size = tree.measure(self.path)
            facts = {"id": self.id, "size": size, "created": _now(), "created_by": created_by}
            _sync(self.tree.fd)
            files.write_json(_facts(self.root, self.id), facts, sync=True)
            final = _final(self.root, self.id)
            os.rename(self.path, final)
            self.path = final
            _sync_directory(f"{self.root}/layers")
        except OSError as error:
            hint = _HINTS.get(error.errno or 0, "")
            raise Error(f"cannot commit layer {self.path}: {os_text(error)}{hint}") from error
        return size

    def release(self) -> None:
        """Let go of the layer, committed or discarded."""
        self.tree.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def discard(self) -> None:
        """Remove the layer where it is not committed, and release it; a committed one is retire()'s business."""
        try:
            if self.path == _temporary(self.root, self.id):
                tree.remove_tree(self.path)
                _unlink(_facts(self.root, self.id))
        except OSError as error:
            raise Error(f"cannot remove {self.path}: {os_text(error)}") from error
        finally:
            self.release()


def create(root: str) -> Draft:
    """A new empty layer, 0755 and root's. Raises Error naming the directory."""
    path = f"{root}/layers"
    layer = os.urandom(_ID_BYTES).hex()
    umask = os.umask(0o022)
    try:
        os.makedirs(root, 0o711, exist_ok=True)
        # Nobody but root comes near the set-user-ID files of an image.
        os.makedirs(path, 0o700, exist_ok=True)
        guard = _guard(root)
        try:
            os.mkdir(_temporary(root, layer), 0o755)
            lock = _lock(_temporary(root, layer))
        finally:
            os.close(guard)
    except OSError as error:
        # makedirs(3) of Python: a file is in the way.
        text = "Not a directory" if isinstance(error, FileExistsError) else os_text(error)
        raise Error(f"cannot create a layer in {path}: {text}{_HINTS.get(error.errno or 0, '')}") from error
    finally:
        os.umask(umask)
    if lock is None:
        raise Error(f"cannot create a layer in {path}: somebody locked it at once")
    try:
        return Draft(root, layer, lock)
    except BaseException:
        os.close(lock)
        raise


def committed(root: str) -> list[str]:
    """The IDs of all layers that are complete."""
    return sorted(name for name in _names(root) if _HEX.issuperset(name))


def facts(root: str, layer: str) -> dict[str, Any]:
    """What is known of a layer: id, size (bytes), created (RFC 3339), created_by. Raises OSError, JsonError."""
    value: dict[str, Any] = files.read_json(_facts(root, layer))
    return value


def retire(root: str, layers: Iterable[str]) -> int:
    """Take the names from layers that no image uses and nobody has locked; give how many bytes that will free.

    sweep() then removes them. The caller makes sure that no image gets one of them meanwhile. Raises Error.
    """
    freed = 0
    try:
        for layer in layers:
            freed += _retire(root, layer)
    except OSError as error:
        raise Error(f"cannot remove layers in {root}/layers: {os_text(error)}") from error
    return freed


def _retire(root: str, layer: str) -> int:
    lock = _lock(_final(root, layer))
    if lock is None:
        return 0
    try:
        size = _size(root, layer)
        os.rename(_final(root, layer), _temporary(root, layer))
        _unlink(_facts(root, layer))
        return size
    finally:
        os.close(lock)


def sweep(root: str) -> int:
    """Remove what nobody makes any more: leftovers of makers that died, retired layers. Give how many trees.

    Raises Error.
    """
    count = 0
    try:
        for name in _names(root):
            if name.startswith(_TEMPORARY):
                count += _sweep_tree(root, name.removeprefix(_TEMPORARY))
        for name in _names(root):
            layer = name.partition(".")[0]
            if layer and name != layer:
                _sweep_file(root, name, layer)
    except OSError as error:
        raise Error(f"cannot remove what is left over in {root}/layers: {os_text(error)}") from error
    return count


def _names(root: str) -> list[str]:
    try:
        return os.listdir(f"{root}/layers")
    except FileNotFoundError:
        return []


def _sweep_tree(root: str, layer: str) -> int:
    # The guard: a maker has made its directory but not locked it yet.
    guard = _guard(root)
    try:
        lock = _lock(_temporary(root, layer))
    finally:
        os.close(guard)
    if lock is None:
        return 0
    try:
        _unlink(_facts(root, layer))
        tree.remove_tree(_temporary(root, layer))
    finally:
        os.close(lock)
    return 1


def _sweep_file(root: str, name: str, layer: str) -> None:
    """Remove facts (ID.json, ID.json.PID.tmp) that have no layer."""
    # In this order: a layer has its temporary name first, then its final one.
    if os.path.lexists(_temporary(root, layer)):
        return
    if name.endswith(".tmp") or not os.path.lexists(_final(root, layer)):
        _unlink(f"{root}/layers/{name}")


def _final(root: str, layer: str) -> str:
    return f"{root}/layers/{layer}"


def _temporary(root: str, layer: str) -> str:
    return f"{root}/layers/{_TEMPORARY}{layer}"


def _facts(root: str, layer: str) -> str:
    return f"{root}/layers/{layer}.json"


def _guard(root: str) -> int:
    """The lock under which temporary directories are made and judged; held for microseconds."""
    fd = os.open(f"{root}/layers", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _lock(path: str) -> int | None:
    """A descriptor with the layer's lock, None where somebody has it or it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been renamed since we opened it; from here on only we can.
        if os.path.samestat(os.fstat(fd), os.lstat(path)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _size(root: str, layer: str) -> int:
    try:
        return int(facts(root, layer)["size"])
    except (OSError, Error, KeyError, TypeError, ValueError):
        return 0


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _sync(fd: int) -> None:
    """syncfs(2): all of the file system is on the disk."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(ctypes.c_int(fd)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
