"""update natively: what this host cannot enforce is refused and nothing changes; what it can changes at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pycontain.cgroup import hierarchy
from world import World, cgroups, eventually

#: One flag of each controller, and which that is.
FLAGS = [
    (("-m", "64m"), "memory"),
    (("--memory-reservation", "32m"), "memory"),
    (("--cpus", "0.5"), "cpu"),
    (("--cpu-shares", "512"), "cpu"),
    (("--cpu-quota", "20000"), "cpu"),
    (("--cpu-period", "50000"), "cpu"),
    (("--cpuset-cpus", "0"), "cpuset"),
    (("--cpuset-mems", "0"), "cpuset"),
    (("--pids-limit", "10"), "pids"),
    (("--blkio-weight", "200"), "io"),
]
UNLIMITED = ("-m", "-1", "--memory-reservation", "-1", "--cpus", "-1", "--cpu-shares", "1024", "--pids-limit", "-1")


def start(world: World, *flags: str) -> str:
    return world.background("--name", "c", "--network", "none", *flags, "busybox", "sleep", "1000")


def files_of(world: World, container: str) -> dict[str, bytes]:
    directory = world.root / "containers" / container
    return {name: (directory / name).read_bytes() for name in ("config.json", "container.json")}


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize(("flags", "controller"), FLAGS, ids=lambda part: part[0] if isinstance(part, tuple) else part)
def test_a_missing_controller_is_named_and_nothing_changes(
    world: World, flags: tuple[str, ...], controller: str, running: bool
) -> None:
    if controller in hierarchy.find().controllers:
        pytest.skip(f"this host has the {controller} controller: tests/host changes its limits")
    if running:
        container = start(world)
    else:
        container = world.ok("create", "--name", "c", "--network", "none", "busybox", "true")
    before = files_of(world, container)
    words = world.refused("update", *flags, "--restart", "always", "c")
    assert f"the {controller} controller is not available in cgroup v2 on this host" in words
    assert files_of(world, container) == before
    assert world.inspect("c")["HostConfig"]["RestartPolicy"]["Name"] == "no"
    if not running:
        assert not (world.run_root / "containers" / container).exists()


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_taking_limits_away_needs_no_controller(world: World, running: bool) -> None:
    if running:
        start(world)
    else:
        world.ok("create", "--name", "c", "--network", "none", "busybox", "true")
    assert world.ok("update", *UNLIMITED, "c") == "c"
    found = world.inspect("c")["HostConfig"]
    assert (found["Memory"], found["MemorySwap"], found["PidsLimit"], found["CpuShares"]) == (-1, -1, -1, 1024)
    assert found["MemoryReservation"] == -1
    world.ok("restart", "-t", "0", "c")


def test_a_restart_policy_counts_at_once(world: World) -> None:
    container = start(world)
    first = world.pid(container)
    assert world.ok("update", "--restart", "on-failure:3", "c") == "c"
    assert world.inspect("c")["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: world.restarted(container, first))
    world.ok("update", "--restart", "no", "c")
    os.kill(world.pid(container), signal.SIGKILL)
    assert world.ok("wait", "c") == "137"
    assert eventually(lambda: world.status("c") == "exited")
    assert not (world.run_root / "containers" / container / "pid").exists()


def test_a_container_that_goes_at_its_end_has_no_policy(world: World) -> None:
    start(world, "--rm")
    assert "--rm" in world.refused("update", "--restart", "always", "c")


def test_several_containers(world: World) -> None:
    start(world)
    done = world("update", "--pids-limit", "-1", "nosuch", "c")
    assert (done.returncode, done.stdout) == (1, "c\n")
    assert done.stderr == "pycontain: no container 'nosuch': 'pycontain ps -a' lists those that exist\n"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "nothing to change"),
        (("--cpus", "1", "--cpu-quota", "5000"), "--cpus and --cpu-quota cannot be together"),
        (("--cpus", "1", "--cpu-period", "5000"), "--cpus and --cpu-period cannot be together"),
        (("--memory-swap", "1g"), "give --memory as well"),
        (("-m", "2g", "--memory-swap", "1g"), "--memory-swap is smaller than --memory"),
        (("-m", "64m", "--memory-reservation", "65m"), "--memory-reservation 68157440 is above --memory"),
        (("--device-read-bps", "/dev/null:1m"), "device /dev/null is not a disk"),
        (("--device-read-bps", "/no/disk:1m"), "device /no/disk: No such file or directory"),
        (("--pids-limit", "5000000"), "--pids-limit"),
    ],
)
def test_what_cannot_be(world: World, flags: tuple[str, ...], words: str) -> None:
    container = start(world)
    before = files_of(world, container)
    assert words in world.refused("update", *flags, "c")
    assert files_of(world, container) == before


def edit(world: World, container: str, resources: dict[str, Any]) -> None:
    """What a start under other controllers would have left in config.json."""
    path = world.root / "containers" / container / "config.json"
    spec = json.loads(path.read_text())
    spec["linux"]["resources"].update(resources)
    path.write_text(json.dumps(spec))


def test_memory_above_what_memory_and_swap_may_be_together(world: World) -> None:
    container = start(world)
    edit(world, container, {"memory": {"limit": 64 << 20, "swap": 128 << 20}})
    words = world.refused("update", "-m", "256m", "c")
    assert "134217728 bytes: give --memory-swap as well" in words


def test_a_damaged_config_is_said(world: World) -> None:
    container = start(world)
    edit(world, container, {"memory": [1]})
    assert "linux.resources.memory: must be an object" in world.refused("update", "--pids-limit", "-1", "c")


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_killed_at_any_moment(world: World, running: bool) -> None:
    """The next command puts right what was left; the config is the old one or the new one."""
    if running:
        container = start(world)
    else:
        container = world.ok("create", "--name", "c", "--network", "none", "busybox", "true")
    moments = random.Random(7)
    for _ in range(25):
        command = [*world.command, "update", "--pids-limit", "-1", "--restart", "on-failure:2", "c"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            try:
                child.wait(moments.uniform(0.0, 0.08))
            except subprocess.TimeoutExpired:
                child.kill()
        json.loads((world.root / "containers" / container / "config.json").read_text())
        assert world.ok("update", "-m", "-1", "c") == "c"
        assert world.status("c") == ("running" if running else "created")
    if not running:
        assert not (world.run_root / "containers" / container).exists()
        assert not cgroups()


def test_one_that_is_gone(world: World) -> None:
    assert "no container 'c'" in world.refused("update", "--pids-limit", "-1", "c")


def test_beancounters_say_what_is_missing(world: World, tmp_path: Path) -> None:
    start(world)
    done = world("stats", "--beancounters", "c")
    header = done.stdout.splitlines()[0].split()
    assert header == ["uid", "resource", "held", "maxheld", "barrier", "limit", "failcnt"]
    if not {"memory", "pids"} & hierarchy.find().controllers:
        assert done.stderr.startswith("pycontain: c: no rows of memory and pids: not in cgroup v2 on this host: ")
    found = json.loads(world("stats", "--beancounters", "--format", "json", "c").stdout)
    assert [one["Name"] for one in found] == ["c"]
    world.ok("create", "--name", "d", "busybox", "true")
    assert "is not running" in world.refused("stats", "--beancounters", "d")


def test_no_oom_kill_is_known_where_nobody_counts(world: World) -> None:
    container = start(world)
    state = world.inspect("c")["State"]
    assert (state["OOMKilled"], state["OOMKills"]) == (False, [])
    monitor = world.monitor_pid(container)
    watched = []
    for path in Path(f"/proc/{monitor}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            watched.append(os.readlink(path))
    if "memory" not in hierarchy.find().controllers:
        assert not any("memory.events" in target for target in watched)
