"""Who reaches whom: containers, the host, the outside; published ports. Real packets in private network namespaces."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from network_world import HOST4, HOST6, OUTSIDE4, OUTSIDE6, World, run, until
from pycontain.kernel import rtnl
from pycontain.network import port

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def refused(fails: type[OSError] | tuple[type[OSError], ...] = OSError) -> pytest.RaisesExc[OSError]:
    return pytest.raises(fails)


def test_containers_reach_each_other_by_ipv4_and_ipv6(world: World) -> None:
    one, two = world.guest(), world.guest()
    two.serve(80, "two")
    assert one.ask(two.lease.address, 80) == f"two {one.lease.address}"
    assert one.ask(str(two.lease.address6), 80) == f"two {one.lease.address6}"


def test_eth0_is_as_leased(world: World) -> None:
    guest = world.guest()
    # the kernel's work queue sees that both ends are up
    shown = until(lambda: guest.ip("address", "show", "eth0"), has="state UP")
    assert f"inet {guest.lease.address}/16" in shown
    assert f"inet6 {guest.lease.address6}/64 scope global nodad" in shown
    assert guest.lease.mac in shown
    assert "LOOPBACK,UP" in guest.ip("address", "show", "lo")
    device = guest.device()
    assert device is not None
    assert len(device.name) == 15
    assert device.up
    assert "inet6" not in world.host.ip("address", "show", device.name)


def test_a_container_reaches_the_outside_behind_the_hosts_addresses(world: World) -> None:
    guest = world.guest()
    world.outside.serve(80, "outside")
    world.outside.serve(53, "outside", "udp")
    assert guest.ask(OUTSIDE4, 80) == f"outside {HOST4}"
    assert guest.ask(OUTSIDE6, 80) == f"outside {HOST6}"
    assert guest.ask(OUTSIDE4, 53, "udp") == f"outside {HOST4}"


def test_a_container_reaches_the_host(world: World) -> None:
    guest = world.guest()
    world.host.serve(99, "host")
    assert guest.ask(guest.lease.gateway, 99) == f"host {guest.lease.address}"
    assert guest.ask(str(guest.lease.gateway6), 99) == f"host {guest.lease.address6}"
    assert guest.ask(HOST4, 99) == f"host {guest.lease.address}"


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_published_port_answers_from_everywhere(world: World, kind: str) -> None:
    web, other = world.guest(f"8080:80/{kind}"), world.guest()
    web.serve(80, "web", kind)
    gateway, gateway6 = web.lease.gateway, web.lease.gateway6
    assert world.host.ask("127.0.0.1", 8080, kind) == f"web {gateway}"
    assert world.host.ask(HOST4, 8080, kind) == f"web {HOST4}"
    assert world.host.ask(HOST6, 8080, kind) == f"web {HOST6}"
    assert world.host.ask(gateway, 8080, kind) == f"web {gateway}"
    assert world.outside.ask(HOST4, 8080, kind) == f"web {OUTSIDE4}"
    assert world.outside.ask(HOST6, 8080, kind) == f"web {OUTSIDE6}"
    for client in (other, web):
        assert client.ask(HOST4, 8080, kind) == f"web {gateway}"
        assert client.ask(HOST6, 8080, kind) == f"web {gateway6}"
        assert client.ask(gateway, 8080, kind) == f"web {gateway}"


def test_what_is_published_on_the_loopback_is_the_hosts_alone(world: World) -> None:
    """A neighbour of the host could send packets for 127.0.0.1 to its MAC address."""
    web = world.guest("127.0.0.1:8080:80")
    web.serve(80, "secret")
    assert world.host.ask("127.0.0.1", 8080) == f"secret {web.lease.gateway}"
    with world.outside.entered():
        run("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
        Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1")
        run("ip", "route", "add", "127.0.0.1", "via", HOST4, "src", OUTSIDE4)
    with refused():
        world.outside.ask("127.0.0.1", 8080, timeout=2)


def test_ipv6_loopback_is_refused_at_once_so_that_clients_try_ipv4(world: World) -> None:
    web = world.guest("8080:80")
    web.serve(80, "web")
    with refused(ConnectionRefusedError):
        world.host.ask("::1", 8080)


@pytest.mark.parametrize("value", ["0", "1"])
def test_published_traffic_with_and_without_bridge_netfilter(world: World, value: str) -> None:
    """With bridge-nf-call-iptables (br_netfilter's default) bridged packets pass our NAT chains too."""
    for name in ("iptables", "ip6tables"):
        Path(f"/proc/sys/net/bridge/bridge-nf-call-{name}").write_text(value)
    web, other = world.guest("8080:80"), world.guest()
    web.serve(80, "web")
    for client in (other, web):
        assert client.ask(HOST4, 8080).startswith("web ")
        assert client.ask(HOST6, 8080).startswith("web ")
    assert other.ask(web.lease.address, 80).startswith("web ")
    assert world.host.ask("127.0.0.1", 8080) == f"web {web.lease.gateway}"
    assert world.outside.ask(HOST4, 8080) == f"web {OUTSIDE4}"


def test_a_port_for_one_address_answers_only_there(world: World) -> None:
    local, own = world.guest("127.0.0.1:8080:80"), world.guest(f"[{HOST6}]:8081:80", f"{HOST4}:8082:80")
    local.serve(80, "local")
    own.serve(80, "own")
    assert world.host.ask("127.0.0.1", 8080) == f"local {local.lease.gateway}"
    with refused(ConnectionRefusedError):
        world.outside.ask(HOST4, 8080)
    assert world.outside.ask(HOST6, 8081) == f"own {OUTSIDE6}"
    assert world.outside.ask(HOST4, 8082) == f"own {OUTSIDE4}"
    for address in ("127.0.0.1", HOST4):
        with refused(ConnectionRefusedError):
            world.host.ask(address, 8081)


def test_a_host_chosen_port_and_a_range(world: World) -> None:
    guest = world.guest("80", "9000-9002:81-83")
    chosen = guest.ports[0].host_port
    assert chosen > 0
    for number in (80, 81, 82, 83):
        guest.serve(number, str(number))
    assert world.outside.ask(HOST4, chosen) == f"80 {OUTSIDE4}"
    assert [world.outside.ask(HOST4, 9000 + at).split()[0] for at in range(3)] == ["81", "82", "83"]


def test_what_is_not_published_is_not_reached_by_routing(world: World) -> None:
    guest = world.guest("8080:80")
    for number in (80, 81):
        guest.serve(number, "guest")
    world.route_in()
    for address in (guest.lease.address, str(guest.lease.address6)):
        with refused(TimeoutError):
            world.outside.ask(address, 81, timeout=0.3)
    assert world.outside.ask(HOST4, 8080) == f"guest {OUTSIDE4}"


def test_a_container_does_not_reach_the_hosts_loopback(world: World) -> None:
    """route_localnet alone would let a container that routes 127.0.0.1 to the gateway in (CVE-2020-8558)."""
    guest = world.guest()
    world.host.serve(631, "secret", address="127.0.0.1")
    with guest.entered():
        Path("/proc/sys/net/ipv4/conf/eth0/route_localnet").write_text("1")
        run("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
        run("ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local") if "127.0.0.0/8" in run(
            "ip", "route", "show", "table", "local"
        ) else None
        run("ip", "route", "add", "127.0.0.1", "via", guest.lease.gateway, "src", guest.lease.address)
    with refused(TimeoutError):
        guest.ask("127.0.0.1", 631, timeout=0.3)
    run("nft", "flush", "chain", "inet", "pycontain", "guard")
    assert guest.ask("127.0.0.1", 631) == f"secret {guest.lease.address}", "the test proves nothing"


def test_an_unpublished_port_is_refused_again(world: World) -> None:
    guest = world.guest("8080:80")
    guest.serve(80, "guest")
    assert world.outside.ask(HOST4, 8080) == f"guest {OUTSIDE4}"
    rtnl.send(port.unpublish_requests(guest.ports, guest.lease), 12)
    with refused(ConnectionRefusedError):
        world.outside.ask(HOST4, 8080)
    rtnl.send(port.unpublish_requests(guest.ports, guest.lease), 12)  # again: not there is no error


def test_a_udp_client_that_talks_on_finds_the_new_container(world: World) -> None:
    """Tracked flows outlive the container; forget_requests makes the client's next packet look anew."""
    first = world.guest("5353:53/udp")
    try:
        rtnl.send(port.forget_requests(first.ports), 12)
    except rtnl.Refused as error:
        pytest.skip(f"this kernel forgets no flows by port: {error}")
    first.serve(53, "first", "udp")
    with world.outside.entered():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.settimeout(20)
        client.connect((HOST4, 5353))
        client.send(b"?")
        assert client.recv(99) == f"first {OUTSIDE4}".encode()
        first.stop()
        second = world.guest("5353:53/udp")
        assert second.lease.address != first.lease.address
        second.serve(53, "second", "udp")
        client.send(b"?")
        assert client.recv(99) == f"second {OUTSIDE4}".encode()


def test_the_same_container_starts_again_while_its_old_device_is_on_its_way_out(world: World) -> None:
    old = world.guest()
    for _ in range(5):
        old.stop()
        old = world.guest(container_id=old.id)
    peer = world.guest()
    old.serve(80, "again")
    assert peer.ask(old.lease.address, 80) == f"again {peer.lease.address}"
