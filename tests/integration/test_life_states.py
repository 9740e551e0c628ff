"""What each verb does to a container in each state: its answer, its exit status, and the state after it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from client import Client, connected, status_value
from world import World, eventually

QUIET = ("--network", "none")
#: Ends on SIGTERM: its init passes that on.
SLEEP = (*QUIET, "--init", "busybox", "sleep", "1000")


def make(world: World, status: str, name: str = "one") -> str:
    """A container in this state; its ID."""
    if status == "created":
        return world.ok("create", "--name", name, *SLEEP)
    if status == "exited":
        world.ok("run", "--name", name, *QUIET, "busybox", "true")
        return str(world.inspect(name)["Id"])
    if status == "restarting":
        identity = world.background("--name", name, "--restart", "always", *QUIET, "busybox", "false")
        # the seventh pause is 6.4 s long: time for a verb
        assert eventually(lambda: world.inspect(name)["RestartCount"] >= 6 and world.status(name) == "restarting")
        return identity
    identity = world.background("--name", name, *SLEEP)
    if status == "paused":
        world.ok("pause", name)
    return identity


#: state, command line, exit status, part of the answer, state after it.
ANSWERS = [
    ("created", "start one", 0, "one", "running"),
    ("created", "stop one", 0, "one", "created"),
    ("created", "restart one", 0, "one", "running"),
    ("created", "kill one", 125, "container one is not running", "created"),
    ("created", "pause one", 125, "container one is not running", "created"),
    ("created", "unpause one", 125, "container one is not running", "created"),
    ("created", "wait one", 125, "container one was never started", "created"),
    ("created", "exec one true", 125, "container one is not running", "created"),
    ("created", "attach one", 125, "container one is created", "created"),
    ("created", "rm one", 0, "one", "gone"),
    ("created", "rm -f one", 0, "one", "gone"),
    ("running", "start one", 0, "one", "running"),
    ("running", "start -a one", 125, "is running already", "running"),
    ("running", "stop one", 0, "one", "exited"),
    ("running", "restart one", 0, "one", "running"),
    ("running", "kill one", 0, "one", "exited"),
    ("running", "kill -s TERM one", 0, "one", None),
    ("running", "pause one", 0, "one", "paused"),
    ("running", "unpause one", 125, "container one is not paused", "running"),
    ("running", "exec one true", 0, "", "running"),
    ("running", "rm one", 125, "is running: stop it first", "running"),
    ("running", "rm -f one", 0, "one", "gone"),
    ("paused", "start one", 0, "one", "paused"),
    ("paused", "stop one", 0, "one", "exited"),
    ("paused", "restart one", 0, "one", "running"),
    ("paused", "kill one", 0, "one", "exited"),
    ("paused", "pause one", 125, "container one is paused already", "paused"),
    ("paused", "unpause one", 0, "one", "running"),
    ("paused", "exec one true", 125, "container one is paused: unpause it first", "paused"),
    ("paused", "rm one", 125, "is running: stop it first", "paused"),
    ("paused", "rm -f one", 0, "one", "gone"),
    ("exited", "start one", 0, "one", None),
    ("exited", "stop one", 0, "one", "exited"),
    ("exited", "restart one", 0, "one", None),
    ("exited", "kill one", 125, "container one is not running", "exited"),
    ("exited", "pause one", 125, "container one is not running", "exited"),
    ("exited", "unpause one", 125, "container one is not running", "exited"),
    ("exited", "wait one", 0, "0", "exited"),
    ("exited", "exec one true", 125, "container one is not running", "exited"),
    ("exited", "attach one", 125, "container one is exited", "exited"),
    ("exited", "rm one", 0, "one", "gone"),
    ("exited", "rm -f one", 0, "one", "gone"),
    ("restarting", "stop one", 0, "one", "exited"),
    ("restarting", "kill one", 0, "one", "exited"),
    ("restarting", "pause one", 125, "only a running one can be paused", None),
    ("restarting", "exec one true", 125, "is not running", None),
    ("restarting", "rm one", 125, "is running: stop it first", None),
    ("restarting", "rm -f one", 0, "one", "gone"),
]


@pytest.mark.parametrize(
    ("status", "command", "code", "answer", "after"), ANSWERS, ids=[f"{line[0]}-{line[1]}" for line in ANSWERS]
)
def test_a_verb_on_a_container_in_a_state(
    world: World, status: str, command: str, code: int, answer: str, after: str | None
) -> None:
    make(world, status)
    if code:
        assert answer in world.refused(*command.split(), status=code)
    else:
        assert world.ok(*command.split()) == answer
    if after:
        assert world.status("one") == after


def test_rename_in_every_state(world: World) -> None:
    for status in ("created", "running", "paused", "exited"):
        identity = make(world, status, "old")
        world.ok("rename", "old", "new")
        assert world.inspect("new")["Id"] == identity
        assert "no container 'old'" in world.refused("inspect", "old")
        world.ok("rm", "-f", "new")


def test_a_name_that_was_given_away_is_free(world: World) -> None:
    world.ok("create", "--name", "a", *SLEEP)
    world.ok("rename", "a", "b")
    world.ok("create", "--name", "a", *SLEEP)
    assert "in use" in world.refused("rename", "b", "a")
    assert "has the name 'b' already" in world.refused("rename", "b", "b")


def test_a_verb_on_several_containers_does_what_it_can(world: World) -> None:
    world.ok("create", "--name", "a", *SLEEP)
    world.ok("create", "--name", "c", *SLEEP)
    done = world("start", "a", "none", "c")
    assert (done.returncode, done.stdout) == (1, "a\nc\n")
    assert done.stderr == "pycontain: no container 'none': 'pycontain ps -a' lists those that exist\n"
    assert world.status("a") == world.status("c") == "running"


@pytest.mark.parametrize("verb", ["start", "stop", "kill", "pause", "unpause", "restart", "wait", "rm", "attach"])
def test_no_such_container(world: World, verb: str) -> None:
    assert world.refused(verb, "nobody").startswith("no container 'nobody'")
    assert "is not a container's name or ID" in world.refused(verb, "../x")


def test_rm_force_of_nobody_is_no_error(world: World) -> None:
    assert world.ok("rm", "-f", "nobody") == "nobody"


# --- exit statuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 125", 125),
        ("exit 255", 255),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
    ],
)
def test_the_commands_status(world: World, script: str, status: int) -> None:
    # not PID 1: that one cannot kill itself
    done = world("run", "--rm", "--init", *QUIET, "busybox", "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_a_signal_from_the_host_is_128_and_its_number(world: World) -> None:
    identity = world.background("--name", "one", *SLEEP)
    world.ok("kill", "-s", "KILL", identity)
    assert world.ok("wait", "one") == "137"
    state = world.inspect("one")["State"]
    assert (state["ExitCode"], state["Status"], state["Pid"]) == (137, "exited", 0)


REFUSED_COMMANDS = [
    ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
    ("/no/such", 127, 'exec: "/no/such": stat /no/such: no such file or directory'),
    ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
    ("/etc", 126, 'exec: "/etc": is a directory: permission denied'),
    ("/etc/passwd/x", 127, 'exec: "/etc/passwd/x": stat /etc/passwd/x: no such file or directory'),
]


@pytest.mark.parametrize("verb", [("run", "--rm"), ("run",), ("run", "-d"), ("run", "-d", "--rm")], ids=" ".join)
@pytest.mark.parametrize(("command", "status", "answer"), REFUSED_COMMANDS)
def test_a_command_that_cannot_start(
    world: World, verb: tuple[str, ...], command: str, status: int, answer: str
) -> None:
    line = world.refused(*verb, "--name", "one", *QUIET, "busybox", command, status=status)
    assert line == f"container one: {answer}"
    assert world.status("one") == "gone"


def test_a_script_without_interpreter(world: World) -> None:
    script = r"printf '#!/no/shell\n' >/x; chmod 755 /x; printf 'text' >/y; chmod 755 /y"
    world.background("--name", "one", *QUIET, "busybox", "sh", "-c", script + "; sleep 1000")
    assert eventually(lambda: world("exec", "one", "test", "-x", "/y").returncode == 0)
    assert "its interpreter or loader" in world.refused("exec", "one", "/x", status=127)
    assert "exec format error" in world.refused("exec", "one", "/y", status=126)


def test_start_of_a_container_whose_command_is_gone(world: World) -> None:
    """It was made, so it stays; and starting it says why it does not start, in one line."""
    identity = world.ok("create", "--name", "one", *QUIET, "busybox", "nosuch")
    for flags in ((), ("-a",)):
        line = world.refused("start", *flags, "one", status=127)
        assert line == 'container one: exec: "nosuch": executable file not found in $PATH'
    assert world.status(identity) == "created"


# --- stopping -----------------------------------------------------------------------------------------------------


def trapping(signals: str, answer: int) -> tuple[str, ...]:
    """A command that ends with ``answer`` on any of the signals, and says when it is ready."""
    return (
        "busybox",
        "sh",
        "-c",
        f"trap 'exit {answer}' {signals}; echo ready; while :; do sleep 1000 & wait $!; done",
    )


def ready(world: World, name: str) -> None:
    assert eventually(lambda: "ready" in world.ok("logs", name))


def test_stop_sends_the_stop_signal(world: World) -> None:
    world.background("--name", "one", *QUIET, *trapping("TERM", 7))
    world.background("--name", "two", "--stop-signal", "USR1", *QUIET, *trapping("USR1", 8))
    world.background("--name", "three", "--stop-signal", "SIGRTMIN+3", *QUIET, *trapping("37", 9))
    for name in ("one", "two", "three"):
        ready(world, name)
    world.ok("stop", "one", "two", "three")
    assert world.ok("wait", "one", "two", "three") == "7\n8\n9"


def test_stop_kills_after_its_time(world: World) -> None:
    # without either it would be ten
    for flags, stop in ((("--stop-timeout", "1"), ()), (("--stop-timeout", "100"), ("-t", "1"))):
        world.background("--name", "one", *flags, *QUIET, "busybox", "sleep", "1000")
        start = time.monotonic()
        world.ok("stop", *stop, "one")
        assert 1.0 <= time.monotonic() - start < 10
        assert world.ok("wait", "one") == "137"
        world.ok("rm", "one")


def test_stop_at_once(world: World) -> None:
    world.background("--name", "one", *QUIET, "busybox", "sleep", "1000")
    start = time.monotonic()
    world.ok("stop", "-t", "0", "one")
    assert time.monotonic() - start < 10
    assert world.ok("wait", "one") == "137"


def test_stop_for_ever_waits_until_somebody_kills(world: World) -> None:
    identity = world.background("--name", "one", *QUIET, "busybox", "sleep", "1000")
    with Client(world, "stop", "-t", "-1", "one") as stopping:
        # a second client of the monitor while the first waits
        assert eventually(lambda: connected(stopping.pid))
        with pytest.raises(subprocess.TimeoutExpired):
            stopping.process.wait(1.5)
        world.ok("kill", identity)
        assert stopping.finish() == 0
    assert world.status("one") == "exited"


def test_a_paused_container_hears_its_stop_signal(world: World) -> None:
    world.background("--name", "one", *QUIET, *trapping("TERM", 5))
    ready(world, "one")
    world.ok("pause", "one")
    world.ok("stop", "one")
    assert world.ok("wait", "one") == "5"


def test_a_paused_container_stands_still(world: World) -> None:
    identity = world.background("--name", "one", *QUIET, "busybox", "sh", "-c", "while :; do echo x; done")
    assert eventually(lambda: "x" in world.ok("logs", "--tail", "1", "one"))
    relay = world.relay_pid(identity)
    world.ok("pause", "one")
    # what it had written before is logged
    with open(f"/proc/{world.pid(identity)}/fd/1", "rb") as pipe:
        assert eventually(lambda: not select.select([pipe], [], [], 0)[0] and status_value(relay, "State")[0] == "S")
    before = world.ok("logs", "one").count("x")
    assert world.ok("logs", "one").count("x") == before
    world.ok("unpause", "one")
    assert eventually(lambda: world.ok("logs", "--tail", "all", "one").count("x") != before)


def test_kill_with_a_signal_of_any_name(world: World) -> None:
    world.background("--name", "one", *QUIET, *trapping("HUP USR2 40", 4))
    ready(world, "one")
    for name in ("SIGWINCH", "winch", "28", "CONT"):
        world.ok("kill", "-s", name, "one")
    assert world.status("one") == "running"
    world.ok("kill", "-s", "usr2", "one")
    assert world.ok("wait", "one") == "4"


# --- what is recorded ---------------------------------------------------------------------------------------------


def test_the_exit_record(world: World) -> None:
    before = time.time()
    identity = world.background("--name", "one", *SLEEP)
    running = world.inspect("one")["State"]
    assert (running["Status"], running["Running"], running["ExitCode"]) == ("running", True, 0)
    assert running["Pid"] == world.pid(identity)
    world.ok("stop", "one")
    after = time.time()
    words = (world.root / "containers" / identity / "exit").read_text().split()
    assert words[:3] == ["143", "0", "0"]
    assert before <= float(words[3]) <= float(words[4]) <= after
    ended = world.inspect("one")["State"]
    assert (ended["Status"], ended["ExitCode"], ended["OOMKilled"], ended["Error"]) == ("exited", 143, False, "")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", ended["FinishedAt"])
    assert ended["StartedAt"] <= ended["FinishedAt"]


def test_a_second_start_makes_a_new_record(world: World) -> None:
    world.ok("create", "--name", "one", *QUIET, "busybox", "sh", "-c", "test -e /x && exit 2; touch /x; exit 1")
    assert world("start", "-a", "one").returncode == 1
    first = world.inspect("one")["State"]
    assert world("start", "-a", "one").returncode == 2
    second = world.inspect("one")["State"]
    assert (first["ExitCode"], second["ExitCode"]) == (1, 2)
    assert first["FinishedAt"] < second["StartedAt"]


def test_ps_shows_states_and_filters(world: World) -> None:
    make(world, "created", "c")
    make(world, "running", "r")
    make(world, "paused", "p")
    make(world, "exited", "e")
    assert json.loads(world.ok("ps", "--format", "json"))[0]["Name"] == "p"
    assert sorted(world.ok("ps", "-q", "--no-trunc").split()) == sorted(
        str(world.inspect(name)["Id"]) for name in ("r", "p")
    )
    table = world.ok("ps", "-a")
    for name, shown in (("c", "Created"), ("r", "Up "), ("p", "(Paused)"), ("e", "Exited (0)")):
        line = next(line for line in table.splitlines() if line.endswith(f" {name}"))
        assert shown in line
    for status, name in (("created", "c"), ("running", "r"), ("paused", "p"), ("exited", "e")):
        rows = json.loads(world.ok("ps", "--filter", f"status={status}", "--format", "json"))
        assert [row["Name"] for row in rows] == [name]


# --- names, IDs, labels, files ------------------------------------------------------------------------------------


def test_ids_and_their_beginnings(world: World) -> None:
    one = world.ok("create", "--name", "one", *SLEEP)
    two = world.ok("create", *SLEEP)
    assert re.fullmatch("[0-9a-f]{64}", one)
    for text in (one, one[:12], one[:8], "one"):
        assert world.inspect(text)["Id"] == one
    assert re.fullmatch("[a-z]+_[a-z]+|c[0-9a-f]{12}", world.inspect(two)["Name"])
    # a beginning that both have
    names = [one[0], two[0]]
    made = []
    while len(set(names)) == len(names):
        made.append(world.ok("create", *SLEEP))
        names.append(made[-1][0])
    assert "containers' IDs: give more of it" in world.refused("rm", made[-1][0] if made else one[0])


def test_a_name_wins_over_the_beginning_of_an_id(world: World) -> None:
    one = world.ok("create", *SLEEP)
    two = world.ok("create", "--name", one[:6], *SLEEP)
    assert world.inspect(one[:6])["Id"] == two
    assert world.inspect(one[:7])["Id"] == one


def test_a_name_in_use_leaves_nothing(world: World) -> None:
    one = world.ok("create", "--name", "one", *SLEEP)
    for verb in ("create", "run"):
        line = world.refused(verb, "--name", "one", *SLEEP)
        assert line.startswith(f"the name 'one' is in use by container {one[:12]}")
    assert len(list((world.root / "containers").iterdir())) == 1
    world.ok("rm", "one")
    world.ok("create", "--name", "one", *SLEEP)


def test_labels(world: World) -> None:
    one = world.ok("create", "--label", "a=1", "--label", "b", "--label", "c=x=y", *SLEEP)
    two = world.ok("create", "--label", "a=2", *SLEEP)
    assert world.inspect(one)["Config"]["Labels"] == {"a": "1", "b": "", "c": "x=y"}

    def listed(*filters: str) -> list[str]:
        flags = [word for text in filters for word in ("--filter", text)]
        return sorted(world.ok("ps", "-aq", "--no-trunc", *flags).split())

    assert listed("label=a") == sorted([one, two])
    assert listed("label=a=1") == [one]
    assert listed("label=a=1", "label=a=2") == sorted([one, two])
    assert listed("label=a=2", "id=" + one[:20]) == []


def test_cidfile(world: World, workdir: Path) -> None:
    path = f"{workdir}/cid"
    done = world("run", "--cidfile", path, "--name", "one", *QUIET, "busybox", "true")
    assert (done.returncode, done.stderr) == (0, "")
    with open(path) as file:
        assert file.read() == world.inspect("one")["Id"]
    line = world.refused("run", "--cidfile", path, *QUIET, "busybox", "true")
    assert line == f"--cidfile {path}: File exists"
    assert len(list((world.root / "containers").iterdir())) == 1


def test_a_container_that_does_not_start_leaves_no_cidfile(world: World, workdir: Path) -> None:
    path = f"{workdir}/cid"
    world.refused("run", "--cidfile", path, *QUIET, "busybox", "nosuch", status=127)
    assert not os.path.exists(path)
    world.refused("run", "--cidfile", f"{workdir}/no/cid", *QUIET, "busybox", "true")


# --- --rm ---------------------------------------------------------------------------------------------------------


def test_rm_with_detach(world: World) -> None:
    identity = world.background("--rm", "--name", "one", *SLEEP)
    with Client(world, "wait", identity) as waiting:
        assert eventually(lambda: connected(waiting.pid))
        world.ok("stop", "one")
        assert waiting.finish() == 0
        assert waiting.output == b"143\n"
    assert world.status(identity) == "gone"
    assert not (world.root / "containers" / identity).exists()


@pytest.mark.parametrize("verb", ["stop", "kill", "rm -f"])
def test_a_container_of_rm_is_gone_when_the_verb_has_ended_it(world: World, verb: str) -> None:
    world.background("--rm", "--name", "one", *SLEEP)
    world.ok(*verb.split(), "one")
    assert world.status("one") == "gone"
    world.ok("run", "--rm", "--name", "one", *QUIET, "busybox", "true")


def test_what_goes_by_itself_at_its_end_goes_with_its_name(world: World) -> None:
    world.background("--rm", "--name", "one", *SLEEP)
    assert "container one runs and goes at its end (--rm)" in world.refused("rename", "one", "two")
    world.ok("stop", "one")
    assert list((world.root / "names").iterdir()) == []
    world.ok("create", "--rm", "--name", "one", *SLEEP)
    world.ok("rename", "one", "two")
    world.ok("start", "two")
    world.ok("stop", "two")
    assert list((world.root / "names").iterdir()) == []


def test_create_with_rm_goes_after_its_first_end(world: World) -> None:
    world.ok("create", "--rm", "--name", "one", *QUIET, "busybox", "true")
    assert world.status("one") == "created"
    assert world("start", "-a", "one").returncode == 0
    assert world.status("one") == "gone"


def test_signals_while_it_ends(world: World) -> None:
    """kill -s of a container that is about to end is an answer, never a traceback."""
    for _ in range(5):
        identity = world.background(*QUIET, "busybox", "sleep", "0.05")
        while True:
            done = world("kill", "-s", str(int(signal.SIGWINCH)), identity)
            assert done.returncode in (0, 125), done
            assert "Traceback" not in done.stderr
            if done.returncode:
                assert done.stderr == f"pycontain: container {identity} is not running\n"
                break
