"""Operations for an ordinary user's containers. As those of ops.py, which says what the parts of a class are."""

from __future__ import annotations

from pycontain.launch.ops import HOST, Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class NetHelper(Op):
    """Start the program that carries the guest's network, and wait until it does.

    place: a directory on which a file system is mounted, for the program alone, with the guest's network namespace as
    ``net``. stays: 1 for a program that writes a byte to descriptor 3 when it is ready; else it goes to the background
    then. requests: what is sent to its socket when it is ready, each over a connection of its own.
    """

    code, name, side = 96, "net_helper", HOST
    fields = (("argv", "l"), ("place", "s"), ("stays", "n"), ("socket", "s"), ("requests", "l"))

    def __init__(
        self, argv: Sequence[str], place: str, stays: bool = False, socket: str = "", requests: Sequence[str] = ()
    ) -> None:
        self.values = (list(argv), place, int(stays), socket, list(requests))

    def describe(self) -> str:
        return f"connect the container to the network by {self.values[0][0]}"


class CompanionsEnd(Op):
    """End that program, and that of RootFuse, whose root is detached first. root: "" where there is none."""

    code, name, side = 97, "companions_end", HOST
    fields = (("root", "s"),)

    def __init__(self, root: str = "") -> None:
        self.values = (root,)

    def describe(self) -> str:
        return "end the programs that work for the container"


class RootFuse(Op):
    """Mount a root by a program (fuse-overlayfs) in a mount namespace of the host side's own, and wait until it is."""

    code, name, side = 98, "root_fuse", HOST
    fields = (("argv", "l"), ("target", "s"))

    def __init__(self, argv: Sequence[str], target: str) -> None:
        self.values = (list(argv), target)

    def describe(self) -> str:
        return f"mount the root {self.values[1]} by {self.values[0][0]}"
