"""Routes to single addresses, neighbours that are known for good, and a device's rate: for links without a bridge.

Requests as of ``rtnl``: ready-made bytes, for the helper or ``rtnl.send``. Addresses are 4 or 16 bytes.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6
from _struct import Struct

from pycontain.kernel import rtnl
from pycontain.kernel.rtnl import F_CREATE, F_EXCL, F_REPLACE, attribute, attributes, nested, text, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.kernel.rtnl import Request

# linux/rtnetlink.h, linux/neighbour.h, linux/if_link.h, linux/ip.h
_NEWLINK, _NEWADDR, _DELADDR, _NEWROUTE, _DELROUTE, _GETROUTE, _NEWNEIGH, _DELNEIGH = 16, 20, 21, 24, 25, 26, 28, 29
_IFLA_IFALIAS, _IFLA_ADDRESS, _IFLA_AF_SPEC = 20, 1, 26
_IFLA_INET_CONF, _IFLA_INET6_ADDR_GEN_MODE, _GEN_MODE_NONE = 1, 8, 1
_FORWARDING, _ACCEPT_REDIRECTS, _SEND_REDIRECTS, _RP_FILTER, _ROUTE_LOCALNET = 1, 4, 6, 8, 26
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_VIA = 1, 4, 5, 7, 18
_FIB_MATCH = 0x2000
_NDA_DST, _NDA_LLADDR, _NUD_PERMANENT, _NTF_PROXY = 1, 2, 0x80, 0x08
_IFA_ADDRESS, _IFA_LOCAL, _IFA_F_NODAD, _IFA_F_PERMANENT, _SCOPE_HOST = 1, 2, 0x02, 0x80, 254
_TABLE_MAIN, _PROTO_BOOT, _SCOPE_UNIVERSE, _SCOPE_LINK, _TYPE_UNICAST = 254, 3, 0, 253, 1
_FLAG_ONLINK = 4
#: Type of a route that ends at this host.
LOCAL = 2

# linux/fib_rules.h
_NEWRULE, _DELRULE, _TO_TABLE = 32, 33, 1
_FRA_SRC, _FRA_PRIORITY, _FRA_PROTOCOL = 2, 6, 21
#: systemd-networkd takes away rules that it does not know, but for the kernel's own (RTPROT_KERNEL).
_PROTO_KERNEL = b"\x02"

# linux/pkt_sched.h
_NEWQDISC, _DELQDISC, _TCA_KIND, _TCA_OPTIONS, _ROOT = 36, 37, 1, 2, 0xFFFFFFFF
_TBF_PARMS, _TBF_RATE64, _TBF_BURST, _ETHERNET = 1, 4, 6, 1

_LINK = Struct("=BxHiII")
_ADDRESS = Struct("=BBBBI")
_NEIGHBOUR = Struct("=BxxxiHBB")
_ROUTE = Struct("=BBBBBBBBI")
_WORD = Struct("=I")
_LONG = Struct("=Q")
_TC = Struct("=BxxxiIII")
_RATE = Struct("=BBHhHI")
_THREE = Struct("=III")


def _family(address: bytes) -> int:
    return AF_INET6 if len(address) == 16 else AF_INET


# --- requests -----------------------------------------------------------------------------------------------------


def host_end(index: int, alias: str, mac: bytes, ipv6: bool) -> Request:
    """The host's end of a pair without a bridge, before it is up: whose it is, its MAC address, what it forwards.

    rp_filter: what is sent from an address whose route is not this device is nobody's, ARP too. route_localnet: what
    came to 127.0.0.1 can be sent on. It makes itself no IPv6 address: each costs multicast and a route, and every
    guest's end has the same neighbour.
    """
    conf = {_FORWARDING: 1, _ACCEPT_REDIRECTS: 0, _SEND_REDIRECTS: 0, _RP_FILTER: 1, _ROUTE_LOCALNET: 1}
    families = [nested(AF_INET, nested(_IFLA_INET_CONF, *[word(key, value) for key, value in conf.items()]))]
    if ipv6:
        families.append(nested(AF_INET6, attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_GEN_MODE_NONE]))))
    body = attribute(_IFLA_ADDRESS, mac) + text(_IFLA_IFALIAS, alias) + nested(_IFLA_AF_SPEC, *families)
    return _NEWLINK, 0, _LINK.pack(0, 0, index, 0, 0) + body


def new_route(index: int, address: bytes, source: bytes = b"") -> Request:
    """The route to one address by a device; one that is there is replaced. source: the host's own address for it."""
    scope = _SCOPE_LINK if len(address) == 4 else _SCOPE_UNIVERSE
    head = _ROUTE.pack(_family(address), 8 * len(address), 0, 0, _TABLE_MAIN, _PROTO_BOOT, scope, _TYPE_UNICAST, 0)
    prefer = attribute(_RTA_PREFSRC, source) if source else b""
    return _NEWROUTE, F_CREATE | F_REPLACE, head + attribute(_RTA_DST, address) + word(_RTA_OIF, index) + prefer


def delete_route(index: int, address: bytes) -> Request:
    """Take the route of ``new_route`` back."""
    scope = _SCOPE_LINK if len(address) == 4 else _SCOPE_UNIVERSE
    head = _ROUTE.pack(_family(address), 8 * len(address), 0, 0, _TABLE_MAIN, 0, scope, _TYPE_UNICAST, 0)
    return _DELROUTE, 0, head + attribute(_RTA_DST, address) + word(_RTA_OIF, index)


def table_default(index: int, gateway: bytes, table: int) -> Request:
    """A default route by a device in a table below 253. The gateway is on the device, whatever other routes say."""
    head = _ROUTE.pack(_family(gateway), 0, 0, 0, table, _PROTO_BOOT, _SCOPE_UNIVERSE, _TYPE_UNICAST, _FLAG_ONLINK)
    return _NEWROUTE, F_CREATE | F_REPLACE, head + attribute(_RTA_GATEWAY, gateway) + word(_RTA_OIF, index)


def table_subnet(index: int, address: bytes, prefix: int, table: int) -> Request:
    """The way to the others of an address's subnet, by a device, in a table below 253."""
    bits = 8 * len(address)
    first = int.from_bytes(address, "big") >> (bits - prefix) << (bits - prefix)
    scope = _SCOPE_LINK if bits == 32 else _SCOPE_UNIVERSE
    head = _ROUTE.pack(_family(address), prefix, 0, 0, table, _PROTO_BOOT, scope, _TYPE_UNICAST, 0)
    subnet = attribute(_RTA_DST, first.to_bytes(len(address), "big"))
    return _NEWROUTE, F_CREATE | F_REPLACE, head + subnet + word(_RTA_OIF, index)


def rule(address: bytes, table: int, there: bool = True) -> Request:
    """What is sent from an address goes by a table (ip-rule(8)), before the main one is asked; or no more.

    Refused (EEXIST, ENOENT) where that is so already.
    """
    head = _ROUTE.pack(_family(address), 0, 8 * len(address), 0, table, 0, 0, _TO_TABLE, 0)
    body = attribute(_FRA_SRC, address) + word(_FRA_PRIORITY, table) + attribute(_FRA_PROTOCOL, _PROTO_KERNEL)
    kind, flags = (_NEWRULE, F_CREATE | F_EXCL) if there else (_DELRULE, 0)
    return kind, flags, head + body


def neighbour(index: int, address: bytes, mac: bytes) -> Request:
    """Who has an address on a device, for good: nobody is asked for it, and no answer changes it."""
    head = _NEIGHBOUR.pack(_family(address), index, _NUD_PERMANENT, 0, 0)
    return _NEWNEIGH, F_CREATE | F_REPLACE, head + attribute(_NDA_DST, address) + attribute(_NDA_LLADDR, mac)


def proxy(index: int, address: bytes, there: bool = True) -> Request:
    """Answer (or no more) for an address that is elsewhere, to those on a device who ask: proxy ARP and NDP."""
    head = _NEIGHBOUR.pack(_family(address), index, _NUD_PERMANENT, _NTF_PROXY, 0)
    kind, flags = (_NEWNEIGH, F_CREATE | F_REPLACE) if there else (_DELNEIGH, 0)
    return kind, flags, head + attribute(_NDA_DST, address)


def local_address(address: bytes) -> Request:
    """An address of the loopback device, for this host alone: never chosen as the sender of what goes elsewhere."""
    body = attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)
    flags, scope = (_IFA_F_PERMANENT, _SCOPE_HOST) if len(address) == 4 else (_IFA_F_NODAD, 0)
    head = _ADDRESS.pack(_family(address), 8 * len(address), flags, scope, rtnl.LOOPBACK)
    return _NEWADDR, F_CREATE | F_REPLACE, head + body


def delete_address(index: int, address: bytes) -> Request:
    """Take a single address from a device."""
    head = _ADDRESS.pack(_family(address), 8 * len(address), 0, 0, index)
    return _DELADDR, 0, head + attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)


def token_bucket(index: int, rate: int, burst: int, limit: int) -> Request:
    """What a device sends is held to ``rate`` bytes a second (tc-tbf(8)).

    burst: bytes that may go at once. limit: bytes that wait, before packets are dropped.
    """
    spec = _RATE.pack(0, _ETHERNET, 0, 0, 0, min(rate, 0xFFFFFFFF))
    parameters = spec + _RATE.pack(0, 0, 0, 0, 0, 0) + _THREE.pack(limit, 0, 0)
    options = attribute(_TBF_PARMS, parameters) + word(_TBF_BURST, burst)
    if rate > 0xFFFFFFFF:
        options += attribute(_TBF_RATE64, _LONG.pack(rate))
    head = _TC.pack(0, index, 0, _ROOT, 0)
    return _NEWQDISC, F_CREATE | F_REPLACE, head + text(_TCA_KIND, "tbf") + nested(_TCA_OPTIONS, options)


def no_token_bucket(index: int) -> Request:
    """As a device sends by itself. Refused (ENOENT) where nothing was set."""
    return _DELQDISC, 0, _TC.pack(0, index, 0, _ROOT, 0)


# --- what is there ------------------------------------------------------------------------------------------------


class Way:
    """Where a packet for an address goes. local: to this host itself. device: index, 0 for none. prefix: length of the
    route's prefix. gateway: whether it leads to a router."""

    __slots__ = ("device", "gateway", "local", "prefix")

    def __init__(self, body: bytes) -> None:
        _, self.prefix, _, _, _, _, _, kind, _ = _ROUTE.unpack_from(body)
        found = attributes(body, 12)
        self.local = kind == LOCAL
        self.device: int = _WORD.unpack(found[_RTA_OIF])[0] if _RTA_OIF in found else 0
        self.gateway = _RTA_GATEWAY in found or _RTA_VIA in found


def way(route: rtnl.Socket, address: bytes) -> Way | None:
    """The route that an address has now; None where there is none. Raises OSError."""
    head = _ROUTE.pack(_family(address), 8 * len(address), 0, 0, 0, 0, 0, 0, _FIB_MATCH)
    try:
        answer = route.get((_GETROUTE, 0, head + attribute(_RTA_DST, address)))
    except OSError as error:
        if error.errno in (101, 113):  # ENETUNREACH, EHOSTUNREACH
            return None
        raise
    return None if answer is None else Way(answer)


def next_hops(route: rtnl.Socket, index: int, family: int) -> set[bytes]:
    """The routers that routes by a device lead to."""
    found = set()
    head = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    for body in route.dump((_GETROUTE, 0, head + word(_RTA_OIF, index))):
        values = attributes(body, 12)
        found.add(values.get(_RTA_GATEWAY, b""))
        found.add(values.get(_RTA_VIA, b"")[2:])  # struct rtvia: the family first
    return found - {b""}


def device(route: rtnl.Socket, index: int) -> rtnl.Link | None:
    """The device of an index."""
    answer = route.get((18, 0, _LINK.pack(0, 0, index, 0, 0) + word(29, 8)))  # RTM_GETLINK, IFLA_EXT_MASK, no figures
    return None if answer is None else rtnl.Link(answer)
