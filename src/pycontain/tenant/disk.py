"""A tenant's disk: what its settings say, kept by the means of the host (storage/disk.py)."""

from __future__ import annotations

import os

from pycontain.engine import disk as disks
from pycontain.engine import load
from pycontain.kernel.errors import Error, os_text
from pycontain.storage import disk, replace
from pycontain.tenant import reroot, snapshot, state, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.storage.disk import Disk
    from pycontain.tenant.hold import Tenant
    from pycontain.tenant.settings import Settings

#: Containers whose image this process has made larger: to undo it is not possible, and nobody has been told of it.
_grown: set[str] = set()


def limits(settings: Settings) -> tuple[int, int]:
    """Bytes and inodes, 0: no limit."""
    return words.size(settings.disk.space) if settings.disk.space else 0, settings.disk.inodes


def wanted(root: str, settings: Settings) -> tuple[int, int] | None:
    """What a new tenant's container is asked for: where quotas cost nothing it can have one later, too."""
    size, inodes = limits(settings)
    if size or inodes:
        return size, inodes
    try:
        return (0, 0) if disk.offer(root).kind in (disk.PROJECT, disk.SUBVOLUME) else None
    except OSError as error:
        raise Error(f"{root}: {os_text(error)}") from None


def change(tenant: Tenant, old: Settings, new: Settings, keys: list[str]) -> list[str]:
    """As change.LIVE has it: other limits now; the keys for which that was done. Raises Error."""
    size, inodes = limits(new)
    own = reroot.disk_of(tenant)
    if own is None:
        return []  # at the next start it moves to a disk
    running = tenant.alive()
    if _moves(own, size, inodes):
        return []
    if own.kind == disk.IMAGE and running and size < own.size and tenant.container in _grown:
        return []  # taken back: its next start makes it smaller
    if (size, inodes) != (own.size, own.inodes):
        disks.resize(tenant.paths, tenant.container, size, inodes)
        if size > own.size:
            _grown.add(tenant.container)
    return keys


def at_start(tenant: Tenant, settings: Settings) -> None:
    """Before a tenant starts: its disk is as its settings say. Raises Error."""
    size, inodes = limits(settings)
    own = reroot.disk_of(tenant)
    if own is not None:
        if (size, inodes) != (own.size, own.inodes):
            _resize(tenant, own, size, inodes)
    elif size or inodes:
        offered = disk.offer(tenant.paths.root)
        if not offered.kind:
            raise Error(f"disk.space: this host cannot limit a tenant's disk: {offered.why}")
        _move(tenant, disk.Disk(offered.kind, size, inodes))


def _resize(tenant: Tenant, own: Disk, size: int, inodes: int) -> None:
    if _moves(own, size, inodes):
        _move(tenant, disk.Disk(disk.IMAGE, size, inodes) if size else None)
        return
    disks.resize(tenant.paths, tenant.container, size, inodes)


def _moves(own: Disk, size: int, inodes: int) -> bool:
    """Whether its files have to move: no image is without a size, and its inodes are as it was made."""
    return own.kind == disk.IMAGE and (not size or inodes != own.inodes)


def _move(tenant: Tenant, to: Disk | None) -> None:
    """Its files move to a disk of another kind. Raises Error."""
    found = load.read_record(tenant.paths, tenant.container)
    image = reroot.image_of(tenant, found.image_id)
    own = disk.Disk.of(found.disk)

    def make(base: str) -> int:
        source = replace.open_upper(base, own)
        try:
            return snapshot.copy_from(tenant, base, to, source)
        finally:
            os.close(source)

    reroot.apply(tenant, state.RESTORING, reroot.Plan(image, to, make))
