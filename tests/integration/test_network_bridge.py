"""Bring-up, damage and repair, clashes with what others made, leases given back, pruning, listing."""

from __future__ import annotations

import json
import os
import resource
import secrets
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from network_world import HOST4, HOST6, OUTSIDE4, OUTSIDE6, World, run, until
from pycontain.kernel import files, nfnl, rtnl
from pycontain.kernel.errors import Error, InUse, UsageError
from pycontain.network import bridge, lease, listing, port, prune, ruleset, settings, tables

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")

OTHERS = """
table ip other {
    map taken { type inet_service : ipv4_addr; elements = { 1 : 10.0.0.1 }; }
    chain c { type nat hook prerouting priority -100; tcp dport 1 dnat to tcp dport map @taken; }
}
table inet firewall {
    chain input { type filter hook input priority 0; tcp dport 1 counter drop; }
}
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def sysctl(name: str) -> str:
    return Path(f"/proc/sys/net/{name}").read_text().strip()


def in_children(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What ``work(number)`` answers in that many processes at once, all let go at the same moment."""
    start_read, start_write = os.pipe()
    readers = []
    for number in range(count):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(start_write)
                os.read(start_read, 1)
                with os.fdopen(write, "w") as out:
                    json.dump(work(number), out)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(write)
        readers.append((pid, read))
    os.close(start_read)
    os.close(start_write)
    found = []
    for pid, read in readers:
        with os.fdopen(read) as stream:
            text = stream.read()
        assert os.waitpid(pid, 0)[1] == 0
        found.append(json.loads(text))
    return found


def forbid_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    def repair(*_: object) -> int:
        raise AssertionError("went to the slow road")

    monkeypatch.setattr(bridge, "_repair", repair)


# --- bring-up -----------------------------------------------------------------------------------------------------


def test_first_use_brings_all_up_and_the_next_looks_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    index = bridge.ensure(world.run_root, world.settings)
    with rtnl.Socket() as route:
        link = rtnl.link(route, "pycontain0")
    assert link is not None
    assert (link.index, link.kind, link.up, link.mtu) == (index, "bridge", True, 1500)
    assert link.mac.hex(":") == "02:70:0a:de:00:01"
    shown = world.host.ip("address", "show", "pycontain0")
    assert "inet 10.222.0.1/16 brd 10.222.255.255" in shown
    assert str(world.settings.subnet6).replace("::/64", "::1/64") in shown
    assert sysctl("ipv4/ip_forward") == sysctl("ipv6/conf/all/forwarding") == "1"
    assert sysctl("ipv4/conf/pycontain0/route_localnet") == "1"
    assert sysctl("ipv4/conf/uplink/route_localnet") == "0"
    assert sysctl("ipv6/conf/pycontain0/accept_ra") == "0"
    assert "mcast_snooping 0" in world.host.ip("-d", "link", "show", "pycontain0")
    forbid_repair(monkeypatch)
    assert bridge.ensure(world.run_root, world.settings) == index
    run("nft", "add", "table", "ip", "somebody")  # another generation, our table untouched
    assert bridge.ensure(world.run_root, world.settings) == index


def test_many_first_users_make_one(world: World) -> None:
    found = in_children(8, lambda _: bridge.ensure(world.run_root, settings.load(world.root)))
    assert len(set(found)) == 1
    assert world.host.ip("-o", "link", "show", "type", "bridge").count("\n") == 1
    bridge.ensure(world.run_root, world.settings)


def test_a_network_without_ipv6(world: World) -> None:
    files.write_json(f"{world.root}/network.json", world.settings.record() | {"subnet6": None})
    world.settings = settings.load(world.root)
    one, two = world.guest("8080:80"), world.guest()
    one.serve(80, "one")
    assert one.lease.address6 is None
    assert "inet6 f" not in one.ip("-6", "address", "show", "eth0", "scope", "global")
    assert two.ask(one.lease.address, 80).startswith("one")
    assert world.outside.ask(HOST4, 8080) == f"one {OUTSIDE4}"
    assert sysctl("ipv6/conf/all/forwarding") == "0"
    run("ip", "link", "set", "pycontain0", "down")
    bridge.ensure(world.run_root, world.settings)
    assert two.ask(one.lease.address, 80).startswith("one")


def test_the_host_keeps_its_own_router(world: World) -> None:
    """Forwarding makes a host ignore router advertisements unless accept_ra is 2."""
    assert sysctl("ipv6/conf/uplink/accept_ra") == "1"
    bridge.ensure(world.run_root, world.settings)
    assert sysctl("ipv6/conf/uplink/accept_ra") == "2"


def test_another_bridge_name_has_another_table(world: World) -> None:
    bridge.ensure(world.run_root, world.settings)
    root, run_root = f"{world.root}/second", f"{world.run_root}/second"
    os.mkdir(root)
    value = world.settings.record() | {"bridge": "other.1", "subnet": "10.9.0.0/24", "subnet6": "fd00:9::/64"}
    files.write_json(f"{root}/network.json", value)
    bridge.ensure(run_root, settings.load(root))
    assert "table inet pycontain\n" in run("nft", "list", "tables")
    assert "table inet pycontain-other.1\n" in run("nft", "list", "tables")
    assert sysctl("ipv4/conf/other.1/route_localnet") == "1"
    assert bridge.remove(run_root, settings.load(root)) == ["bridge other.1", "nftables table inet pycontain-other.1"]


# --- damage -------------------------------------------------------------------------------------------------------


def delete_bridge() -> None:
    run("ip", "link", "del", "pycontain0")


def flush_ruleset() -> None:
    run("nft", "flush", "ruleset")


def delete_one_rule() -> None:
    text = run("nft", "-a", "list", "chain", "inet", "pycontain", "publish")
    handle = next(line.split()[-1] for line in text.splitlines() if "publish4_any" in line)
    run("nft", "delete", "rule", "inet", "pycontain", "publish", "handle", handle)


def replace_one_rule() -> None:
    text = run("nft", "-a", "list", "chain", "inet", "pycontain", "postrouting")
    handle = next(line.split()[-1] for line in text.splitlines() if "oifname !=" in line)
    run("nft", "replace", "rule", "inet", "pycontain", "postrouting", "handle", handle, "ip saddr 192.0.2.1 drop")


def put_a_rule_before() -> None:
    run("nft", "insert", "rule", "inet", "pycontain", "publish", "return")


def put_the_table_to_sleep() -> None:
    run("nft", "-f", "-", text="table inet pycontain { flags dormant; }")


def take_the_address() -> None:
    run("ip", "address", "flush", "dev", "pycontain0")


def set_down() -> None:
    run("ip", "link", "set", "pycontain0", "down")


def stop_forwarding() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")


def stop_route_localnet() -> None:
    Path("/proc/sys/net/ipv4/conf/pycontain0/route_localnet").write_text("0")


def take_all() -> None:
    delete_bridge()
    flush_ruleset()


DAMAGES = [
    delete_bridge,
    flush_ruleset,
    delete_one_rule,
    replace_one_rule,
    put_a_rule_before,
    put_the_table_to_sleep,
    take_the_address,
    set_down,
    stop_forwarding,
    stop_route_localnet,
    take_all,
]


def works(world: World, web: Any, other: Any, timeout: float = 20) -> bool:
    """All that a container's network is for, in one question each."""
    return (
        other.ask(web.lease.address, 80, timeout=timeout).startswith("web")
        and other.ask(str(web.lease.address6), 80, timeout=timeout).startswith("web")
        and world.host.ask("127.0.0.1", 8080, timeout=timeout).startswith("web")
        and world.outside.ask(HOST4, 8080, timeout=timeout).startswith("web")
        and other.ask(OUTSIDE4, 80, timeout=timeout) == f"outside {HOST4}"
        and other.ask(OUTSIDE6, 80, timeout=timeout) == f"outside {HOST6}"
    )


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_next_start_repairs_for_those_that_run(world: World, damage: Callable[[], None]) -> None:
    web, other = world.guest("8080:80"), world.guest()
    web.serve(80, "web")
    world.outside.serve(80, "outside")
    assert works(world, web, other)
    damage()
    with pytest.raises(OSError):
        works(world, web, other, timeout=0.3)
    bridge.ensure(world.run_root, world.settings)
    assert works(world, web, other)


def test_others_tables_are_left_alone(world: World) -> None:
    run("nft", "-f", "-", text=OTHERS)

    def others() -> str:
        return run("nft", "-a", "list", "table", "ip", "other") + run("nft", "-a", "list", "table", "inet", "firewall")

    before = others()
    guest = world.guest("8080:80")
    put_a_rule_before()
    bridge.ensure(world.run_root, world.settings)
    guest.stop()
    prune.prune(world.root, world.run_root, lambda _: False)
    assert others() == before
    assert "pycontain" not in run("nft", "list", "tables")


def test_the_table_of_an_older_pycontain_is_replaced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bridge.ensure(world.run_root, world.settings)
    older = ruleset._SCRIPT
    monkeypatch.setattr(ruleset, "_SCRIPT", older.replace("chain guard", "chain newguard"))
    bridge.ensure(world.run_root, world.settings)
    assert "newguard" in run("nft", "list", "table", "inet", "pycontain")


def test_a_port_published_while_the_table_is_replaced_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that has saved its ports publishes them into the old table, just before the new one takes its place."""
    late = world.guest("8080:80")
    late.serve(80, "late")
    path = f"{world.run_root}/containers/{late.id}/ports"
    os.rename(path, path + ".hidden")
    real = tables.nft

    def slow(script: str) -> None:
        assert "add element" not in script
        os.rename(path + ".hidden", path)
        rtnl.send(port.publish_requests(late.ports, late.lease), 12)
        real(script)

    put_a_rule_before()
    monkeypatch.setattr(tables, "nft", slow)
    bridge.ensure(world.run_root, world.settings)
    assert world.outside.ask(HOST4, 8080) == f"late {OUTSIDE4}"


# --- what is somebody else's --------------------------------------------------------------------------------------


def test_a_foreign_device_of_the_name_is_refused(world: World) -> None:
    for kind in (["veth", "peer", "name", "x"], ["bridge"]):
        run("ip", "link", "add", "pycontain0", "type", *kind)
        before = run("ip", "-d", "link", "show", "pycontain0")
        with pytest.raises(InUse, match=r"pycontain0 is .* that pycontain did not make.*network\.json"):
            bridge.ensure(world.run_root, world.settings)
        assert bridge.remove(world.run_root, world.settings) == []
        assert run("ip", "-d", "link", "show", "pycontain0") == before
        run("ip", "link", "del", "pycontain0")


def test_a_bridge_half_made_by_one_who_was_killed_is_finished(world: World) -> None:
    run("ip", "link", "add", "pycontain0", "address", "02:70:0a:de:00:01", "type", "bridge")
    one, two = world.guest(), world.guest()
    two.serve(80, "two")
    assert one.ask(two.lease.address, 80).startswith("two")
    assert f"alias {bridge.alias(world.run_root)}\n" in run("ip", "link", "show", "pycontain0")


def test_the_bridge_of_another_run_directory_is_refused(world: World) -> None:
    bridge.ensure(world.run_root, world.settings)
    with pytest.raises(InUse, match=f"belongs to the containers of --run-root {world.run_root}; "):
        bridge.ensure(world.run_root + "2", world.settings)
    assert bridge.remove(world.run_root + "2", world.settings) == []
    bridge.ensure(world.run_root, world.settings)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("address add 10.222.7.1/24 dev uplink", r"10\.222\.0\.0/16 overlaps 10\.222\.7\.1/24 of interface uplink"),
        ("address add 10.1.2.3/8 dev uplink", r"overlaps 10\.1\.2\.3/8 of interface uplink"),
        ("route add 10.222.9.0/24 via 198.51.100.2", r"contains the route to 10\.222\.9\.0/24 of interface uplink"),
        ("address add SIX dev uplink", r"::/64 overlaps fd.*/48 of interface uplink; set another \"subnet6\" in"),
    ],
)
def test_an_address_clash_is_refused_and_nothing_is_left(world: World, command: str, message: str) -> None:
    six = str(world.settings.subnet6).replace("::/64", "::7/48")
    world.host.ip(*command.replace("SIX", six).split())
    with pytest.raises(InUse, match=message):
        bridge.ensure(world.run_root, world.settings)
    assert "pycontain0" not in world.host.ip("link")
    assert sysctl("ipv4/ip_forward") == "0"


def test_a_wider_route_is_no_clash(world: World) -> None:
    world.host.ip("route", "add", "10.222.0.0/15", "via", OUTSIDE4)
    bridge.ensure(world.run_root, world.settings)


def test_missing_nft_names_the_package(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        patch.setattr(tables, "_NFT_PLACES", ())
        with pytest.raises(Error, match=r"nft is not there.*install the package nftables"):
            bridge.ensure(world.run_root, world.settings)
    assert "pycontain0" not in world.host.ip("link")


def test_an_nft_that_refuses_is_one_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruleset, "_SCRIPT", "table inet {table} {{ chain c {{ nonsense }} }}\n")
    with pytest.raises(Error, match="nft refused") as caught:
        bridge.ensure(world.run_root, world.settings)
    assert "\n" not in caught.value.message
    assert "pycontain0" not in world.host.ip("link")
    assert sysctl("ipv4/ip_forward") == "0"


# --- ports --------------------------------------------------------------------------------------------------------


def test_a_port_that_somebody_has_is_refused_by_name(world: World) -> None:
    owner = world.guest("8080:80", "5353:53/udp")
    for flag in ("8080:81", "127.0.0.1:8080:81", f"{HOST4}:8080:81"):
        with pytest.raises(InUse, match=rf"port .*:8080/tcp is published by container {owner.id[:12]}"):
            port.reserve(port.parse(flag), world.run_root)
    world.host.serve(9000, "host")
    with pytest.raises(InUse, match=r"port \*:9000/tcp is in use on the host.*ss -tlnp sport = 9000"):
        port.reserve(port.parse("9000:80"), world.run_root)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InUse, match="9000"):
        port.reserve(port.parse("8999-9000:80-81"), world.run_root)
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(Error, match=r"no interface of the host has the address 203\.0\.113\.9"):
        port.reserve(port.parse("203.0.113.9:80:80"))
    with pytest.raises(UsageError, match="given twice"):
        port.reserve(port.parse("81:80") + port.parse("127.0.0.1:81:82"))


def test_while_a_container_has_a_port_no_program_gets_it(world: World) -> None:
    world.guest("8080:80", "127.0.0.1:8081:80")
    with pytest.raises(OSError, match="in use"):
        world.host.serve(8080, "thief", address="0.0.0.0")
    with pytest.raises(OSError, match="in use"):
        world.host.serve(8081, "thief", address="127.0.0.1")


def test_reserved_descriptors_are_inheritable_and_do_not_listen(world: World) -> None:
    held = port.reserve(port.parse("8080:80"))
    assert [os.get_inheritable(fd) for fd in held] == [True]
    with pytest.raises(ConnectionRefusedError):
        world.host.ask("127.0.0.1", 8080)
    for fd in held:
        os.close(fd)


def test_what_a_crash_left_does_not_block_the_next(world: World) -> None:
    """The elements stay when the monitor is killed; the port is free, and the next who takes it replaces them."""
    dead = world.guest("8080:80", f"{HOST4}:8081:80")
    dead.crash()
    new = world.guest("8080:80", f"{HOST4}:8081:80")
    new.serve(80, "new")
    assert new.lease.address != dead.lease.address
    assert world.outside.ask(HOST4, 8080) == f"new {OUTSIDE4}"
    assert world.outside.ask(HOST4, 8081) == f"new {OUTSIDE4}"


def test_the_most_ports_a_container_can_have(world: World) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        guest = world.guest(f"10001-{10000 + port.MOST}:1-{port.MOST}")
        guest.serve(port.MOST, "last")
        assert world.outside.ask(HOST4, 10000 + port.MOST) == f"last {OUTSIDE4}"
        guest.stop()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with nfnl.open_socket() as link:
        assert [nfnl.elements(link, "pycontain", name) for name in port.MAPS] == [[], [], [], []]


# --- leases, prune, listing ---------------------------------------------------------------------------------------


def small(world: World) -> None:
    files.write_json(f"{world.root}/network.json", world.settings.record() | {"subnet": "10.222.0.0/29"})
    world.settings = settings.load(world.root)


def test_a_dry_pool_takes_back_what_the_dead_had_with_their_ports(world: World) -> None:
    small(world)
    dead = world.guest("8080:80")
    living = [world.guest() for _ in range(4)]
    dead.crash()
    with pytest.raises(Error, match=r"no address is left in 10\.222\.0\.0/29: 5 are in use"):
        lease.acquire(world.run_root, world.settings, "new")
    ids = {guest.id for guest in living}
    taken = lease.acquire(world.run_root, world.settings, "new", alive=lambda owner: owner in ids)
    assert taken.address == dead.lease.address
    with nfnl.open_socket() as link:
        assert nfnl.elements(link, "pycontain", "publish4_any") == []
        assert nfnl.elements(link, "pycontain", "publish6_any") == []


def test_a_wanted_address_of_a_dead_container_is_taken_with_its_ports(world: World) -> None:
    dead = world.guest("8080:80")
    dead.crash()
    with pytest.raises(InUse):
        lease.acquire(world.run_root, world.settings, "new", dead.lease.address, lambda _: True)
    taken = lease.acquire(world.run_root, world.settings, "new", dead.lease.address, lambda _: False)
    assert os.readlink(taken.path) == "new"
    with nfnl.open_socket() as link:
        assert nfnl.elements(link, "pycontain", "publish4_any") == []


def test_release_gives_back_address_and_ports(world: World) -> None:
    guest = world.guest("8080:80")
    guest.crash()
    lease.release(world.run_root, world.settings, guest.id)
    lease.release(world.run_root, world.settings, guest.id)
    assert lease.leases(world.run_root) == {}
    with nfnl.open_socket() as link:
        assert nfnl.elements(link, "pycontain", "publish4_any") == []


def test_a_lease_of_nobody_is_reclaimed(world: World) -> None:
    kept = lease.acquire(world.run_root, world.settings, "kept")
    Path(kept.path).with_name("10.222.0.77").touch()
    assert lease.reclaim(world.run_root, world.settings, lambda _: True) == ["10.222.0.77 of container (nobody)"]
    assert lease.leases(world.run_root) == {kept.address: "kept"}


def test_prune_keeps_what_is_used_and_leaves_nothing_else(world: World) -> None:
    assert prune.prune(world.root + "/none", world.run_root, lambda _: True) == []
    used, dead = world.guest(), world.guest("8080:80")
    dead.crash()
    lines = prune.prune(world.root, world.run_root, lambda owner: owner == used.id)
    assert lines == [
        f"removed address {dead.lease.address} of container {dead.id[:12]}",
        f"kept bridge pycontain0: in use by container {used.id[:12]}",
    ]
    peer = world.guest()
    used.serve(80, "used")
    assert peer.ask(used.lease.address, 80).startswith("used")
    peer.stop()
    used.stop()
    assert prune.prune(world.root, world.run_root, lambda _: False) == [
        "removed bridge pycontain0",
        "removed nftables table inet pycontain",
    ]
    assert "pycontain0" not in world.host.ip("link")
    assert run("nft", "list", "ruleset") == ""
    assert lease.leases(world.run_root) == {}
    assert not os.path.exists(f"{world.run_root}/network/genid")
    assert prune.prune(world.root, world.run_root, lambda _: False) == []
    again = world.guest("8080:80")
    again.serve(80, "again")
    assert world.outside.ask(HOST4, 8080) == f"again {OUTSIDE4}"


def test_listing(world: World) -> None:
    assert listing.networks(world.root + "/none", world.run_root) == []
    web = world.guest("8080:80")
    stale = lease.acquire(world.run_root, world.settings, secrets.token_hex(32))
    web.serve(80, "web")
    world.outside.ask(HOST4, 8080)
    (found,) = listing.networks(world.root, world.run_root)
    assert (found["name"], found["up"], found["table"]) == ("pycontain0", True, "pycontain")
    assert (found["subnet"], found["gateway"]) == ("10.222.0.0/16", "10.222.0.1")
    first, second = found["addresses"]
    device = web.device()
    assert device is not None
    assert (first["container"], first["address"], first["device"]) == (web.id, web.lease.address, device.name)
    assert first["address6"] == web.lease.address6
    assert first["rx_bytes"] > 0 < first["tx_bytes"]
    assert first["ports"] == [{"host_ip": "", "host_port": 8080, "container_port": 80, "protocol": "tcp"}]
    assert (second["address"], second["device"], second["ports"]) == (stale.address, None, [])
    json.dumps(found)


def test_the_guests_link_local_address_is_of_use_at_once(world: World) -> None:
    """Nobody else can have it: it is made of a MAC address that is one container's."""
    guest = world.guest("8080:80")
    with guest.entered():
        assert sysctl("ipv6/conf/eth0/accept_dad") == "0"
    # which the kernel's work queue sees to
    shown = until(
        lambda: guest.ip("-6", "address", "show", "dev", "eth0", "scope", "link"), has="fe80::", lacks="tentative"
    )
    assert "dadfailed" not in shown
