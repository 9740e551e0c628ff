"""Operations that give back the addresses of a container without a bridge.

As those of ops.py, which says what the parts of a class are.
"""

from __future__ import annotations

from pycontain.launch.ops import AFTER, Op


class Unlease(Op):
    """unlink(2) on the link of an address, while it leads to ``owner``: who runs may have lost it to somebody else.

    request: for NETLINK_ROUTE, b"" for none; sent first where the link is the owner's. A failure of it is none.
    """

    code, name, side = 120, "unlease", AFTER
    fields = (("path", "s"), ("owner", "s"), ("request", "b"))

    def __init__(self, path: str, owner: str, request: bytes = b"") -> None:
        self.values = (path, owner, request)

    def describe(self) -> str:
        return f"give back {self.values[0]}"


class UnleaseGiven(Op):
    """As Unlease, for addresses that were given after the start, as a file says; it goes, and is seldom there.

    directory: of the links. The file: for each, its name and the request, each after its length in two bytes of this
    machine's order (network/routed.py).
    """

    code, name, side = 150, "unlease_given", AFTER
    fields = (("path", "s"), ("directory", "s"), ("owner", "s"))

    def __init__(self, path: str, directory: str, owner: str) -> None:
        self.values = (path, directory, owner)

    def describe(self) -> str:
        return f"give back what {self.values[0]} names"
