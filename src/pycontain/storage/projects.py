"""Project numbers of disks: ``projects/NUMBER`` is a link whose text is the container that has it.

Another store, or another program, may use projects on the same file system: a number that has anything is nobody's to
take.
"""

from __future__ import annotations

import fcntl
import os

from pycontain.kernel import quotactl
from pycontain.kernel.errors import Error

#: The first number: far from what people and other programs begin with, and from IDs of the pool of user namespaces.
FIRST = 0x50590000
_MOST = 1 << 16


def acquire(root: str, place: str, container_id: str) -> int:
    """A number that nobody has, for a directory on the file system of ``place``. Raises Error, OSError."""
    directory = f"{root}/projects"
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    where = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        taken = set(os.listdir(directory))
        for number in range(FIRST, FIRST + _MOST):
            if str(number) in taken or quotactl.read(where, number).used_inodes:
                continue
            os.symlink(container_id, f"{directory}/{number}")
            return number
    finally:
        os.close(where)
        os.close(lock)
    raise Error(f"no project number is free in {directory}: remove containers")


def of_container(root: str, container_id: str) -> list[str]:
    """What a container has."""
    return [name for name, owner in owners(root).items() if owner == container_id]


def path(root: str, number: str) -> str:
    """The link whose removal gives a number back."""
    return f"{root}/projects/{number}"


def owners(root: str) -> dict[str, str]:
    """Number → container ID."""
    found = {}
    try:
        names = os.listdir(f"{root}/projects")
    except FileNotFoundError:
        return {}
    for name in names:
        try:
            found[name] = os.readlink(f"{root}/projects/{name}")
        except OSError:
            continue
    return found


def release(root: str, container_id: str) -> None:
    """Give back what a container has; none is no error."""
    for name in of_container(root, container_id):
        try:
            os.unlink(path(root, name))
        except FileNotFoundError:
            pass
