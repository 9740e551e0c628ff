"""The record and the bundle of a container made anew: the same ID, root and range of IDs, all else as a create has it.

So a tenant's settings, and newer defaults of pycontain's, are in force after its next start.
"""

from __future__ import annotations

import os

from pycontain.engine import load, record, repair, state, userns
from pycontain.engine.claim import Claim, claim_or_refuse
from pycontain.engine.create import Made, bundle, find_user, make_record
from pycontain.engine.userns import Userns
from pycontain.image import find
from pycontain.kernel import config, files
from pycontain.kernel.errors import Error, InUse, os_text
from pycontain.storage import idpool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record
    from pycontain.engine.request import Request
    from pycontain.storage.users import User


def remake(paths: Paths, container_id: str, request: Request, held: Claim | None = None) -> Made:
    """Take a stopped container and make it what a request says. Its image stays: the files that it has written lie on
    that image's layers. A remake that is interrupted leaves one that the next remake completes.

    held: its lock, of who has it already (a restart policy); it is released where this fails. Raises InUse where the
    container is alive, NotFound, Error.
    """
    repair.repair(paths, container_id)
    restarts = held is not None
    if held is None:
        if state.read(paths, container_id).alive:
            raise InUse(f"container {container_id[:12]} is running already")
        held = claim_or_refuse(paths, container_id, "start")
    try:
        return _remake(paths, container_id, request, held, restarts)
    except OSError as error:
        held.release()
        name = error.filename or paths.container(container_id)
        raise Error(f"container {container_id[:12]}: {name}: {os_text(error)}") from None
    except BaseException:
        held.release()
        raise


def _remake(paths: Paths, container_id: str, request: Request, held: Claim, restarts: bool) -> Made:
    old = load.read_record(paths, container_id)
    image = find.lookup(paths.root, old.image_id)
    if image is None:
        raise Error(f"container {old.name}: its image {old.image_id} is not in the store any more: {request.image}")
    settings = config.load(paths.cache)
    found = make_record(request, image, container_id, old.name, request.hostname, settings)
    found.created, found.image, found.image_id, found.layers = old.created, old.image, old.image_id, old.layers
    found.disk = old.disk
    found.restart_count = old.restart_count if restarts else 0
    user = find_user(request, image, paths.root)
    space = _userns(paths, request, settings, old, found, user)
    spec, program, text = bundle(paths, request, image, found, user, space)
    # the record last: who has the old one with the new bundle makes both anew
    files.replace(f"{paths.container(container_id)}/config.json", text, 0o600)
    record.write(paths, found)
    if old.id_leases and not found.id_leases:
        idpool.release(paths.root, container_id)
    for file in ("hostname", "hosts", "resolv.conf"):
        path = f"{paths.container(container_id)}/etc/{file}"
        if not os.path.exists(path):
            files.create(path, b"", 0o644)
    return Made(found, spec, program, held)


def _userns(paths: Paths, request: Request, settings: dict[str, str], old: Record, found: Record, user: User) -> Userns:
    """The range of IDs that it has, where it is to have one. Raises Error."""
    wanted = request.userns or settings["userns"]
    if wanted == old.userns:
        space = Userns(old.userns, userns.of_record(old), old.id_leases)
    else:
        space = userns.choose(paths, wanted, settings, found.network, found.id)
    userns.check_user(space, user)
    found.userns, found.id_leases = space.mode, space.leases
    if space.maps is not None:
        found.uid_map, found.gid_map = [list(one) for one in space.maps.uids], [list(one) for one in space.maps.gids]
    return space
