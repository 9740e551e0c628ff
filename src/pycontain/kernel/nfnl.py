"""nf_tables over netlink: generation, a table's fingerprint, elements of maps (linux/netfilter/nf_tables.h).

The nft program writes our table; it costs 15 ms and so has no place on the start road. What a start needs is here:
whether the table is as it was left, and the requests that add and remove elements of a map, as ready-made bytes.

A batch is BEGIN, requests, END and takes effect as a whole or not at all. Only the requests ask for an
acknowledgement: kernels before 6.10 answer none for BEGIN and END. A refusal of the batch as a whole carries the
sequence number of BEGIN.
"""

from __future__ import annotations

from _blake2 import blake2b
from _struct import Struct

from pycontain.kernel import rtnl
from pycontain.kernel.rtnl import attribute, attributes, nested, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    #: A map's element: key and data as the kernel keeps them, each part padded to 4 bytes.
    Element = tuple[bytes, bytes]

NETFILTER = 12
#: struct nfgenmsg.nfgen_family of tables of family inet.
_INET = 1
#: … and of family bridge.
BRIDGE = 7
_SUBSYSTEM = 10
_BEGIN, _END = 16, 17
_GETTABLE, _GETCHAIN, _GETRULE, _GETSET, _NEWSETELEM, _GETSETELEM, _DELSETELEM, _GETGEN = 1, 4, 7, 10, 12, 13, 14, 16

_NEWOBJ, _DELOBJ, _OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA, _OBJECT_LIMIT = 18, 20, 1, 2, 3, 4, 4
_LIMIT_RATE, _LIMIT_UNIT, _LIMIT_BURST, _LIMIT_TYPE, _LIMIT_FLAGS, _BYTES, _OVER = 1, 2, 3, 4, 5, 1, 1
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_LIST_ELEM = 1
_ELEM_KEY, _ELEM_DATA, _DATA_VALUE, _ELEM_OBJREF = 1, 2, 1, 9
_TABLE_NAME, _TABLE_FLAGS, _TABLE_HANDLE = 1, 2, 4
_CHAIN_TABLE, _RULE_TABLE, _SET_TABLE = 1, 1, 1
#: Of a set all that describes it; not how many elements it has, which newer kernels tell.
_SET_FACTS = (2, 3, 4, 5, 6, 7, 16)
#: Elements in one request: an attribute's length has 16 bits.
_CHUNK = 400

# linux/netfilter/nfnetlink_conntrack.h; the flags are those of the kernel's nf_internals.h.
_CTNETLINK, _CT_DELETE = 1, 2
_CTA_TUPLE_ORIG, _CTA_TUPLE_PROTO, _CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 1, 2, 1, 3
_CTA_FILTER, _CTA_FILTER_ORIG_FLAGS = 25, 1
_F_PROTO_NUM, _F_PROTO_DST_PORT = 1 << 3, 1 << 5

_GENERIC = Struct(">BBH")
_BIG = Struct(">I")
_BIG8 = Struct(">Q")
_COOKIE = Struct("=Q")
_SO_NETNS_COOKIE = 71
_SOL_SOCKET = 1


def _request(kind: int, flags: int, body: bytes = b"", family: int = _INET) -> rtnl.Request:
    return _SUBSYSTEM << 8 | kind, flags, _GENERIC.pack(family, 0, 0) + body


def open_socket() -> rtnl.Socket:
    """A socket for the functions below. Raises OSError where the kernel has no nfnetlink."""
    return rtnl.Socket(NETFILTER)


def has_tables(link: rtnl.Socket) -> bool:
    """Whether there is any table, of whatever family, in the socket's network namespace. Raises OSError."""
    return bool(link.dump(_request(_GETTABLE, 0, family=0)))


# --- is the table as it was left? ---------------------------------------------------------------------------------


def namespace(link: rtnl.Socket) -> int:
    """The cookie of the network namespace: unique while the machine runs (Linux 5.14; 0 before)."""
    try:
        return int(_COOKIE.unpack(link.option(_SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])
    except OSError:
        return 0


def generation(link: rtnl.Socket) -> int:
    """The generation of the ruleset: every transaction in this network namespace, ours or not, counts it up."""
    answer = link.get(_request(_GETGEN, 0))
    if answer is None:
        raise OSError(95, "nf_tables is not there")
    return int(_BIG.unpack(attributes(answer, 4)[1])[0])


def fingerprint(link: rtnl.Socket, table: str, family: int = _INET) -> str:
    """A digest of a table: flags, chains, rules, sets and maps, without elements; "" where it is not.

    family: that of nf_tables, inet or BRIDGE.
    Two calls answer the same where nobody changed anything between them: the kernel's handles are part of it.
    """
    answer = link.get(_request(_GETTABLE, 0, text(_TABLE_NAME, table), family))
    if answer is None:
        return ""
    digest = blake2b(digest_size=16)
    facts = attributes(answer, 4)
    digest.update(facts.get(_TABLE_FLAGS, b"") + facts.get(_TABLE_HANDLE, b""))
    name = table.encode() + b"\0"
    # The chains cannot be filtered by the kernel; the rules and sets are.
    for body in link.dump(_request(_GETCHAIN, 0, family=family)):
        if attributes(body, 4).get(_CHAIN_TABLE) == name:
            digest.update(body[4:])
    for body in link.dump(_request(_GETRULE, 0, text(_RULE_TABLE, table), family)):
        digest.update(body[4:])
    for body in link.dump(_request(_GETSET, 0, text(_SET_TABLE, table), family)):
        facts = attributes(body, 4)
        digest.update(b"".join([facts.get(kind, b"") for kind in _SET_FACTS]))
    return digest.hexdigest()


# --- elements -----------------------------------------------------------------------------------------------------


def field(data: bytes) -> bytes:
    """One part of a concatenated key or datum: padded to the kernel's 4 byte registers."""
    return data + bytes(-len(data) % 4)


def _value(kind: int, data: bytes) -> bytes:
    return nested(kind, attribute(_DATA_VALUE, data))


def _elements(kind: int, flags: int, table: str, name: str, elements: Sequence[bytes]) -> list[rtnl.Request]:
    head = text(_LIST_TABLE, table) + text(_LIST_SET, name)
    return [
        _request(kind, flags, head + nested(_LIST_ELEMENTS, *elements[at : at + _CHUNK]))
        for at in range(0, len(elements), _CHUNK)
    ]


def add(table: str, name: str, elements: Iterable[Element]) -> list[rtnl.Request]:
    """Add elements to a map, or, without data, to a set. One that is there is no error; with another datum: EEXIST."""
    encoded = [
        nested(_LIST_ELEM, _value(_ELEM_KEY, key), *([_value(_ELEM_DATA, datum)] if datum else []))
        for key, datum in elements
    ]
    return _elements(_NEWSETELEM, rtnl.F_CREATE, table, name, encoded)


def delete(table: str, name: str, elements: Iterable[Element]) -> list[rtnl.Request]:
    """Remove elements from a map. One that is not there is an error, ENOENT, of the whole batch."""
    encoded = [nested(_LIST_ELEM, _value(_ELEM_KEY, key)) for key, _ in elements]
    return _elements(_DELSETELEM, 0, table, name, encoded)


def new_limit(table: str, name: str, rate: int, burst: int) -> rtnl.Request:
    """A limit that matches what is over ``rate`` bytes a second and ``burst`` bytes; one of this name is replaced."""
    words = [(_LIMIT_BURST, burst), (_LIMIT_TYPE, _BYTES), (_LIMIT_FLAGS, _OVER)]
    data = [attribute(_LIMIT_RATE, _BIG8.pack(rate)), attribute(_LIMIT_UNIT, _BIG8.pack(1))]
    data += [attribute(kind, _BIG.pack(value)) for kind, value in words]
    return _request(_NEWOBJ, rtnl.F_CREATE, _object(table, name) + nested(_OBJ_DATA, *data))


def delete_limit(table: str, name: str) -> rtnl.Request:
    """Remove a limit that no map leads to any more."""
    return _request(_DELOBJ, 0, _object(table, name))


def _object(table: str, name: str) -> bytes:
    return text(_OBJ_TABLE, table) + text(_OBJ_NAME, name) + attribute(_OBJ_TYPE, _BIG.pack(_OBJECT_LIMIT))


def add_object(table: str, name: str, key: bytes, to: str) -> rtnl.Request:
    """Add an element to a map that leads to objects."""
    element = nested(_LIST_ELEM, _value(_ELEM_KEY, key), text(_ELEM_OBJREF, to))
    return _elements(_NEWSETELEM, rtnl.F_CREATE, table, name, [element])[0]


def batch(requests: Sequence[rtnl.Request]) -> bytes:
    """Requests as one transaction in one datagram, numbered from 1 with BEGIN; no requests: no bytes."""
    if not requests:
        return b""
    mark = _GENERIC.pack(0, 0, _SUBSYSTEM)
    parts = [rtnl.message(_BEGIN, rtnl.F_REQUEST, 1, mark)]
    for number, (kind, flags, body) in enumerate(requests, 2):
        parts.append(rtnl.message(kind, flags | rtnl.F_REQUEST | rtnl.F_ACK, number, body))
    parts.append(rtnl.message(_END, rtnl.F_REQUEST, len(requests) + 2, mark))
    return b"".join(parts)


def _decode(body: bytes) -> list[Element]:
    found = []
    for _, data in rtnl.each(attributes(body, 4).get(_LIST_ELEMENTS, b"")):
        element = attributes(data)
        key, datum = [attributes(element.get(kind, b"")).get(_DATA_VALUE, b"") for kind in (_ELEM_KEY, _ELEM_DATA)]
        found.append((key, datum))
    return found


def object_elements(link: rtnl.Socket, table: str, name: str) -> list[tuple[bytes, str]]:
    """All (key, object's name) of a map that leads to objects; none where the table or the map is not there."""
    found = []
    for body in _element_bodies(link, table, name):
        for _, data in rtnl.each(attributes(body, 4).get(_LIST_ELEMENTS, b"")):
            element = attributes(data)
            key = attributes(element.get(_ELEM_KEY, b"")).get(_DATA_VALUE, b"")
            found.append((key, element.get(_ELEM_OBJREF, b"").rstrip(b"\0").decode("utf-8", "replace")))
    return found


def _element_bodies(link: rtnl.Socket, table: str, name: str) -> list[bytes]:
    try:
        return link.dump(_request(_GETSETELEM, 0, text(_LIST_TABLE, table) + text(_LIST_SET, name)))
    except OSError as error:
        if error.errno == 2:
            return []
        raise


def lookup(link: rtnl.Socket, table: str, name: str, key: bytes) -> bytes | None:
    """The datum of one key of a map; None where the key, the map or the table is not there."""
    head = text(_LIST_TABLE, table) + text(_LIST_SET, name)
    wanted = nested(_LIST_ELEMENTS, nested(_LIST_ELEM, _value(_ELEM_KEY, key)))
    answer = link.get(_request(_GETSETELEM, 0, head + wanted))
    found = _decode(answer) if answer is not None else []
    return found[0][1] if found else None


def elements(link: rtnl.Socket, table: str, name: str) -> list[Element]:
    """All elements of a map; none where the table or the map is not there."""
    return [element for body in _element_bodies(link, table, name) for element in _decode(body)]


# --- tracked flows ------------------------------------------------------------------------------------------------


def forget_udp(number: int, family: int) -> rtnl.Request:
    """Delete the tracked UDP flows whose original destination port is ``number`` (ctnetlink).

    Kernels up to 6.8 know CTA_FILTER for lists only and refuse this one.
    """
    protocol = attribute(_CTA_PROTO_NUM, bytes([17])) + attribute(_CTA_PROTO_DST_PORT, number.to_bytes(2, "big"))
    origin = nested(_CTA_TUPLE_ORIG, nested(_CTA_TUPLE_PROTO, protocol))
    chosen = nested(_CTA_FILTER, rtnl.word(_CTA_FILTER_ORIG_FLAGS, _F_PROTO_NUM | _F_PROTO_DST_PORT))
    return _CTNETLINK << 8 | _CT_DELETE, 0, _GENERIC.pack(family, 1, 0) + origin + chosen
