"""--network routed: no bridge, a route of the host to each address, and nobody speaks for another.

Frames are made by hand and sent by a packet socket, as root of a guest can; what arrives is read in another guest and
by a socket of the host. A frame that may pass comes last: what has not come before it never will.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from struct import pack, unpack

import pytest

from network_world import HOST4, HOST6, OUTSIDE4, OUTSIDE6, Namespace, run, until
from network_world import World as Hosts
from pycontain.kernel import rtnl
from pycontain.kernel.errors import Error, InUse, UsageError
from pycontain.network import bridge, lease, port, prune, routed, routed_host, ruleset, settings, tables
from pycontain.network.lock import Lock
from world import World, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")

ONE, TWO, THREE = "10.88.1.10", "10.88.1.11", "10.88.1.12"
ONE6, TWO6, THREE6 = "2001:db8:88::10", "2001:db8:88::11", "2001:db8:88::12"
IDLE = ("busybox", "sleep", "1000")
MARK, LAST = b"spoofed:0000", b"the last one"
#: linux/if_ether.h
IP4, IP6 = 0x0800, 0x86DD


class Guest(Namespace):
    """What the engine and the helper do for a container without a bridge."""

    def __init__(self, hosts: Hosts, addresses: Sequence[str] = (), rate: int = 0, flags: Sequence[str] = ()) -> None:
        super().__init__()
        self.hosts, self.id = hosts, secrets.token_hex(32)
        self.ports = [item for flag in flags for item in port.parse(flag)]
        os.makedirs(f"{hosts.run_root}/containers/{self.id}", exist_ok=True)
        wish = routed.Wish(addresses, rate=rate)
        self.routed = routed.acquire(hosts.run_root, hosts.settings, self.id, wish)
        routed.save(hosts.run_root, self.routed)
        routed_host.ensure(hosts.run_root, hosts.settings)
        routed_host.answer_for(self.routed)
        self.held = port.reserve(self.ports, hosts.run_root, hosts.settings.table)
        port.save(hosts.run_root, self.id, self.ports, self.routed.address, self.routed.address6)
        rtnl.send(routed.own_requests(self.routed), 12)
        host, guest, settle = routed.attach_requests(hosts.settings, hosts.run_root, self.routed, self.fd, True)
        rtnl.send(host)
        with self.entered():
            rtnl.send(guest)
        rtnl.send(settle)
        if self.ports:
            rtnl.send(port.publish_requests(self.ports, self.routed), 12)

    def crash(self) -> None:
        for fd in self.held:
            os.close(fd)
        self.held = []
        self.close()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path)
    yield made
    made.close()


@pytest.fixture
def guest(hosts: Hosts) -> Iterator[Callable[..., Guest]]:
    made: list[Guest] = []

    def make(*addresses: str, rate: int = 0, flags: Sequence[str] = ()) -> Guest:
        made.append(Guest(hosts, addresses, rate, flags))
        return made[-1]

    yield make
    for one in made:
        with suppress(OSError):
            one.crash()


# --- who reaches whom ---------------------------------------------------------------------------------------------


def test_guests_host_and_outside_reach_each_other(hosts: Hosts, guest: Callable[..., Guest]) -> None:
    one, two = guest(ONE, ONE6), guest(TWO, TWO6)
    hosts.host.serve(90, "host")
    hosts.outside.serve(91, "outside")
    hosts.outside.ip("route", "add", ONE + "/32", "via", HOST4)
    hosts.outside.ip("route", "add", ONE6 + "/128", "via", HOST6)
    one.serve(80, "one")
    assert (two.ask(ONE, 80), two.ask(ONE6, 80)) == (f"one {TWO}", f"one {TWO6}")
    assert hosts.host.ask(ONE, 80) == f"one {ruleset.GATEWAY}"
    assert hosts.host.ask(ONE6, 80).startswith("one ")
    # its addresses are its own, also outside: neither hidden behind the host nor kept from anybody
    assert (one.ask(OUTSIDE4, 91), one.ask(OUTSIDE6, 91)) == (f"outside {ONE}", f"outside {ONE6}")
    assert (hosts.outside.ask(ONE, 80), hosts.outside.ask(ONE6, 80)) == (f"one {OUTSIDE4}", f"one {OUTSIDE6}")
    assert one.ask(ruleset.GATEWAY, 90) == f"host {ONE}"


def test_addresses_of_the_pool_are_behind_the_host(hosts: Hosts, guest: Callable[..., Guest]) -> None:
    one = guest()
    pool = hosts.settings.pool()
    assert [address in item for address, item in zip(one.routed.addresses, _texts(pool), strict=True)]
    hosts.outside.serve(91, "outside")
    assert (one.ask(OUTSIDE4, 91), one.ask(OUTSIDE6, 91)) == (f"outside {HOST4}", f"outside {HOST6}")
    one.serve(80, "one")
    hosts.outside.ip("route", "add", pool.subnet, "via", HOST4)
    with pytest.raises(OSError, match="timed out"):
        hosts.outside.ask(one.routed.address, 80, timeout=0.5)


def _texts(pool: settings.Settings) -> list[str]:
    return [pool.subnet, pool.subnet6 or ""]


def test_published_ports(hosts: Hosts, guest: Callable[..., Guest]) -> None:
    one, two = guest(flags=["8080:80"]), guest(TWO, TWO6)
    one.serve(80, "one")
    assert hosts.outside.ask(HOST4, 8080) == f"one {OUTSIDE4}"
    assert hosts.outside.ask(HOST6, 8080) == f"one {OUTSIDE6}"
    assert hosts.host.ask("127.0.0.1", 8080).startswith("one ")
    for asking in (one, two):
        assert asking.ask(HOST4, 8080).startswith("one ")
        assert asking.ask(HOST6, 8080).startswith("one ")


def test_bridged_and_routed_reach_each_other(hosts: Hosts, guest: Callable[..., Guest]) -> None:
    one, two = guest(), hosts.guest()
    one.serve(80, "one")
    two.serve(80, "two")
    assert one.ask(two.lease.address, 80) == f"two {one.routed.address}"
    assert two.ask(one.routed.address, 80) == f"one {two.lease.address}"
    assert one.ask(str(two.lease.address6), 80) == f"two {one.routed.address6}"
    assert two.ask(str(one.routed.address6), 80) == f"one {two.lease.address6}"


def test_the_host_answers_for_an_address_of_its_own_network(hosts: Hosts, guest: Callable[..., Guest]) -> None:
    one = guest("198.51.100.77", "2001:db8::77")
    one.serve(80, "one")
    with hosts.host.entered():
        assert Path("/proc/sys/net/ipv6/conf/uplink/proxy_ndp").read_text().strip() == "1"
    assert hosts.outside.ask("198.51.100.77", 80) == f"one {OUTSIDE4}"
    assert hosts.outside.ask("2001:db8::77", 80) == f"one {OUTSIDE6}"
    routed.release(hosts.run_root, hosts.settings, one.id)
    assert hosts.host.ip("neigh", "show", "proxy") + hosts.host.ip("-6", "neigh", "show", "proxy") == ""
    with pytest.raises(OSError, match=r"timed out|No route"):
        hosts.outside.ip("neigh", "flush", "all")
        hosts.outside.ask("198.51.100.77", 80, timeout=0.5)


# --- nobody speaks for another ------------------------------------------------------------------------------------


def four(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET, text)


def six(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, text)


def _sum(data: bytes) -> int:
    total: int = sum(unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def frame(mac: bytes, source: bytes, target: bytes) -> bytes:
    """UDP to port 9; a checksum of 0 is none with IPv4, and with IPv6 a packet socket does not ask."""
    udp = pack(">HHHH", 9, 9, 8 + len(MARK), 0) + MARK
    if len(source) == 4:
        header = pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + source + target
        header = header[:10] + pack(">H", _sum(header)) + header[12:]
        return routed.GATEWAY_MAC + mac + pack(">H", IP4) + header + udp
    return routed.GATEWAY_MAC + mac + pack(">HIHBB", IP6, 6 << 28, len(udp), 17, 64) + source + target + udp


def own_mac(guest: Guest) -> bytes:
    return bytes.fromhex(guest.routed.mac.replace(":", ""))


def arrived(sender: Guest, receiver: Guest, frames: dict[str, bytes], last: bytes) -> set[str]:
    """Which of the frames come to the receiver."""
    with sender.entered():
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        out.bind(("eth0", 0))
    with receiver.entered():
        seen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        seen.bind(("eth0", 3))
    marks = {name: MARK[:-4] + b"%04d" % number for number, name in enumerate(frames)}
    with out, seen:
        for name, data in frames.items():
            out.send(data.replace(MARK, marks[name]))
        out.send(last.replace(MARK, LAST))
        seen.settimeout(20)
        text = b""
        while LAST not in text:
            text += seen.recv(2048)
    return {name for name, mark in marks.items() if mark in text}


def test_spoofed_frames_are_dropped(guest: Callable[..., Guest]) -> None:
    one, two, three = guest(ONE, ONE6, "10.88.2.10"), guest(TWO, TWO6), guest(THREE, THREE6)
    own, others = own_mac(one), own_mac(two)
    to4, to6 = four(THREE), six(THREE6)
    good = {
        "own": frame(own, four(ONE), to4),
        "second": frame(own, four("10.88.2.10"), to4),
        "own6": frame(own, six(ONE6), to6),
    }
    bad = {
        "neighbour's address": frame(own, four(TWO), to4),
        "neighbour's address and MAC": frame(others, four(TWO), to4),
        "neighbour's MAC": frame(others, four(ONE), to4),
        "made up": frame(own, four("192.0.2.1"), to4),
        "the host's": frame(own, four(HOST4), to4),
        "the receiver's": frame(own, four(THREE), to4),
        "made up MAC": frame(b"\x02\x00\x00\x00\x00\x01", four(ONE), to4),
        "neighbour's address 6": frame(own, six(TWO6), to6),
        "neighbour's 6 and MAC": frame(others, six(TWO6), to6),
        "made up 6": frame(own, six("2001:db8:99::1"), to6),
        "neighbour's MAC 6": frame(others, six(ONE6), to6),
    }
    assert arrived(one, three, good | bad, frame(own, four(ONE), to4)) == set(good)


def test_an_address_given_to_oneself_is_not_heard(hosts: Hosts, guest: Callable[..., Guest]) -> None:
    """What is sent does not come, which is more than that no answer does: nobody has a route back."""
    one, two = guest(ONE), guest(TWO)
    one.ip("address", "add", THREE + "/32", "dev", "eth0")
    for there, address in ((two, TWO), (hosts.host, HOST4)):
        with there.entered():
            seen = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            seen.bind((address, 90))
        with seen:
            seen.settimeout(20)
            for source in (THREE, ONE):
                with one.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                    out.bind((source, 0))
                    out.sendto(source.encode(), (address, 90))
            assert seen.recv(100) == ONE.encode()


def neighbours(hosts: Hosts) -> list[str]:
    """Those of ARP, but for multicast addresses, which are nobody's. IPv6 adds whoever looks for a router."""
    return [line for line in hosts.host.ip("-4", "neigh", "show", "nud", "all").splitlines() if "NOARP" not in line]


def test_arp_changes_nothing_on_the_host(hosts: Hosts, guest: Callable[..., Guest]) -> None:
    one, _ = guest(ONE), guest(TWO)
    before = neighbours(hosts)
    with one.entered():
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        out.bind(("eth0", 0))
    with out:
        for kind in (1, 2):
            for sender in (ONE, TWO, HOST4, "10.88.3.3"):
                body = pack(">HHBBH", 1, IP4, 6, 4, kind) + b"\x02\0\0\0\0\x05" + four(sender)
                out.send(b"\xff" * 6 + own_mac(one) + pack(">H", 0x0806) + body + bytes(6) + four(ruleset.GATEWAY))
    with suppress(OSError):  # an answer, or its lack, comes after all that was sent before
        one.ask(ruleset.GATEWAY, 1, timeout=2)
    assert neighbours(hosts) == before


def test_the_hosts_loopback_is_not_reached(hosts: Hosts, guest: Callable[..., Guest]) -> None:
    """Its device has route_localnet, for what is published there (CVE-2020-8558)."""
    one = guest(ONE)
    kept, other = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    with one.entered():
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        out.bind(("eth0", 0))
    with kept, other, out:
        kept.bind(("127.0.0.1", 9))
        other.bind((ruleset.GATEWAY, 9))
        for target in ("127.0.0.1", ruleset.GATEWAY):
            out.send(frame(own_mac(one), four(ONE), four(target)))
        other.settimeout(20)
        assert other.recv(100) == MARK  # what was sent before it has come, or never will
        kept.setblocking(False)
        with pytest.raises(BlockingIOError):
            kept.recv(100)


# --- addresses ----------------------------------------------------------------------------------------------------


def test_an_address_is_one_containers(hosts: Hosts, guest: Callable[..., Guest], tmp_path: Path) -> None:
    one = guest(ONE, ONE6)
    with pytest.raises(InUse, match=f"address {ONE6} is in use by container {one.id[:12]}"):
        guest(TWO, ONE6)
    assert TWO not in lease.leases(hosts.run_root)  # all or none
    for address, why in ((HOST4, "the host's own"), (HOST6, "the host's own")):
        with pytest.raises(InUse, match=why):
            guest(address)
    hosts.host.ip("route", "add", "192.0.2.0/24", "via", OUTSIDE4)
    hosts.host.ip("-6", "route", "add", "2001:db8:99::/64", "via", OUTSIDE6)
    for address in (OUTSIDE4, OUTSIDE6):
        with pytest.raises(InUse, match=f"address {address} is that of a router"):
            guest(address)
    other = str(tmp_path / "other")
    with pytest.raises(InUse, match=f"is in use by a container of --run-root {hosts.run_root}"):
        routed.acquire(other, hosts.settings, "0" * 64, routed.Wish([ONE]))
    assert lease.leases(other) == {}
    bridge.ensure(hosts.run_root, hosts.settings)
    with pytest.raises(UsageError, match="one of the bridge pycontain0"):
        guest("10.222.7.7")


def test_another_run_directory_does_not_take_the_table(
    hosts: Hosts, guest: Callable[..., Guest], tmp_path: Path
) -> None:
    guest(ONE)
    other = str(tmp_path / "other")
    os.makedirs(other)
    with pytest.raises(InUse, match=f"containers of --run-root {hosts.run_root} have the table"):
        routed_host.ensure(other, hosts.settings)
    assert ONE in run("nft", "list", "set", "inet", "pycontain", "own4")


def test_the_table_comes_back_with_its_guests(hosts: Hosts, guest: Callable[..., Guest]) -> None:
    one, two = guest(ONE, ONE6, rate=10_000_000), guest(TWO, TWO6)
    run("nft", "flush", "ruleset")
    routed_host.ensure(hosts.run_root, hosts.settings)
    two.serve(80, "two")
    assert (one.ask(TWO, 80), one.ask(TWO6, 80)) == (f"two {ONE}", f"two {ONE6}")
    limits = json.loads(run("nft", "-j", "list", "limits", "table", "inet", "pycontain"))["nftables"]
    assert [item["limit"]["rate"] for item in limits if "limit" in item] == [1_250_000]
    assert routed.sweep(hosts.run_root, hosts.settings) == 0
    one.crash()
    os.unlink(f"{hosts.run_root}/containers/{one.id}/routed")
    until(lambda: run("ip", "link"), lacks=one.routed.name)
    assert routed.sweep(hosts.run_root, hosts.settings) == 3
    assert "limit vr" not in run("nft", "list", "table", "inet", "pycontain")
    assert TWO in run("nft", "list", "table", "inet", "pycontain")


def test_a_pool_address_that_somebody_asked_for_is_left_out(hosts: Hosts, guest: Callable[..., Guest]) -> None:
    pool = hosts.settings.pool()
    taken4, taken6 = [settings.printed(pool.address(2)), settings.printed(pool.address6(3) or b"")]
    guest(taken4), guest(taken6)
    assert guest().routed.address == settings.printed(pool.address(4))
    gone = [item.id for item in hosts.guests]
    assert gone == []
    lines = prune.prune(hosts.root, hosts.run_root, lambda _: False)
    assert f"removed gateway {ruleset.GATEWAY}" in lines and "removed nftables table inet pycontain" in lines


def test_without_nft_there_is_one_line_and_nothing_is_left(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_NFT_PLACES", ())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Error, match="the program nft is not there"):
        routed_host.ensure(hosts.run_root, hosts.settings)
    monkeypatch.undo()
    assert ruleset.GATEWAY not in hosts.host.ip("address", "show", "lo")


# --- rate ---------------------------------------------------------------------------------------------------------


def test_the_rate_holds_both_ways(hosts: Hosts, guest: Callable[..., Guest]) -> None:
    one = guest(ONE, rate=800_000)
    shown: dict[str, int] = json.loads(run("tc", "-j", "qdisc", "show", "dev", one.routed.name))[0]["options"]
    assert shown["rate"] == 100_000
    got, took = passed(one, hosts.host, HOST4)
    # at once: what it may send in a second, and the burst (nft(8))
    assert 100_000 < got < 1.2 * (100_000 * (1 + took) + routed.burst(800_000))
    got, took = passed(hosts.host, one, ONE)
    assert 50_000 < got < 1.2 * (100_000 * took + routed.burst(800_000))


def passed(source: Namespace, target: Namespace, address: str) -> tuple[int, float]:
    """How many of a million bytes that are sent at once arrive there, until nothing has come for a second; and how long
    it took to the last of them.
    """
    with source.entered():
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with target.entered():
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with out, sink:
        sink.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE
        sink.bind((address, 5000))
        begin = time.monotonic()
        for _ in range(1000):
            with suppress(BlockingIOError):
                out.sendto(bytes(1000), socket.MSG_DONTWAIT, (address, 5000))
        sink.settimeout(1)
        got, took = 0, 0.0
        with suppress(TimeoutError):
            while True:
                got += len(sink.recv(2000))
                took = time.monotonic() - begin
    return got, took


# --- the whole ----------------------------------------------------------------------------------------------------


def test_run(world: World) -> None:
    a = world.background("--name", "a", "--network", "routed", "--ip", f"{ONE},{ONE6}", "--ip", "10.88.2.10", *IDLE)
    said = world.inspect(a)["NetworkSettings"]
    assert (said["IPAddress"], said["GlobalIPv6Address"], said["MacAddress"]) == (ONE, ONE6, "02:70:0a:58:01:0a")
    assert [item["Addr"] for item in said["SecondaryIPAddresses"]] == ["10.88.2.10"]
    assert f"address {ONE} is in use by container {a[:12]}" in world.refused(
        "run", "--network", "routed", "--ip", ONE, "busybox", "true"
    )
    shown = world.ok("run", "--rm", "--network", "routed", "busybox", "ping", "-c1", "-w5", ONE)
    assert "1 packets received" in shown
    network = json.loads(world.ok("network", "inspect", "routed"))[0]
    assert [item["address"] for item in network["addresses"] if item["container"] == a] == [ONE, "10.88.2.10", ONE6]
    world.ok("rm", "-f", "a")
    # the last lives' elements are for devices that are gone; the next one's are other ones
    assert world.ok("run", "--rm", "--network", "routed", "--ip", ONE, "busybox", "true") == ""
    keeper = world.background("--network", "routed", "--ip", TWO, *IDLE)
    assert eventually(lambda: run("ip", "-o", "link").count("vr") == 1)
    assert "elements of containers that are gone" in world.ok("network", "prune", "-f")
    left = run("nft", "list", "set", "inet", "pycontain", "own4")
    assert TWO in left and ONE not in left
    world.ok("rm", "-f", keeper)


def test_a_dead_monitors_address_is_given_back(world: World) -> None:
    a = world.background("--network", "routed", "--ip", ONE, "--rate", "1M", *IDLE)
    os.kill(world.monitor_pid(a), 9)
    os.kill(world.pid(a), 9)
    assert eventually(lambda: world.ok("ps", "-q") == "")
    world.ok("run", "--rm", "--network", "routed", "--ip", ONE, "busybox", "true")
    world.ok("network", "prune", "-f")
    assert "vr" not in run("nft", "list", "tables")
    assert eventually(lambda: "vr" not in run("ip", "link"))  # it goes with the network namespace


def changing(world: World, container: str, *arguments: str) -> subprocess.Popen[str]:
    script = (
        "import sys; from pycontain.engine import rerouted; from pycontain.engine.paths import Paths;"
        "from pycontain.kernel.errors import Error\n"
        "root, run, container, addresses, rate = sys.argv[1:]\n"
        "try: rerouted.change(Paths(root, run), container, addresses.split(',') if addresses else None,"
        " int(rate) if rate else None)\n"
        "except Error as error: sys.exit(error.message)"
    )
    command = [sys.executable, "-c", script, str(world.root), str(world.run_root), container, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def change(world: World, container: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = changing(world, container, *arguments)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_addresses_and_rate_change_while_it_runs(world: World) -> None:
    a = world.background("--network", "routed", "--ip", f"{ONE},{TWO}", *IDLE)
    b = world.background("--network", "routed", "--ip", THREE, *IDLE)
    done = change(world, a, f"{ONE},10.88.2.10,{ONE6}", "5000000")
    assert (done.returncode, done.stderr) == (0, "")
    inside = world.ok("exec", a, "ip", "-o", "address", "show", "dev", "eth0")
    assert all(f"{item}/" in inside for item in (ONE, "10.88.2.10", ONE6)) and TWO not in inside
    assert "default via fe80::1" in world.ok("exec", a, "ip", "-6", "route")
    assert "1 packets received" in world.ok("exec", b, "ping", "-c1", "-w5", "10.88.2.10")
    assert "rate 5Mbit" in run("tc", "qdisc")
    assert TWO not in run("ip", "route") + run("nft", "list", "ruleset")
    assert world.ok("run", "--rm", "--network", "routed", "--ip", TWO, "busybox", "true") == ""
    # what is refused changes nothing
    before = (world.inspect(a)["NetworkSettings"], run("ip", "route"), run("nft", "list", "ruleset"))
    refused = change(world, a, f"10.88.2.11,{THREE}", "")
    assert f"address {THREE} is in use by container {b[:12]}" in refused.stderr
    assert (world.inspect(a)["NetworkSettings"], run("ip", "route"), run("nft", "list", "ruleset")) == before
    assert change(world, a, "", "0").returncode == 0
    assert "tbf" not in run("tc", "qdisc") and "limit vr" not in run("nft", "list", "ruleset")
    world.ok("restart", "-t", "0", a)
    assert "10.88.2.10/" in world.ok("exec", a, "ip", "address")


def test_an_address_that_went_to_another_stays_there(world: World) -> None:
    a = world.background("--network", "routed", "--ip", f"{ONE},{TWO}", *IDLE)
    assert change(world, a, ONE, "").returncode == 0
    b = world.background("--network", "routed", "--ip", TWO, *IDLE)
    world.ok("stop", "-t", "0", a)
    leases = world.run_root / "network" / "leases"
    assert os.listdir(leases) == [TWO] and os.readlink(leases / TWO) == b


def test_a_change_waits_for_who_makes_the_table(world: World) -> None:
    a = world.background("--network", "routed", "--ip", f"{ONE},{TWO}", *IDLE)
    name = json.loads((world.run_root / "containers" / a / "routed").read_text())["name"]
    own = re.compile(rf"{name}\"? \. [0-9a-f:]+ \. {re.escape(TWO)}\b")
    with Lock(str(world.run_root)):
        process = changing(world, a, ONE, "")
        waits = ("->", "FLOCK", str(process.pid))
        assert eventually(lambda: any(all(f" {word} " in line for word in waits) for line in open("/proc/locks")))
        assert own.search(run("nft", "list", "ruleset"))
    assert process.communicate() == ("", "") and process.returncode == 0
    assert not own.search(run("nft", "list", "ruleset"))


def test_a_change_that_fails_half_way_is_taken_back(world: World) -> None:
    a = world.background("--network", "routed", "--ip", f"{ONE},{ONE6}", "--rate", "1M", *IDLE)
    device = world.inspect(a)["NetworkSettings"]
    run(
        "tc",
        "qdisc",
        "del",
        "dev",
        json.loads((world.run_root / "containers" / a / "routed").read_text())["name"],
        "root",
    )
    # the table's half of the rate is done when the device's is refused
    assert "cannot change its addresses" in change(world, a, "", "0").stderr
    assert "limit vr" in run("nft", "list", "ruleset")
    ways = world.ok("exec", a, "ip", "route"), world.ok("exec", a, "ip", "-6", "route")
    before = run("ip", "route"), run("ip", "-6", "route"), *ways
    run("nft", "delete", "table", "inet", "pycontain")
    assert "cannot change its addresses" in change(world, a, ONE6, "").stderr  # its last IPv4 address, and its way out
    ways = world.ok("exec", a, "ip", "route"), world.ok("exec", a, "ip", "-6", "route")
    assert (run("ip", "route"), run("ip", "-6", "route"), *ways) == before
    assert f"{ONE}/" in world.ok("exec", a, "ip", "address")
    assert world.inspect(a)["NetworkSettings"] == device


def test_who_lives_on_in_its_network_does_not_keep_the_addresses(world: World) -> None:
    a = world.background("--network", "routed", "--ip", f"{ONE},{ONE6}", *IDLE)
    b = world.background("--network", f"container:{a}", *IDLE)
    world.ok("rm", "-f", a)
    assert "vr" not in run("ip", "-o", "link")
    assert ONE not in world.ok("exec", b, "ip", "address")


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--network", "routed", "--ip", "127.0.0.1"), "not an address that a container can have"),
        (("--network", "routed", "--ip", "10.0.0.256"), "not an IP address"),
        (("--network", "routed", "--ip", f"{ONE},{ONE}"), "given twice"),
        (("--ip", ONE6), "not an IPv4 address"),
        (("--ip", f"{ONE},{TWO}"), "with --network bridge it is one"),
        (("--network", "routed", "--mac-address", "01:00:5e:00:00:01"), "not a MAC address that"),
        (("--network", "routed", "--rate", "fast"), "not a rate"),
        (("--rate", "1M"), "it is for --network routed"),
        (("--network", "none", "--mac-address", "02:00:00:00:00:01"), "cannot be with --network none"),
    ],
)
def test_bad_flags(world: World, flags: tuple[str, ...], why: str) -> None:
    assert why in world.refused("run", *flags, "busybox", "true")
    assert world.ok("ps", "-aq") == ""
