"""What is to be written into a tenant's root, as data that goes to another process."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class Interface:
    """A network device. addresses: with their prefixes, "10.0.0.2/24"; none where the host alone decides them.

    gateways: one for each family at the most. onlink: they are reached though no address's network has them.
    table: number of the device's own table of routes, 0 for none; by_table: the gateways in it (network/several.py).
    """

    __slots__ = ("addresses", "by_table", "gateways", "name", "onlink", "table")

    def __init__(
        self,
        name: str,
        addresses: list[str],
        gateways: list[str],
        onlink: bool = False,
        table: int = 0,
        by_table: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.addresses = addresses
        self.gateways = gateways
        self.onlink = onlink
        self.table = table
        self.by_table = list(by_table)

    def plain(self) -> list[Any]:
        return [self.name, self.addresses, self.gateways, self.onlink, self.table, self.by_table]


class Wanted:
    """All that the host decides.

    distribution: which family of files, "" for that of /etc/os-release. first: it has never started; it gets an
    identity of its own. hostname: "" leaves the names alone. addresses: those that it is known by. servers, search: of
    DNS; None leaves resolv.conf alone. interfaces: None leaves the network's configuration alone. password: root's,
    hashed, "" to leave it. keys: lines that root's authorized_keys is to have. saved: whether it is to be suspended to
    the disk, None to leave that alone.
    """

    FIELDS = (
        "distribution",
        "first",
        "hostname",
        "addresses",
        "servers",
        "search",
        "interfaces",
        "password",
        "keys",
        "saved",
    )

    def __init__(self, distribution: str = "", first: bool = False) -> None:
        self.distribution = distribution
        self.first = first
        self.hostname = ""
        self.addresses: list[str] = []
        self.servers: list[str] | None = None
        self.search: list[str] = []
        self.interfaces: list[Interface] | None = None
        self.password = ""
        self.keys: list[str] = []
        self.saved: bool | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        found = {name: getattr(self, name) for name in self.FIELDS}
        if self.interfaces is not None:
            found["interfaces"] = [one.plain() for one in self.interfaces]
        return found


def parse(value: dict[str, Any]) -> Wanted:
    """What plain() has made."""
    found = Wanted()
    for name in Wanted.FIELDS:
        setattr(found, name, value[name])
    if found.interfaces is not None:
        found.interfaces = [Interface(*one) for one in value["interfaces"]]
    return found
