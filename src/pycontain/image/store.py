"""The image store: which images there are, what they are called, who uses them.

``refs/NAME`` links to ``../images/ID``; ``images/ID/image.json`` is the record; ``images/ID/used/CONTAINER`` is a hold.
Finding and holding an image takes no lock: a removal takes ``used`` away first, by rmdir(2), which fails while there
is a hold; after it no hold can be made. Changes of names and records take the lock of ``images`` (flock(2)).
"""

from __future__ import annotations

import errno
import os

from pycontain.image.find import (
    Image,
    acquire,
    all_names,
    all_refs,
    hint,
    hold,
    image_ids,
    lookup,
    missing,
    problem,
    read_record,
    resolve,
)
from pycontain.image.reference import Reference, parse
from pycontain.kernel import files
from pycontain.kernel.errors import Error, InUse, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any

    from pycontain.image.draft import Layers

#: What finds and holds an image is in find.py, which the start road imports alone.
__all__ = [
    "Image",
    "Removed",
    "acquire",
    "add",
    "history",
    "hold",
    "holders",
    "list_images",
    "lookup",
    "machine",
    "missing",
    "prune",
    "remove",
    "repair",
    "tag",
]

_TEMPORARY = ".tmp-"
_HEX = frozenset("0123456789abcdef")
_ID_BYTES = 12
#: How often a name may move to a new image while we look at what it means.
_TRIES = 20


class Removed:
    """What a removal did: references that are gone, IDs of images that are gone, bytes of layers that are gone."""

    __slots__ = ("deleted", "freed", "untagged")

    def __init__(self) -> None:
        self.untagged: list[str] = []
        self.deleted: list[str] = []
        self.freed = 0


# --- looking at all ------------------------------------------------------------------------------------------------


def list_images(root: str) -> list[Image]:
    """All images, the newest first; one whose record is damaged has ``problem``. Raises Error."""
    try:
        names = all_names(root)
        images = [image for image in [_load(root, name, names) for name in image_ids(root)] if image]
    except OSError as error:
        raise Error(f"cannot list the images in {root}: {os_text(error)}{hint(error)}") from None
    return sorted(images, key=lambda image: (image.created, image.id), reverse=True)


def holders(root: str, image_id: str) -> list[str]:
    """The IDs of the containers that use an image."""
    try:
        return sorted(os.listdir(f"{root}/images/{image_id}/used"))
    except FileNotFoundError:
        return []


def history(root: str, text: str) -> list[dict[str, Any]]:
    """How an image came to be, the newest step first: created, created_by, size. Raises NotFound."""
    image = lookup(root, text)
    if image is None:
        raise missing(text)
    return image.history[::-1]


def _load(root: str, image_id: str, names: dict[str, list[str]]) -> Image | None:
    if not os.path.isdir(f"{root}/images/{image_id}/used"):
        return None
    try:
        return Image(image_id, names.get(image_id, []), read_record(root, image_id))
    except FileNotFoundError:
        return Image(image_id, names.get(image_id, []), {}, "it has no record (image.json)")
    except Error as error:
        return Image(image_id, names.get(image_id, []), {}, error.message)


def add(
    root: str,
    reference: Reference | str,
    config: dict[str, Any],
    layers: Sequence[str],
    mounts: Sequence[dict[str, Any]] = (),
    *,
    size: int = 0,
    history: Sequence[dict[str, Any]] = (),
    architecture: str = "",
    created: str = "",
) -> Image:
    """Make an image of layers that are there, all or nothing, and give it the name ``reference``.

    An image that had the name keeps everything else. architecture, created: this machine's and now where they are "".
    Raises Error naming the path.
    """
    reference = parse(reference) if isinstance(reference, str) else reference
    record = {"layers": list(layers), "mounts": list(mounts), "config": config, "size": size, "history": list(history)}
    record["architecture"] = architecture or machine()
    record["created"] = created or _now()
    image = Image("", [str(reference)], record)
    image.id = _digest(image.record())
    with _Lock(root):
        for layer in layers:
            if not os.path.isdir(f"{root}/layers/{layer}"):
                raise Error(f"cannot make image {reference}: its layer {layer} does not exist")
        new = not os.path.isdir(f"{root}/images/{image.id}/used")
        if new:
            _erase(root, image.id)
            _write(root, image)
        try:
            _point(root, reference, image.id)
        except BaseException:
            if new and not all_names(root).get(image.id):
                _delete(root, image.id, [], _never, Removed())
            raise
    return image


def tag(root: str, text: str, reference: Reference | str) -> Image:
    """Give an image one more name, which another image loses where it has it. Raises NotFound."""
    reference = parse(reference) if isinstance(reference, str) else reference
    with _Lock(root):
        image = lookup(root, text)
        if image is None or not os.path.isdir(f"{root}/images/{image.id}/used"):
            raise missing(text)
        _point(root, reference, image.id)
        image.names = all_names(root)[image.id]
    return image


def remove(root: str, text: str, stale: Callable[[str], bool], layers: Layers) -> Removed:
    """Take a name from an image, and remove the image with its last name; layers that no other image uses go too.

    stale: whether a container (ID) no longer exists, so that its hold does not count. layers: the module
    pycontain.storage.layers. Raises NotFound, InUse naming the containers, Error.
    """
    removed = Removed()
    with _Lock(root):
        found = resolve(root, text)
        if found is None:
            raise missing(text)
        image_id, name = found
        names = all_names(root).get(image_id, [])
        if len(names) > 1:
            if not name:
                raise InUse(f"image {image_id} has several names: {', '.join(names)}: remove them by name")
            _drop_name(root, name)
            removed.untagged.append(name)
            return removed
        _delete(root, image_id, names, stale, removed)
        _retire(root, layers, removed)
    layers.sweep(root)
    return removed


def prune(root: str, stale: Callable[[str], bool], layers: Layers, *, unused: bool = False) -> Removed:
    """Remove images that have no name and no container, and whatever a killed process left behind.

    unused: images with names and without containers too. Others as for remove(). Raises Error.
    """
    removed = Removed()
    with _Lock(root):
        for image in list_images(root):
            if unused or not image.names:
                try:
                    _delete(root, image.id, image.names, stale, removed)
                except InUse:
                    continue
        _repair(root)
        _retire(root, layers, removed)
    layers.sweep(root)
    return removed


def repair(root: str, layers: Layers) -> None:
    """Finish what killed processes began, and remove what nobody can reach any more.

    That is: images without a name and without holds, half-removed ones, layers without an image, temporary files.
    Raises Error.
    """
    with _Lock(root):
        _repair(root)
        _retire(root, layers, Removed())
    layers.sweep(root)


def machine() -> str:
    """This machine's architecture as OCI images name it (GOARCH)."""
    name = os.uname().machine
    return _ARCHITECTURES.get(name, name)


_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "i586": "386",
    "loongarch64": "loong64",
}


class _Lock:
    """The lock of the image store; makes its directories. OSErrors of the body become Errors that name the store."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.fd = -1

    def __enter__(self) -> None:
        import fcntl

        try:
            os.makedirs(self.root, 0o711, exist_ok=True)
            for name in ("images", "refs"):
                os.makedirs(f"{self.root}/{name}", 0o700, exist_ok=True)
            self.fd = os.open(f"{self.root}/images", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        except OSError as error:
            self._close()
            raise problem(error, f"{self.root}/images") from None
        except BaseException:
            self._close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if isinstance(error, OSError):
            raise problem(error, os.fsdecode(error.filename2 or error.filename or self.root)) from error

    def _close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _write(root: str, image: Image) -> None:
    """images/ID with its record and no holds, all at once."""
    temporary = f"{root}/images/{_TEMPORARY}{image.id}"
    try:
        os.mkdir(temporary, 0o700)
        os.mkdir(f"{temporary}/used", 0o700)
        files.write_json(f"{temporary}/image.json", {"id": image.id, **image.record()}, sync=True)
        _sync(temporary)
        os.rename(temporary, f"{root}/images/{image.id}")
        _sync(f"{root}/images")
    except BaseException:
        _erase(root, image.id)
        raise


def _point(root: str, reference: Reference, image_id: str) -> None:
    """The name ``reference`` means this image from now on."""
    temporary = f"{root}/refs/{_TEMPORARY}{os.getpid()}"
    _unlink(temporary)
    try:
        os.symlink(f"../images/{image_id}", temporary)
        os.rename(temporary, f"{root}/refs/{reference.encode()}")
    except BaseException:
        _unlink(temporary)
        raise
    _sync(f"{root}/refs")


def _drop_name(root: str, name: str) -> None:
    _unlink(f"{root}/refs/{parse(name).encode()}")


def _delete(root: str, image_id: str, names: list[str], stale: Callable[[str], bool], removed: Removed) -> None:
    """Remove an image and its names, not its layers. Raises InUse."""
    used = f"{root}/images/{image_id}/used"
    for container in holders(root, image_id):
        if stale(container):
            _unlink(f"{used}/{container}")
    try:
        os.rmdir(used)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        users = holders(root, image_id)
        label = names[0] if names else image_id
        raise InUse(
            f"image {label} is used by container{'s' if len(users) > 1 else ''} {', '.join(users)}: "
            f"remove with 'pycontain rm' first"
        ) from None
    for name in names:
        _drop_name(root, name)
        removed.untagged.append(name)
    _erase(root, image_id)
    removed.deleted.append(image_id)


def _erase(root: str, image_id: str) -> None:
    """Remove an image's directory, whole, half-made or half-removed, that has no holds."""
    for path in (f"{root}/images/{image_id}", f"{root}/images/{_TEMPORARY}{image_id}"):
        try:
            names = os.listdir(path)
        except FileNotFoundError:
            continue
        for name in names:
            if name == "used":
                os.rmdir(f"{path}/used")
            else:
                _unlink(f"{path}/{name}")
        os.rmdir(path)


def _repair(root: str) -> None:
    names = all_names(root)
    for name in image_ids(root):
        if not names.get(name):
            try:
                _delete(root, name, [], _never, Removed())
            except InUse:
                continue
    for name in os.listdir(f"{root}/images"):
        if name.startswith(_TEMPORARY):
            _erase(root, name.removeprefix(_TEMPORARY))
        elif not os.path.isdir(f"{root}/images/{name}/used"):
            _erase(root, name)
    for name in all_refs(root):
        path = f"{root}/refs/{name}"
        if name.startswith(_TEMPORARY) or not os.path.isdir(path):
            _unlink(path)


def _retire(root: str, layers: Layers, removed: Removed) -> None:
    """Retire the layers that no image uses; none while there is an image whose layers cannot be known."""
    images = list_images(root)
    if any(image.problem for image in images):
        return
    wanted = {layer for image in images for layer in image.layers}
    removed.freed += layers.retire(root, [layer for layer in layers.committed(root) if layer not in wanted])


def _never(container: str) -> bool:
    return False


def _digest(record: dict[str, Any]) -> str:
    from _blake2 import blake2b

    from pycontain.kernel import jsontext

    return blake2b(jsontext.dumps(record).encode(), digest_size=_ID_BYTES).hexdigest()


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _now() -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
