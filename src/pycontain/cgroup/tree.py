"""A cgroup and what is below it, walked by descriptors.

A guest with a cgroup of its own can nest groups deeper than PATH_MAX or the interpreter's stack allow, and can make and
remove them while we look: so the walks keep one descriptor, go up by "..", and take what vanishes as gone. There are no
symbolic links and no renames in a cgroup file system.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
#: What the kernel answers for a group that somebody else has removed.
GONE = (errno.ENOENT, errno.ENODEV)


def _children(fd: int) -> list[str]:
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in GONE:
            return []
        raise


def _down(fd: int, name: str) -> int:
    """A child's descriptor in exchange for its parent's; -1, and the parent's stays, where the child is gone."""
    try:
        child = os.open(name, _DIRECTORY, dir_fd=fd)
    except OSError as error:
        if error.errno in GONE:
            return -1
        raise
    os.close(fd)
    return child


def _up(fd: int) -> int:
    parent = os.open("..", _DIRECTORY, dir_fd=fd)
    os.close(fd)
    return parent


def each(fd: int) -> Iterator[int]:
    """Descriptors of the group itself and of every group below it, parents first; each is valid until the next."""
    current = os.dup(fd)
    try:
        yield current
        pending = [_children(current)]
        while pending:
            if not pending[-1]:
                pending.pop()
                if pending:
                    current = _up(current)
                continue
            child = _down(current, pending[-1].pop())
            if child >= 0:
                current = child
                yield current
                pending.append(_children(current))
    finally:
        os.close(current)


def _rmdir(name: str, fd: int) -> bool:
    """Whether the child is gone now. Raises OSError for all but EBUSY."""
    try:
        os.rmdir(name, dir_fd=fd)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        if error.errno not in GONE:
            raise
    return True


def remove_below(fd: int) -> bool:
    """Remove all groups below this one, deepest first; whether none is left. Raises OSError."""
    current = os.dup(fd)
    clean = True
    try:
        pending, names = [_children(current)], [""]
        while pending:
            if pending[-1]:
                name = pending[-1].pop()
                if _rmdir(name, current):
                    continue
                child = _down(current, name)
                if child >= 0:
                    current = child
                    pending.append(_children(current))
                    names.append(name)
                continue
            pending.pop()
            name = names.pop()
            if pending:
                current = _up(current)
                clean = _rmdir(name, current) and clean
        return clean
    finally:
        os.close(current)
