"""A container without a bridge: a veth pair, and a route of the host to each of its addresses (OpenVZ's venet).

``Wish(addresses=(), mac="", interface="eth0", rate=0)``
    what is asked for; no addresses: the next free ones of the routed subnets (``Settings.routed``).
``acquire(run_root, settings, container_id, wish, alive=None) -> Routed``
    take the addresses: each is one container's on this host. Then ``routed_host.ensure``.
``attach_requests(settings, run_root, routed, netns_fd, ipv6) -> (host, guest, settle)``, as veth's
    ``own_requests(routed)`` says in the table what it may send, for NETLINK_NETFILTER. ``end_requests`` removes the
    pair; ``silence_requests(routed, address)`` goes with a lease that is given back.
``sweep(run_root, settings)``
    takes what the dead may send out of the table: many at a time, since a transaction that deletes takes the kernel 10
    to 60 ms (it waits for all processors), and all others wait with it. Until then it is of no use to anybody: it is
    for a device, and the numbers of devices do not come again. ``due(routed)``: whether a start is to do it.
``save``, ``load``, ``load_all``, ``saved``: RUN_ROOT/containers/ID/routed, for repair, inspect and changes.

The guest has each address alone (/32, /128) on one device, and its way out is ``GATEWAY``, ``GATEWAY6``, which every
guest has: known to it for good, as its own addresses are to the host. So nobody asks for neighbours, neither side has
any but these, and nothing of a start grows with the number of guests.
"""

from __future__ import annotations

import errno
import os
import sys

from pycontain.kernel import files, nfnl, rtnl, rtroute
from pycontain.kernel.errors import Error, InUse, UsageError, os_text
from pycontain.network import lease as leases
from pycontain.network import veth
from pycontain.network.ruleset import GATEWAY, PREFIX
from pycontain.network.settings import Settings, family, packed, printed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

GATEWAY6 = "fe80::1"
#: The host's end has the same MAC address for everybody.
GATEWAY_MAC = leases.mac(packed(GATEWAY))
#: So many addresses one container can have.
MOST = 64
_HEX = frozenset("0123456789abcdef")
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_RATES = (8000, 10**12)
#: One start of so many sweeps.
_SWEEP = 1024
#: The sets and the map of the table.
OWN4, OWN6, RATES = "own4", "own6", "rates"


class Wish:
    """What somebody wants of a routed network. rate: bits a second, each way; 0: as it comes. place: the device's
    number where there are several (``network.several``), -1 where it is the only one.
    """

    __slots__ = ("addresses", "interface", "mac", "place", "rate")

    def __init__(
        self,
        addresses: Sequence[str] = (),
        mac: str = "",
        interface: str = veth.GUEST_NAME,
        rate: int = 0,
        place: int = -1,
    ) -> None:
        self.addresses = list(addresses)
        self.mac = mac
        self.interface = interface or veth.GUEST_NAME
        self.rate = rate
        self.place = place


class Routed:
    """A container's part of the network. addresses: texts, the first of a family is that of its published ports.

    index: of the host's end, chosen anew for each start. mac: text. paths: the leases' links, for the monitor to
    unlink. proxies: (device, address) for which the host answers on another network. place: as in Wish.
    """

    __slots__ = (
        "addresses",
        "container_id",
        "index",
        "interface",
        "mac",
        "name",
        "paths",
        "place",
        "proxies",
        "rate",
        "table",
    )

    def __init__(self, container_id: str, addresses: list[str], wish: Wish, table: str, directory: str) -> None:
        self.container_id = container_id
        self.addresses = addresses
        self.table = table
        self.index = veth.host_index()
        self.place = wish.place
        self.name = PREFIX + veth.host_name(container_id, max(wish.place, 0))[len(veth.PREFIX) :]
        self.interface = wish.interface
        self.rate = wish.rate
        self.mac = wish.mac or _mac(addresses, container_id, max(wish.place, 0))
        self.paths = [f"{directory}/{address}" for address in addresses]
        self.proxies: list[tuple[int, str]] = []

    @property
    def address(self) -> str:
        """The first IPv4 address, "" for none."""
        return next((item for item in self.addresses if ":" not in item), "")

    @property
    def address6(self) -> str | None:
        """The first IPv6 address."""
        return next((item for item in self.addresses if ":" in item), None)

    @property
    def guest_index(self) -> int:
        """Of the device in the guest."""
        return veth.GUEST_INDEX + max(self.place, 0)

    def record(self) -> dict[str, Any]:
        """For the state file and inspect: JSON-able."""
        found = {
            "addresses": self.addresses,
            "mac": self.mac,
            "interface": self.interface,
            "rate": self.rate,
            "name": self.name,
            "index": self.index,
            "proxies": [list(pair) for pair in self.proxies],
        }
        return found if self.place < 0 else found | {"place": self.place}


def _mac(addresses: list[str], container_id: str, place: int) -> str:
    """Made of the first IPv4 address as on the bridge, else of the container's ID; locally administered."""
    first = next((item for item in addresses if ":" not in item), "")
    return (leases.mac(packed(first)) if first else bytes([2, 0x71 + place]) + bytes.fromhex(container_id[:8])).hex(":")


# --- addresses ----------------------------------------------------------------------------------------------------


def check_address(text: str) -> str:
    """One address as the kernel writes it. Raises UsageError for what no guest can have."""
    kind = family(text)
    if not kind:
        raise UsageError(f"{text!r} is not an IPv4 or IPv6 address")
    data = packed(text)
    if len(data) == 4:
        bad = data[0] in (0, 127) or data[0] >= 224 or data[:2] == b"\xa9\xfe"
    else:
        mapped = data[:12] == bytes(10) + b"\xff\xff"
        bad = data[:15] == bytes(15) or data[0] == 0xFF or (data[0] == 0xFE and data[1] & 0xC0 == 0x80) or mapped
    if bad:
        raise UsageError(f"{text} is not an address that a container can have: it is for one host, one link or many")
    return printed(data)


def check_addresses(texts: Iterable[str]) -> list[str]:
    """All of them, each once. Raises UsageError."""
    found = [check_address(text) for text in texts]
    for address in found:
        if found.count(address) > 1:
            raise UsageError(f"address {address} is given twice")
    if len(found) > MOST:
        raise UsageError(f"{len(found)} addresses; a container can have {MOST}")
    return found


def check_mac(text: str) -> str:
    """A MAC address, in small letters. Raises UsageError for one that a device cannot have."""
    parts = text.lower().replace("-", ":").split(":")
    if len(parts) != 6 or not all(len(part) == 2 and _HEX.issuperset(part) for part in parts):
        raise UsageError(f"{text!r} is not a MAC address such as 02:00:5e:10:00:01")
    data = bytes.fromhex("".join(parts))
    if data[0] & 1 or not any(data) or data == GATEWAY_MAC:
        raise UsageError(
            f"{text!r} is not a MAC address that a container can have: it is for many, nobody or the gateway"
        )
    return data.hex(":")


def parse_rate(text: str) -> int:
    """Bits a second of ``10M``, ``512k``, ``1.5G``, ``100mbit`` (powers of 1000) or a number. Raises UsageError."""
    number, unit = text.lower().removesuffix("bit").removesuffix("bps"), 1
    if number and number[-1] in _UNITS:
        number, unit = number[:-1], _UNITS[number[-1]]
    whole, _, rest = number.partition(".")
    if not (whole + rest).isascii() or not (whole + rest).isdigit() or len(whole) > 12 or len(rest) > 9:
        raise UsageError(f"{text!r} is not a rate: give bits a second such as 10M, 512k or 1G")
    rate: int = int(whole + rest) * unit // 10 ** len(rest)
    if not _RATES[0] <= rate <= _RATES[1]:
        raise UsageError(f"rate {text!r}: give from 8k to 1000G bits a second")
    return rate


def acquire(
    run_root: str,
    settings: Settings,
    container_id: str,
    wish: Wish,
    alive: Callable[[str], bool] | None = None,
) -> Routed:
    """Take what is wished for; nothing is taken where this fails. What the container has already it gets again.

    Raises InUse, naming who has an address; UsageError; Error where no address is left.
    """
    directory = f"{run_root}/network/leases"
    wanted = check_addresses(wish.addresses)
    if wanted:
        leases.take_all(run_root, settings, container_id, wanted, alive)
    else:
        wanted = _next(run_root, settings, container_id, alive)
    found = Routed(container_id, wanted, wish, settings.table, directory)
    try:
        with rtnl.Socket() as route:
            found.proxies = [pair for address in wanted if (pair := _look(route, run_root, settings, address))]
    except BaseException as error:
        leases.give_back(run_root, container_id, wanted)
        if isinstance(error, OSError):
            raise Error(f"cannot look for routes to {', '.join(wanted)}: {os_text(error)}") from None
        raise
    return found


def _next(run_root: str, settings: Settings, container_id: str, alive: Callable[[str], bool] | None) -> list[str]:
    """The next free address of the pool, with the IPv6 address at the same place; that may be somebody's by itself."""
    while True:
        taken = leases.acquire(run_root, settings.pool(), container_id, None, alive)
        if not taken.address6:
            return [taken.address]
        try:
            leases.take_all(run_root, settings, container_id, [taken.address6], alive)
        except InUse:
            leases.give_back(run_root, container_id, [taken.address])  # the hint has gone on
            continue
        return [taken.address, taken.address6]


def alias(run_root: str) -> str:
    """The alias of the host's ends: whose they are."""
    return f"pycontain {run_root}"[:255]


def _look(route: rtnl.Socket, run_root: str, settings: Settings, address: str) -> tuple[int, str] | None:
    """The device whose neighbours will ask for an address, with it; None where it is routed to this host.

    Raises InUse for an address that is the host's, one of its routers', or another run directory's container's.
    """
    data = packed(address)
    way = rtroute.way(route, data)
    if way is None or (way.gateway and way.prefix < 8 * len(data)):
        return None
    if way.local:
        raise InUse(f"address {address} is the host's own; take another one")
    device = rtroute.device(route, way.device) if way.device else None
    if device is None or (device.name.startswith(PREFIX) and device.alias == alias(run_root)):
        return None  # of this container's last life, which is on its way out
    if device.name.startswith(PREFIX) and device.alias.startswith("pycontain "):
        where = device.alias.removeprefix("pycontain ")
        raise InUse(f"address {address} is in use by a container of --run-root {where}; take another one")
    if way.prefix == 8 * len(data):
        raise InUse(f"address {address} is routed to the device {device.name} already; take another one")
    if device.name == settings.bridge:
        raise UsageError(
            f"address {address} is one of the bridge {settings.bridge}, where --network bridge gives them out; "
            "take one of another subnet"
        )
    if way.prefix == 0:
        return None
    if data in rtroute.next_hops(route, way.device, family(address)):
        raise InUse(f"address {address} is that of a router by which this host sends; take another one")
    return way.device, address


# --- requests -----------------------------------------------------------------------------------------------------


def attach_requests(
    settings: Settings, run_root: str, routed: Routed, netns_fd: int, ipv6: bool, out: tuple[bool, bool] = (True, True)
) -> tuple[bytes, bytes, bytes]:
    """For the host, from inside the guest, and for the host again, as ``veth.attach_requests``; ipv6: has_ipv6().

    out: whether it is the way out of the guest, for IPv4 and for IPv6.
    """
    mac = bytes.fromhex(routed.mac.replace(":", ""))
    index, guest_index = routed.index, routed.guest_index
    host = [
        rtnl.new_veth(routed.name, index, 0, settings.mtu, routed.interface, guest_index, mac, netns_fd),
        rtroute.host_end(index, alias(run_root), GATEWAY_MAC, ipv6),
        rtnl.link_up(index),
    ]
    for address in routed.addresses:
        host += address_requests(routed, address)
    host += [rtroute.proxy(device, packed(address)) for device, address in routed.proxies]
    if routed.rate:
        host.append(rate_request(index, routed.rate))
    guest = [rtnl.link_up(rtnl.LOOPBACK), rtnl.link_up(guest_index)]
    guest += [rtnl.new_address(guest_index, packed(item), 32 if ":" not in item else 128) for item in routed.addresses]
    for four, way_out in zip((True, False), out, strict=True):
        if _has(routed, four):
            guest += gateway_requests(guest_index, [four]) if way_out else [known_gateway(guest_index, four)]
    return rtnl.batch(host), rtnl.batch(guest), rtnl.batch([rtnl.settle(index)])


def _has(routed: Routed, four: bool) -> bool:
    return bool(routed.address if four else routed.address6)


def address_requests(routed: Routed, address: str) -> list[rtnl.Request]:
    """What the host needs for one address: the neighbour, the route."""
    data, mac = packed(address), bytes.fromhex(routed.mac.replace(":", ""))
    source = packed(GATEWAY) if len(data) == 4 else b""
    return [rtroute.neighbour(routed.index, data, mac), rtroute.new_route(routed.index, data, source)]


def gateway_requests(guest_index: int, fours: Sequence[bool]) -> list[rtnl.Request]:
    """The way out, from inside the guest, for IPv4 (True) and IPv6 (False)."""
    requests: list[rtnl.Request] = []
    for four in fours:
        gateway = packed(GATEWAY if four else GATEWAY6)
        requests.append(known_gateway(guest_index, four))
        if four:
            requests.append(rtroute.new_route(guest_index, gateway))
        requests.append(rtnl.default_route(guest_index, gateway))
    return requests


def known_gateway(guest_index: int, four: bool) -> rtnl.Request:
    """Who the gateway is, known for good: nobody answers for it."""
    return rtroute.neighbour(guest_index, packed(GATEWAY if four else GATEWAY6), GATEWAY_MAC)


def burst(rate: int) -> int:
    """Bytes that may come at once: what the rate lets through in a tenth of a second, at least a large segment.

    What the guest sends may be as much, and the bytes of a second, which nf_tables always adds.
    """
    return max(rate // 80, 1 << 16)


def rate_request(index: int, rate: int) -> rtnl.Request:
    """What comes to the guest waits its turn: up to a fifth of a second."""
    return rtroute.token_bucket(index, rate // 8, burst(rate), max(rate // 40, 1 << 17))


def link_local(mac: str) -> bytes:
    """The address that the kernel makes of a MAC address (RFC 4291, modified EUI-64)."""
    own = bytes.fromhex(mac.replace(":", ""))
    return b"\xfe\x80" + bytes(6) + bytes([own[0] ^ 2]) + own[1:3] + b"\xff\xfe" + own[3:]


def _own(routed: Routed, addresses: Iterable[str]) -> dict[str, list[nfnl.Element]]:
    """Elements by set: device, MAC address, address."""
    head = routed.index.to_bytes(4, _ORDER) + nfnl.field(bytes.fromhex(routed.mac.replace(":", "")))
    found: dict[str, list[nfnl.Element]] = {OWN4: [], OWN6: []}
    for address in addresses:
        found[OWN6 if ":" in address else OWN4].append((head + packed(address), b""))
    return found


_ORDER = sys.byteorder  # of a device's index in a set


def own_elements(routed: Routed) -> dict[str, list[nfnl.Element]]:
    """All that a guest may be the sender of; with IPv6 its link-local address, by which it asks for neighbours."""
    addresses = list(routed.addresses)
    if routed.address6:
        addresses.append(printed(link_local(routed.mac)))
    return _own(routed, addresses)


def own_requests(routed: Routed, addresses: Sequence[str] | None = None) -> bytes:
    """The batch that lets the guest's packets pass; ``addresses``: these alone."""
    found = own_elements(routed) if addresses is None else _own(routed, addresses)
    requests = [request for name in (OWN4, OWN6) for request in nfnl.add(routed.table, name, found[name])]
    if routed.rate and addresses is None:
        requests += rate_requests(routed)
    return nfnl.batch(requests)


def rate_requests(routed: Routed) -> list[rtnl.Request]:
    """What the guest sends above its rate is dropped: a limit of its own, and who it is for."""
    limit = nfnl.new_limit(routed.table, routed.name, routed.rate // 8, burst(routed.rate))
    return [limit, nfnl.add_object(routed.table, RATES, routed.index.to_bytes(4, _ORDER), routed.name)]


def disown_requests(routed: Routed, addresses: Sequence[str]) -> bytes:
    """Take back ``own_requests`` of addresses, also where some of it is gone: what is to be deleted is added first."""
    found = _own(routed, addresses)
    return nfnl.batch(
        [
            request
            for change in (nfnl.add, nfnl.delete)
            for name in (OWN4, OWN6)
            for request in change(routed.table, name, found[name])
        ]
    )


def unrate_requests(routed: Routed) -> list[rtnl.Request]:
    """Take the limit back."""
    return _unrate(routed.table, routed.index.to_bytes(4, _ORDER), routed.name)


def _unrate(table: str, key: bytes, name: str) -> list[rtnl.Request]:
    return [*nfnl.delete(table, RATES, [(key, b"")]), nfnl.delete_limit(table, name)]


#: So many elements are deleted in one transaction, with so many acknowledgements: a socket's buffers hold no more.
_PART, _ACKS = 500, 64


def due(routed: Routed) -> bool:
    """Whether a start is to sweep: one of a thousand, by the number of its device, which is drawn."""
    return routed.index % _SWEEP == 0


def sweep(run_root: str, settings: Settings) -> int:
    """Take what the dead may send out of the table; how many elements those were. Raises Error."""
    table = settings.table
    try:
        with nfnl.open_socket() as link, rtnl.Socket() as route:
            there = {name: nfnl.elements(link, table, name) for name in (OWN4, OWN6)}
            limits = nfnl.object_elements(link, table, RATES)
            # afterwards: who is being started has a file before it has an element
            living = {item.index for item in saved(run_root, settings)} | {item.index for item in rtnl.links(route)}
            parts: list[list[rtnl.Request]] = []
            count = 0
            for name, elements in there.items():
                dead = [item for item in elements if int.from_bytes(item[0][:4], _ORDER) not in living]
                count += len(dead)
                parts += [nfnl.delete(table, name, dead[at : at + _PART]) for at in range(0, len(dead), _PART)]
            for key, name in limits:
                if int.from_bytes(key, _ORDER) not in living:
                    limit = _unrate(table, key, name)
                    if parts and len(parts[-1]) + len(limit) <= _ACKS:
                        parts[-1] += limit
                    else:
                        parts.append(limit)
            for requests in filter(None, parts):
                rtnl.send(nfnl.batch(requests), nfnl.NETFILTER)
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.ENOENT):
            return 0  # a kernel without nf_tables; or somebody else was at it
        raise Error(f"cannot take what is gone out of the nftables table {table}: {os_text(error)}") from None
    return count


def end_requests(routed: Routed) -> bytes:
    """The pair, with its routes and neighbours: the guest's namespace would take it along, but may be others' too."""
    return rtnl.batch([rtnl.delete_link(routed.index)])


def silence_requests(routed: Routed, address: str) -> bytes:
    """Answer for an address no more, b"" where nobody does."""
    found = [device for device, other in routed.proxies if other == address]
    return rtnl.batch([rtroute.proxy(device, packed(address), False) for device in found]) if found else b""


# --- the state file -----------------------------------------------------------------------------------------------


def save(run_root: str, routed: Routed, *others: Routed, beside: Sequence[str] = ()) -> None:
    """Write RUN_ROOT/containers/ID/routed, before anything is sent. Raises Error.

    others: further devices. beside: what the container has on the bridge as well.
    """
    path = f"{run_root}/containers/{routed.container_id}/routed"
    value = routed.record()
    if others or beside:
        value |= {"others": [item.record() for item in others], "beside": list(beside)}
    try:
        files.write_json(path, value)
    except OSError as error:
        raise Error(f"cannot write the addresses {path}: {os_text(error)}") from None


def given(run_root: str, container_id: str) -> str:
    """Where it is kept what a container was given after its start: its monitor does not know of it otherwise."""
    return f"{run_root}/containers/{container_id}/given"


def save_given(run_root: str, devices: Sequence[Routed]) -> None:
    """Have the monitor give back, at the end, all addresses of these devices (UnleaseGiven): those that are the
    container's then. Raises Error.
    """
    mine = dict.fromkeys((item, silence_requests(one, item)) for one in devices for item in one.addresses)
    pieces = [piece for item, request in mine for piece in (item.encode(), request)]
    data = b"".join(len(piece).to_bytes(2, _ORDER) + piece for piece in pieces)
    path = given(run_root, devices[0].container_id)
    try:
        files.replace(path, data, 0o600)
    except OSError as error:
        raise Error(f"cannot write the addresses {path}: {os_text(error)}") from None


def load(run_root: str, settings: Settings, container_id: str) -> Routed | None:
    """What a container has, None where it has no routed network; of several devices the first. Raises Error for a
    damaged file.
    """
    found, _ = load_all(run_root, settings, container_id)
    return found[0] if found else None


def _parse(run_root: str, settings: Settings, container_id: str, value: dict[str, Any]) -> Routed:
    wish = Wish((), value["mac"], value["interface"], value["rate"], int(value.get("place", -1)))
    found = Routed(container_id, list(value["addresses"]), wish, settings.table, f"{run_root}/network/leases")
    found.name, found.index = str(value["name"]), int(value["index"])
    found.proxies = [(int(device), str(address)) for device, address in value["proxies"]]
    for address in found.addresses:
        packed(address)
    return found


def load_all(run_root: str, settings: Settings, container_id: str) -> tuple[list[Routed], list[str]]:
    """All devices without a bridge that a container has, and its addresses on the bridge where it has these, too.

    None of them: it has none without a bridge. Raises Error for a damaged file.
    """
    path = f"{run_root}/containers/{container_id}/routed"
    try:
        value = files.read_json(path)
        found = [_parse(run_root, settings, container_id, item) for item in [value, *value.get("others", ())]]
        beside = [str(address) for address in value.get("beside", ())]
        for address in beside:
            packed(address)
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise Error(f"cannot read the addresses {path}: {os_text(error)}") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Error(f"{path}: not a record of addresses; stop the container and remove the file") from None
    return found, beside


def saved(run_root: str, settings: Settings) -> list[Routed]:
    """What all containers have, device by device; a damaged record is that container's trouble and is left out."""
    try:
        names = sorted(os.listdir(f"{run_root}/containers"))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            found += load_all(run_root, settings, name)[0]
        except Error:
            continue
    return found


def release(run_root: str, settings: Settings, container_id: str) -> list[str] | None:
    """Remove the devices of a container that is gone, and answer for it no more; leases are ``lease``'s, elements
    ``sweep``'s. Raises Error.

    Returns its addresses, None where it is not known to have had a routed network.
    """
    try:
        found, beside = load_all(run_root, settings, container_id)
    except Error:
        return None  # damaged: who answers for an address that has no route elsewhere is not heard
    if not found:
        return None
    for one in found:
        mine = leases.owned(run_root, container_id, one.addresses)
        for requests in filter(None, [end_requests(one), *[silence_requests(one, item) for item in mine]]):
            try:
                rtnl.send(requests)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):  # no such entry or device: nothing to take back
                    raise Error(f"cannot take back the addresses of {container_id[:12]}: {os_text(error)}") from None
    return [address for one in found for address in one.addresses] + beside
