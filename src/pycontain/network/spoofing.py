"""A container speaks for itself alone: no frame on the bridge has another's addresses (CVE-2025-52889, CVE-2025-52890).

Two locks. A port takes frames of its container's MAC address only (``rtnl.bridge_port``, ``rtnl.forwarding_entry``).
And a MAC address is made of the IPv4 address (``lease.mac``), so a table of family bridge can hold every ARP, IPv4 and
IPv6 sender against it, byte by byte, with rules that are the same for all containers: nothing is added at a start and
nothing can be left behind.

``table(settings) -> str``
    the table, for ``nft -f -``.

Which bridge a frame is on is told by the subnet in its MAC address: not every kernel can be asked for the bridge's
name. Other protocols than these three do not pass. Where the kernel has no nf_tables for bridges
(CONFIG_NF_TABLES_BRIDGE) the first lock is all there is.
"""

from __future__ import annotations

from pycontain.network import lease
from pycontain.network.settings import Settings
from pycontain.network.veth import PREFIX

# nft counts bits: of the link layer (@ll), the network header (@nh), the transport header (@th).
_MAC = 64  # the four bytes of the sender's MAC address that are the IPv4 address
_ARP_MAC, _ARP_IP = 64, 112
_IP4_SENDER = 96
_IP6_SENDER = 64
_ND_TARGET = 64

_TABLE = """\
table bridge {table}
delete table bridge {table}
table bridge {table} {{
    set same {{ typeof @ll,64,8 . @nh,96,8; elements = {{ {same} }}; }}
{host}    chain prerouting {{
        type filter hook prerouting priority -300; policy accept;
        iifname "{prefix}*" ether saddr & {mac_mask} == {mac} jump sender
    }}
    chain sender {{
        ether type arp goto sender_arp
        ether type ip goto sender_ip4
        {ip6}
        drop
    }}
    chain sender_arp {{
        @nh,{arp_mac},16 != 0x0270 drop
{arp_macs}        @nh,{arp_ip},32 0x0 accept
{arp_ips}    }}
    chain sender_ip4 {{
{ip4s}    }}
{chains6}}}
"""
# Advertisements and redirects of routers come from none of them; a neighbour advertises itself alone.
_CHAINS6 = """\
    chain sender_ip6 {{
        meta l4proto ipv6-icmp jump neighbour
        ip6 saddr :: accept
        ip6 saddr fe80::/10 goto sender_link_local
{sender}    }}
    chain sender_link_local {{
{sender_link_local}    }}
    chain neighbour {{
        icmpv6 type {{ nd-router-advert, nd-redirect }} drop
        icmpv6 type nd-neighbor-advert jump target
    }}
    chain target {{
        @th,{target},16 0xfe80 goto target_link_local
{own_target}    }}
    chain target_link_local {{
{target_link_local}    }}
"""


def _line(text: str) -> str:
    return f"        {text} drop\n"


def _equal(layer: str, at: int, mac_byte: int, name: str = "same") -> str:
    """Drop what has another byte at ``at`` than the MAC address has in its place."""
    return _line(f"@ll,{_MAC + 8 * mac_byte},8 . @{layer},{at},8 != @{name}")


def _four(layer: str, at: int) -> str:
    return "".join([_equal(layer, at + 8 * byte, byte) for byte in range(4)])


def _fixed(layer: str, at: int, data: bytes) -> str:
    """Drop what has something else there; up to 64 bits in one comparison."""
    lines = [
        _line(f"@{layer},{at + 8 * start},{8 * len(part)} != 0x{part.hex()}")
        for start in range(0, len(data), 8)
        if (part := data[start : start + 8])
    ]
    return "".join(lines)


def _link_local(layer: str, at: int) -> str:
    """The address that the kernel makes of the MAC address (RFC 4291, modified EUI-64)."""
    fixed = _fixed(layer, at, b"\xfe\x80" + bytes(6) + b"\x00\x70") + _fixed(layer, at + 88, b"\xff\xfe")
    places = (80, 104, 112, 120)
    return fixed + "".join([_equal(layer, at + place, byte) for byte, place in enumerate(places)])


def _mask(settings: Settings) -> bytes:
    """Which bits of an IPv4 address are the container's place in the subnet."""
    return (settings.size - 1).to_bytes(4, "big")


def _global(settings: Settings, first: bytes, layer: str, at: int) -> str:
    """The subnet's IPv6 address at the same place as the IPv4 address."""
    text = _fixed(layer, at, first[:12])
    for byte, bits in enumerate(_mask(settings)):
        where = at + 96 + 8 * byte
        if bits:
            text += _equal(layer, where, byte, "same" if bits == 0xFF else "host")
        else:
            text += _fixed(layer, where, b"\0")
    return text


def _chains6(settings: Settings, first: bytes) -> str:
    return _CHAINS6.format(
        sender=_global(settings, first, "nh", _IP6_SENDER),
        sender_link_local=_link_local("nh", _IP6_SENDER),
        target=_ND_TARGET,
        own_target=_global(settings, first, "th", _ND_TARGET),
        target_link_local=_link_local("th", _ND_TARGET),
    )


def _host_set(settings: Settings) -> str:
    """Where the border of subnet and place lies inside a byte: that byte, and what is left of it."""
    partial = [bits for bits in _mask(settings) if bits not in (0, 0xFF)]
    if not partial:
        return ""
    pairs = ", ".join([f"{byte} . {byte & partial[0]}" for byte in range(256)])
    return f"    set host {{ typeof @ll,64,8 . @nh,96,8; elements = {{ {pairs} }}; }}\n"


def table(settings: Settings) -> str:
    """The input of nft that replaces the table, whatever of it is there."""
    first = settings.address6(0)
    return _TABLE.format(
        table=settings.table,
        prefix=PREFIX,
        mac_mask="ff:ff:" + bytes([byte ^ 0xFF for byte in _mask(settings)]).hex(":"),
        mac=lease.mac(settings.address(0)).hex(":"),
        same=", ".join([f"{byte} . {byte}" for byte in range(256)]),
        host=_host_set(settings),
        ip6="ether type ip6 goto sender_ip6" if first is not None else "",
        arp_mac=_ARP_MAC,
        arp_macs=_four("nh", _ARP_MAC + 16),
        arp_ip=_ARP_IP,
        arp_ips=_four("nh", _ARP_IP),
        ip4s=_four("nh", _IP4_SENDER),
        chains6=_chains6(settings, first) if first is not None else "",
    )
