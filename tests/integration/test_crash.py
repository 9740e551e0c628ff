"""kill -9 of our own processes at any moment: the next command repairs or removes what they left."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial

import pytest

from world import TIMEOUT, World, eventually
from worlds import settled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
MOMENTS = 50
SLEEP = ("--init", "busybox", "sleep", "1000")


def start(world: World, *arguments: str) -> subprocess.Popen[bytes]:
    command = [*world.command, *arguments]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def moments(world: World, count: int, *arguments: str, times: int = 1) -> Iterator[float]:
    """Times from 0 to a little longer than the command takes, in seconds; the seed is in the output of a failure.

    times: so often it is done to see how long it takes at least.
    """
    lengths = []
    for _ in range(times):
        begin = time.monotonic()
        process = start(world, *arguments)
        process.wait(TIMEOUT)
        assert process.returncode == 0
        lengths.append(time.monotonic() - begin)
    length = min(lengths)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}, length {length * 1000:.1f} ms")
    source = random.Random(seed)
    for _ in range(count):
        yield source.uniform(0, length * 1.2)


def kill_after(process: subprocess.Popen[bytes], delay: float) -> int:
    """SIGKILL to a command after a time, where it has not ended by then; its exit status."""
    fd = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        begin = time.monotonic()
        # poll's unit is too coarse for a command of 20 ms
        while time.monotonic() < begin + delay and not poll.poll(0):
            pass
        process.kill()
    finally:
        os.close(fd)
    return process.wait(TIMEOUT)


def statuses(world: World) -> dict[str, str]:
    rows = json.loads(world.ok("ps", "-a", "--format", "json"))
    return {row["Id"]: row["State"] for row in rows}


@pytest.mark.parametrize("network", ["none", "bridge"])
def test_run_killed_at_random_moments(world: World, network: str) -> None:
    arguments = ("run", "--rm", "--network", network, "busybox", "true")
    world.ok(*arguments)  # the bridge is there
    killed = 0
    for delay in moments(world, MOMENTS, *arguments, times=5):
        killed += kill_after(start(world, *arguments), delay) == -signal.SIGKILL
        # the next command of any kind is not bothered
        assert world("run", "--rm", "--network", network, "busybox", "echo", "next").stdout == "next\n"
    assert killed > MOMENTS // 4
    # what was killed after its container began runs to its end without it, and then goes
    assert eventually(lambda: not statuses(world)), statuses(world)
    settled(world)


def test_run_in_the_background_killed_at_random_moments(world: World) -> None:
    arguments = ("run", "-d", "-p", "80", *SLEEP)
    world.ok(*arguments)
    for delay in moments(world, MOMENTS, *arguments):
        kill_after(start(world, *arguments), delay)
    # one that began lives on with its monitor; one that did not is gone, with no half of it left
    assert eventually(lambda: set(statuses(world).values()) <= {"running"}), statuses(world)
    found = statuses(world)
    for identity in found:
        assert world.ok("exec", identity, "echo", "here") == "here"
    world.ok("rm", "-f", *found)
    settled(world)


def test_rm_killed_at_random_moments(world: World) -> None:
    made = [world.background("--network", "none", *SLEEP) for _ in range(11)]
    for identity, delay in zip(made[1:], moments(world, 10, "rm", "-f", made[0]), strict=True):
        kill_after(start(world, "rm", "-f", identity), delay)
    for identity in statuses(world):
        world.ok("rm", "-f", identity)
    settled(world)


def test_start_and_stop_killed_at_random_moments(world: World) -> None:
    world.ok("create", "--name", "one", "--network", "bridge", *SLEEP)
    for delay in moments(world, 15, "start", "one"):
        world("stop", "one")
        kill_after(start(world, "start", "one"), delay)
        # its child may be past the point of no return, and starts the container
        assert eventually(lambda: world.status("one") in ("created", "exited", "running"))
    for delay in moments(world, 15, "stop", "one"):
        world.ok("start", "one")
        kill_after(start(world, "stop", "one"), delay)
        assert eventually(lambda: world.status("one") in ("running", "exited"))
    world.ok("rm", "-f", "one")
    settled(world)


def test_monitors_killed_while_their_containers_run(world: World) -> None:
    flags = ("--network", "bridge")
    made = [world.background(*flags, "-p", f"127.0.0.1:{18000 + number}:80", *SLEEP) for number in range(10)]
    for identity in made:
        init = os.pidfd_open(world.pid(identity))
        os.kill(world.monitor_pid(identity), signal.SIGKILL)
        assert select.select([init], [], [], TIMEOUT)[0], "a container outlives its monitor"
        os.close(init)
    assert statuses(world) == dict.fromkeys(made, "exited")
    again = made[0]
    # nothing of its ports, address or cgroup is in the way of its next start
    world.ok("start", again)
    assert world.status(again) == "running"
    world.ok("rm", "-f", *made)
    settled(world)


def descendants(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            found = [int(child) for child in file.read().split()]
    except OSError:
        return []
    return found + [below for child in found for below in descendants(child)]


def ours(pid: int, name: str) -> int:
    """A process of a command's by its name, as soon as there is one; 0 where the command has ended before."""
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        for one in descendants(pid):
            try:
                with open(f"/proc/{one}/comm", encoding="ascii") as file:
                    if file.read() == f"{name}\n":
                        return one
            except OSError:
                continue
    return 0


def runs_no_more(world: World, name: str) -> bool:
    return world.status(name) in ("created", "exited", "gone")


@pytest.mark.parametrize("name", ["pycontain-mon", "pycontain-io"])
def test_who_watches_is_killed_at_random_moments(world: World, name: str) -> None:
    """The container ends with either of them, nothing is left, and its end is known: what it was, or the kill."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    arguments = ("--network", "none", "--log-size", "4k", "busybox", "sh", "-c")
    hit = 0
    for number in range(MOMENTS):
        # every other one does not end before we have found it, however slow we are
        script = f"seq 500; sleep {(0.02, 1)[number % 2]}; exit 3"
        front = start(world, "run", "--name", f"c{number}", *arguments, script)
        victim = ours(front.pid, name)
        if victim:
            deadline = time.monotonic() + source.uniform(0, 0.04)
            while time.monotonic() < deadline:
                pass
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass
        front.wait(TIMEOUT)
        hit += front.returncode != 3
        # a command repairs what is left of a monitor; a relay leaves its monitor, which cleans up
        assert eventually(partial(runs_no_more, world, f"c{number}"))
        if world.status(f"c{number}") == "exited":
            code = int(world.inspect(f"c{number}")["State"]["ExitCode"])
            assert code in ((3, 137) if name == "pycontain-io" else (3, 137, -1, 255)), code
            world.ok("rm", f"c{number}")
    assert hit > MOMENTS // 5
    world("rm", "-f", "--all")
    settled(world)
