"""The network of containers as run makes it: who reaches whom, published ports, and that nothing of it stays."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import Client, status_value
from world import World, eventually
from worlds import fresh, settled

#: Answers with its name, by a process for each question.
SERVER = "mkdir -p /w; echo {name} >/w/name; exec httpd -f -p {port} -h /w"
HOST4, HOST6 = "198.51.100.7", "2001:db8:7::1"


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    """An address of the host's own, on a device of this test's network namespace."""
    subprocess.run("ip link add uplink type bridge".split(), check=True)
    subprocess.run(f"ip address add {HOST4}/24 dev uplink".split(), check=True)
    subprocess.run(f"ip address add {HOST6}/64 dev uplink nodad".split(), check=True)
    subprocess.run("ip link set uplink up".split(), check=True)
    yield
    subprocess.run("ip link delete uplink".split(), check=True)


def server(world: World, name: str, *flags: str, port: int = 80) -> str:
    """A container that serves its name; its ID."""
    identity = world.background("--name", name, *flags, "busybox", "sh", "-c", SERVER.format(name=name, port=port))
    assert eventually(lambda: asked(world, name, "127.0.0.1", port) == name)
    return identity


def ask(address: str, port: int) -> str:
    """What the server there says; "" where none answers."""
    try:
        with socket.create_connection((address, port), timeout=20) as link:
            link.sendall(b"GET /name HTTP/1.0\r\n\r\n")
            data = b""
            while chunk := link.recv(4096):
                data += chunk
    except OSError:
        return ""
    return data.rpartition(b"\r\n\r\n")[2].decode().strip()


def asked(world: World, name: str, address: str, port: int = 80) -> str:
    """The same from inside a container."""
    where = f"[{address}]" if ":" in address else address
    return world("exec", name, "wget", "-qO-", f"http://{where}:{port}/name").stdout.strip()


def addresses(world: World, name: str) -> tuple[str, str]:
    settings = world.inspect(name)["NetworkSettings"]
    return settings["IPAddress"], settings["GlobalIPv6Address"]


# --- who reaches whom ---------------------------------------------------------------------------------------------


def test_containers_reach_each_other(world: World) -> None:
    server(world, "one")
    server(world, "two")
    for name, other in (("one", "two"), ("two", "one")):
        address4, address6 = addresses(world, other)
        assert eventually(lambda name=name, a=address4, other=other: asked(world, name, a) == other)  # type: ignore[misc]
        assert eventually(lambda name=name, a=address6, other=other: asked(world, name, a) == other)  # type: ignore[misc]


def test_a_container_has_its_own_network(world: World) -> None:
    out = world.ok(
        "run", "--rm", "busybox", "sh", "-c", "ip -o link | cut -d: -f2; ip -4 route; hostname; cat /etc/hosts"
    )
    assert "lo" in out and "eth0" in out and "uplink" not in out
    assert "default via 10.222.0.1 dev eth0" in out
    none = world.ok("run", "--rm", "--network", "none", "busybox", "sh", "-c", "ip -o link | cut -d: -f2")
    assert none.split() == ["lo"]
    seen = world.ok("run", "--rm", "--network", "host", "busybox", "sh", "-c", "ip -o link | cut -d: -f2")
    assert "uplink" in seen


def test_a_wanted_address(world: World) -> None:
    server(world, "one", "--ip", "10.222.77.7")
    assert addresses(world, "one")[0] == "10.222.77.7"
    line = world.refused("run", "--rm", "--ip", "10.222.77.7", "busybox", "true")
    assert "10.222.77.7 is in use by container" in line
    world.ok("restart", "-t", "0", "one")
    assert addresses(world, "one")[0] == "10.222.77.7"
    assert "is not a host's address in" in world.refused("run", "--rm", "--ip", "192.0.2.1", "busybox", "true")


def test_the_network_of_another_container(world: World) -> None:
    first = server(world, "one", "-p", "18082:80")
    world.background("--name", "two", "--network", "container:one", "busybox", "sleep", "1000")
    assert asked(world, "two", "127.0.0.1") == "one"
    assert world.ok("exec", "two", "hostname") == world.ok("exec", "one", "hostname") == first[:12]
    assert world.ok("exec", "two", "cat", "/etc/hosts") == world.ok("exec", "one", "cat", "/etc/hosts")
    pids = [world.inspect(name)["State"]["Pid"] for name in ("one", "two")]
    assert os.readlink(f"/proc/{pids[0]}/ns/net") == os.readlink(f"/proc/{pids[1]}/ns/net")
    # by ID, and by way of a third one
    world.ok("run", "--rm", "--network", f"container:{first[:12]}", "busybox", "wget", "-qO-", "http://127.0.0.1/name")
    world.ok("run", "--rm", "--network", "container:two", "busybox", "wget", "-qO-", "http://127.0.0.1/name")


def test_the_network_of_a_container_that_does_not_run(world: World) -> None:
    assert "no container 'nobody'" in world.refused("run", "--network", "container:nobody", "busybox", "true")
    world.ok("create", "--name", "one", "busybox", "true")
    line = world.refused("run", "--network", "container:one", "busybox", "true")
    assert "it is not running: start it first" in line
    world.ok("rm", "one")
    assert list((world.root / "containers").iterdir()) == []


def test_a_joined_network_survives_a_rename_and_not_its_owner(world: World) -> None:
    server(world, "one")
    world.background("--name", "two", "--network", "container:one", "busybox", "sleep", "1000")
    world.ok("rename", "one", "other")
    world.ok("restart", "-t", "0", "two")
    assert asked(world, "two", "127.0.0.1") == "one"
    world.ok("rm", "-f", "other")
    # it runs on, in a network that nobody feeds any more
    assert world.status("two") == "running"
    assert "no container" in world.refused("restart", "-t", "0", "two")


# --- published ports ----------------------------------------------------------------------------------------------


def test_a_published_port(world: World) -> None:
    server(world, "one", "-p", "18083:80")
    for address in ("127.0.0.1", HOST4, HOST6, "10.222.0.1"):
        assert ask(address, 18083) == "one", address
    server(world, "two")
    for address in (HOST4, HOST6):
        assert asked(world, "two", address, 18083) == "one"
    assert world.ok("port", "one") == "80/tcp -> 0.0.0.0:18083\n80/tcp -> [::]:18083"
    world.ok("stop", "-t", "0", "one")
    assert ask("127.0.0.1", 18083) == ""
    world.ok("start", "one")
    assert eventually(lambda: ask("127.0.0.1", 18083) == "one")


def test_a_port_that_the_host_chooses(world: World) -> None:
    server(world, "one", "-p", "80")
    binding = world.ok("port", "one", "80").splitlines()[0]
    assert ask("127.0.0.1", int(binding.rpartition(":")[2])) == "one"


def test_a_port_for_one_address(world: World) -> None:
    server(world, "one", "-p", "127.0.0.1:18084:80")
    server(world, "two", "-p", f"{HOST4}:18084:80")
    assert (ask("127.0.0.1", 18084), ask(HOST4, 18084)) == ("one", "two")
    assert ask(HOST6, 18084) == ""


ECHO = """
import socket
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("::", 9))
while True:
    data, peer = server.recvfrom(100)
    server.sendto(data + b" pong", peer)
"""


def test_a_udp_port(world: World) -> None:
    identity = world.background("--name", "one", "-p", "18085:9/udp", "busybox", "sleep", "1000")
    # busybox has no server for UDP
    enter = ["nsenter", "--net", "--target", str(world.pid(identity))]
    server = subprocess.Popen([*enter, sys.executable, "-c", ECHO])
    try:
        for address in ("127.0.0.1", HOST4, HOST6):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as link:
                link.settimeout(0.2)
                assert eventually(lambda link=link, address=address: _ping(link, address))  # type: ignore[misc]
    finally:
        server.kill()
        server.wait()


def _ping(link: socket.socket, address: str) -> bool:
    link.sendto(b"ping", (address, 18085))
    try:
        return link.recv(100) == b"ping pong"
    except OSError:
        return False


def test_a_port_in_use_by_another_container(world: World) -> None:
    first = server(world, "one", "-p", "18086:80")
    line = world.refused("run", "--name", "two", "-p", "18086:80", "busybox", "true")
    assert line == f"port *:18086/tcp is published by container {first[:12]}; take another host port or stop it"
    assert world.status("two") == "gone"
    assert ask("127.0.0.1", 18086) == "one"
    world.ok("rm", "-f", "one")
    server(world, "two", "-p", "18086:80")
    assert ask("127.0.0.1", 18086) == "two"


def test_a_port_in_use_on_the_host(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 18087))
        taken.listen()
        line = world.refused("run", "--name", "two", "-p", "18087:80", "busybox", "true")
        assert line.startswith("port *:18087/tcp is in use on the host; take another one, or find who has it with")
        world.ok("create", "--name", "two", "-p", "18087:80", "busybox", "true")
        assert "port *:18087/tcp is in use on the host" in world.refused("start", "two")
        assert world.status("two") == "created"
    assert world("start", "-a", "two").returncode == 0


def test_a_published_port_is_taken_on_the_host(world: World) -> None:
    server(world, "one", "-p", "18088:80")
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind(("0.0.0.0", 18088))
    world.ok("rm", "-f", "one")
    with socket.socket() as other:
        other.bind(("0.0.0.0", 18088))


def test_a_port_is_free_as_soon_as_its_container_has_ended(world: World) -> None:
    for number in range(10):
        world.background("--name", f"c{number}", "-p", "18089:80", "busybox", "sleep", "1000")
        world.ok("rm", "-f", f"c{number}")


@pytest.mark.parametrize("flags", [(), ("--rm",)], ids=str)
def test_a_port_is_free_however_slow_its_monitor_is_at_the_very_end(world: World, flags: tuple[str, ...]) -> None:
    """Who is told that the container has ended may take it at once."""
    identity = world.background("-p", "18094:80", *flags, "busybox", "sleep", "1000")
    monitor = world.monitor_pid(identity)
    command = ["strace", "-qq", "-o", "/dev/null", "-p", str(monitor), "-e", "inject=exit_group:delay_enter=60000000"]
    with subprocess.Popen(command) as holder:
        try:
            assert eventually(lambda: status_value(monitor, "TracerPid") == str(holder.pid))
            world.ok("rm", "-f", identity)
            with socket.socket() as other:
                other.bind(("0.0.0.0", 18094))
            assert Path(f"/proc/{monitor}").exists()
        finally:
            holder.kill()


def test_a_monitor_that_was_killed_leaves_no_port(world: World) -> None:
    identity = server(world, "one", "-p", "18090:80")
    os.kill(world.monitor_pid(identity), 9)
    assert eventually(lambda: world.status("one") == "exited")
    server(world, "two", "-p", "18090:80")
    assert ask("127.0.0.1", 18090) == "two"


# --- nothing stays ------------------------------------------------------------------------------------------------


def test_nothing_of_the_network_is_left(world: World) -> None:
    for name, flags in (("one", ("-p", "18091:80")), ("two", ("-p", "18092:80/udp")), ("three", ())):
        world.background("--name", name, *flags, "busybox", "sleep", "1000")
    world.background("--name", "four", "--network", "container:one", "busybox", "sleep", "1000")
    world.ok("rm", "-f", "--all")
    settled(world)
    shown = world.ok("network", "prune", "--force")
    assert "removed" in shown
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert "pycontain0" not in links and "vp" not in links
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    assert "pycontain" not in rules
    assert list((world.run_root / "network" / "leases").iterdir()) == []
    # and it comes back
    assert world.ok("run", "--rm", "busybox", "echo", "again") == "again"


def test_prune_keeps_what_is_in_use(world: World) -> None:
    server(world, "one", "-p", "18093:80")
    assert "kept bridge pycontain0: in use by container" in world.ok("network", "prune", "--force")
    assert ask("127.0.0.1", 18093) == "one"


def test_no_address_is_left(world: World, tmp_path: Path) -> None:
    """A subnet for five containers: the sixth is refused, and one that ends makes room."""
    with fresh(world, tmp_path / "root", tmp_path / "run") as small:
        (small.root / "network.json").write_text(
            '{"bridge": "small0", "subnet": "10.99.0.0/29", "subnet6": null, "mtu": 1500}'
        )
        names = [small.background("busybox", "sleep", "1000") for _ in range(5)]
        line = small.refused("run", "--name", "six", "busybox", "true")
        assert line.startswith("no address is left in 10.99.0.0/29: 5 are in use; remove containers, run")
        assert small.status("six") == "gone"
        small.ok("rm", "-f", names[2])
        assert small.ok("run", "--rm", "busybox", "echo", "room") == "room"
        small.remove_all()
        assert eventually(lambda: "small0" in small("network", "prune", "--force").stdout)


def test_a_damaged_settings_file(world: World, tmp_path: Path) -> None:
    with fresh(world, tmp_path / "root", tmp_path / "run") as damaged:
        for text in ("", "{", "[]", '{"bridge": 1}', '{"bridge":"x","subnet":"10.0.0.0/33","subnet6":null,"mtu":1500}'):
            (damaged.root / "network.json").write_text(text)
            line = damaged.refused("run", "busybox", "true")
            assert "network.json" in line
            assert damaged.status("x") == "gone"
        assert damaged.ok("run", "--rm", "--network", "none", "busybox", "echo", "text") == "text"
        (damaged.root / "network.json").unlink()


def test_many_ports(world: World) -> None:
    server(world, "one", "-p", "19000-19099:80-179")
    assert ask("127.0.0.1", 19000) == "one"
    with Client(world, "run", "--rm", "-p", "19050:1", "busybox", "true") as other:
        assert other.finish() == 125
        assert b"19050" in other.complaints


# --- several networks ---------------------------------------------------------------------------------------------

PUBLIC = "203.0.113.9"
BOTH = ("--network", f"routed:ip={PUBLIC},interface_name=pub0", "--network", "bridge")


@pytest.mark.parametrize("userns", ["host", "auto"])
def test_several_networks(world: World, userns: str) -> None:
    """Each is reached by its address, published ports lead to the first, and its end gives all of it back."""
    web = server(world, "web", "--userns", userns, *BOTH, "-p", "8080:80")
    world.background("--name", "other", "busybox", "sleep", "1000")
    settings = world.inspect("web")["NetworkSettings"]
    private = settings["Networks"]["bridge"]["IPAddress"]
    assert settings["IPAddress"] == settings["Networks"]["routed"]["IPAddress"] == PUBLIC
    assert [one["InterfaceName"] for one in settings["Networks"].values()] == ["pub0", "eth1"]
    for address in (PUBLIC, private):
        assert asked(world, "other", address) == "web"
        assert ask(address, 80) == "web"
        assert f"{address}\t" in world.ok("exec", "web", "cat", "/etc/hosts")
    assert (ask(HOST4, 8080), ask("127.0.0.1", 8080), asked(world, "other", HOST4, 8080)) == ("web", "web", "web")
    leases = world.run_root / "network" / "leases"
    assert {PUBLIC, private} <= {path.name for path in leases.iterdir()}
    world.ok("rm", "-f", "other")
    world.ok("stop", "-t", "0", web)
    assert list(leases.iterdir()) == []
    assert ask(HOST4, 8080) == ""
    world.ok("start", web)  # and all over again
    assert eventually(lambda: ask(PUBLIC, 80) == "web" and ask(HOST4, 8080) == "web")


def test_a_start_with_several_networks_that_fails_leaves_nothing(world: World) -> None:
    world.background("--network", f"routed:ip={PUBLIC}", "busybox", "sleep", "1000")
    before = sorted((world.run_root / "network" / "leases").iterdir())
    for flags in (
        ("--network", "bridge", "--network", f"routed:ip={PUBLIC}"),  # who has it is refused after the bridge's lease
        ("--network", "routed", "--network", "bridge:ip=10.0.0.1"),
        ("--network", "routed", "--network", "bridge:interface_name=lo0", "--network", "routed:interface_name=tunl.0"),
    ):
        world.refused("run", "--rm", *flags, "busybox", "/nothing", status=125 if "tunl" not in str(flags) else 127)
        assert sorted((world.run_root / "network" / "leases").iterdir()) == before
    # a bridge's port goes with the network namespace, which the kernel takes down in the background
    assert eventually(lambda: len(_ends()) == 1), _ends()


def _ends() -> list[str]:
    """The host's ends of containers' devices."""
    links = subprocess.run(["ip", "-br", "link"], check=True, capture_output=True, text=True).stdout
    return [line for line in links.splitlines() if line.startswith(("vr", "vp"))]
