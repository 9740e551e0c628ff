"""A container's disk: its limits while it lives, and its directory for those who look at it from outside.

Off the start road but for containers that have one (``--storage-opt``).
"""

from __future__ import annotations

import os

from pycontain.engine import claim, load, record, repair, state
from pycontain.kernel.errors import Error, NotFound, UsageError, os_text
from pycontain.storage import disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record


def of_record(found: Record) -> disk.Disk | None:
    """The disk of a container, None where it has no limit."""
    return disk.Disk.of(found.disk)


def inherit_mount(paths: Paths, found: Record) -> int:
    """An image's mount as a descriptor that the helper gets, -1 for another disk. The lock is the caller's."""
    own = of_record(found)
    if own is None or own.kind != disk.IMAGE:
        return -1
    fd = disk.mount(paths.container(found.id), own)
    os.set_inheritable(fd, True)
    return fd


def open_top(paths: Paths, found: Record) -> int:
    """A descriptor of the directory that has ``upper`` and ``work`` of a container that does not run.

    Its lock is the caller's, until the descriptor is closed. Raises Error.
    """
    base = paths.container(found.id)
    try:
        return disk.open_top(base, of_record(found))
    except OSError as error:
        raise Error(f"container {found.name}: cannot open its files: {os_text(error)}") from None


def usage(paths: Paths, container_id: str) -> disk.Usage | None:
    """What a container uses of its disk. None where it has no limit, and of an image that is not in use: to see that
    would take the container's lock. Raises Error.
    """
    found = load.read_record(paths, container_id)
    own = of_record(found)
    if own is None:
        return None
    if own.kind != disk.IMAGE:
        return disk.usage(paths.container(container_id), own)
    if not state.read(paths, container_id).pid:
        return None
    pid, pidfd = state.open_init(paths, container_id)
    try:
        return disk.usage(paths.container(container_id), own, f"/proc/{pid}/root")
    finally:
        os.close(pidfd)


def check_change(found: Record, size: int | None, inodes: int | None) -> disk.Disk:
    """What a container's disk is to be; None: as it is. Raises UsageError."""
    own = of_record(found)
    if own is None:
        raise UsageError(
            f"container {found.name} was made without --storage-opt: its files are not where a limit could be set: make"
            " it anew with one"
        )
    return disk.Disk(own.kind, own.size if size is None else size, own.inodes if inodes is None else inodes)


def resize(paths: Paths, container_id: str, size: int | None, inodes: int | None) -> None:
    """Other limits at once, and in the record; None: as it is, 0: none. Raises NotFound, InUse, UsageError, Error."""
    try:
        with record.Lock(paths, container_id):
            repair.repair(paths, container_id)
            running = state.read(paths, container_id).status in (state.RUNNING, state.PAUSED)
            held = None if running else claim.claim_or_refuse(paths, container_id, "change the disk of")
            try:
                change(paths, load.read_record(paths, container_id), size, inodes, running)
            finally:
                if held is not None:
                    repair.discard_run_dir(held)
    except FileNotFoundError:
        raise NotFound(f"no container {container_id[:12]}: it was removed just now") from None
    except OSError as error:
        raise Error(f"container {container_id[:12]}: cannot change its disk: {os_text(error)}") from None


def change(paths: Paths, found: Record, size: int | None, inodes: int | None, running: bool) -> None:
    """As resize, for who has the container's locks. Raises UsageError, Error, OSError."""
    own = of_record(found)
    wanted = check_change(found, size, inodes)
    assert own is not None
    if (wanted.size, wanted.inodes) == (own.size, own.inodes):
        return
    base = paths.container(found.id)
    before = found.disk
    found.disk = disk.resize(base, own, wanted.size, wanted.inodes, running).to_json()
    try:
        record.write(paths, found)
    except OSError:
        found.disk = before
        disk.resize(base, wanted, own.size, own.inodes, running)
        raise
