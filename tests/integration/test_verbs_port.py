"""port: where the host answers."""

from __future__ import annotations

import urllib.request

from world import World, eventually


def test_published_ports(world: World) -> None:
    world.background("--name", "c", "-p", "18080:80", "-p", "127.0.0.1:15353:53/udp", "busybox", "sleep", "100")
    assert world.ok("port", "c").splitlines() == [
        "53/udp -> 127.0.0.1:15353",
        "80/tcp -> 0.0.0.0:18080",
        "80/tcp -> [::]:18080",
    ]
    assert world.ok("port", "c", "80").splitlines() == ["0.0.0.0:18080", "[::]:18080"]
    assert world.ok("port", "c", "53/udp") == "127.0.0.1:15353"
    assert world.refused("port", "c", "53") == "container c: port 53/tcp is not published"


def test_a_port_that_the_host_chose_answers(world: World) -> None:
    """What it prints is where the container really is."""
    world.background("--name", "c", "-p", "80", "busybox", "httpd", "-f", "-h", "/etc")
    place = world.ok("port", "c", "80/tcp").splitlines()[0]
    number = int(place.rpartition(":")[2])

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{number}/hostname", timeout=5) as answer:
                return bool(answer.read())
        except OSError:
            return False

    assert eventually(answers)


def test_nothing_while_it_does_not_run(world: World) -> None:
    world.ok("create", "--name", "c", "-p", "18080:80", "busybox", "true")
    assert world.ok("port", "c") == ""
    assert world.refused("port", "c", "80").endswith("port 80/tcp is not published: it does not run")


def test_nothing_published(world: World) -> None:
    world.background("--name", "c", "--network", "none", "busybox", "sleep", "100")
    assert world.ok("port", "c") == ""


def test_what_is_no_port(world: World) -> None:
    world.ok("create", "--name", "c", "busybox", "true")
    assert "is not a port of a container" in world.refused("port", "c", "http")
    assert "no container" in world.refused("port", "x")
