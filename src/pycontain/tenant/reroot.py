"""Another root for a tenant: restore, reinstall, a disk of another kind. Crash-safe (docs/tenants.md, "Crashes").

Until the new root is complete and on the disk an interrupted one is taken back; from then on it is completed.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from pycontain.engine import claim, load, record
from pycontain.engine import disk as disks
from pycontain.image import find
from pycontain.kernel.errors import Error, InUse
from pycontain.storage import replace
from pycontain.storage.disk import OLD, Disk
from pycontain.tenant import dumps, file, holds, snapshots
from pycontain.tenant.setup import steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pycontain.engine.record import Record
    from pycontain.image.find import Image
    from pycontain.tenant.hold import Tenant

#: In this order.
_BUILD, _SWAP, _SET_UP = "build", "swap", "set-up"


class Plan:
    """A new root. image: that it lies on. disk: its limits, None for none. make: makes it at replace's NEW, and gives a
    descriptor on its file system. keep: name of a snapshot that the old one becomes, "" for none. template: what the
    settings are to say then, "" for what they say. first: it is to be set up as at the tenant's creation.
    keys: of ssh, for that.
    """

    __slots__ = ("disk", "first", "image", "keep", "keys", "make", "template")

    def __init__(self, image: Image, disk: Disk | None, make: Callable[[str], int]) -> None:
        self.image = image
        self.disk = disk
        self.make = make
        self.keep = self.template = ""
        self.first = False
        self.keys: list[str] = []

    def detail(self, old: dict[str, Any]) -> dict[str, Any]:
        """What state.json is to know of it. old: the disk that there is."""
        return {
            "old": old,
            "new": self.disk.to_json() if self.disk else {},
            "image": self.image.id,
            "keep": self.keep,
            "template": self.template,
            "first": self.first,
            "keys": self.keys,
        }


def need_stopped(tenant: Tenant, what: str) -> None:
    """Raises InUse where it runs."""
    if tenant.alive():
        raise InUse(f"tenant {tenant.name} runs: to {what} stop it first: 'pycontain tenant stop {tenant.name}'")
    dumps.refuse(tenant, "given other files")


def image_of(tenant: Tenant, image_id: str) -> Image:
    """Raises Error where it is not in the store."""
    image = find.lookup(tenant.paths.root, image_id)
    if image is None:
        raise Error(f"tenant {tenant.name}: the image {image_id} that these files lie on is not in the store any more")
    return image


def apply(tenant: Tenant, phase: str, plan: Plan) -> None:
    """Give a tenant that does not run another root. Raises Error; then it has its own, or recover() completes it."""
    container = tenant.container
    with _claimed(tenant):
        found = load.read_record(tenant.paths, container)
        tenant.phase(phase, step=_BUILD, **plan.detail(found.disk))
        try:
            holds.hold(tenant, plan.image.id)
            _synced(plan.make(tenant.paths.container(container)))
        except BaseException:
            _undo(tenant)
            raise
        _step(tenant, _SWAP)
        _swap(tenant, found)
    _set_up(tenant)


@contextmanager
def _claimed(tenant: Tenant) -> Iterator[None]:
    held = claim.claim_or_refuse(tenant.paths, tenant.container, "change the files of")
    try:
        yield
    finally:
        held.release()


def _step(tenant: Tenant, step: str) -> None:
    tenant.phase(tenant.state.phase, **{**tenant.state.detail, "step": step})


def _synced(fd: int) -> None:
    try:
        replace.sync(fd)
    finally:
        os.close(fd)


def recover(tenant: Tenant) -> None:
    """Take back what was not complete, complete what was. Raises Error."""
    step = tenant.state.detail.get("step")
    if step != _SET_UP:
        with _claimed(tenant):
            if step != _SWAP:
                _undo(tenant)
                return
            _swap(tenant, load.read_record(tenant.paths, tenant.container))
    _set_up(tenant)


def _undo(tenant: Tenant) -> None:
    replace.discard(tenant.paths.container(tenant.container))
    tenant.settle()
    holds.settle(tenant)


def _swap(tenant: Tenant, found: Record) -> None:
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
    replace.discard(base, OLD)
    _step(tenant, _SET_UP)


def _set_up(tenant: Tenant) -> None:
    """What the host decides of the new root's files; then it is done."""
    if tenant.state.detail["first"]:
        from pycontain.tenant import life

        settings = tenant.settings()
        steps.at_creation(tenant, settings, life.template_of(tenant, settings), tenant.state.detail["keys"])
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
