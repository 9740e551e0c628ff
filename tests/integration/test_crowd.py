"""Many containers at the same time, and that nothing is left when they are gone."""

from __future__ import annotations

import ipaddress
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from world import World, eventually, reap, run_processes

COUNT = 200
AT_A_TIME = 8


def network_namespaces() -> set[str]:
    """The network namespaces in which a process of this run lives."""
    found = set()
    for directory in run_processes():
        try:
            found.add(os.readlink(directory / "ns" / "net"))
        except OSError:
            continue
    return found


def each(world: World, *commands: tuple[str, ...]) -> list[str]:
    """Run commands, AT_A_TIME at a time, all of which must succeed; what each has printed."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(lambda command: world.ok(*command), commands))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_containers_leave_nothing(world: World) -> None:
    before = network_namespaces()
    command = ("busybox", "sleep", "1000")
    made = each(world, *[("run", "-d", "--init", "--name", f"c{number}", *command) for number in range(COUNT)])
    assert len(set(made)) == COUNT
    assert len(world.ok("ps", "-q").split()) == COUNT
    assert len(network_namespaces() - before) == COUNT
    addresses = [world.inspect(name)["NetworkSettings"]["IPAddress"] for name in made]
    assert len({ipaddress.ip_address(address) for address in addresses}) == COUNT
    half = COUNT // 2
    each(world, *[("stop", identity) for identity in made[:half]])
    assert len(world.ok("ps", "-q").split()) == COUNT - half
    each(world, *[("rm", identity) for identity in made[:half]], *[("rm", "-f", identity) for identity in made[half:]])
    assert world.ok("ps", "-aq") == ""

    def clean() -> bool:
        reap()
        return not world.leftovers() and network_namespaces() <= before

    assert eventually(clean), (world.leftovers(), network_namespaces() - before)
    assert "removed bridge pycontain0" in world.ok("network", "prune", "-f").splitlines()
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert "pycontain" not in links and "veth" not in links
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert "pycontain" not in tables
