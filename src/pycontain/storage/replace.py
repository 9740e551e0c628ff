"""Another set of files in a container's place: made beside those that it has, then exchanged by two renames.

What is made has NEW behind its name, what was there OLD. Each step may be done twice: whoever was interrupted in the
exchange goes on, and before it takes back. The container does not run; its lock is the caller's. Off the start road.
"""

from __future__ import annotations

import os

from pycontain.kernel import libc
from pycontain.kernel.errors import Error, os_text
from pycontain.storage import disk, disk_image, subvolume, tree
from pycontain.storage.disk import NEW, Disk

OLD = ".old"
_UPPER = "upper"
_UPPER_MODE = 0o755
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def entry(kept: Disk | None) -> str:
    """The name, in a container's directory, of what has its files."""
    if kept is None:
        return _UPPER
    return disk.IMAGE_FILE if kept.kind == disk.IMAGE else disk.DIRECTORY


def make(root: str, base: str, container_id: str, wanted: Disk | None) -> None:
    """An empty place for new files. What an interrupted one has left goes first. Raises Error."""
    discard(base)
    try:
        if wanted is None:
            os.mkdir(f"{base}/{_UPPER}{NEW}", _UPPER_MODE)
            os.chmod(f"{base}/{_UPPER}{NEW}", _UPPER_MODE)  # whatever the umask is
        else:
            disk.fill(root, base, container_id, wanted, NEW)
    except OSError as error:
        raise Error(f"cannot make {base}/{entry(wanted)}{NEW}: {os_text(error)}") from None


def make_snapshot(base: str, wanted: Disk, source: str) -> None:
    """The same as a snapshot of the subvolume ``source``. Raises Error."""
    discard(base)
    place = f"{base}/{disk.DIRECTORY}{NEW}"
    try:
        fd = os.open(source, _DIRECTORY)
        try:
            subvolume.snapshot(fd, place)
        finally:
            os.close(fd)
        subvolume.limit(place, wanted.size)
    except OSError as error:
        raise Error(f"cannot make {place} of {source}: {os_text(error)}") from None


def open_upper(base: str, kept: Disk | None, suffix: str = "") -> int:
    """A descriptor of an upper directory. Raises Error."""
    path = f"{base}/{entry(kept)}{suffix}"
    try:
        if kept is None:
            return os.open(path, _DIRECTORY)
        top = disk_image.open_root(path) if kept.kind == disk.IMAGE else os.open(path, _DIRECTORY)
        try:
            return os.open(_UPPER, _DIRECTORY, dir_fd=top)
        finally:
            os.close(top)
    except OSError as error:
        raise Error(f"cannot open {path}: {os_text(error)}") from None


def sync(fd: int) -> None:
    """All that was made is on the disk. Raises Error."""
    try:
        libc.syncfs(fd)
    except OSError as error:
        raise Error(f"cannot write to the disk: {os_text(error)}") from None


def swap(base: str, old: Disk | None, new: Disk | None) -> None:
    """What was made takes the place of what was there, which is kept beside it. Raises Error."""
    theirs, ours = f"{base}/{entry(old)}", f"{base}/{entry(new)}"
    try:
        if os.path.lexists(f"{ours}{NEW}"):
            if os.path.lexists(theirs) and not os.path.lexists(f"{theirs}{OLD}"):
                os.rename(theirs, f"{theirs}{OLD}")
            os.rename(f"{ours}{NEW}", ours)
        _around(base, new)
        _sync_directory(base)
    except OSError as error:
        raise Error(f"cannot put {ours}{NEW} in its place: {os_text(error)}") from None


def _around(base: str, new: Disk | None) -> None:
    """What goes with a set of files: a mount point, an overlay's working directory without the old one's."""
    if new is None:
        tree.remove_tree(f"{base}/work")
        os.mkdir(f"{base}/work", 0o700)
    elif new.kind == disk.IMAGE and not os.path.isdir(f"{base}/{disk.DIRECTORY}"):
        os.mkdir(f"{base}/{disk.DIRECTORY}", 0o755)


def _sync_directory(path: str) -> None:
    fd = os.open(path, _DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def old(base: str, kept: Disk | None) -> str:
    """The path of what was there, after swap, "" where it has gone."""
    path = f"{base}/{entry(kept)}{OLD}"
    return path if os.path.lexists(path) else ""


def discard(base: str, suffix: str = NEW) -> None:
    """Remove what was made and is not wanted, or (OLD) what was there before. Raises Error."""
    for name in (_UPPER, disk.DIRECTORY, disk.IMAGE_FILE):
        remove(f"{base}/{name}{suffix}")


def remove(path: str) -> None:
    """A file, a tree or a subvolume; missing is no error. Raises Error."""
    try:
        if os.path.isdir(path):
            subvolume.forget(path)
    except OSError as error:
        raise Error(f"cannot remove the subvolume {path}: {os_text(error)}") from None
    tree.remove_tree(path)
