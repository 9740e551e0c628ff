"""Volumes as people see them: which there are, who uses them, and that they go."""

from __future__ import annotations

import os

from pycontain.engine import repair
from pycontain.kernel.errors import InUse, UsageError
from pycontain.storage import volume
from pycontain.storage.tree import measure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths


class Volume:
    """One volume. size: bytes that it holds. users: the IDs of the containers that hold it."""

    __slots__ = ("directory", "name", "size", "users")

    def __init__(self, name: str, directory: str, size: int, users: list[str]) -> None:
        self.name = name
        self.directory = directory
        self.size = size
        self.users = users


def volumes(paths: Paths) -> list[Volume]:
    """All volumes, by name."""
    _drop_stale(paths)
    return [
        Volume(name, volume.directory(paths.root, name), _size(paths, name), volume.holders(paths.root, name))
        for name in volume.names(paths.root)
    ]


def _size(paths: Paths, name: str) -> int:
    try:
        return measure(volume.directory(paths.root, name))
    except OSError:
        return 0


def _drop_stale(paths: Paths) -> None:
    """Holds of containers that are gone."""
    repair.repair_all(paths)
    for name in volume.names(paths.root):
        for container_id in volume.holders(paths.root, name):
            if not os.path.isdir(paths.container(container_id)) and not os.path.exists(paths.pending(container_id)):
                repair.unlink(volume.hold_path(paths.root, name, container_id))


def remove(paths: Paths, name: str) -> None:
    """Remove a volume with what is in it. Raises InUse, NotFound, UsageError."""
    if not name or "/" in name or name.startswith("."):
        raise UsageError(f"{name!r} is not a volume's name")
    _drop_stale(paths)
    repair.remove_tree(volume.retire(paths.root, name))


def prune(paths: Paths) -> list[str]:
    """Remove all volumes that no container uses; their names."""
    _drop_stale(paths)
    gone = []
    for name in volume.names(paths.root):
        try:
            repair.remove_tree(volume.retire(paths.root, name))
        except InUse:
            continue
        gone.append(name)
    return gone
