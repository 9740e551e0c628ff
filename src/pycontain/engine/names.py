"""Names and IDs of containers."""

from __future__ import annotations

import os

from pycontain.engine import access
from pycontain.kernel.errors import Error, InUse, NotFound, UsageError, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths

_HEX = frozenset("0123456789abcdef")
_ID_LENGTH = 64

_ADJECTIVES = (
    "able amber azure blithe bold brave brisk broad calm clear cosy crisp deft eager early easy fair fleet fond frank "
    "free fresh gentle glad grand hardy honest humble jolly keen kind light lively lucid mellow merry mild modest neat "
    "nimble noble plain polite prompt proud quick quiet rapid ready robust serene sharp shy silent simple sleek smart "
    "snug sober solid steady stout sunny sure swift tidy trim true upbeat vivid warm wise witty"
).split()
_NOUNS = (
    "alder ash aspen badger basil beech birch bison bramble briar cedar clover condor crane curlew dale dove dune "
    "elm falcon fern finch fjord fox gale glen grove gull hare hawk hazel heath heron holly ibis iris islet ivy jay "
    "juniper kelp lark laurel lichen linden lynx maple marten meadow moor moss oak olive orchid osprey otter owl "
    "pebble pine plover poplar quail raven reed robin rowan sage seal sorrel sparrow spruce stoat stork swan teal tern "
    "thistle thyme vale vole willow wren yew"
).split()


def new_id() -> str:
    """64 hexadecimal digits that nobody has."""
    return os.urandom(32).hex()


def _made_up() -> str:
    number = int.from_bytes(os.urandom(4), "little")
    return f"{_ADJECTIVES[number % len(_ADJECTIVES)]}_{_NOUNS[(number >> 16) % len(_NOUNS)]}"


def is_id(text: str) -> bool:
    """Whether a text is a whole ID: nothing else that lies among ours is taken for a container (lost+found)."""
    return len(text) == _ID_LENGTH and _HEX.issuperset(text)


def owner(paths: Paths, name: str) -> str | None:
    """The ID of the container that has a name."""
    try:
        container_id = os.readlink(paths.name(name)).rpartition("/")[2]
    except OSError:
        return None
    return container_id if is_id(container_id) else None


def take(paths: Paths, name: str, container_id: str) -> str:
    """Give a container a name, a made-up one for "". Raises InUse, Error."""
    for _ in range(1 if name else 100):
        chosen = name or _made_up()
        if _link(paths, chosen, container_id):
            return chosen
    if not name:
        return take(paths, f"c{container_id[:12]}", container_id)
    other = owner(paths, name) or "?"
    if _is_nobodys(paths, other):
        drop(paths, name, other)
        if _link(paths, name, container_id):
            return name
    raise InUse(f"the name {name!r} is in use by container {other[:12]}: remove or rename it, or choose another name")


def _link(paths: Paths, name: str, container_id: str) -> bool:
    """Whether the name was free. Raises Error."""
    path = paths.name(name)
    try:
        try:
            os.symlink(f"../containers/{container_id}", path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            os.symlink(f"../containers/{container_id}", path)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        raise Error(f"cannot write the name {path}: {os_text(error)}") from None


def _is_nobodys(paths: Paths, container_id: str) -> bool:
    """Whether a container is neither there nor being made: its removal was interrupted."""
    there = [paths.container(container_id), paths.pending(container_id), paths.run(container_id)]
    return not any(os.path.exists(path) for path in there)


def drop(paths: Paths, name: str, container_id: str) -> None:
    """Give a name back, if it is still this container's."""
    if name and owner(paths, name) == container_id:
        try:
            os.unlink(paths.name(name))
        except FileNotFoundError:
            pass


def all_names(paths: Paths) -> list[str]:
    """The names that are taken."""
    try:
        return os.listdir(f"{paths.root}/names")
    except FileNotFoundError:
        return []


def all_ids(paths: Paths) -> list[str]:
    """The IDs of all containers, half-made ones included. Raises Error."""
    try:
        return [name for name in os.listdir(f"{paths.root}/containers") if is_id(name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Error(f"cannot list {paths.root}/containers: {os_text(error)}: is --root right?") from None


def find(paths: Paths, text: str) -> str:
    """The ID that a name, an ID or the unique beginning of one means.

    Raises NotFound, UsageError; Error where this process may not look.
    """
    if not text or "/" in text or text in (".", "..") or "\0" in text:
        raise UsageError(f"{text!r} is not a container's name or ID")
    access.check(paths)
    container_id = owner(paths, text)
    if container_id and os.path.isdir(paths.container(container_id)):
        return container_id
    if _HEX.issuperset(text):
        if is_id(text) and os.path.isdir(paths.container(text)):
            return text
        matches = [name for name in all_ids(paths) if name.startswith(text)]
        if len(matches) > 1:
            raise UsageError(f"{text!r} is the beginning of {len(matches)} containers' IDs: give more of it")
        if matches:
            return matches[0]
    raise NotFound(f"no container {text!r}: 'pycontain ps -a' lists those that exist")
