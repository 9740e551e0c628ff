"""Volumes by name: they outlive containers, and go when somebody says so."""

from __future__ import annotations

import json

from world import World


def test_a_volume_outlives_its_containers(world: World) -> None:
    world.inside("echo kept >/data/file", "-v", "store:/data")
    assert world.inside("cat /mnt/file", "-v", "store:/mnt:ro") == "kept"
    rows = json.loads(world.ok("volume", "ls", "--format", "json"))
    assert [(row["Name"], row["UsedBy"]) for row in rows] == [("store", [])]
    assert world.ok("volume", "rm", "store") == "store"
    assert world.ok("volume", "ls", "-q") == ""
    assert not (world.root / "volumes/store").exists()


def test_a_volume_in_use_stays(world: World) -> None:
    identity = world.background("--network", "none", "-v", "busy:/data", "busybox", "sleep", "1000")
    assert identity[:12] in world.refused("volume", "rm", "busy")
    assert world.ok("volume", "prune", "-f") == ""
    assert world.ok("exec", identity, "ls", "-d", "/data") == "/data"
    world.ok("rm", "-f", identity)
    assert world.ok("volume", "prune", "-f") == "busy"


def test_a_failed_run_holds_nothing(world: World) -> None:
    world.refused("run", "--rm", "--network", "none", "-v", "v:/data", "busybox", "nosuch", status=127)
    world.refused("run", "--rm", "--network", "none", "-v", "v:/data", "-v", "/no/such:/x", "busybox", "true")
    assert world.ok("volume", "rm", "v") == "v"


def test_refused(world: World) -> None:
    assert "no volume 'moon'" in world.refused("volume", "rm", "moon")
    assert world.ok("volume", "rm", "-f", "moon") == "moon"
    assert "not a volume's name" in world.refused("volume", "rm", "../images")
