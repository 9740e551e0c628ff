"""Snapshots on the disk: ``snapshots/NAME/`` with snapshot.json and a tenant's files as its container has them.

One that is complete has its name; in the making it has NEW before it, on its way out GONE.
"""

from __future__ import annotations

import os
import re
import time

from pycontain.kernel import files
from pycontain.kernel.errors import Error, InUse, NotFound, UsageError, os_text
from pycontain.storage import replace
from pycontain.storage.disk import Disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pycontain.engine.record import Record
    from pycontain.tenant.doctor import Finding
    from pycontain.tenant.hold import Tenant
    from pycontain.tenant.place import Tenants

VERSION = 1
_NAME = re.compile(r"(?=.{1,64}$)[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")
_NEW, _GONE = ".new-", ".gone-"
_FACTS = "snapshot.json"
#: What a snapshot is made of: a snapshot of btrfs, files that share their blocks with the tenant's, copies of them, or
#: the root that the tenant had before.
SUBVOLUME, SHARED, COPY, ROOT = "subvolume", "shared", "copy", "root"


class Snapshot:
    """One that is complete. created: RFC 3339. kind: as above. size: bytes that were copied or shared; -1 where that is
    not known. image_id, image: what its files lie on. disk: where they are, as for a container.
    """

    __slots__ = ("created", "description", "disk", "image", "image_id", "kind", "name", "path", "size")

    def __init__(self, path: str, value: dict[str, Any]) -> None:
        self.path = path
        self.name = os.path.basename(path)
        self.created: str = value["created"]
        self.description: str = value["description"]
        self.kind: str = value["kind"]
        self.size: int = value["size"]
        self.image_id: str = value["image_id"]
        self.image: str = value["image"]
        self.disk = Disk.of(value["disk"])

    def open_upper(self) -> int:
        """A descriptor of its upper directory. Raises Error."""
        return replace.open_upper(self.path, self.disk)


def check_name(name: str) -> str:
    """Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a name for a snapshot: letters, digits, '-', '_', '.' and ':', at most 64")
    return name


def directory(tenant: Tenant) -> str:
    """Where a tenant's snapshots are."""
    return f"{tenant.directory}/snapshots"


def read_directory(path: str) -> list[Snapshot]:
    """All that are complete in a directory, the oldest first. Raises Error for one that is damaged."""
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Error(f"{path}: {os_text(error)}") from None
    found = [_read(f"{path}/{name}") for name in names if not name.startswith(".")]
    return sorted(found, key=lambda one: (one.created, one.name))


def read_all(tenant: Tenant) -> list[Snapshot]:
    """As read_directory, of a tenant."""
    return read_directory(directory(tenant))


def _read(path: str) -> Snapshot:
    file = f"{path}/{_FACTS}"
    try:
        value = files.read_json(file)
        if type(value) is not dict or value.get("version") != VERSION:
            raise Error(f"{file}: is not a snapshot of version {VERSION}")
        return Snapshot(path, value)
    except OSError as error:
        raise Error(f"{file}: {os_text(error)}: the snapshot is damaged: remove {path}") from None
    except (KeyError, TypeError):
        raise Error(f"{file}: is damaged: remove {path}") from None


def find(tenant: Tenant, name: str) -> Snapshot:
    """Raises NotFound, UsageError, Error."""
    check_name(name)
    path = f"{directory(tenant)}/{name}"
    if not os.path.isdir(path):
        raise NotFound(
            f"tenant {tenant.name} has no snapshot {name!r}: 'pycontain tenant snapshot list {tenant.name}' lists them"
        )
    return _read(path)


def free_name(tenant: Tenant, wanted: str) -> str:
    """A name that no snapshot has: this one, or with a number behind it."""
    name, number = wanted, 1
    while os.path.lexists(f"{directory(tenant)}/{name}"):
        number += 1
        name = f"{wanted}-{number}"
    return name


def refuse_taken(tenant: Tenant, name: str) -> None:
    """Raises InUse, UsageError."""
    check_name(name)
    if os.path.lexists(f"{directory(tenant)}/{name}"):
        raise InUse(f"tenant {tenant.name} has a snapshot {name!r} already: choose another name, or remove it")


def begin(tenant: Tenant, name: str) -> str:
    """The directory of one in the making, empty. Raises Error."""
    path = f"{directory(tenant)}/{_NEW}{name}"
    sweep(tenant)
    try:
        os.makedirs(path, 0o700)
    except OSError as error:
        raise Error(f"cannot make {path}: {os_text(error)}") from None
    return path


def commit(path: str, found: Record, description: str, kind: str, size: int, disk: Disk | None) -> None:
    """Give one in the making its facts and its name. Raises Error."""
    value = {
        "version": VERSION,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "description": description,
        "kind": kind,
        "size": size,
        "image_id": found.image_id,
        "image": found.image,
        "disk": disk.to_json() if disk else {},
    }
    above, name = os.path.split(path)
    try:
        files.write_json(f"{path}/{_FACTS}", value, sync=True)
        os.rename(path, f"{above}/{name.removeprefix(_NEW)}")
    except OSError as error:
        raise Error(f"cannot write {path}: {os_text(error)}") from None


def adopt(tenant: Tenant, name: str, old: str, disk: Disk | None, found: Record) -> None:
    """The root that a tenant had becomes a snapshot; old: where it is, "" where that was done. Raises Error."""
    path = f"{directory(tenant)}/{_NEW}{name}"
    final = f"{directory(tenant)}/{name}"
    if os.path.isdir(final):
        return
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        if old:
            os.rename(old, f"{path}/{replace.entry(disk)}")
    except OSError as error:
        raise Error(f"cannot keep {old}: {os_text(error)}") from None
    commit(path, found, "before it was installed anew", ROOT, -1, disk)


def remove(snapshot: Snapshot) -> None:
    """In one step for whoever looks. Raises Error."""
    above, name = os.path.split(snapshot.path)
    gone = f"{above}/{_GONE}{name}"
    if os.path.isdir(gone):
        _erase(gone)  # of one of this name, whose removal was interrupted
    try:
        os.rename(snapshot.path, gone)
    except OSError as error:
        raise Error(f"cannot remove {snapshot.path}: {os_text(error)}") from None
    _erase(gone)


def _erase(path: str) -> None:
    try:
        for name in os.listdir(path):
            replace.remove(f"{path}/{name}")
        os.rmdir(path)
    except OSError as error:
        raise Error(f"cannot remove {path}: {os_text(error)}") from None


def sweep(tenant: Tenant) -> None:
    """What interrupted verbs have left: not what reroot.py is at work on. Raises Error."""
    path = directory(tenant)
    for name in os.listdir(path) if os.path.isdir(path) else ():
        if name.startswith((_NEW, _GONE)):
            _erase(f"{path}/{name}")


def remove_all(tenant: Tenant) -> None:
    """Before the tenant goes. Raises Error."""
    path = directory(tenant)
    for name in os.listdir(path) if os.path.isdir(path) else ():
        _erase(f"{path}/{name}")


def check(tenants: Tenants) -> Iterator[Finding]:
    """As doctor.CHECKS has it: snapshots that cannot be read, what is left of some, images that they need."""
    from pycontain.image import find as images
    from pycontain.tenant.doctor import Finding

    for name in tenants.kept():
        path = f"{tenants.state_directory(name)}/snapshots"
        if tenants.working(name) or not os.path.isdir(path):
            continue
        for entry in sorted(os.listdir(path)):
            if entry.startswith((_NEW, _GONE)):
                yield Finding(name, f"{path}/{entry} is left of a snapshot", "its next snapshot create removes it")
                continue
            try:
                one = _read(f"{path}/{entry}")
            except Error as error:
                yield Finding(name, error.message)
                continue
            if images.lookup(tenants.paths.root, one.image_id) is None:
                yield Finding(name, f"snapshot {entry}: its image {one.image} ({one.image_id}) is not in the store")
