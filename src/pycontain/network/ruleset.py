"""Our nftables tables, of family inet and bridge: their text, and whether they are as we left them.

``script(settings, publications, bridged) -> str``
    for ``nft -f -``: replaces the tables as a whole, with what is published in them.
``intact(run_root, settings) -> bool``
    the start road's question, in three system calls where no ruleset changed since, else in 0.1 ms.
``record(run_root, settings)``
    remember that the table as it is now is right.

RUN_ROOT/network/genid holds a line of four words: the network namespace's cookie, the generation of its ruleset when
we last looked, a digest of the script that made the table, the table's fingerprint.
"""

from __future__ import annotations

import os
from _blake2 import blake2b

from pycontain.kernel import files, nfnl
from pycontain.network.settings import Settings, printed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pycontain.kernel.rtnl import Socket
    from pycontain.network.port import Publication
    from pycontain.network.routed import Routed

#: What the devices of containers without a bridge are called, and the gateway that they see (network/routed.py).
PREFIX, GATEWAY = "vr", "169.254.1.1"
#: Counts what network/spoofing.py has said: its text is long, and the start road only asks whether it is another one.
SPOOFING = 1

# guard: the bridge has route_localnet, so that what came to 127.0.0.1 can be sent on and the answer come back. Without
# these rules containers would reach what listens on the host's loopback (CVE-2020-8558). It comes before connection
# tracking: there an answer still has the gateway's address.
# What is sent to a bridge itself (01:80:c2:00:00:00 to 0f) does not pass it, but the host's own end of the pair: past
# all rules that know the bridge.
# prerouting: nothing from outside is for the loopback (with route_localnet a neighbour of the host could send it); what
# the host itself sends there is in output.
# publish: from the specific to the general; both hooks, since what the host itself sends does not pass prerouting.
# postrouting: an answer must come back through the host where its NAT is undone: so a source that the container would
# answer past the host (its own subnet) or not at all (loopback) is replaced by the gateway's address.
# sender: a container without a bridge speaks for itself alone: by its device, its MAC address and its own addresses.
# What it sends above its rate comes first: that is all that it costs. Nobody else announces routes.
# routed: an answer must come back through the host, and a guest that asks its own port is not to get its own address.
# inbound: forwarding is on, so any neighbour of the host could route to containers: only what is published passes.
_SCRIPT = """\
table inet {table}
delete table inet {table}
table inet {table} {{
    map publish4 {{ type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }}
    map publish4_any {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
    map publish6 {{ type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; }}
    map publish6_any {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}
    set own4 {{ type iface_index . ether_addr . ipv4_addr; }}
    set own6 {{ type iface_index . ether_addr . ipv6_addr; }}
    map rates {{ type iface_index : limit; }}
    chain guard {{
        type filter hook prerouting priority raw; policy accept;
        ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
        iifname "{bridge}" ip daddr 127.0.0.0/8 drop
        iifname "{bridge}" ip saddr 127.0.0.0/8 drop
        iifname "{vr}*" meta iifkind "veth" jump sender
    }}
    chain sender {{
        limit name iif map @rates drop
        ip daddr 127.0.0.0/8 drop
        icmpv6 type {{ nd-router-advert, nd-redirect }} drop
        ip6 saddr :: icmpv6 type nd-neighbor-solicit return
        meta protocol ip iif . ether saddr . ip saddr @own4 return
        meta protocol ip6 iif . ether saddr . ip6 saddr @own6 return
        drop
    }}
    chain publish {{
        meta nfproto ipv4 dnat ip to meta l4proto . ip daddr . th dport map @publish4
        meta nfproto ipv4 dnat ip to meta l4proto . th dport map @publish4_any
{publish6}    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr 127.0.0.0/8 return
        meta l4proto {{ tcp, udp }} fib daddr type local jump publish
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        meta l4proto {{ tcp, udp }} fib daddr type local jump publish
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{vr}*" goto routed
        ip saddr {subnet} oifname != "{bridge}" masquerade
        ip saddr {pool} oifname != "{bridge}" masquerade
        oifname "{bridge}" ct status dnat ip saddr {{ 127.0.0.0/8, {subnet} }} masquerade
{postrouting6}    }}
    chain routed {{
        ct status dnat ip saddr 127.0.0.0/8 snat ip to {gateway}
        ct status dnat meta nfproto ipv4 iifname "{vr}*" snat ip to {gateway}
{routed6}    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        oifname "{bridge}" jump inbound
        oifname "{vr}*" ip daddr {pool} jump inbound
{forward6}    }}
    chain inbound {{
        iifname "{bridge}" accept
        iifname "{vr}*" accept
        ct state established,related accept
        ct status dnat accept
        drop
    }}
}}
"""
_PUBLISH6 = """\
        ip6 daddr { ::1, fe80::/10 } return
        meta nfproto ipv6 dnat ip6 to meta l4proto . ip6 daddr . th dport map @publish6
        meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @publish6_any
"""
_POSTROUTING6 = """\
        ip6 saddr {subnet6} oifname != "{bridge}" masquerade
        oifname "{bridge}" ct status dnat ip6 saddr {subnet6} masquerade
"""
_POOL6 = """\
        ip6 saddr {pool6} oifname != "{bridge}" masquerade
"""
_FORWARD6 = """\
        oifname "{vr}*" ip6 daddr {pool6} jump inbound
"""
_ROUTED6 = """\
        ct status dnat meta nfproto ipv6 iifname "{vr}*" snat ip6 to {gateway6}
"""


def _table(settings: Settings) -> str:
    pool = settings.pool()
    names = {"table": settings.table, "bridge": settings.bridge, "subnet": settings.subnet, "pool": pool.subnet}
    names |= {"vr": PREFIX, "gateway": GATEWAY, "subnet6": settings.subnet6 or "", "pool6": pool.subnet6 or ""}
    gateway6 = pool.address6(1)
    parts = {"publish6": "", "postrouting6": "", "forward6": "", "routed6": ""}
    if settings.subnet6:
        parts["publish6"], parts["postrouting6"] = _PUBLISH6, _POSTROUTING6.format(**names)
    if gateway6:
        parts["publish6"], parts["forward6"] = _PUBLISH6, _FORWARD6.format(**names)
        parts["postrouting6"] += _POOL6.format(**names)
        parts["routed6"] = _ROUTED6.format(gateway6=printed(gateway6), **names)
    return _SCRIPT.format(**parts, **names)


def script(
    settings: Settings,
    publications: Iterable[Publication] = (),
    bridged: bool = True,
    guests: Iterable[Routed] = (),
) -> str:
    """The input of nft that replaces the tables in one transaction, whatever of them is there.

    bridged: whether the kernel takes one of family bridge. guests: what may be sent by whom without a bridge.
    """
    from pycontain.network import port, spoofing

    lines = [_table(settings), spoofing.table(settings) if bridged else ""]
    taken: set[tuple[str, bytes]] = set()
    for item in publications:
        for name, elements in port.elements(item.ports, item.address, item.address6).items():
            for key, datum in elements:
                # Of two records of one port one is stale, and nft would refuse the whole.
                if (name, key) not in taken:
                    taken.add((name, key))
                    lines.append(f"add element inet {settings.table} {name} {{ {_element(key, datum)} }}\n")
    for guest in guests:
        lines += _guest(settings.table, guest)
    return "".join(lines)


def _guest(table: str, guest: Routed) -> list[str]:
    from pycontain.network import routed

    lines = [
        f"add element inet {table} {name} {{ {guest.index} . {guest.mac} . {printed(key[12:])} }}\n"
        for name, elements in routed.own_elements(guest).items()
        for key, _ in elements
    ]
    if guest.rate:
        rate, burst = guest.rate // 8, routed.burst(guest.rate)
        limit = f"{{ rate over {rate} bytes/second burst {burst} bytes; }}"
        lines.append(f"add limit inet {table} {guest.name} {limit}\n")
        lines.append(f'add element inet {table} {routed.RATES} {{ {guest.index} : "{guest.name}" }}\n')
    return lines


def _element(key: bytes, datum: bytes) -> str:
    words = [str(key[0]), *([printed(key[4:-4])] if len(key) > 8 else []), str(_number(key))]
    return f"{' . '.join(words)} : {printed(datum[:-4])} . {_number(datum)}"


def _number(data: bytes) -> int:
    return int.from_bytes(data[-4:-2], "big")


# --- as we left it? -----------------------------------------------------------------------------------------------


def _path(run_root: str) -> str:
    return f"{run_root}/network/genid"


def _digest(settings: Settings) -> str:
    return blake2b(f"{SPOOFING}{_table(settings)}".encode(), digest_size=16).hexdigest()


def _fingerprint(link: Socket, settings: Settings) -> str:
    """Of both tables, without a space."""
    return f"{nfnl.fingerprint(link, settings.table)}+{nfnl.fingerprint(link, settings.table, nfnl.BRIDGE)}"


def _write(run_root: str, words: list[str]) -> None:
    files.replace(_path(run_root), " ".join(words).encode() + b"\n")


def intact(run_root: str, settings: Settings) -> bool:
    """Whether the table is as it was recorded. Raises OSError where the kernel has no nf_tables."""
    try:
        words = files.read_bytes(_path(run_root)).decode("ascii", "replace").split()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if len(words) != 4 or words[2] != _digest(settings):
        return False
    with nfnl.open_socket() as link:
        if words[0] != str(nfnl.namespace(link)):
            return False
        # The generation is read first: what changes while the table is read will be seen the next time.
        generation = str(nfnl.generation(link))
        if generation == words[1]:
            return True
        if _fingerprint(link, settings) != words[3]:
            return False
    try:
        _write(run_root, [words[0], generation, words[2], words[3]])
    except OSError:
        pass  # a comfort for the next start
    return True


def record(run_root: str, settings: Settings) -> None:
    """Remember the table as it is now. Raises OSError."""
    with nfnl.open_socket() as link:
        _record(run_root, settings, link)


def _record(run_root: str, settings: Settings, link: Socket) -> None:
    generation = str(nfnl.generation(link))
    _write(run_root, [str(nfnl.namespace(link)), generation, _digest(settings), _fingerprint(link, settings)])


def forget(run_root: str) -> None:
    """Remove the record: the next ``intact`` says no."""
    try:
        os.unlink(_path(run_root))
    except FileNotFoundError:
        pass
