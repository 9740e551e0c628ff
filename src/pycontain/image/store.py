"""The image store: which images there are, what they are called, who uses them.

``refs/NAME`` links to ``../images/ID``; ``images/ID/image.json`` is the record; ``images/ID/used/CONTAINER`` is a hold.
Finding and holding an image takes no lock: a removal takes ``used`` away first, by rmdir(2), which fails while there
is a hold; after it no hold can be made. Changes of names and records take the lock of ``images`` (flock(2)).
"""

from __future__ import annotations

import errno
import os

from pycontain.image.reference import Reference, decode, is_id, parse
from pycontain.kernel import files
from pycontain.kernel.errors import Error, InUse, NotFound, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any

    from pycontain.image.draft import Layers

_TEMPORARY = ".tmp-"
_HEX = frozenset("0123456789abcdef")
_ID_BYTES = 12
#: How often a name may move to a new image while we look at what it means.
_TRIES = 20


class Image:
    """One image.

    id: 24 hexadecimal digits. names: its references; after lookup() by name just that one. config: the keys of the OCI
    image configuration's ``config`` (Entrypoint, Cmd, Env, User, WorkingDir, StopSignal, ExposedPorts, Volumes,
    Labels). layers: IDs, bottom first. mounts: host directories that belong to the image, each to be bound with the
    mounts below it: source, target, options (OCI's). created: RFC 3339. architecture: as OCI names it. size: bytes.
    history: one entry a layer, with created, created_by, size. problem: why the record cannot be read, "" where it can.
    """

    __slots__ = (
        "architecture",
        "config",
        "created",
        "history",
        "id",
        "layers",
        "mounts",
        "names",
        "problem",
        "size",
    )

    def __init__(self, image_id: str, names: list[str], record: dict[str, Any], problem: str = "") -> None:
        self.id = image_id
        self.names = names
        self.config: dict[str, Any] = record.get("config", {})
        self.layers: list[str] = record.get("layers", [])
        self.mounts: list[dict[str, Any]] = record.get("mounts", [])
        self.created: str = record.get("created", "")
        self.architecture: str = record.get("architecture", "")
        self.size: int = record.get("size", 0)
        self.history: list[dict[str, Any]] = record.get("history", [])
        self.problem = problem

    def record(self) -> dict[str, Any]:
        """What image.json holds."""
        return {
            "created": self.created,
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "layers": self.layers,
            "mounts": self.mounts,
            "size": self.size,
            "history": self.history,
        }

    def __repr__(self) -> str:
        return f"Image({self.id!r}, {self.names!r})"


class Removed:
    """What a removal did: references that are gone, IDs of images that are gone, bytes of layers that are gone."""

    __slots__ = ("deleted", "freed", "untagged")

    def __init__(self) -> None:
        self.untagged: list[str] = []
        self.deleted: list[str] = []
        self.freed = 0


# --- the start road: find, hold ---------------------------------------------------------------------------------------


def lookup(root: str, text: str) -> Image | None:
    """The image that ``text`` means: a reference, or an image ID or the beginning of one (6 digits or more).

    Raises UsageError where it can be neither, Error where an ID is ambiguous or a record damaged.
    """
    for _ in range(_TRIES):
        found = _find(root, text)
        if found is None:
            return None
        image_id, name = found
        try:
            record = _record(root, image_id)
        except FileNotFoundError:
            # Removed since we found it; its name may belong to a new image by now.
            continue
        return Image(image_id, [name] if name else _names(root).get(image_id, []), record)
    return None


def hold(root: str, image_id: str, container_id: str) -> str:
    """Make the image one that ``container_id`` uses; give the path whose removal ends that.

    Raises NotFound where the image was removed meanwhile.
    """
    path = f"{root}/images/{image_id}/used/{container_id}"
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileNotFoundError:
        raise NotFound(f"image {image_id} was removed") from None
    except FileExistsError:
        raise InUse(f"container {container_id} holds image {image_id} already: {path} is there") from None
    except OSError as error:
        raise _problem(error, path) from None
    return path


def acquire(root: str, text: str, container_id: str) -> tuple[Image, str]:
    """lookup() and hold() as one: also where a build gives the name to a new image just then.

    Raises NotFound where there is no such image.
    """
    for _ in range(_TRIES):
        image = lookup(root, text)
        if image is None:
            break
        try:
            return image, hold(root, image.id, container_id)
        except NotFound:
            continue
    raise missing(text)


def missing(text: str) -> NotFound:
    """The error for an image that does not exist."""
    name = text if is_id(text) and len(text) == 64 else str(parse(text))
    return NotFound(
        f"image {name} does not exist: 'pycontain image ls' lists those that do, 'pycontain image build' makes one"
    )


def _find(root: str, text: str) -> tuple[str, str] | None:
    """ID and, where it was found by name, the name."""
    if not (is_id(text) and len(text) == 64):
        reference = parse(text)
        try:
            target = os.readlink(f"{root}/refs/{reference.encode()}")
            return target.rpartition("/")[2], str(reference)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Error(f"cannot look up image {reference} in {root}: {os_text(error)}{_hint(error)}") from None
    if is_id(text):
        matches = [name for name in _ids(root) if name.startswith(text)]
        if len(matches) > 1:
            raise Error(f"image ID {text} is ambiguous: {', '.join(matches)}: give more of it")
        if matches:
            return matches[0], ""
    return None


def _record(root: str, image_id: str) -> dict[str, Any]:
    """The record of an image. Raises FileNotFoundError, or Error where it is damaged."""
    path = f"{root}/images/{image_id}/image.json"
    try:
        record = files.read_json(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Error(f"cannot read the record of image {image_id}: {path}: {os_text(error)}{_hint(error)}") from None
    if not (
        isinstance(record, dict)
        and isinstance(record.get("config"), dict)
        and isinstance(record.get("layers"), list)
        and isinstance(record.get("mounts"), list)
    ):
        raise Error(f"the record of image {image_id} is damaged: {path}: remove the image and build it anew")
    return record


def _ids(root: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(f"{root}/images") if _HEX.issuperset(name))
    except FileNotFoundError:
        return []


# --- looking at all ------------------------------------------------------------------------------------------------


def list_images(root: str) -> list[Image]:
    """All images, the newest first; one whose record is damaged has ``problem``. Raises Error."""
    try:
        names = _names(root)
        images = [image for image in [_load(root, name, names) for name in _ids(root)] if image]
    except OSError as error:
        raise Error(f"cannot list the images in {root}: {os_text(error)}{_hint(error)}") from None
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
        return Image(image_id, names.get(image_id, []), _record(root, image_id))
    except FileNotFoundError:
        return Image(image_id, names.get(image_id, []), {}, "it has no record (image.json)")
    except Error as error:
        return Image(image_id, names.get(image_id, []), {}, error.message)


def _names(root: str) -> dict[str, list[str]]:
    """The references of each image by its ID."""
    names: dict[str, list[str]] = {}
    for file_name in _refs(root):
        try:
            name, target = decode(file_name), os.readlink(f"{root}/refs/{file_name}")
        except (ValueError, FileNotFoundError):
            continue
        except OSError as error:
            if error.errno == errno.EINVAL:  # no link, so none of ours
                continue
            raise
        names.setdefault(target.rpartition("/")[2], []).append(name)
    return names


def _refs(root: str) -> list[str]:
    try:
        return sorted(os.listdir(f"{root}/refs"))
    except FileNotFoundError:
        return []


# --- changes ------------------------------------------------------------------------------------------------------


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
            if new and not _names(root).get(image.id):
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
        image.names = _names(root)[image.id]
    return image


def remove(root: str, text: str, stale: Callable[[str], bool], layers: Layers) -> Removed:
    """Take a name from an image, and remove the image with its last name; layers that no other image uses go too.

    stale: whether a container (ID) no longer exists, so that its hold does not count. layers: the module
    pycontain.storage.layers. Raises NotFound, InUse naming the containers, Error.
    """
    removed = Removed()
    with _Lock(root):
        found = _find(root, text)
        if found is None:
            raise missing(text)
        image_id, name = found
        names = _names(root).get(image_id, [])
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
            raise _problem(error, f"{self.root}/images") from None
        except BaseException:
            self._close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if isinstance(error, OSError):
            raise _problem(error, os.fsdecode(error.filename2 or error.filename or self.root)) from error

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
    names = _names(root)
    for name in _ids(root):
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
    for name in _refs(root):
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


def _problem(error: OSError, path: str) -> Error:
    if isinstance(error, FileExistsError):
        # From os.makedirs(): a file is in the way.
        error = NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return Error(f"cannot write {path}: {os_text(error)}{_hint(error)}")


def _hint(error: OSError) -> str:
    return _HINTS.get(error.errno or 0, "")


_HINTS = {
    errno.ENOSPC: ": the file system is full: free space there (pycontain image prune) or give --root elsewhere",
    errno.EDQUOT: ": the disk quota is used up: free space there or give --root elsewhere",
    errno.EROFS: ": give --root on a file system that is mounted for writing",
    errno.EACCES: ": pycontain needs to be root",
    errno.EPERM: ": pycontain needs to be root",
    errno.ENOTDIR: ": give --root elsewhere",
}


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
