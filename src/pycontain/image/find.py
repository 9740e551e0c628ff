"""Finding an image and holding it: what the start of a container needs of the store (store.py)."""

from __future__ import annotations

import errno
import os

from pycontain.image.reference import decode, is_id, parse
from pycontain.kernel import files
from pycontain.kernel.errors import Error, InUse, NotFound, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEX = frozenset("0123456789abcdef")
#: How often a name may move to a new image between our look and our hold.
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


def lookup(root: str, text: str) -> Image | None:
    """The image that ``text`` means: a reference, or an image ID or the beginning of one (6 digits or more).

    Raises UsageError where it can be neither, Error where an ID is ambiguous or a record damaged.
    """
    for _ in range(_TRIES):
        found = resolve(root, text)
        if found is None:
            return None
        image_id, name = found
        try:
            record = read_record(root, image_id)
        except FileNotFoundError:
            # Removed since we found it; its name may belong to a new image by now.
            continue
        return Image(image_id, [name] if name else all_names(root).get(image_id, []), record)
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
        raise problem(error, path) from None
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


def resolve(root: str, text: str) -> tuple[str, str] | None:
    """ID and, where it was found by name, the name."""
    if not (is_id(text) and len(text) == 64):
        reference = parse(text)
        try:
            target = os.readlink(f"{root}/refs/{reference.encode()}")
            return target.rpartition("/")[2], str(reference)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Error(f"cannot look up image {reference} in {root}: {os_text(error)}{hint(error)}") from None
    if is_id(text):
        matches = [name for name in image_ids(root) if name.startswith(text)]
        if len(matches) > 1:
            raise Error(f"image ID {text} is ambiguous: {', '.join(matches)}: give more of it")
        if matches:
            return matches[0], ""
    return None


def read_record(root: str, image_id: str) -> dict[str, Any]:
    """The record of an image. Raises FileNotFoundError, or Error where it is damaged."""
    path = f"{root}/images/{image_id}/image.json"
    try:
        record = files.read_json(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Error(f"cannot read the record of image {image_id}: {path}: {os_text(error)}{hint(error)}") from None
    if not (
        isinstance(record, dict)
        and isinstance(record.get("config"), dict)
        and isinstance(record.get("layers"), list)
        and isinstance(record.get("mounts"), list)
    ):
        raise Error(f"the record of image {image_id} is damaged: {path}: remove the image and build it anew")
    return record


def image_ids(root: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(f"{root}/images") if _HEX.issuperset(name))
    except FileNotFoundError:
        return []


def all_names(root: str) -> dict[str, list[str]]:
    """The references of each image by its ID."""
    names: dict[str, list[str]] = {}
    for file_name in all_refs(root):
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


def all_refs(root: str) -> list[str]:
    try:
        return sorted(os.listdir(f"{root}/refs"))
    except FileNotFoundError:
        return []


# --- changes ------------------------------------------------------------------------------------------------------


def problem(error: OSError, path: str) -> Error:
    if isinstance(error, FileExistsError):
        # From os.makedirs(): a file is in the way.
        error = NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return Error(f"cannot write {path}: {os_text(error)}{hint(error)}")


def hint(error: OSError) -> str:
    return _HINTS.get(error.errno or 0, "")


_HINTS = {
    errno.ENOSPC: ": the file system is full: free space there (pycontain image prune) or give --root elsewhere",
    errno.EDQUOT: ": the disk quota is used up: free space there or give --root elsewhere",
    errno.EROFS: ": give --root on a file system that is mounted for writing",
    errno.EACCES: ": pycontain needs to be root",
    errno.EPERM: ": pycontain needs to be root",
    errno.ENOTDIR: ": give --root elsewhere",
}
