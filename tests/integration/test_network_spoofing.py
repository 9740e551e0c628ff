"""A container on the bridge speaks for itself alone: frames with addresses of others reach nobody.

The frames are made by hand and sent by a packet socket, as root with CAP_NET_RAW can; what arrives is read from packet
sockets of the neighbour and of the host. A frame that may pass comes last: what has not come before it never will.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from struct import pack, unpack

import pytest

from network_world import Guest, World, run
from pycontain.network import bridge, ruleset, settings, spoofing

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")

ARP, IP4, IP6, VLAN, LOCAL = 0x0806, 0x0800, 0x86DD, 0x8100, 0x88B5
EVERYBODY = b"\xff" * 6
#: In each frame; its digits are replaced by the frame's number.
MARK = b"spoofed:0000"
LAST = b"the last one"
#: ICMPv6: router advertisement, neighbour solicitation and advertisement, redirect
RA, NS, NA, REDIRECT = 134, 135, 136, 137


def four(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET, text)


def six(text: str | None) -> bytes:
    return socket.inet_pton(socket.AF_INET6, str(text))


def mac(guest: Guest) -> bytes:
    return bytes.fromhex(guest.lease.mac.replace(":", ""))


def frame(sender: bytes, kind: int, body: bytes) -> bytes:
    return EVERYBODY + sender + pack(">H", kind) + body


def arp(sender: bytes, address: bytes, *, header: bytes | None = None, answer: bool = False) -> bytes:
    """Who has it tells everybody: ``sender`` is inside, ``header`` outside where it is another."""
    body = pack(">HHBBH", 1, IP4, 6, 4, 2 if answer else 1) + sender + address + bytes(6) + address
    return frame(header or sender, ARP, body + MARK)


def ip4(sender: bytes, address: bytes) -> bytes:
    """With the right checksum and length: bridges with br_netfilter look at both, and cut what is behind the end."""
    header = pack(">BBHHHBBH", 0x45, 0, 28 + len(MARK), 0, 0, 64, 17, 0) + address + b"\xff" * 4
    total = sum(unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + pack(">H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + header[12:]
    return frame(sender, IP4, header + pack(">HHHH", 9, 9, 8 + len(MARK), 0) + MARK)


def ip6(sender: bytes, address: bytes, body: bytes, protocol: int = 17) -> bytes:
    everybody, body = six("ff02::1"), body + MARK
    return frame(sender, IP6, pack(">IHBB", 6 << 28, len(body), protocol, 255) + address + everybody + body)


def icmp6(sender: bytes, address: bytes, kind: int, target: bytes, before: bytes = b"") -> bytes:
    """before: an extension header, with the number of ICMPv6 in it."""
    body = pack(">BBHI", kind, 0, 0, 0) + target
    return ip6(sender, address, before + body, 0 if before else 58)


def link_local(guest: Guest) -> bytes:
    own = mac(guest)
    return b"\xfe\x80" + bytes(6) + bytes([own[0] ^ 2]) + own[1:3] + b"\xff\xfe" + own[3:]


def to_the_bridge(data: bytes, last: int = 3) -> bytes:
    """The same frame for the bridge itself (IEEE 802.1D, reserved addresses): no port's lock is asked."""
    return b"\x01\x80\xc2\x00\x00" + bytes([last]) + data[6:]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def arrived(world: World, one: Guest, two: Guest, frames: dict[str, bytes]) -> dict[str, set[str]]:
    """Which of the frames that ``one`` sends come to its neighbour and to the host."""
    with one.entered():
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sender.bind(("eth0", 0))
    with two.entered():
        beside = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        beside.bind(("eth0", 3))
    with world.host.entered():
        host = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        host.bind((world.settings.bridge, 3))
    marks = {name: MARK[:-4] + b"%04d" % number for number, name in enumerate(frames)}
    own = arp(mac(one), four(one.lease.address)).replace(MARK, LAST)
    with sender, beside, host:
        for name, data in frames.items():
            sender.send(data.replace(MARK, marks[name]))
        sender.send(own)
        found = {}
        for place, listener in (("neighbour", beside), ("host", host)):
            listener.settimeout(10)
            seen = b""
            while LAST not in seen:
                seen += listener.recv(2048)
            found[place] = {name for name, mark in marks.items() if mark in seen}
    return found


@pytest.fixture
def pair(world: World) -> tuple[World, Guest, Guest]:
    return world, world.guest(), world.guest()


def test_what_is_ones_own_passes(pair: tuple[World, Guest, Guest]) -> None:
    world, one, two = pair
    own, address, address6 = mac(one), four(one.lease.address), six(one.lease.address6)
    frames = {
        "arp request": arp(own, address),
        "arp answer": arp(own, address, answer=True),
        "arp probe": arp(own, bytes(4)),
        "ipv4": ip4(own, address),
        "ipv6": ip6(own, address6, b"x" * 8),
        "ipv6 link-local": ip6(own, link_local(one), b"x" * 8),
        "solicitation from nobody": icmp6(own, bytes(16), NS, address6),
        "advertisement": icmp6(own, address6, NA, address6),
        "advertisement of the link-local address": icmp6(own, link_local(one), NA, link_local(one)),
    }
    assert arrived(world, one, two, frames) == {"neighbour": set(frames), "host": set(frames)}


def test_what_is_anothers_does_not(pair: tuple[World, Guest, Guest]) -> None:
    world, one, two = pair
    own, other = mac(one), mac(two)
    mine, mine6 = four(one.lease.address), six(one.lease.address6)
    gateway, gateway6 = four(one.lease.gateway), six(one.lease.gateway6)
    extension = bytes([58, 0, 5, 2, 0, 0, 1, 0])  # hop-by-hop, a router alert
    frames = {
        "arp: the gateway is here": arp(own, gateway, answer=True),
        "arp: the neighbour is here": arp(own, four(two.lease.address)),
        "arp: another MAC address inside": arp(other, mine, header=own, answer=True),
        "arp with the neighbour's MAC address": arp(other, four(two.lease.address)),
        "arp with a MAC address of one's own": arp(b"\x02\x00\x00\x00\x00\x07", mine),
        "ipv4 of the neighbour": ip4(own, four(two.lease.address)),
        "ipv4 of the neighbour with its MAC address": ip4(other, four(two.lease.address)),
        "ipv4 of the gateway": ip4(own, gateway),
        "ipv4 of somebody outside": ip4(own, four("192.0.2.1")),
        "ipv4 from loopback": ip4(own, four("127.0.0.1")),
        "ipv6 of the neighbour": ip6(own, six(two.lease.address6), b"x" * 8),
        "ipv6 of the gateway": ip6(own, gateway6, b"x" * 8),
        "ipv6 of somebody outside": ip6(own, six("2001:db8::7"), b"x" * 8),
        "ipv6 link-local of the neighbour": ip6(own, link_local(two), b"x" * 8),
        "ipv6 link-local of one's own": ip6(own, six("fe80::1"), b"x" * 8),
        "advertisement of the gateway": icmp6(own, mine6, NA, gateway6),
        "advertisement of the neighbour": icmp6(own, mine6, NA, six(two.lease.address6)),
        "advertisement of its link-local address": icmp6(own, link_local(one), NA, link_local(two)),
        "advertisement of the gateway from nobody": icmp6(own, bytes(16), NA, gateway6),
        "advertisement of the gateway behind an extension": icmp6(own, mine6, NA, gateway6, extension),
        "advertisement of a router": icmp6(own, link_local(one), RA, bytes(16)),
        "redirect": icmp6(own, link_local(one), REDIRECT, gateway6),
        "ipv4 in a VLAN": frame(own, VLAN, pack(">HH", 7, IP4) + ip4(own, gateway)[14:]),
        "another protocol": frame(own, LOCAL, MARK + b"x" * 46),
    }
    assert arrived(world, one, two, frames) == {"neighbour": set(), "host": set()}


def test_nobody_is_led_astray(pair: tuple[World, Guest, Guest]) -> None:
    """The attack itself: the neighbour's way out, and the host's way to the neighbour, stay what they were."""
    world, one, two = pair
    world.outside.serve(80, "outside")
    from network_world import HOST4, OUTSIDE4

    assert two.ask(OUTSIDE4, 80) == f"outside {HOST4}"
    before = two.ip("neighbour", "show", two.lease.gateway), run("ip", "neighbour", "show", two.lease.address)
    assert all("lladdr" in text for text in before)
    lies = [arp(mac(one), four(text), answer=True) for text in (two.lease.gateway, two.lease.address)]
    arrived(world, one, two, {str(number): data for number, data in enumerate(lies * 20)})
    after = two.ip("neighbour", "show", two.lease.gateway), run("ip", "neighbour", "show", two.lease.address)
    assert [text.split()[4] for text in after] == [text.split()[4] for text in before]
    assert two.ask(OUTSIDE4, 80) == f"outside {HOST4}"


def test_the_bridge_learns_from_nobody(pair: tuple[World, Guest, Guest]) -> None:
    """Else one frame would be enough to have another's MAC address, and all that is sent to it."""
    world, one, two = pair
    invented = b"\x02\x00\x00\x00\x00\x07"
    with one.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("eth0", 0))
        for last in (0, 2, 3, 14):
            for address in (invented, mac(two)):
                sender.send(to_the_bridge(frame(address, 0x888E, bytes(46)), last))
    frames = {
        "arp of the gateway": arp(invented, four(one.lease.gateway), answer=True),
        "ipv4 of somebody outside": ip4(invented, four("192.0.2.1")),
        "ipv4 of the neighbour with its MAC address": ip4(mac(two), four(two.lease.address)),
    }
    assert arrived(world, one, two, frames) == {"neighbour": set(), "host": set()}
    from network_world import HOST4, OUTSIDE4

    world.outside.serve(80, "outside")
    assert two.ask(OUTSIDE4, 80) == f"outside {HOST4}"


def test_what_is_sent_to_the_bridge_itself_is_not_the_hosts(pair: tuple[World, Guest, Guest]) -> None:
    """The host's end of the pair would take it, whatever its sender."""
    from network_world import HOST4

    world, one, _ = pair
    own = mac(one)
    port = one.device()
    assert port
    with world.host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", 9))
        server.settimeout(1)
        with one.entered():
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            sender.bind(("eth0", 0))
        with sender:
            for last in (2, 3, 14):
                datagram = ip4(own, four("198.51.100.77"))
                header = datagram[14:24] + bytes(2) + datagram[26:30] + four(HOST4)
                total = sum(unpack(">10H", header))
                total = (total & 0xFFFF) + (total >> 16)
                checksum = pack(">H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)
                whole = frame(own, IP4, header[:10] + checksum + header[12:] + datagram[34:])
                sender.send(to_the_bridge(whole, last))
                for number in range(1, 30):
                    liar = four(f"10.200.0.{number}")
                    sender.send(to_the_bridge(arp(own, liar, answer=False), last))
        with pytest.raises(TimeoutError):
            server.recv(100)
        assert "10.200.0." not in run("ip", "neighbour", "show", "dev", port.name)


def test_a_bridge_that_is_made_again_locks_its_ports_again(pair: tuple[World, Guest, Guest]) -> None:
    world, one, two = pair
    run("ip", "link", "del", world.settings.bridge)
    run("nft", "delete", "table", "bridge", world.settings.table)
    bridge.ensure(world.run_root, world.settings)
    frames = {
        "another MAC address": ip4(mac(two), four(two.lease.address)),
        "the gateway's address": ip4(mac(one), four(one.lease.gateway)),
    }
    assert arrived(world, one, two, frames) == {"neighbour": set(), "host": set()}


def test_a_table_that_somebody_has_deleted_comes_back(pair: tuple[World, Guest, Guest]) -> None:
    world, _, _ = pair
    assert ruleset.intact(world.run_root, world.settings)
    run("nft", "delete", "table", "bridge", world.settings.table)
    assert not ruleset.intact(world.run_root, world.settings)
    world.guest()
    assert "sender_arp" in run("nft", "list", "table", "bridge", world.settings.table)
    bridge.remove(world.run_root, world.settings)
    assert world.settings.table not in run("nft", "list", "tables")


@pytest.mark.parametrize("prefix", range(8, 31))
def test_nft_takes_the_table_of_every_subnet(world: World, prefix: int) -> None:
    base = int.from_bytes(four("10.0.0.0"), "big")
    base6 = int.from_bytes(six("fd12:3456:789a:1::"), "big")
    for second in (base6, None):
        made = settings.Settings(f"b{prefix}", base, prefix, second, 1500)
        run("nft", "-f", "-", text=spoofing.table(made))
