"""Two commands on one container at the same time, and what one of them must not do to the other."""

from __future__ import annotations

import subprocess
from functools import partial

from client import Client, connected
from world import World, eventually, named
from worlds import settled

QUIET = ("--network", "none")
SLEEP = (*QUIET, "--init", "busybox", "sleep", "1000")


def monitors() -> int:
    """How many containers run."""
    return len(named("pycontain-mon"))


def begin(world: World, *commands: str) -> list[subprocess.Popen[str]]:
    """Run command lines at the same time."""
    return [
        subprocess.Popen([*world.command, *one.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for one in commands
    ]


def end(running: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit status, output and complaints of each."""
    answers = []
    for process in running:
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        assert err.count("\n") <= 1, err
        answers.append((process.returncode, out, err))
    return answers


def together(world: World, *commands: str) -> list[tuple[int, str, str]]:
    return end(begin(world, *commands))


def test_twenty_starts_make_one_container(world: World) -> None:
    identity = world.ok("create", "--name", "one", *SLEEP)
    before = monitors()
    answers = together(world, *["start one"] * 20)
    assert answers == [(0, "one\n", "")] * 20
    assert world.status("one") == "running"
    assert monitors() == before + 1
    assert len(list((world.run_root / "containers").iterdir())) == 1
    assert world.ok("exec", "one", "true") == ""
    world.ok("stop", identity)


def test_twenty_attached_starts_make_one_container(world: World) -> None:
    script = "echo out; until [ -e /go ]; do sleep 0.1; done"
    world.ok("create", "--name", "one", *QUIET, "busybox", "sh", "-c", script)
    running = begin(world, *["start -a one"] * 20)
    # it does not end before all have come: another one would start it again
    assert eventually(lambda: [process.poll() for process in running].count(None) == 1)
    world("exec", "one", "touch", "/go")  # may end with the container
    answers = end(running)
    won = [answer for answer in answers if answer[0] == 0]
    lost = [answer for answer in answers if answer[0] != 0]
    assert won == [(0, "out\n", "")]
    assert all(code == 125 and "running" in err for code, _, err in lost), lost


def test_twenty_runs_want_one_name(world: World) -> None:
    answers = together(world, *["run -d --name one " + " ".join(SLEEP)] * 20)
    assert [answer[0] for answer in answers].count(0) == 1
    assert all(code == 0 or "the name 'one' is in use" in err for code, _, err in answers)
    assert len(list((world.root / "containers").iterdir())) == 1
    assert len(list(world.root.glob("images/*/used/*"))) == 1


def test_twenty_removals(world: World) -> None:
    for flags in ("", "-f "):
        world.ok("create", "--name", "one", *SLEEP)
        answers = together(world, *[f"rm {flags}one"] * 20)
        assert 0 in [answer[0] for answer in answers]
        allowed = ("no container 'one'", "another command works on it", "it was removed")
        assert all(code == 0 or any(text in err for text in allowed) for code, _, err in answers), answers
        assert world.status("one") == "gone"


def ended(world: World, running: list[subprocess.Popen[str]], executed: list[subprocess.Popen[str]]) -> bool:
    """A pause that came last has a command in the container stand still: it is woken."""
    if any(process.poll() is None for process in running if process not in executed):
        return False
    world("unpause", "one")
    return all(process.poll() is not None for process in executed)


def test_starts_and_stops_and_kills_and_removals(world: World) -> None:
    """Whatever wins, the end is a state that every verb understands."""
    world.ok("create", "--name", "one", *SLEEP)
    verbs = ["start one", "stop -t 1 one", "kill one", "restart -t 1 one", "pause one", "unpause one", "exec one true"]
    for _ in range(3):
        running = begin(world, *verbs, *verbs)
        executed = [process for process, verb in zip(running, verbs * 2, strict=True) if verb.startswith("exec")]
        assert eventually(partial(ended, world, running, executed))
        end(running)
    world.ok("rm", "-f", "one")
    settled(world)


def test_rm_force_while_stop_waits(world: World) -> None:
    world.background("--name", "one", *QUIET, "busybox", "sleep", "1000")
    with Client(world, "stop", "-t", "100", "one") as stopping, Client(world, "wait", "one") as waiting:
        assert eventually(lambda: connected(stopping.pid) and connected(waiting.pid))
        world.ok("rm", "-f", "one")  # which has less than those seconds
        assert (stopping.finish(), stopping.complaints) == (0, b"")
        assert (waiting.finish(), waiting.output) == (0, b"137\n")
    assert world.status("one") == "gone"


def test_rm_against_exec(world: World) -> None:
    """A command in it is no reason to stay; who runs it hears of its end, in at most one line."""
    for _ in range(5):
        world.background("--name", "one", *SLEEP)
        with Client(world, "exec", "one", "sh", "-c", "echo in; sleep 1000") as first:
            first.expect("in")
            with Client(world, "exec", "one", "sleep", "1000") as second:
                world.ok("rm", "-f", "one")
                assert first.finish() == 137
                # it may have come too late
                assert second.finish() in (137, 125)
                assert second.complaints.count(b"\n") <= 1
                assert b"Traceback" not in second.complaints
    settled(world)


def test_rm_force_of_what_starts_just_now(world: World) -> None:
    for _ in range(10):
        with Client(world, "run", "-d", "--name", "one", *SLEEP) as starting:
            assert eventually(lambda: (world.root / "names" / "one").is_symlink())
            removed = world("rm", "-f", "one")
            assert starting.finish() in (0, 125)
            assert b"Traceback" not in starting.complaints
            # it came before the container's directory, so there was nothing to remove yet
            assert removed.returncode == 0, removed
            world.ok("rm", "-f", "one")
    settled(world)


def test_stop_of_what_starts_just_now(world: World) -> None:
    """Once stop has said that it is done, nothing runs."""
    world.ok("create", "--name", "one", *SLEEP)
    for _ in range(10):
        with Client(world, "start", "one") as starting:
            # before that there is nothing to stop
            assert eventually(lambda: world.status("one") in ("starting", "running"))
            world.ok("stop", "-t", "1", "one")
            starting.finish()
            assert world.status("one") in ("exited", "created")


def test_kill_of_many_at_once(world: World) -> None:
    names = [f"c{number}" for number in range(8)]
    for name in names:
        world.background("--name", name, *SLEEP)
    answers = together(world, *[f"rm -f {name}" for name in names], "rm -f --all", "rm -f --all", "ps -a")
    assert all(code in (0, 1) for code, _, _ in answers), answers
    settled(world)
