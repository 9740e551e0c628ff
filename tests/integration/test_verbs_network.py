"""network ls, inspect, prune: the bridge and who has an address on it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from verbs_helpers import read_until, terminal
from world import World


def device(name: str) -> bool:
    return Path(f"/sys/class/net/{name}").exists() or f"{name}:" in Path("/proc/net/dev").read_text()


@pytest.fixture
def bridge(world: World) -> Iterator[str]:
    """The ID of a container on the bridge."""
    yield world.background("--name", "c", "-p", "18080:80", "busybox", "sleep", "100")
    world.remove_all()
    world("network", "prune", "-f")


def listed(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.ok("network", "ls", "--format", "json"))
    return found


def test_the_list(world: World, bridge: str) -> None:
    header, line = world.ok("network", "ls").splitlines()
    assert header.split() == ["NAME", "DRIVER", "SUBNET", "IPV6", "SUBNET", "UP", "CONTAINERS"]
    assert line.split()[:2] == ["pycontain0", "bridge"]
    assert line.split()[-2:] == ["yes", "1"]
    (found,) = listed(world)
    assert (found["name"], found["up"], found["addresses"]) == ("pycontain0", True, 1)


def test_inspect_by_either_name(world: World, bridge: str) -> None:
    (found,) = json.loads(world.ok("network", "inspect"))
    for name in ("bridge", "pycontain0"):
        (same,) = json.loads(world.ok("network", "inspect", name))
        # but for the counters
        assert {**same, "addresses": len(same["addresses"])} == {**found, "addresses": 1}
    (address,) = found["addresses"]
    assert address["container"] == bridge
    assert address["address"] == world.inspect("c")["NetworkSettings"]["IPAddress"]
    assert address["ports"][0]["host_port"] == 18080
    line = world.refused("network", "inspect", "none")
    assert line == "network 'none' does not exist: there is pycontain0, also called bridge"


def test_a_store_without_a_network(images: World, tmp_path: Path) -> None:
    fresh = World(tmp_path / "root", tmp_path / "run")
    assert listed(fresh) == []
    assert json.loads(fresh.ok("network", "inspect")) == []
    assert "makes the bridge" in fresh.refused("network", "inspect", "bridge")
    assert fresh.ok("network", "prune", "-f") == ""
    assert not (tmp_path / "root" / "network.json").exists()


def test_a_network_in_use_is_kept(world: World, bridge: str) -> None:
    assert world.ok("network", "prune", "-f") == f"kept bridge pycontain0: in use by container {bridge[:12]}"
    assert device("pycontain0")


def test_a_network_that_nobody_uses_goes_and_comes_back(world: World, bridge: str) -> None:
    subnet = listed(world)[0]["subnet6"]
    world.ok("rm", "-f", "c")
    assert "removed bridge pycontain0" in world.ok("network", "prune", "-f").splitlines()
    assert not device("pycontain0")
    assert listed(world)[0]["up"] is False
    world.ok("run", "--rm", "busybox", "true")
    assert device("pycontain0")
    assert listed(world)[0]["subnet6"] == subnet


def test_what_a_killed_monitor_left_is_no_use(world: World, bridge: str) -> None:
    """Its address is given back before the network is judged."""
    os.kill(world.monitor_pid(bridge), signal.SIGKILL)
    world.ok("logs", "-f", "c")
    assert "removed bridge pycontain0" in world.ok("network", "prune", "-f")
    assert not device("pycontain0")


def test_prune_asks(world: World, bridge: str) -> None:
    assert "--force" in world.refused("network", "prune")
    with terminal(world, "network", "prune") as (master, child):
        assert b"the bridge" in read_until(master, b"[y/N] ")
        os.write(master, b"\n")
        assert child.wait(20) == 1
    assert device("pycontain0")
