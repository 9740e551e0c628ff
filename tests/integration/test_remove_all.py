"""rm --all: many containers end together, and what fails with one is no matter of the others."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from world import World, eventually, reap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containers")
IDLE = ("busybox", "sleep", "1000")


def crowd(world: World) -> set[str]:
    networks = ("none", "bridge", "routed")
    made = {
        world.background("--network", network, *flags, *IDLE) for network in networks for flags in ((), ("--init",))
    }
    made.add(world.background("--network", "none", "--restart", "always", *IDLE))
    made.add(world.ok("create", *IDLE))
    return made


def clean(world: World) -> bool:
    reap()
    return not world.leftovers()


def test_all_end_and_nothing_is_left(world: World) -> None:
    made = crowd(world)
    assert set(world.ok("rm", "-f", "--all").split()) == made
    assert world.ok("ps", "-aq") == ""
    assert os.listdir(world.root / "ids") in (["next"], [])
    assert os.listdir(world.run_root / "network" / "leases") == []
    assert eventually(lambda: clean(world)), world.leftovers()


def test_without_force_what_runs_stays(world: World) -> None:
    made = crowd(world)
    gone = world.ok("rm", "--all").split()
    assert len(gone) == 1 and set(world.ok("ps", "-aq", "--no-trunc").split()) == made - set(gone)
    world.ok("rm", "-f", "--all")


def test_one_that_cannot_be_removed_is_said_and_the_others_go(world: World) -> None:
    made = crowd(world)
    stuck = sorted(made)[0]
    place = world.root / "containers" / stuck / "kept"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True)
    try:
        done = world("rm", "-f", "--all")
        assert done.returncode == 1
        assert set(done.stdout.split()) == made - {stuck}
        assert stuck in done.stderr and len(done.stderr.splitlines()) == 1
        # what the others held is free
        held = {name for used in (world.root / "images").glob("*/used") for name in os.listdir(used)}
        assert held == {stuck}
    finally:
        subprocess.run(["umount", str(place)], check=True)
    world.ok("rm", "-f", "--all")
    assert not Path(place).exists()


def test_killed_half_way_the_next_one_completes_it(world: World) -> None:
    crowd(world)
    for _ in range(3):
        running = subprocess.Popen([*world.command, "rm", "-f", "--all"], stdout=subprocess.PIPE)
        assert running.stdout is not None
        running.stdout.readline()
        running.send_signal(signal.SIGKILL)
        running.communicate()
    world("rm", "-f", "--all")
    assert world.ok("ps", "-aq") == ""
    assert eventually(lambda: clean(world)), world.leftovers()
