"""stats: what real containers use; what this host has no controllers for is marked as such."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from pycontain.cgroup import hierarchy
from verbs_helpers import process, read_until, terminal
from world import World, eventually

HEADER = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]


def rows(world: World, *containers: str) -> list[dict[str, Any]]:
    """One look, past what is said about missing controllers."""
    done = world("stats", "--no-stream", "--format", "json", *containers)
    assert done.returncode == 0, done
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def start(world: World, script: str, *flags: str, name: str = "c", network: str = "none") -> str:
    return world.background("--name", name, "--network", network, *flags, "busybox", "sh", "-c", script)


def test_processor_time_and_processes(world: World) -> None:
    container = start(world, "while :; do :; done")
    start(world, "sleep 100 & sleep 100 & wait", name="idle")
    found: list[dict[str, Any]] = []

    def look() -> bool:
        """Both have begun, and the busy one has had its share of a machine that may be doing other things."""
        found[:] = rows(world)
        return bool(found[0]["Pids"] == 3 and found[0]["CpuPercent"] < 5 < found[1]["CpuPercent"] <= 110)

    assert eventually(look, 60), found
    idle, busy = found
    assert (busy["Id"], busy["Name"], busy["Pids"], idle["Name"]) == (container, "c", 1, "idle")


def test_threads_below_count(world: World) -> None:
    """PIDS counts tasks in all groups below, as the pids controller does where there is one."""
    start(world, "sleep 100 & sleep 101 & sleep 102 & wait")
    assert eventually(lambda: [row["Pids"] for row in rows(world)] == [4]), rows(world)


def test_network_traffic(world: World) -> None:
    start(world, "httpd -h /etc; sleep 100", network="bridge")
    address = world.inspect("c")["NetworkSettings"]["IPAddress"]
    assert eventually(lambda: ":80 " in world.ok("exec", "c", "netstat", "-ltn"))
    (before,) = rows(world)
    script = f"wget -q -O - http://{address}/passwd >/dev/null"
    world.ok("run", "--rm", "busybox", "sh", "-c", f"for i in 1 2 3 4 5 6 7 8 9 10; do {script}; done")
    (after,) = rows(world)
    assert after["NetworkSent"] - before["NetworkSent"] > 1000
    assert after["NetworkReceived"] - before["NetworkReceived"] > 1000


def test_no_figures_of_the_hosts_network(world: World) -> None:
    start(world, "sleep 100", network="host")
    done = world("stats", "--no-stream")
    assert "--network host has no figures of its own" in done.stderr
    (row,) = rows(world)
    assert row["NetworkReceived"] is None


def test_what_the_host_cannot_say_is_marked_and_explained(world: World) -> None:
    start(world, "sleep 100")
    done = world("stats", "--no-stream", "c")
    lines = done.stdout.splitlines()
    assert lines[0].split("  ")[0] == "CONTAINER ID"
    assert [word.strip() for word in lines[0].split("   ") if word.strip()] == HEADER
    if {"memory", "io"} & hierarchy.find().controllers:
        return
    words = lines[1].split()
    assert (words[3:5], words[-2:]) == (["--", "--"], ["--", "1"]), lines
    (reason,) = done.stderr.splitlines()
    assert reason.startswith("pycontain: -- in MEM and BLOCK I/O: not in cgroup v2 on this host: ")
    assert "cgroup_no_v1=all" in reason or "systemd.unified_cgroup_hierarchy=1" in reason
    (row,) = rows(world)
    assert (row["MemoryUsage"], row["BlockRead"]) == (None, None)


def test_a_container_that_does_not_run_has_no_figures(world: World) -> None:
    world.ok("create", "--name", "c", "busybox", "true")
    (row,) = rows(world, "c")
    assert {row[key] for key in row if key not in ("Id", "Name")} == {None}
    assert rows(world) == []
    assert "no container 'x'" in world.refused("stats", "--no-stream", "x")


def test_again_and_again_until_interrupted(world: World) -> None:
    start(world, "sleep 100")
    with process(world, "stats", "--format", "json") as child:
        assert child.stdout is not None
        read_until(child.stdout.fileno(), b"]\n")
        read_until(child.stdout.fileno(), b"]\n")
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0


def test_containers_come_and_go_while_it_looks(world: World) -> None:
    start(world, "sleep 100", name="first")
    with process(world, "stats") as child:
        assert child.stdout is not None
        read_until(child.stdout.fileno(), b"first")
        start(world, "sleep 100", name="second")
        read_until(child.stdout.fileno(), b"second")
        world.ok("rm", "-f", "first", "second")
        output = child.stdout.fileno()
        # what was written before comes first
        assert eventually(lambda: b"first" not in read_until(output, b"PIDS\n").rpartition(b"CONTAINER")[2])
        assert child.poll() is None


def test_a_terminal_is_drawn_over(world: World) -> None:
    start(world, "sleep 100")
    with terminal(world, "stats", "--no-trunc") as (master, child):
        frame = read_until(master, b"\x1b[J")
        assert frame.startswith(b"\x1b[HCONTAINER ID")
        again = read_until(master, b"\x1b[J")
        assert b"\x1b[HCONTAINER ID" in again
        os.write(master, b"\x03")
        assert child.wait(20) == 0


def test_no_more_lines_than_the_terminal_has(world: World) -> None:
    for number in range(4):
        start(world, "sleep 100", name=f"c{number}")
    with terminal(world, "stats", rows=4) as (master, _):
        frame = read_until(master, b"\x1b[J").partition(b"\x1b[J")[0]  # more than one may have come
        assert frame.count(b"\n") == 3
