"""logs: what real containers have written, while they write, rotate, restart and end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from functools import partial

import pytest

from verbs_helpers import process, read_until
from world import World, eventually

BOTH = "echo one; echo bad >&2; printf two"


def start(world: World, script: str, *flags: str, name: str = "c") -> str:
    return world.background("--name", name, "--network", "none", *flags, "busybox", "sh", "-c", script)


def test_each_stream_goes_to_its_own(world: World) -> None:
    start(world, BOTH)
    world.ok("wait", "c")
    done = world("logs", "c")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo", "bad\n")


def test_a_terminal_has_one_stream(world: World) -> None:
    start(world, BOTH, "-t")
    world.ok("wait", "c")
    done = world("logs", "c")
    assert sorted(done.stdout.split()) == ["bad", "one", "two"]
    assert done.stderr == ""


def test_the_last_lines_and_their_times(world: World) -> None:
    start(world, "seq 1 1000")
    world.ok("wait", "c")
    assert world.ok("logs", "--tail", "3", "c") == "998\n999\n1000"
    assert world.ok("logs", "-n", "0", "c") == ""
    assert len(world.ok("logs", "-n", "all", "c").splitlines()) == 1000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z 1000", world.ok("logs", "-t", "-n", "1", "c"))


def ends_with(world: World, text: str) -> bool:
    return str(world("logs", "c").stdout).endswith(text)


def test_a_part_of_the_time(world: World) -> None:
    waits = "until rm /go 2>/dev/null; do sleep 0.02; done"
    start(world, f"echo one; {waits}; echo two; {waits}; echo three")
    for word in ("one", "two"):
        # what is read at one time has one time
        assert eventually(partial(ends_with, world, f"{word}\n"), 60)
        world("exec", "c", "touch", "/go")  # the last one may end with the container
    world.ok("wait", "c")
    times = dict(line.split()[::-1] for line in world.ok("logs", "-t", "c").splitlines())
    assert world.ok("logs", "--since", times["two"], "c") == "two\nthree"
    assert world.ok("logs", "--until", times["two"], "c") == "one"
    assert world.ok("logs", "--since", times["two"], "--until", times["three"], "c") == "two"
    assert world.ok("logs", "--since", "1h", "c") == "one\ntwo\nthree"
    assert world.ok("logs", "--until", "1h", "c") == ""


def test_a_line_longer_than_any_buffer_is_one_line(world: World) -> None:
    start(world, "head -c 200000 /dev/zero | tr '\\0' x; echo; echo end")
    world.ok("wait", "c")
    assert world.ok("logs", "c") == "x" * 200000 + "\nend"
    assert world.ok("logs", "-n", "2", "c") == "x" * 200000 + "\nend"


def test_following_shows_all_and_ends_with_the_container(world: World) -> None:
    start(world, "i=0; while [ $i -lt 50 ]; do echo $i; echo e$i >&2; i=$((i+1)); sleep 0.01; done")
    done = world("logs", "-f", "c")
    assert done.returncode == 0
    assert done.stdout.split() == [str(number) for number in range(50)]
    assert done.stderr.split() == [f"e{number}" for number in range(50)]


def test_following_through_rotations(world: World) -> None:
    """8 KiB a file, and more files than it takes: nothing is lost, nothing comes twice."""
    script = "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); [ $((i % 50)) = 0 ] && sleep 0.002; done"
    container = start(world, script, "--log-size", "8k", "--log-files", "200")
    done = world("logs", "-f", "c")
    assert done.stdout.splitlines() == [f"line {number}" for number in range(5000)]
    assert len(list((world.root / "containers" / container).glob("log.*"))) > 5, "it did not rotate"
    assert world.ok("logs", "c").splitlines() == done.stdout.splitlines()


def test_following_from_the_end(world: World) -> None:
    start(world, "echo old; while [ ! -e /go ]; do sleep 0.02; done; echo new")
    with process(world, "logs", "-f", "-n", "1", "c") as follower:
        assert follower.stdout is not None
        read_until(follower.stdout.fileno(), b"old\n")
        world("exec", "c", "touch", "/go")  # it may end with the container
        assert follower.stdout.read() == b"new\n"
        assert follower.wait(20) == 0


def test_following_ends_when_the_monitor_is_killed(world: World) -> None:
    container = start(world, "echo up; sleep 100")
    monitor = world.monitor_pid(container)
    with process(world, "logs", "-f", "c") as follower:
        assert follower.stdout is not None
        read_until(follower.stdout.fileno(), b"up\n")
        os.kill(monitor, signal.SIGKILL)
        assert follower.wait(20) == 0


def test_following_goes_on_through_restarts(world: World) -> None:
    start(world, "echo run; exit 1", "--restart", "on-failure:2")
    assert world.ok("logs", "-f", "c", timeout=30) == "run\nrun\nrun"


def test_following_a_container_that_removes_itself(world: World) -> None:
    start(world, "echo one; while [ ! -e /go ]; do sleep 0.02; done; seq 1 1000", "--rm")
    with process(world, "logs", "-f", "c") as follower:
        assert follower.stdout is not None
        read_until(follower.stdout.fileno(), b"one\n")
        world("exec", "c", "touch", "/go")  # it may end with the container
        assert follower.stdout.read().split() == [str(number).encode() for number in range(1, 1001)]
        assert follower.wait(20) == 0


def test_following_a_paused_container_waits(world: World) -> None:
    start(world, "while :; do echo tick; sleep 0.02; done")
    with process(world, "logs", "-f", "c") as follower:
        assert follower.stdout is not None
        read_until(follower.stdout.fileno(), b"tick\n")
        world.ok("pause", "c")
        assert follower.poll() is None
        world.ok("unpause", "c")
        read_until(follower.stdout.fileno(), b"tick\n")
        world.ok("rm", "-f", "c")
        follower.stdout.read()
        assert follower.wait(20) == 0


def test_following_costs_nothing_while_nothing_is_written(world: World) -> None:
    """It waits, it does not look again and again: its processor time stands still."""
    start(world, "echo up; sleep 100")
    with process(world, "logs", "-f", "c") as follower:
        assert follower.stdout is not None
        read_until(follower.stdout.fileno(), b"up\n")

        def switches() -> int:
            with open(f"/proc/{follower.pid}/status") as file:
                return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)

        def still() -> bool:
            before = switches()
            time.sleep(2)
            return switches() - before <= 1

        assert eventually(still, 30)  # when it has gone to sleep


def test_a_reader_that_goes_away(world: World) -> None:
    start(world, "echo up; sleep 100")
    done = subprocess.run(
        ["sh", "-c", '"$@" | head -n 1', "sh", *world.command, "logs", "-f", "c"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("up\n", "")


def test_interrupted(world: World) -> None:
    start(world, "echo up; sleep 100")
    with process(world, "logs", "-f", "c") as follower:
        assert follower.stdout is not None and follower.stderr is not None
        read_until(follower.stdout.fileno(), b"up\n")
        follower.send_signal(signal.SIGINT)
        assert follower.wait(20) == 130
        assert follower.stderr.read() == b""


def test_a_container_without_a_log(world: World) -> None:
    start(world, "echo x", "--log-size", "0")
    line = world.refused("logs", "c")
    assert "keeps no log" in line and "--log-size 0" in line


def test_a_container_that_never_ran(world: World) -> None:
    world.ok("create", "--name", "c", "busybox", "true")
    assert world.ok("logs", "c") == ""
    assert world.ok("logs", "-f", "c") == ""


def test_no_such_container(world: World) -> None:
    assert "no container 'none'" in world.refused("logs", "none")
    assert "ps -a" in world.refused("logs", "-f", "none")


@pytest.mark.parametrize("flag", ["-f", "-t"])
def test_damaged_lines(world: World, flag: str) -> None:
    container = start(world, "echo fine")
    world.ok("wait", "c")
    with open(world.root / "containers" / container / "log", "a") as log:
        log.write("something else\n2026-01-02T15:04:05.0")
    done = world("logs", flag, "c")
    assert done.returncode == 0
    assert done.stdout.endswith("fine\nsomething else\n2026-01-02T15:04:05.0\n")
