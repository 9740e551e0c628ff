"""Operations of a container in a user namespace of its own: its root, binds with mapped owners, its pipes.

As those of ops.py, which says what the parts of a class are.
"""

from __future__ import annotations

from pycontain.launch.ops import HOST, Op, lines


class MapRoot(Op):
    """Mount an overlay as the root of a guest that is in another user namespace, and give it to the guest.

    uid, gid: the host's IDs of the guest's root, -1 where its IDs are the host's own. The owners of all layers are
    mapped by the guest's user namespace, those of the upper one too: what a guest writes has its own IDs on the disk.
    slot: TakeRoot's. disk: a descriptor of what is mounted on the directory of ``upper`` first, or -1; it is closed.
    The others are RootOverlay's. It is mounted in a namespace that nobody else sees: layers of an
    overlay have to be attached to one.
    """

    code, name, side, since = 87, "map_root", HOST, "5.19"
    fields = (
        ("slot", "n"),
        ("store", "s"),
        ("target", "s"),
        ("lower", "s"),
        ("upper", "s"),
        ("work", "s"),
        ("options", "s"),
        ("uid", "n"),
        ("gid", "n"),
        ("disk", "n"),
    )

    def __init__(
        self,
        slot: int,
        store: str,
        target: str,
        lower: str,
        upper: str,
        work: str,
        options: str = "",
        owner: tuple[int, int] = (-1, -1),
        disk: int = -1,
    ) -> None:
        self.values = (slot, store, target, lower, upper, work, options, *owner, disk)

    @property
    def directory(self) -> str:
        """Where the root is to be mounted: the guest begins there."""
        return f"{self.values[1]}/{self.values[2]}"

    def describe(self) -> str:
        _, store, _, _, upper, _, _, uid, _, _ = self.values
        how = " and the owners of its files mapped" if uid >= 0 else ""
        return f"mount the overlay root with upper directory {store}/{upper}{how}"


class TakeRoot(Op):
    """Mount what MapRoot gave on the directory that the guest began in (Clone's ``directory``): it is the root."""

    code, name, since = 88, "take_root", "5.2"
    fields = (("slot", "n"),)

    def __init__(self, slot: int) -> None:
        self.values = (slot,)

    def describe(self) -> str:
        return "mount the container's root"


#: MapSource's ``userns``.
GUEST_USERNS, NO_USERNS = -2, -3


class MapSource(Op):
    """A detached copy of ``source`` with its owners mapped (mount_setattr(2), MOUNT_ATTR_IDMAP), for a bind to take.

    slot: from 1; Bind's ``slot`` says the same. uids, gids: as in /proc/PID/uid_map. userns: GUEST_USERNS for the
    guest's own, after it was made; NO_USERNS to leave the owners as they are, for what the guest cannot come to by its
    path; -1 where uids and gids say the maps. recursive: 1 with the mounts below it; mapped:
    1 when these are mapped too.
    """

    code, name, side, since = 79, "map_source", HOST, "5.12"
    fields = (
        ("slot", "n"),
        ("source", "s"),
        ("uids", "s"),
        ("gids", "s"),
        ("userns", "n"),
        ("recursive", "n"),
        ("mapped", "n"),
    )

    def __init__(
        self, slot: int, source: str, uids: str, gids: str, userns: int, recursive: bool, mapped: bool
    ) -> None:
        self.values = (slot, source, uids, gids, userns, int(recursive), int(mapped))

    def describe(self) -> str:
        _, source, uids, gids, userns, _, _ = self.values
        if userns == NO_USERNS:
            return f"open {source}"
        own = userns == GUEST_USERNS
        maps = "by the container's user namespace" if own else f"uids {lines(uids)}; gids {lines(gids)}"
        return f"map the owners of {source} ({maps})"


class OwnPipes(Op):
    """Give the guest's ends of Pipes to its root (uid, gid: the host's IDs), which may open and chown them then."""

    code, name, side = 89, "own_pipes", HOST
    fields = (("uid", "n"), ("gid", "n"))

    def __init__(self, uid: int, gid: int) -> None:
        self.values = (uid, gid)

    def describe(self) -> str:
        return "give the container's pipes to its root"
