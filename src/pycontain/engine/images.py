"""Images as the engine knows them: with the containers that are made from them."""

from __future__ import annotations

import os

from pycontain.engine import repair, state
from pycontain.image import store
from pycontain.image.reference import parse
from pycontain.kernel.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pycontain.engine.paths import Paths
    from pycontain.image.store import Image, Removed

_NONE = "<none>"


def repository(name: str) -> tuple[str, str]:
    """Name without tag, and tag or digest; ``<none>`` for an image without a name."""
    if not name:
        return _NONE, _NONE
    reference = parse(name)
    return reference.name, reference.tag or reference.digest


def summary(paths: Paths, image: Image) -> dict[str, Any]:
    """What ``image ls --format json`` says of one."""
    return {
        "Id": image.id,
        "RepoTags": image.names,
        "Created": image.created,
        "Size": image.size,
        "Architecture": image.architecture,
        "Labels": image.config.get("Labels") or {},
        "Containers": len(store.holders(paths.root, image.id)),
        **({"Problem": image.problem} if image.problem else {}),
    }


def inspect(paths: Paths, text: str) -> dict[str, Any]:
    """All that is known of an image. Raises NotFound; Error for a damaged one."""
    found = store.lookup(paths.root, text)
    if found is None:
        raise store.missing(text)
    names = next((one.names for one in store.list_images(paths.root) if one.id == found.id), found.names)
    return {
        "Id": found.id,
        "RepoTags": names,
        "Created": found.created,
        "Architecture": found.architecture,
        "Os": "linux",
        "Size": found.size,
        "Config": found.config,
        "RootFS": {"Type": "layers", "Layers": found.layers},
        "GraphDriver": {
            "Name": "overlay",
            "Data": {"LowerDir": ":".join(f"{paths.root}/layers/{layer}" for layer in reversed(found.layers))},
        },
        "Mounts": found.mounts,
        "History": found.history,
        "Containers": store.holders(paths.root, found.id),
    }


def _stale(paths: Paths) -> Callable[[str], bool]:
    """Whether a container's hold on an image is that of nobody: it is neither there nor being made."""
    return lambda container: not os.path.isdir(paths.container(container)) and not state.alive(paths, container)


def _settle(paths: Paths) -> None:
    """What killed processes left would count as in use."""
    paths.prepare()
    repair.repair_all(paths)


def remove(paths: Paths, text: str, force: bool) -> Removed:
    """Take a name away, and the image with its last one; ``force``: one that does not exist is no error.

    Raises NotFound, InUse, Error.
    """
    from pycontain.storage import layers

    _settle(paths)
    try:
        return store.remove(paths.root, text, _stale(paths), layers)
    except NotFound:
        if force:
            return store.Removed()
        raise


def prune(paths: Paths, unused: bool) -> Removed:
    """Remove images that have no name and no container; ``unused``: those with a name, too. Raises Error."""
    from pycontain.storage import layers

    _settle(paths)
    return store.prune(paths.root, _stale(paths), layers, unused=unused)
