"""Netlink messages as bytes, and a small socket to send them: what the start road needs of rtnetlink(7).

pyroute2 costs 150 ms to import; the few requests of a container start are encoded here. They are ready-made bytes:
the helper sends them, or ``send`` does in tests and on the slow roads. Every request asks for an acknowledgement, and
the sequence numbers of a batch count from 1, so that a failure names the request that failed.
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket
from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    #: Message type, flags beside REQUEST and ACK, body after the header.
    Request = tuple[int, int, bytes]

ROUTE = 0

# linux/netlink.h
F_REQUEST, F_MULTI, F_ACK, F_DUMP_INTR = 0x1, 0x2, 0x4, 0x10
F_DUMP = 0x300
F_REPLACE, F_EXCL, F_CREATE = 0x100, 0x200, 0x400
_ERROR, _DONE = 2, 3
_F_CAPPED, _F_ACK_TLVS = 0x100, 0x200
_ERROR_TEXT = 1
_SOL_NETLINK = 270
_CAP_ACK, _EXT_ACK, _STRICT_CHECK = 10, 11, 12
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/veth.h
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _GETADDR = 20, 22
_NEWROUTE, _GETROUTE = 24, 26
_NEWNEIGH = 28
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 10, 18
_IFLA_IFALIAS, _IFLA_NET_NS_FD, _IFLA_EXT_MASK, _IFLA_NEW_IFINDEX = 20, 28, 29, 49
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_IFLA_BRPORT_MODE, _IFLA_BRPORT_LEARNING, _IFLA_BRPORT_LOCKED = 4, 8, 39
_IFLA_AF_SPEC, _IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 26, 31, 32
_IFLA_INET6_ADDR_GEN_MODE, _GEN_MODE_NONE = 8, 1
_VETH_INFO_PEER = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_RTA_OIF, _RTA_GATEWAY = 4, 5
_NDA_LLADDR, _AF_BRIDGE, _NTF_MASTER, _NUD_REACHABLE, _NUD_NOARP = 2, 7, 0x04, 0x02, 0x40
_SKIP_STATS = 8
_IFF_UP, _IFF_NOARP = 0x1, 0x80
_IFA_F_NODAD, _IFA_F_PERMANENT = 0x02, 0x80
_TABLE_MAIN, _PROTO_BOOT, _SCOPE_UNIVERSE, _TYPE_UNICAST = 254, 3, 0, 1

#: The loopback device is the first of every network namespace.
LOOPBACK = 1

_HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_WORD = Struct("=I")
_CODE = Struct("=i")
_LINK = Struct("=BxHiII")
_ADDRESS = Struct("=BBBBI")
_NEIGHBOUR = Struct("=BxxxiHBB")
_ROUTE = Struct("=BBBBBBBBI")


class Refused(OSError):
    """The kernel refused a request. ``number`` counts the requests of a batch from 1; ``detail`` is its own text."""

    def __init__(self, code: int, number: int, detail: str) -> None:
        super().__init__(code, os.strerror(code) + (f" ({detail})" if detail else ""))
        self.number = number
        self.detail = detail


# --- encoding -----------------------------------------------------------------------------------------------------


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute: length, kind, data, padding to 4 bytes (netlink(7))."""
    return _ATTRIBUTE.pack(len(data) + 4, kind) + data + bytes(-len(data) % 4)


def nested(kind: int, *children: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(children))


def word(kind: int, value: int) -> bytes:
    """An attribute of 32 bits in the machine's byte order."""
    return attribute(kind, _WORD.pack(value))


def text(kind: int, value: str) -> bytes:
    """An attribute with a string ended by NUL."""
    return attribute(kind, value.encode() + b"\0")


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One message with its header."""
    return _HEADER.pack(len(body) + 16, kind, flags, sequence, 0) + body


def batch(requests: Iterable[Request]) -> bytes:
    """Requests as one datagram, each to be acknowledged, numbered from 1."""
    return b"".join(
        [
            message(kind, flags | F_REQUEST | F_ACK, number, body)
            for number, (kind, flags, body) in enumerate(requests, 1)
        ]
    )


_ONE_QUEUE = word(_IFLA_NUM_TX_QUEUES, 1) + word(_IFLA_NUM_RX_QUEUES, 1)


# --- requests -----------------------------------------------------------------------------------------------------


def new_veth(
    name: str, index: int, master: int, mtu: int, peer: str, peer_index: int, peer_mac: bytes, netns_fd: int
) -> Request:
    """Make a veth pair (veth(4)): ``name`` here, a port of ``master``; ``peer`` in the namespace of ``netns_fd``.

    Born there the peer costs 0.2 ms, moved there afterwards 40. The kernel takes a peer's index only from a request
    that chooses both; the peer cannot be up before the pair is complete. One queue, not one a processor: a queue is
    a directory in sysfs, and they are a third of what the pair costs. master 0: of no bridge.
    """
    peer_body = (
        _LINK.pack(0, 0, peer_index, 0, 0)
        + text(_IFLA_IFNAME, peer)
        + attribute(_IFLA_ADDRESS, peer_mac)
        + word(_IFLA_MTU, mtu)
        + word(_IFLA_NET_NS_FD, netns_fd)
        + _ONE_QUEUE
    )
    info = nested(
        _IFLA_LINKINFO,
        text(_IFLA_INFO_KIND, "veth"),
        nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER | _NESTED, peer_body)),
    )
    head = _LINK.pack(0, 0, index, 0, 0) + text(_IFLA_IFNAME, name) + word(_IFLA_MTU, mtu)
    port = word(_IFLA_MASTER, master) if master else b""
    return _NEWLINK, F_CREATE | F_EXCL, head + port + _ONE_QUEUE + info


def bridge_port(index: int, hairpin: bool, link_local: bool) -> Request:
    """Settings of a bridge's port, to be sent before it is up.

    It is locked: frames come in from addresses only that ``forwarding_entry`` has given it (Linux 5.18; older kernels
    ignore this), and the bridge learns none from it: from frames that are for the bridge itself (01:80:c2:00:00:00 to
    0f) it would, past the lock. hairpin: a frame may go back to the port that it came from (bridge(8)). link_local:
    whether it gets an IPv6 link-local address; false needs IPv6 in the kernel.
    """
    body = _LINK.pack(0, 0, index, 0, 0)
    mode, lock = attribute(_IFLA_BRPORT_MODE, bytes([hairpin])), attribute(_IFLA_BRPORT_LOCKED, b"\1")
    learning = attribute(_IFLA_BRPORT_LEARNING, b"\0")
    slave = nested(_IFLA_INFO_SLAVE_DATA, mode, lock, learning)
    body += nested(_IFLA_LINKINFO, text(_IFLA_INFO_SLAVE_KIND, "bridge"), slave)
    if not link_local:
        generated = nested(AF_INET6, attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_GEN_MODE_NONE])))
        body += nested(_IFLA_AF_SPEC, generated)
    return _NEWLINK, 0, body


def forwarding_entry(index: int, mac: bytes) -> Request:
    """Who is behind a bridge's port, for ever; one that the bridge has seen at another port is there no more."""
    head = _NEIGHBOUR.pack(_AF_BRIDGE, index, _NUD_REACHABLE | _NUD_NOARP, _NTF_MASTER, 0)
    return _NEWNEIGH, F_CREATE | F_REPLACE, head + attribute(_NDA_LLADDR, mac)


def link_up(index: int) -> Request:
    """Set a device up."""
    return _NEWLINK, 0, _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP)


def port_up(index: int) -> Request:
    """Set a bridge's port up. What comes to itself, and not to the bridge, makes nobody a neighbour of the host."""
    return _NEWLINK, 0, _LINK.pack(0, 0, index, _IFF_UP | _IFF_NOARP, _IFF_UP | _IFF_NOARP)


def link_down(index: int) -> Request:
    """Set a device down."""
    return _NEWLINK, 0, _LINK.pack(0, 0, index, 0, _IFF_UP)


def move_link(index: int, name: str, netns_fd: int) -> Request:
    """Move a device into a network namespace, down, under this name and with the index that it has."""
    body = _LINK.pack(0, 0, index, 0, _IFF_UP) + word(_IFLA_NET_NS_FD, netns_fd) + text(_IFLA_IFNAME, name)
    return _NEWLINK, 0, body + word(_IFLA_NEW_IFINDEX, index)


def settle(index: int) -> Request:
    """Ask for a device, so that the kernel acts at once on a carrier that has come (Linux 6.8; harmless before).

    Else a work queue does, some milliseconds later; until then the device drops what is sent, a bridge's port all.
    """
    return _GETLINK, 0, _LINK.pack(0, 0, index, 0, 0) + word(_IFLA_EXT_MASK, _SKIP_STATS)


def set_master(index: int, master: int) -> Request:
    """Make a device a port of a bridge, 0 to take it out."""
    return _NEWLINK, 0, _LINK.pack(0, 0, index, 0, 0) + word(_IFLA_MASTER, master)


def delete_link(index: int) -> Request:
    """Delete a device, and with one end of a veth pair the other."""
    return _DELLINK, 0, _LINK.pack(0, 0, index, 0, 0)


def new_address(index: int, address: bytes, prefix: int) -> Request:
    """Give a device an address of 4 or 16 bytes. IPv6: without duplicate address detection, usable at once."""
    body = attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)
    if len(address) == 16:
        return _NEWADDR, F_CREATE | F_EXCL, _ADDRESS.pack(AF_INET6, prefix, _IFA_F_NODAD, 0, index) + body
    host = (1 << (32 - prefix)) - 1
    if host:  # an address alone has no broadcast address: it would be itself
        body += attribute(_IFA_BROADCAST, (int.from_bytes(address, "big") | host).to_bytes(4, "big"))
    return _NEWADDR, F_CREATE | F_EXCL, _ADDRESS.pack(AF_INET, prefix, _IFA_F_PERMANENT, 0, index) + body


def default_route(index: int, gateway: bytes) -> Request:
    """The default route of the gateway's family."""
    family = AF_INET6 if len(gateway) == 16 else AF_INET
    head = _ROUTE.pack(family, 0, 0, 0, _TABLE_MAIN, _PROTO_BOOT, _SCOPE_UNIVERSE, _TYPE_UNICAST, 0)
    return _NEWROUTE, F_CREATE | F_EXCL, head + attribute(_RTA_GATEWAY, gateway) + word(_RTA_OIF, index)


# --- decoding -----------------------------------------------------------------------------------------------------


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence number, body) of each message of a datagram. Raises OSError for a malformed one."""
    at = 0
    while at < len(data):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data, at) if at + 16 <= len(data) else (0, 0, 0, 0, 0)
        if size < 16 or at + size > len(data):
            raise OSError(74, "Bad netlink message")
        yield kind, flags, sequence, data[at + 16 : at + size]
        at += (size + 3) & ~3


def each(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """(kind, data) of the attributes from offset ``at`` on; ends at one that cannot be."""
    end = len(data)
    while at + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < 4 or at + size > end:
            break
        yield kind & _TYPE_MASK, data[at + 4 : at + size]
        at += (size + 3) & ~3


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """The attributes from offset ``at`` on, by kind."""
    return dict(each(data, at))


def _refusal(flags: int, sequence: int, body: bytes) -> Refused | None:
    code = -_CODE.unpack_from(body)[0]
    if code == 0:
        return None
    detail = ""
    if flags & _F_ACK_TLVS:
        skip = 16 if flags & _F_CAPPED else max(16, (_WORD.unpack_from(body, 4)[0] + 3) & ~3)
        detail = attributes(body, 4 + skip).get(_ERROR_TEXT, b"").rstrip(b"\0").decode("utf-8", "replace")
    return Refused(code, sequence, detail)


# --- the socket ---------------------------------------------------------------------------------------------------


class Socket:
    """A netlink socket in the caller's network namespace; a context manager. Raises OSError, Refused."""

    def __init__(self, protocol: int = ROUTE) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
        for option in (_CAP_ACK, _EXT_ACK) + ((_STRICT_CHECK,) if protocol == ROUTE else ()):
            try:
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            except OSError:
                pass  # comforts: shorter and better answers, dumps filtered by the kernel

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def option(self, level: int, name: int, size: int) -> bytes:
        """getsockopt(2)."""
        return self._socket.getsockopt(level, name, size)

    def get(self, request: Request) -> bytes | None:
        """The body of the one answer; None where the object does not exist."""
        kind, flags, body = request
        self._socket.send(message(kind, flags | F_REQUEST, 1, body))
        for answer, answer_flags, number, content in messages(self._socket.recv(1 << 16)):
            if answer != _ERROR:
                return content
            refused = _refusal(answer_flags, number, content)
            if refused is None or refused.errno in (2, 19):
                return None
            raise refused
        raise OSError(74, "Bad netlink message")

    def dump(self, request: Request) -> list[bytes]:
        """The bodies of all answers; taken again where something changed meanwhile."""
        for _ in range(10):
            found = self._dump(request)
            if found is not None:
                return found
        raise OSError(11, "The list changed each time it was read")

    def _dump(self, request: Request) -> list[bytes] | None:
        kind, flags, body = request
        self._socket.send(message(kind, flags | F_REQUEST | F_DUMP, 1, body))
        found: list[bytes] = []
        changed = False
        while True:
            for answer, answer_flags, number, content in messages(self._socket.recv(1 << 17)):
                changed = changed or bool(answer_flags & F_DUMP_INTR)
                if answer == _DONE:
                    return None if changed else found
                if answer == _ERROR:
                    refused = _refusal(answer_flags, number, content)
                    if refused is not None:
                        raise refused
                    return None if changed else found
                found.append(content)

    def send(self, data: bytes) -> None:
        """Send a batch and read an acknowledgement for each message that asks for one. Raises Refused for the first."""
        waiting = {number for _, flags, number, _ in messages(data) if flags & F_ACK}
        self._socket.send(data)
        first: Refused | None = None
        while waiting:
            for kind, flags, number, body in messages(self._socket.recv(1 << 16)):
                if kind != _ERROR:
                    continue
                refused = _refusal(flags, number, body)
                first = first or refused
                if refused is not None and number not in waiting:
                    raise refused  # the batch as a whole: nothing else will be answered
                waiting.discard(number)
        if first is not None:
            raise first


def send(data: bytes, protocol: int = ROUTE) -> None:
    """Send ready-made requests over a new socket, as the helper does. Raises Refused, OSError."""
    with Socket(protocol) as link:
        link.send(data)


# --- what is there ------------------------------------------------------------------------------------------------


class Link:
    """A network device: what the start road asks about one."""

    __slots__ = ("alias", "index", "kind", "mac", "master", "mtu", "name", "up")
    index: int

    def __init__(self, body: bytes) -> None:
        _, _, self.index, flags, _ = _LINK.unpack_from(body)
        found = attributes(body, 16)
        info = attributes(found.get(_IFLA_LINKINFO, b""))
        self.up = bool(flags & _IFF_UP)
        self.name = _string(found.get(_IFLA_IFNAME))
        self.alias = _string(found.get(_IFLA_IFALIAS))
        self.kind = _string(info.get(_IFLA_INFO_KIND))
        self.mac = found.get(_IFLA_ADDRESS, b"")
        self.mtu = _WORD.unpack(found[_IFLA_MTU])[0] if _IFLA_MTU in found else 0
        self.master = _WORD.unpack(found[_IFLA_MASTER])[0] if _IFLA_MASTER in found else 0


def _string(data: bytes | None) -> str:
    return (data or b"").rstrip(b"\0").decode("utf-8", "replace")


def link(route: Socket, name: str) -> Link | None:
    """The device of this name, None where there is none."""
    body = _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name) + word(_IFLA_EXT_MASK, _SKIP_STATS)
    answer = route.get((_GETLINK, 0, body))
    return None if answer is None else Link(answer)


def links(route: Socket) -> list[Link]:
    """All devices."""
    return [Link(body) for body in route.dump((_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + word(_IFLA_EXT_MASK, 8)))]


def default_devices(route: Socket) -> list[int]:
    """The indexes of the devices that have an IPv4 or IPv6 default route in the main table."""
    found = []
    for family in (AF_INET, AF_INET6):
        for body in route.dump((_GETROUTE, 0, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))):
            _, bits, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
            output = attributes(body, 12).get(_RTA_OIF)
            if bits == 0 and table == _TABLE_MAIN and kind == _TYPE_UNICAST and output:
                found.append(_WORD.unpack(output)[0])
    return found


def permanent_addresses(route: Socket, index: int, family: int) -> list[tuple[bytes, int]]:
    """(address, prefix length) pairs that somebody has given to a device for good, of global scope."""
    found = []
    for body in route.dump((_GETADDR, 0, _ADDRESS.pack(family, 0, 0, 0, index))):
        _, prefix, flags, scope, owner = _ADDRESS.unpack_from(body)
        values = attributes(body, 8)
        if owner == index and scope == _SCOPE_UNIVERSE and flags & _IFA_F_PERMANENT:
            found.append((values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS, b""), prefix))
    return found


def addresses(route: Socket, index: int, family: int) -> list[tuple[bytes, int]]:
    """(address, prefix length) pairs of a device; index 0: of all devices."""
    found = []
    for body in route.dump((_GETADDR, 0, _ADDRESS.pack(family, 0, 0, 0, index))):
        _, prefix, _, _, owner = _ADDRESS.unpack_from(body)
        values = attributes(body, 8)
        if index in (0, owner):
            found.append((values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS, b""), prefix))
    return found
