"""Operations of a container in a user namespace of its own: its root, and who has its pipes. As those of ops.py."""

from __future__ import annotations

from pycontain.launch.ops import HOST, Op


class MapRoot(Op):
    """Mount an overlay as the root of a guest that is in another user namespace, and give it to the guest.

    uid, gid: the host's IDs of the guest's root, -1 where its IDs are the host's own. The owners of all layers are
    mapped by the guest's user namespace, those of the upper one too: what a guest writes has its own IDs on the disk.
    slot: TakeRoot's. The others are RootOverlay's. It is mounted in a namespace that nobody else sees: layers of an
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
    ) -> None:
        self.values = (slot, store, target, lower, upper, work, options, *owner)

    @property
    def directory(self) -> str:
        """Where the root is to be mounted: the guest begins there."""
        return f"{self.values[1]}/{self.values[2]}"

    def describe(self) -> str:
        _, store, _, _, upper, _, _, uid, _ = self.values
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


class OwnPipes(Op):
    """Give the guest's ends of Pipes to its root (uid, gid: the host's IDs), which may open and chown them then."""

    code, name, side = 89, "own_pipes", HOST
    fields = (("uid", "n"), ("gid", "n"))

    def __init__(self, uid: int, gid: int) -> None:
        self.values = (uid, gid)

    def describe(self) -> str:
        return "give the container's pipes to its root"
