"""top: the processes of a container, seen from the host, whatever they call themselves."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from verbs_helpers import process
from world import World, eventually

#: The host's names of users are to be seen.
pytestmark = pytest.mark.usefixtures("host_users")


def processes(world: World, container: str = "c") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.ok("top", container, "--format", "json"))
    return found


def commands(world: World) -> list[str]:
    return [str(one["Command"]) for one in processes(world)]


def start(world: World, script: str, *flags: str) -> str:
    return world.background("--name", "c", "--network", "none", *flags, "busybox", "sh", "-c", script)


def test_all_processes_with_the_hosts_numbers(world: World) -> None:
    container = start(world, "sleep 100 & sleep 101 & wait", "--user", "65534")
    # a new process has the shell's words until it executes its own
    assert eventually(lambda: sorted(commands(world)[1:]) == ["sleep 100", "sleep 101"]), commands(world)
    found = processes(world)
    init = world.pid(container)
    assert found[0]["Pid"] == init
    assert {one["Ppid"] for one in found[1:]} == {init}
    assert {one["User"] for one in found} == {"nobody"}
    for one in found:
        assert os.readlink(f"/proc/{one['Pid']}/ns/pid") == os.readlink(f"/proc/{init}/ns/pid")


def test_the_table(world: World) -> None:
    start(world, "sleep 100; :")
    assert eventually(lambda: commands(world)[1:] == ["sleep 100"]), commands(world)
    lines = world.ok("top", "c").splitlines()
    assert lines[0].split() == ["USER", "PID", "PPID", "%CPU", "STIME", "TTY", "TIME", "CMD"]
    assert lines[1].split()[0] == "root"
    assert lines[1].endswith("sh -c sleep 100; :")
    assert lines[2].endswith("sleep 100")


def test_a_command_line_cannot_write_to_the_terminal(world: World) -> None:
    start(world, "sh -c 'sleep 100; :' \"$(printf 'a\\033[31mb\\nroot 1 1')\"; :")
    assert eventually(lambda: len(processes(world)) == 3)
    text = world.ok("top", "c")
    assert "\x1b" not in text
    assert r"a\x1b[31mb\nroot 1 1" in text
    assert len(text.splitlines()) == 4


def test_the_containers_accounts_say_nothing(world: World) -> None:
    """Names are the host's: a container that calls somebody root does not make him so."""
    start(world, "echo 'root::4242:4242::/:/bin/sh' >>/etc/passwd; exec sleep 100", "--user", "0")
    start_other = world.background("--name", "d", "--network", "none", "--user", "4242", "busybox", "sleep", "100")
    assert start_other
    assert [one["User"] for one in processes(world, "d")] == ["4242"]


def test_processor_time_and_terminal(world: World) -> None:
    start(world, "while :; do :; done", "-t")

    def busy() -> bool:
        """Of all of its life: the machine may have been doing other things at first."""
        (one,) = processes(world)
        return bool(one["Time"] > 0.2 and one["CpuPercent"] > 5)

    assert eventually(busy, 60), processes(world)
    (one,) = processes(world)
    assert one["Tty"] == "pts/0"
    assert one["State"] == "R"


def test_processes_of_exec_are_the_containers(world: World) -> None:
    start(world, "sleep 100; :")
    with process(world, "exec", "c", "sleep", "102"):
        assert eventually(lambda: any(one["Command"] == "sleep 102" for one in processes(world)))
        world.ok("rm", "-f", "c")


def test_a_paused_container(world: World) -> None:
    start(world, "sleep 100; :")
    world.ok("pause", "c")
    assert processes(world)[0]["Command"].startswith("sh -c")
    world.ok("unpause", "c")


def test_processes_that_come_and_go(world: World) -> None:
    """Some of what is listed is gone when it is looked at: nobody minds."""
    start(world, "while :; do true & true & wait; done; echo $(true)")
    for _ in range(20):
        assert processes(world)[0]["Command"].startswith("sh -c")


def test_a_container_that_does_not_run(world: World) -> None:
    world.ok("create", "--name", "c", "busybox", "true")
    assert world.refused("top", "c") == "container c is not running: start it first"
    assert "no container 'x'" in world.refused("top", "x")


def test_a_container_between_two_runs(world: World) -> None:
    """Its restart policy waits longer each time."""
    world.background("--name", "c", "--network", "none", "--restart", "always", "busybox", "false")
    said = "container c is restarting: it has no processes at this moment, try again"
    assert eventually(lambda: said in world("top", "c").stderr)
