"""Which user namespace a new container gets, and what its IDs are on the host (``--userns``)."""

from __future__ import annotations

import os

from pycontain.engine import names, record
from pycontain.kernel import idmap
from pycontain.kernel.errors import Error, UsageError
from pycontain.kernel.idmap import Maps
from pycontain.storage import idpool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record
    from pycontain.storage.users import User

HOST, AUTO, KEEP_ID, PRIVATE, CONTAINER = "host", "auto", "keep-id", "private", "container"


class Userns:
    """mode: as the record has it: host, auto, keep-id, private, container:ID. maps: None in the host's namespace.

    leases: what was taken of the pool.
    """

    __slots__ = ("leases", "maps", "mode")

    def __init__(self, mode: str, maps: Maps | None = None, leases: list[str] | None = None) -> None:
        self.mode = mode
        self.maps = maps
        self.leases = leases or []

    @property
    def joined(self) -> bool:
        """Whether it is another container's."""
        return self.mode.startswith(f"{CONTAINER}:")


def auto_size(argument: str) -> int:
    """The number of ``auto:size=N``, 65536 for ``auto``. Raises UsageError."""
    if not argument:
        return idpool.SLOT
    key, _, text = argument.partition("=")
    if key != "size" or not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= 1 << 30):
        raise UsageError(f"{argument!r} is not size=N with 1 to {1 << 30} IDs, such as auto:size=65536")
    return int(text)


def of_record(found: Record) -> Maps | None:
    """The maps of a container, None in the host's user namespace."""
    if not found.uid_map:
        return None
    uids, gids = ([(one[0], one[1], one[2]) for one in extents] for extents in (found.uid_map, found.gid_map))
    return Maps(uids, gids)


def choose(paths: Paths, text: str, settings: dict[str, str], network: str, container_id: str) -> Userns:
    """The user namespace of a new container; a range of its own is its lease from now on.

    text: of --userns, "" where it was not given. network: with the ID where it is a container's. Raises UsageError,
    NotFound, Error.
    """
    owner = _owner(paths, network)
    if owner and not text:
        text = owner
    mode, _, argument = (text or settings["userns"]).partition(":")
    if mode == CONTAINER:
        argument = names.find(paths, argument)
    if owner and (f"{mode}:{argument}" if argument else mode) != owner:
        _refuse(text, owner)
    if mode == AUTO:
        return _auto(paths, auto_size(argument), settings, container_id)
    if mode == PRIVATE:
        return _private(argument, settings)
    if mode == KEEP_ID:
        return _keep_id(paths, settings, container_id)
    if mode == CONTAINER:
        return _other(paths, argument)
    return Userns(HOST)


def ordinary(text: str) -> Userns:
    """Of a user who is not root: all containers are in the namespace of the user's commands. Raises UsageError."""
    if text not in ("", HOST):
        raise UsageError(
            f"--userns {text}: containers of a user who is not root are in that user's own user namespace, and ranges"
            " of their own need root: leave --userns out"
        )
    return Userns(HOST)


def _owner(paths: Paths, network: str) -> str:
    """What --userns has to be with a network: a network namespace can be joined from its own user namespace only."""
    kind, colon, other = network.partition(":")
    if not colon:
        return ""
    return HOST if record.read_known(paths, other).userns == HOST else f"{kind}:{other}"


def _refuse(text: str, owner: str) -> None:
    whose = "the host's" if owner == HOST else "a user namespace of its own"
    raise UsageError(
        f"--userns {text}: the container whose network is to be joined is in {whose}: leave --userns out, and this one"
        " is in the same"
    )


def _other(paths: Paths, container_id: str) -> Userns:
    maps = of_record(record.read_known(paths, container_id))
    return Userns(f"{CONTAINER}:{container_id}", maps) if maps else Userns(HOST)


def _auto(paths: Paths, size: int, settings: dict[str, str], container_id: str) -> Userns:
    def gone(other: str) -> bool:
        there = [paths.container(other), paths.pending(other), paths.run(other)]
        return not any(os.path.exists(path) for path in there)

    maps, leases = idpool.acquire(paths.root, idpool.find(settings), container_id, size, gone)
    return Userns(AUTO, maps, leases)


def _private(text: str, settings: dict[str, str]) -> Userns:
    extents = idmap.parse(text)
    for _, outside, size in extents:
        for part in idpool.find(settings).ranges():
            if idmap.overlap((outside, size), part):
                raise UsageError(
                    f"--userns private: {outside}:{size} has host IDs of the pool of automatic ranges"
                    f" ({part[0]}:{part[1]}), which other containers get: choose others"
                )
    return Userns(PRIVATE, Maps(extents, extents))


def _keep_id(paths: Paths, settings: dict[str, str], container_id: str) -> Userns:
    """As podman: of root all IDs are kept."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        everything = [(0, 0, idmap.ALL)]
        return Userns(KEEP_ID, Maps(everything, everything))
    found = _auto(paths, idpool.SLOT, settings, container_id)
    assert found.maps is not None
    return Userns(KEEP_ID, idmap.keep_id(uid, gid, found.maps), found.leases)


def check_user(found: Userns, user: User) -> None:
    """Raises Error where the container does not have a user's IDs."""
    if found.maps is None:
        return
    for what, extents, number in (
        ("uid", found.maps.uids, user.uid),
        *(("gid", found.maps.gids, gid) for gid in (user.gid, *user.groups)),
    ):
        if idmap.to_outside(extents, number) < 0:
            last = max(inside + size for inside, _, size in extents) - 1
            raise Error(
                f"--user: {what} {number} is not among the IDs of the container, which end at {last}: give it more"
                f" (--userns auto:size={number + 1}), or use --userns host"
            )
