"""Operations of a container whose processes are made by CRIU: its root, and its monitor.

As those of ops.py, which says what the parts of a class are.
"""

from __future__ import annotations

from pycontain.launch.ops import HOST, Op
from pycontain.launch.ops_userns import MapRoot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class PlaceRoot(Op):
    """Mount an overlay at its target in this process's own mount namespace, its owners mapped as MapRoot does it.

    The fields are MapRoot's, without the slot. The guest is there for its user namespace alone, whose maps they are.
    """

    code, name, side, since = 141, "place_root", HOST, "5.19"
    fields = MapRoot.fields[1:]

    def __init__(self, layers: Sequence[str], owner: tuple[int, int] = (-1, -1), disk: int = -1) -> None:
        """layers: RootOverlay's values, without its slot."""
        self.values = (*layers, *owner, disk)

    def describe(self) -> str:
        store, target, *_ = self.values
        return f"mount the overlay root at {store}/{target}"


class MapPlace(Op):
    """Map the owners of what is mounted at ``path`` as the guest's user namespace has them, as MapSource does it."""

    code, name, side, since = 142, "map_place", HOST, "5.12"
    fields = (("path", "s"),)

    def __init__(self, path: str) -> None:
        self.values = (path,)

    def describe(self) -> str:
        return f"map the owners of {self.values[0]}"


class Adopt(Op):
    """Take a child of this process's for the guest: the init of a container that was restored.

    pid: of it here. pidfd: a descriptor of it. terminal: the master of its console, or -1. ready: the socket at which
    its program says that it is ready, or -1.
    """

    code, name, side = 140, "adopt", HOST
    fields = (("pid", "n"), ("pidfd", "n"), ("terminal", "n"), ("ready", "n"))

    def __init__(self, pid: int, pidfd: int, terminal: int, ready: int) -> None:
        self.values = (pid, pidfd, terminal, ready)

    def describe(self) -> str:
        return f"take process {self.values[0]} for the container's init"
