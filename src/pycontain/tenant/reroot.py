"""Another root for a tenant: restore, reinstall, a disk of another kind. Crash-safe (docs/tenants.md, "Crashes").

Until the new root is complete and on the disk an interrupted one is taken back; from then on it is completed.
"""

from __future__ import annotations

import os

from pycontain.engine import claim, load, record
from pycontain.engine import disk as disks
from pycontain.image import find
from pycontain.kernel.errors import Error, InUse
from pycontain.storage import replace
from pycontain.storage.disk import Disk
from pycontain.tenant import file, holds, snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain.engine.record import Record
    from pycontain.image.find import Image
    from pycontain.tenant.hold import Tenant

_BUILD, _SWAP = "build", "swap"


class Plan:
    """A new root. image: that it lies on. disk: its limits, None for none. make: makes it at replace's NEW, and gives a
    descriptor on its file system. keep: name of a snapshot that the old one becomes, "" for none. template: what the
    settings are to say then, "" for what they say.
    """

    __slots__ = ("disk", "image", "keep", "make", "template")

    def __init__(
        self, image: Image, disk: Disk | None, make: Callable[[str], int], keep: str = "", template: str = ""
    ) -> None:
        self.image = image
        self.disk = disk
        self.make = make
        self.keep = keep
        self.template = template


def need_stopped(tenant: Tenant, what: str) -> None:
    """Raises InUse where it runs."""
    if tenant.alive():
        raise InUse(f"tenant {tenant.name} runs: to {what} stop it first: 'pycontain tenant stop {tenant.name}'")


def image_of(tenant: Tenant, image_id: str) -> Image:
    """Raises Error where it is not in the store."""
    image = find.lookup(tenant.paths.root, image_id)
    if image is None:
        raise Error(f"tenant {tenant.name}: the image {image_id} that these files lie on is not in the store any more")
    return image


def apply(tenant: Tenant, phase: str, plan: Plan) -> None:
    """Give a tenant that does not run another root. Raises Error; then it has its own, or recover() completes it."""
    container = tenant.container
    held = claim.claim_or_refuse(tenant.paths, container, "change the files of")
    try:
        found = load.read_record(tenant.paths, container)
        tenant.phase(
            phase,
            step=_BUILD,
            old=found.disk,
            new=plan.disk.to_json() if plan.disk else {},
            image=plan.image.id,
            keep=plan.keep,
            template=plan.template,
        )
        try:
            holds.hold(tenant, plan.image.id)
            fd = plan.make(tenant.paths.container(container))
            _synced(fd)
        except BaseException:
            _undo(tenant)
            raise
        tenant.phase(phase, **{**tenant.state.detail, "step": _SWAP})
        _finish(tenant, found)
    finally:
        held.release()


def _synced(fd: int) -> None:
    try:
        replace.sync(fd)
    finally:
        os.close(fd)


def recover(tenant: Tenant) -> None:
    """Take back what was not complete, complete what was. Raises Error."""
    held = claim.claim_or_refuse(tenant.paths, tenant.container, "change the files of")
    try:
        if tenant.state.detail.get("step") == _SWAP:
            _finish(tenant, load.read_record(tenant.paths, tenant.container))
        else:
            _undo(tenant)
    finally:
        held.release()


def _undo(tenant: Tenant) -> None:
    replace.discard(tenant.paths.container(tenant.container))
    tenant.settle()
    holds.settle(tenant)


def _finish(tenant: Tenant, found: Record) -> None:
    detail = tenant.state.detail
    base = tenant.paths.container(found.id)
    before = Disk.of(detail["old"])
    replace.swap(base, before, Disk.of(detail["new"]))
    image = image_of(tenant, detail["image"])
    if detail["keep"]:
        snapshots.adopt(tenant, detail["keep"], replace.old(base, before), before, found)
    _write(tenant, found, image, detail["new"])
    if detail["template"]:
        file.write(tenant.path, file.changed(file.read_text(tenant.path), {"template": detail["template"]}))
    replace.discard(base, replace.OLD)
    tenant.settle()
    holds.settle(tenant)


def _write(tenant: Tenant, found: Record, image: Image, disk: dict[str, object]) -> None:
    if found.image_id != image.id:
        found.image_id, found.layers = image.id, image.layers
        found.image = image.names[0] if image.names else image.id
    found.disk = disk
    with record.Lock(tenant.paths, found.id):
        record.write(tenant.paths, found)


def disk_of(tenant: Tenant) -> Disk | None:
    """The disk that a tenant's container has now."""
    return disks.of_record(load.read_record(tenant.paths, tenant.container))
