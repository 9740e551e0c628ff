"""rm and rename: what a container is called, and that it goes."""

from __future__ import annotations

import os

from pycontain.engine import life, load, names, record, repair, state
from pycontain.engine.claim import claim
from pycontain.kernel.errors import Error, InUse, NotFound, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record


def remove(paths: Paths, container_id: str, force: bool) -> None:
    """Remove a container with all that is its own. Raises InUse where it runs and ``force`` is not given, Error."""
    repair.repair(paths, container_id)
    if state.alive(paths, container_id):
        if not force:
            raise InUse(f"container {container_id[:12]} is running: stop it first, or use --force")
        life.end(paths, container_id)
    if not os.path.isdir(paths.container(container_id)):
        return  # it was made with --rm
    held = claim(paths, container_id, 5.0)
    if held is None:
        raise InUse(f"container {container_id[:12]}: another command works on it: try again")
    try:
        name, image_id = _facts(paths, container_id)
        repair.remove_files(paths, container_id, name, image_id)
    finally:
        repair.discard_run_dir(held)


def _facts(paths: Paths, container_id: str) -> tuple[str, str]:
    """Name and image, also of a container whose record is damaged: found the other way round."""
    try:
        found = record.read(paths, container_id)
        return found.name, found.image_id
    except (Error, FileNotFoundError):
        pass
    name = next((one for one in _listed(f"{paths.root}/names") if names.owner(paths, one) == container_id), "")
    images = f"{paths.root}/images"
    image = next((one for one in _listed(images) if os.path.exists(f"{images}/{one}/used/{container_id}")), "")
    return name, image


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def remove_named(paths: Paths, text: str, force: bool) -> None:
    """As remove, by name or ID; with ``force`` one that does not exist is no error. Raises NotFound, InUse, Error."""
    try:
        container_id = names.find(paths, text)
    except NotFound:
        if force:
            return
        raise
    remove(paths, container_id, force)


def rename(paths: Paths, text: str, name: str) -> None:
    """Give a container another name. Raises NotFound, InUse, Error."""
    container_id = names.find(paths, text)
    found = load.read_record(paths, container_id)
    if found.name == name:
        raise InUse(f"container {text} has the name {name!r} already")
    names.take(paths, name, container_id)
    before, found.name = found.name, name
    try:
        record.write(paths, found)
    except OSError as error:
        names.drop(paths, name, container_id)
        raise Error(f"cannot write the record of container {text}: {os_text(error)}") from None
    names.drop(paths, before, container_id)


def all_records(paths: Paths) -> list[tuple[str, Record | None]]:
    """Every container with its record, None where that is damaged; half-made ones are left out. The newest first."""
    found: list[tuple[str, Record | None]] = []
    for container_id in names.all_ids(paths):
        try:
            found.append((container_id, record.read(paths, container_id)))
        except FileNotFoundError:
            continue
        except Error:
            found.append((container_id, None))
    found.sort(key=lambda pair: pair[1].created if pair[1] else "", reverse=True)
    return found
