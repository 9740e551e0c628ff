"""snapshot create, list, restore, rm."""

from __future__ import annotations

import os

from pycontain.engine import life as containers
from pycontain.engine import load
from pycontain.engine import state as container_state
from pycontain.kernel.cancel import Undone
from pycontain.kernel.errors import Error, InUse, os_text
from pycontain.storage import disk, replace, subvolume, treecopy
from pycontain.storage.disk import Disk
from pycontain.tenant import holds, reroot, snapshots, state
from pycontain.tenant.hold import Tenant, hold
from pycontain.tenant.place import Tenants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain.engine.record import Record
    from pycontain.tenant.snapshots import Snapshot


def create(tenants: Tenants, text: str, name: str, description: str = "") -> Snapshot:
    """Take one; a tenant that runs stands still meanwhile. Raises Missing, InUse, UsageError, Error."""
    with hold(tenants, text) as tenant:
        snapshots.refuse_taken(tenant, name)
        found = load.read_record(tenant.paths, tenant.container)
        quiet(tenant, name, lambda: _take(tenant, found, name, description))
        return snapshots.find(tenant, name)


def quiet(tenant: Tenant, what: str, act: Callable[[], None]) -> None:
    """Do something with the files of a tenant, which stands still meanwhile where it runs. Raises Error."""
    freeze = tenant.alive() and container_state.read(tenant.paths, tenant.container).status != container_state.PAUSED
    # whoever is asked to end meanwhile lets it go on first
    with Undone() as cancellable:
        tenant.phase(state.SNAPSHOTTING, snapshot=what, frozen=freeze)
        try:
            with cancellable:
                if freeze:
                    _freeze(tenant, True)
                act()
        finally:
            _thaw(tenant)
            tenant.settle()


def _freeze(tenant: Tenant, frozen: bool) -> None:
    try:
        containers.pause(tenant.paths, tenant.container, frozen)
    except InUse:
        pass


def _thaw(tenant: Tenant) -> None:
    if tenant.state.detail.get("frozen") and tenant.alive():
        _freeze(tenant, False)


def recover(tenant: Tenant) -> None:
    """Of an interrupted create or export nothing stays, and the tenant goes on. Raises Error."""
    _thaw(tenant)
    snapshots.sweep(tenant)
    tenant.settle()


def _take(tenant: Tenant, found: Record, name: str, description: str) -> None:
    base, own = tenant.paths.container(found.id), Disk.of(found.disk)
    path = snapshots.begin(tenant, name)
    try:
        if own is not None and own.kind == disk.SUBVOLUME:
            _take_subvolume(base, path)
            snapshots.commit(path, found, description, snapshots.SUBVOLUME, -1, own)
            return
        copied = _copy(base, own, path)
        kind = snapshots.SHARED if copied.cloned and copied.size else snapshots.COPY
        snapshots.commit(path, found, description, kind, copied.size, None)
    except BaseException:
        snapshots.sweep(tenant)
        raise


def _take_subvolume(base: str, path: str) -> None:
    try:
        fd = os.open(f"{base}/{disk.DIRECTORY}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            replace.sync(fd)
            subvolume.snapshot(fd, f"{path}/{disk.DIRECTORY}")
        finally:
            os.close(fd)
    except OSError as error:
        raise Error(f"cannot take a snapshot of {base}/{disk.DIRECTORY}: {os_text(error)}") from None


def _copy(base: str, own: Disk | None, path: str) -> treecopy.Copied:
    target = f"{path}/upper"
    os.mkdir(target, 0o755)
    source = replace.open_upper(base, own)
    try:
        new = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            copied = treecopy.tree(source, new)
            replace.sync(new)
            return copied
        finally:
            os.close(new)
    finally:
        os.close(source)


def list_(tenants: Tenants, text: str) -> list[Snapshot]:
    """A tenant's snapshots, the oldest first. Takes no lock. Raises Missing, Error."""
    return snapshots.read_directory(f"{tenants.state_directory(tenants.find(text))}/snapshots")


def remove(tenants: Tenants, text: str, name: str) -> None:
    """Raises Missing, NotFound, Error."""
    with hold(tenants, text) as tenant:
        snapshots.remove(snapshots.find(tenant, name))
        holds.settle(tenant)


def restore(tenants: Tenants, text: str, name: str) -> None:
    """A tenant's files are again those of a snapshot, which stays; what it has now is lost. Its settings stay.

    Raises Missing, NotFound, InUse where it runs, Error.
    """
    with hold(tenants, text) as tenant:
        snapshot = snapshots.find(tenant, name)
        reroot.need_stopped(tenant, "restore a snapshot")
        own = reroot.disk_of(tenant)
        image = reroot.image_of(tenant, snapshot.image_id)
        reroot.apply(tenant, state.RESTORING, reroot.Plan(image, own, lambda base: fill(tenant, base, own, snapshot)))


def fill(tenant: Tenant, base: str, own: Disk | None, snapshot: Snapshot) -> int:
    """The new root from a snapshot; a descriptor of it. Raises Error."""
    theirs = snapshot.disk
    if own is not None and own.kind == disk.SUBVOLUME and theirs is not None and theirs.kind == disk.SUBVOLUME:
        replace.make_snapshot(base, own, f"{snapshot.path}/{disk.DIRECTORY}")
        return replace.open_upper(base, own, disk.NEW)
    source = snapshot.open_upper()
    try:
        return copy_from(tenant, base, own, source)
    finally:
        os.close(source)


def copy_from(tenant: Tenant, base: str, wanted: Disk | None, source: int) -> int:
    """The new root as a copy of an upper directory; a descriptor of it. Raises Error."""
    replace.make(tenant.paths.root, base, tenant.container, wanted)
    target = replace.open_upper(base, wanted, disk.NEW)
    try:
        treecopy.tree(source, target)
        return target
    except BaseException:
        os.close(target)
        raise
