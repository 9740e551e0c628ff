"""info and version: what is said of this host is true, and saying it changes nothing."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from world import World


def info(world: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.ok("info", "--format", "json"))
    return found


def test_the_kernel_and_its_namespaces(world: World) -> None:
    found = info(world)
    assert found["Kernel"]["Release"] == os.uname().release
    there = set(os.listdir("/proc/self/ns"))
    assert {name for name, has in found["Namespaces"].items() if has} == there & set(found["Namespaces"])


def test_cgroups_are_as_they_are_mounted(world: World) -> None:
    found = info(world)
    mount = Path(found["Cgroups"]["Mount"])
    controllers = (mount / "cgroup.controllers").read_text().split()
    assert found["Cgroups"]["Controllers"] == sorted(controllers)
    for name in ("memory", "cpu", "pids", "io"):
        assert found["Cgroups"][name] is (name in controllers)
    problems = {item["Name"]: item["Problem"] for item in found["Problems"] if item["Section"] == "Cgroups"}
    assert sorted(problems) == sorted({"memory", "cpu", "pids", "io"}.difference(controllers))
    for text in problems.values():
        assert "cannot be enforced: " in text or "stats shows no" in text


def test_what_containers_need_is_there(world: World) -> None:
    """Containers do start here, so nothing of this can be missing."""
    found = info(world)
    assert set(found["SystemCalls"].values()) == {True}
    assert found["Security"]["DeviceFilter"] is True
    assert found["Storage"]["UpperDirectories"] is True
    assert found["Network"]["nf_tables"] is True
    assert found["Pycontain"]["Helper"] is True


def test_containers_are_counted_by_state(world: World) -> None:
    world.ok("create", "--network", "none", "busybox", "true")
    world.ok("run", "--network", "none", "busybox", "true")
    world.background("--network", "none", "busybox", "sleep", "100")
    world.background("--name", "p", "--network", "none", "busybox", "sleep", "100")
    world.ok("pause", "p")
    found = info(world)["Containers"]
    world.ok("unpause", "p")
    assert {name: count for name, count in found["States"].items() if count} == {
        "created": 1,
        "exited": 1,
        "running": 1,
        "paused": 1,
    }
    assert (found["Total"], found["Images"]) == (4, len(set(world.ok("image", "ls", "-q").split())))


def snapshot(root: Path) -> dict[str, tuple[float, int]]:
    """All files with their times: what is written, made or removed shows."""
    return {
        str(path): (status.st_mtime, status.st_size)
        for path in [root, *root.rglob("*")]
        for status in [path.lstat()]
        if not stat.S_ISSOCK(status.st_mode)
    }


def test_nothing_is_changed(world: World) -> None:
    world.background("--network", "none", "busybox", "sleep", "100")
    before = [snapshot(world.root), snapshot(world.run_root)]
    world.ok("info")
    world.ok("version")
    assert [snapshot(world.root), snapshot(world.run_root)] == before


def test_limits_are_the_kernels(world: World) -> None:
    limits = info(world)["Limits"]
    assert limits["kernel.pid_max"] == int(Path("/proc/sys/kernel/pid_max").read_text())
    assert limits["fs.inotify.max_user_instances"] == int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    assert limits["BridgePorts"] == 1023


def test_the_table(world: World) -> None:
    lines = world.ok("info").splitlines()
    titles = [line for line in lines if line and not line.startswith(" ")]
    assert titles[0] == "Pycontain"
    assert titles[-1] == "What is missing or will be in the way"
    assert any(line.split() == ["Root", str(world.root)] for line in lines)
    assert any(line.split()[:2] == ["Release", os.uname().release] for line in lines)


def test_versions(world: World) -> None:
    found = json.loads(world.ok("version", "--format", "json"))
    assert found["Pycontain"] == world.ok("--version").split()[1]
    assert (found["HelperProtocol"], found["OciVersion"]) == (1, "1.2.0")
    assert found["Kernel"] == os.uname().release
    lines = world.ok("version").splitlines()
    assert lines[0].split() == ["pycontain", found["Pycontain"]]
    assert lines[1].startswith("helper      protocol 1 (")
