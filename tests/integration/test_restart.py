"""Restart policies: when a container is started again, how often, after what pause, and with what."""

from __future__ import annotations

import time

import pytest

from client import Client
from world import World, eventually

QUIET = ("--network", "none")
#: Counts its lives in a file that stays, says the number, and ends with the status.
LIVES = "n=$(cat /n 2>/dev/null || echo 0); n=$((n+1)); echo $n >/n; echo life $n; "


def lives(world: World, name: str) -> int:
    return world.ok("logs", name).count("life ")


def restarts(world: World, name: str) -> int:
    return int(world.inspect(name)["RestartCount"])


def test_no_policy_is_no_restart(world: World) -> None:
    assert world("run", "--name", "one", *QUIET, "busybox", "sh", "-c", LIVES + "exit 1").returncode == 1
    assert (world.status("one"), lives(world, "one"), restarts(world, "one")) == ("exited", 1, 0)


@pytest.mark.parametrize("maximum", [1, 3])
def test_on_failure_counts(world: World, maximum: int) -> None:
    identity = world.background(
        "--name", "one", "--restart", f"on-failure:{maximum}", *QUIET, "busybox", "sh", "-c", LIVES + "exit 9"
    )
    assert eventually(lambda: world.status(identity) == "exited")
    assert (lives(world, "one"), restarts(world, "one")) == (1 + maximum, maximum)
    assert world.ok("wait", "one") == "9"


def test_on_failure_is_satisfied_by_success(world: World) -> None:
    script = LIVES + "test $n -lt 3 && exit 1; exit 0"
    world.background("--name", "one", "--restart", "on-failure", *QUIET, "busybox", "sh", "-c", script)
    assert eventually(lambda: world.status("one") == "exited")
    assert (lives(world, "one"), restarts(world, "one")) == (3, 2)
    assert world.inspect("one")["State"]["ExitCode"] == 0


def test_a_start_by_a_person_counts_from_the_start_again(world: World) -> None:
    script = LIVES + "exit 1"
    world.background("--name", "one", "--restart", "on-failure:2", *QUIET, "busybox", "sh", "-c", script)
    assert eventually(lambda: world.status("one") == "exited")
    world.ok("start", "one")
    assert eventually(lambda: world.status("one") == "exited" and lives(world, "one") == 6)
    assert restarts(world, "one") == 2


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_always(world: World, policy: str) -> None:
    world.background("--name", "one", "--restart", policy, *QUIET, "busybox", "sh", "-c", LIVES + "exit 0")
    assert eventually(lambda: lives(world, "one") >= 3)
    world.ok("stop", "one")
    assert world.status("one") == "exited"
    seen = lives(world, "one")
    assert not eventually(lambda: lives(world, "one") != seen, seconds=3)


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
@pytest.mark.parametrize("verb", ["stop", "kill", "kill -s TERM"])
def test_what_a_person_ends_stays_ended(world: World, policy: str, verb: str) -> None:
    world.background("--name", "one", "--restart", policy, *QUIET, "--init", "busybox", "sleep", "1000")
    world.ok(*verb.split(), "one")
    assert eventually(lambda: world.status("one") == "exited")
    assert restarts(world, "one") == 0
    assert not eventually(lambda: world.status("one") != "exited", seconds=1)


def test_another_signal_does_not_end_the_policy(world: World) -> None:
    script = "trap 'exit 1' USR1; " + LIVES + "sleep 1000 & wait"
    world.background("--name", "one", "--restart", "on-failure", *QUIET, "busybox", "sh", "-c", script)
    for number in (1, 2):
        assert eventually(lambda number=number: lives(world, "one") == number)  # type: ignore[misc]
        world.ok("kill", "-s", "USR1", "one")
    assert eventually(lambda: lives(world, "one") == 3)


def test_the_pause_doubles(world: World) -> None:
    """100 ms, 200, 400, 800: four restarts take a second and a half at least, ten would take minutes."""
    start = time.monotonic()
    world.background("--name", "one", "--restart", "on-failure:4", *QUIET, "busybox", "sh", "-c", LIVES + "exit 1")
    assert eventually(lambda: world.status("one") == "exited", seconds=60)
    assert time.monotonic() - start > 1.5
    assert lives(world, "one") == 5


def test_stop_interrupts_the_pause(world: World) -> None:
    world.background("--name", "one", "--restart", "always", *QUIET, "busybox", "false")
    assert eventually(lambda: restarts(world, "one") >= 7 and world.status("one") == "restarting", 60)
    start = time.monotonic()
    world.ok("stop", "one")
    # the pause is 12.8 s long
    assert time.monotonic() - start < 10
    assert world.status("one") == "exited"
    assert world.inspect("one")["State"]["ExitCode"] == 1


@pytest.mark.parametrize("verb", ["stop", "kill", "rm -f"])
def test_an_end_at_any_moment_is_the_end(world: World, verb: str) -> None:
    """Between two lives there is a moment without a monitor: a verb that comes then waits for the next."""
    for delay in (0.0, 0.05, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.25):
        world.background("--name", "one", "--restart", "always", *QUIET, "busybox", "true")
        time.sleep(delay)
        done = world(*verb.split(), "one")
        assert done.returncode == 0, done
        expected = "gone" if verb == "rm -f" else "exited"
        if verb == "kill":
            assert eventually(lambda: world.status("one") == "exited")
        assert world.status("one") == expected
        time.sleep(0.3)
        assert world.status("one") == expected
        world.ok("rm", "-f", "one")


def test_wait_hears_of_the_first_end(world: World) -> None:
    """The first one after it was asked for."""
    world.background(
        "--name", "one", "--restart", "always", *QUIET, "busybox", "sh", "-c", LIVES + "sleep 1; exit $((n+2))"
    )
    before = lives(world, "one")
    assert max(before, 1) <= int(world.ok("wait", "one")) - 2 <= lives(world, "one")


def test_run_with_a_policy_in_the_foreground(world: World) -> None:
    """Who is attached sees the first life and its status; the container lives on."""
    script = LIVES + "test $n -gt 2 && exec sleep 1000; exit 6"
    done = world("run", "--name", "one", "--restart", "always", *QUIET, "busybox", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (6, "life 1\n")
    assert eventually(lambda: lives(world, "one") == 3)


def test_restart_verb_keeps_the_policy(world: World) -> None:
    script = LIVES + "trap 'exit 0' TERM; trap 'exit 1' USR1; echo ready; while :; do sleep 1000 & wait $!; done"
    world.background("--name", "one", "--restart", "on-failure", *QUIET, "busybox", "sh", "-c", script)
    assert eventually(lambda: world.ok("logs", "one").count("ready") == 1)
    world.ok("restart", "one")
    assert eventually(lambda: world.ok("logs", "one").count("ready") == 2)
    world.ok("kill", "-s", "USR1", "one")
    assert eventually(lambda: world.ok("logs", "one").count("ready") == 3)
    assert restarts(world, "one") == 1


def test_address_and_ports_are_kept(world: World) -> None:
    script = LIVES + "trap 'exit 1' USR1; httpd -p 80 -h /; echo ready; sleep 1000 & wait"
    flags = ("--restart", "on-failure", "-p", "18080:80")
    world.background("--name", "one", *flags, "busybox", "sh", "-c", script)
    other = world.background("busybox", "sleep", "1000")
    assert eventually(lambda: "life 1\nready" in world.ok("logs", "one"))
    before = world.inspect("one")["NetworkSettings"]
    assert before["IPAddress"]
    assert eventually(lambda: answers(18080))
    world.ok("kill", "-s", "USR1", "one")
    assert eventually(lambda: "life 2\nready" in world.ok("logs", "one"))
    after = world.inspect("one")["NetworkSettings"]
    assert (after["IPAddress"], after["GlobalIPv6Address"]) == (before["IPAddress"], before["GlobalIPv6Address"])
    assert after["Ports"] == before["Ports"]
    assert eventually(lambda: answers(18080))
    world.ok("rm", "-f", "one", other)


def answers(port: int) -> bool:
    """Whether something speaks HTTP on the host's port."""
    import socket

    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as link:
            link.sendall(b"GET /n HTTP/1.0\r\n\r\n")
            return link.recv(100).startswith(b"HTTP/1.")
    except OSError:
        return False


def test_a_restart_that_cannot_be_is_an_end(world: World) -> None:
    """Its command vanishes: the container ends, with what it had, and a start says why."""
    script = "rm /bin/sh; exit 1"
    identity = world.background("--name", "one", "--restart", "always", *QUIET, "busybox", "/bin/sh", "-c", script)
    assert eventually(lambda: world.status(identity) == "exited")
    assert eventually(lambda: not (world.run_root / "containers" / identity).exists())
    assert "no such file or directory" in world.refused("start", "one", status=127)


def test_logs_go_on(world: World) -> None:
    script = LIVES + "test $n -lt 3"
    world.background(
        "--name", "one", "--restart", "on-failure", *QUIET, "busybox", "sh", "-c", script + "|| exit 0; exit 1"
    )
    with Client(world, "logs", "-f", "one") as following:
        following.expect("life 3")
        assert following.finish() == 0
    assert following.output == b"life 1\nlife 2\nlife 3\n"


def test_rename_while_it_restarts_is_not_lost(world: World) -> None:
    world.background("--name", "name0", "--restart", "always", *QUIET, "busybox", "true")
    for number in range(20):
        world.ok("rename", f"name{number}", f"name{number + 1}")
    assert eventually(lambda: world.inspect("name20")["Name"] == "name20")
    assert [path.name for path in (world.root / "names").iterdir()] == ["name20"]
    seen = restarts(world, "name20")
    assert eventually(lambda: restarts(world, "name20") > seen, 60)  # the pauses get longer and longer
    assert world.inspect("name20")["Name"] == "name20"
