"""What a tenant's files hold of the store's: images, for its snapshots as well; project numbers of its quotas."""

from __future__ import annotations

import os

from pycontain.engine import load, repair
from pycontain.image import find
from pycontain.kernel import quotactl
from pycontain.kernel.errors import Error, InUse
from pycontain.storage import disk, projects
from pycontain.tenant import snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.hold import Tenant


def hold(tenant: Tenant, image_id: str) -> None:
    """An image stays as long as the tenant's container; one that it has already is no error. Raises NotFound, Error."""
    try:
        find.hold(tenant.paths.root, image_id, tenant.container)
    except InUse:
        pass


def settle(tenant: Tenant) -> None:
    """Give back what neither its container nor a snapshot needs. Raises Error."""
    root, container = tenant.paths.root, tenant.container
    try:
        kept = snapshots.read_all(tenant)
    except Error:
        return  # nobody knows what a damaged snapshot needs: all stays held until it is removed; doctor tells of it
    needed = {load.read_record(tenant.paths, container).image_id, *(one.image_id for one in kept)}
    images = f"{root}/images"
    for image in os.listdir(images):
        if image not in needed:
            repair.unlink(f"{images}/{image}/used/{container}")
    numbers = {_project(tenant.paths.container(container)), *(_project(one.path) for one in kept)}
    for number in projects.of_container(root, container):
        if int(number) not in numbers:
            repair.unlink(projects.path(root, number))


def _project(base: str) -> int:
    """The project of a disk's directory, 0 for none."""
    try:
        fd = os.open(f"{base}/{disk.DIRECTORY}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return quotactl.project(fd)
    except OSError:
        return 0
    finally:
        os.close(fd)
