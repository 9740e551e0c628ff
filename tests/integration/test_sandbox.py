"""Processes of ours that stay: what they have given up (docs/monitor-sandbox.md), read from /proc."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from client import Client
from world import World, eventually, executed

QUIET = ("--network", "none")
#: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_KILL, CAP_NET_ADMIN
MONITOR = 0x102E
#: As long as it may have to make a relay.
SETPCAP = 1 << 8
KILL = 1 << 5


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def confined(pid: int, keep: int = 0) -> bool:
    """No more capabilities than ``keep``, no way to get one, and a filter."""
    found = status(pid)
    sets = [int(found[f"Cap{name}"], 16) for name in ("Eff", "Prm", "Inh", "Amb", "Bnd")]
    return not any(bits & ~keep for bits in sets) and found["NoNewPrivs"] == "1" and found["Seccomp"] == "2"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def links(pid: int) -> list[str]:
    """What a process holds."""
    held = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            held.append(os.readlink(entry))
        except FileNotFoundError:  # closed since
            continue
    return held


def streams(pid: int) -> list[str]:
    """Pipes and terminals that a process holds."""
    return [text for text in links(pid) if text.startswith(("pipe:", "/dev/pt"))]


@pytest.mark.parametrize("flags", [(), ("-t",), ("-i",), ("--init",), ("--userns", "host"), ("--privileged",)], ids=str)
def test_the_relay_has_given_up_everything(world: World, flags: tuple[str, ...]) -> None:
    identity = world.background(*QUIET, *flags, "busybox", "sleep", "1000")
    assert confined(world.relay_pid(identity))


def test_the_monitor_has_what_cleaning_up_needs(world: World) -> None:
    identity = world.background(*QUIET, "busybox", "sleep", "1000")
    monitor = world.monitor_pid(identity)

    def has(keep: int) -> bool:
        found = status(monitor)
        kept = [int(found[f"Cap{name}"], 16) & ~keep for name in ("Eff", "Prm")]
        return not any([*kept, int(found["CapInh"], 16), int(found["CapAmb"], 16)])

    assert has(MONITOR | SETPCAP)
    assert confined(world.relay_pid(identity))
    # it lets go of the rest while the relay gives up its own
    assert eventually(lambda: has(MONITOR))


def names(pids: list[int]) -> list[str]:
    """Of those that are still there."""
    found = []
    for pid in pids:
        try:
            found.append(Path(f"/proc/{pid}/comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return sorted(found)


@pytest.mark.parametrize("flags", [(), ("-t",), ("--init",)], ids=str)
def test_who_says_nothing_has_no_relay(world: World, flags: tuple[str, ...]) -> None:
    """It is made when there is something to read, and then nothing is lost."""
    script = "mkfifo /go; read x </go; echo $x; exec sleep 1000"
    identity = world.background(*QUIET, *flags, "busybox", "sh", "-c", script)
    monitor = world.monitor_pid(identity)
    assert "pycontain-io" not in names(children(monitor))
    assert world.ok("logs", identity) == ""
    world.ok("exec", identity, "sh", "-c", "until [ -p /go ]; do :; done; echo said >/go")
    assert eventually(lambda: world.ok("logs", identity).strip() == "said")
    assert "pycontain-io" in names(children(monitor))


def test_an_end_without_a_relay(world: World) -> None:
    """Nobody has said or asked anything: waiting, a restart, and what is said last are as with one."""
    identity = world.background("--name", "one", *QUIET, "busybox", "sleep", "1000")
    os.kill(world.pid(identity), signal.SIGKILL)
    assert world.ok("wait", "one") == "137"
    world.ok("start", "one")
    world.ok("stop", "-t", "0", "one")
    assert world.ok("wait", "one") == "137"
    script = "mkfifo /go; read x </go; echo last words"
    identity = world.background("--name", "two", *QUIET, "busybox", "sh", "-c", script)
    monitor = world.monitor_pid(identity)
    os.kill(monitor, signal.SIGSTOP)
    try:
        # the container's end may come before this command's own, and kill it
        world("exec", "two", "sh", "-c", "until [ -p /go ]; do :; done; echo >/go")
        assert eventually(lambda: ") Z " in Path(f"/proc/{world.pid(identity)}/stat").read_text())
    finally:
        os.kill(monitor, signal.SIGCONT)
    assert world.ok("wait", "two") == "0"
    assert world.ok("logs", "two") == "last words"


@pytest.mark.parametrize("flags", [QUIET, ("-p", "127.0.0.1:18181:80"), (*QUIET, "--userns", "host")], ids=str)
def test_a_monitor_without_another_life_is_behind_all_walls(world: World, flags: tuple[str, ...]) -> None:
    """It executes nothing afterwards (--rm); and it takes away all the same what a guest leaves behind."""
    script = (
        "mkdir -p /d; cd /d; i=0; while [ $i -lt 90 ]; do mkdir d; cd d; i=$((i+1)); done; >file; "
        "chmod -R 0 /d; ln -s / /link; mkfifo /fifo; rm /bin/vi; seq 2000; exec sleep 1000"
    )
    more = ("-v", "held:/held", "--log-size", "4k", "--log-files", "2")
    identity = world.background("--rm", *flags, *more, "busybox", "sh", "-c", script)
    assert eventually(lambda: "2000" in world.ok("logs", identity).split())
    monitor = world.monitor_pid(identity)
    assert confined(monitor, MONITOR)
    assert int(status(monitor)["CapEff"], 16) == MONITOR
    assert (world.root / "containers" / identity / "log.1").exists()
    world.ok("kill", identity)
    assert eventually(lambda: not world.leftovers()), world.leftovers()


@pytest.mark.parametrize("flags", [(), ("-t",), ("-i",)], ids=str)
def test_the_monitor_holds_nothing_that_a_container_writes_to(world: World, flags: tuple[str, ...]) -> None:
    """Once there is a relay."""
    identity = world.background(*QUIET, *flags, "busybox", "sleep", "1000")
    monitor = world.monitor_pid(identity)
    assert world.relay_pid(identity)
    assert eventually(lambda: streams(monitor) == [])


def test_the_relay_holds_neither_lock_nor_directories(world: World) -> None:
    identity = world.background(*QUIET, "busybox", "sleep", "1000")
    held = links(world.relay_pid(identity))
    assert [text for text in held if text.startswith("/") and text != "/dev/null"] == [
        str(world.root / "containers" / identity / "log")
    ]


def test_the_front_process_of_run(world: World) -> None:
    with Client(world, "run", "--rm", "--name", "one", *QUIET, "busybox", "sh", "-c", "echo up; sleep 1000") as client:
        client.expect("up")
        assert eventually(lambda: confined(client.pid))
        world.ok("kill", "one")


def test_the_process_that_waits_for_exec(world: World) -> None:
    world.background("--name", "one", *QUIET, "busybox", "sleep", "1000")
    with Client(world, "exec", "one", "sh", "-c", "echo up; exec sleep 1000") as client:
        client.expect("up")
        assert eventually(lambda: confined(client.pid, KILL))
        # not by SIGKILL: who is left in the container then has nobody here who waits for it
        os.kill(client.pid, signal.SIGTERM)
        assert client.finish() == 128 + signal.SIGTERM


def test_exec_passes_signals_to_whatever_user_its_command_is(world: World) -> None:
    world.background("--name", "one", *QUIET, "busybox", "sleep", "1000")
    script = "trap 'echo heard; exit 7' TERM; echo up; while :; do sleep 0.1; done"
    with Client(world, "exec", "-u", "1000", "one", "sh", "-c", script) as client:
        client.expect("up")
        os.kill(client.pid, signal.SIGTERM)
        client.expect("heard")
        assert client.finish() == 7


def test_stop_reaches_another_user_too(world: World) -> None:
    """The relay has no privileges: the monitor sends the signal for it."""
    script = "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done"
    world.background("--name", "one", "-u", "1000", *QUIET, "busybox", "sh", "-c", script)
    assert eventually(lambda: "up" in world.ok("logs", "one"))
    world.ok("stop", "one")
    assert world.ok("wait", "one") == "9"


def test_attach(world: World) -> None:
    script = "while :; do echo tick; sleep 0.1; done"
    world.background("--name", "one", *QUIET, "busybox", "sh", "-c", script)
    with Client(world, "attach", "one") as client:
        client.expect("tick")
        assert eventually(lambda: confined(client.pid))


def test_pid_1_of_ours(world: World) -> None:
    identity = world.background(*QUIET, "--init", "busybox", "sleep", "1000")
    first = world.pid(identity)
    assert Path(f"/proc/{first}/comm").read_text() == "pycontain-init\n"
    # its command is there before it has gone behind its walls
    assert eventually(lambda: confined(first, KILL))
    (command,) = children(first)
    executed(command)
    assert int(status(command)["CapEff"], 16) == 0xA80425FB


def test_nobody_without_ptrace_looks_into_them(world: World) -> None:
    """Not dumpable: the same user is not enough."""
    identity = world.background(*QUIET, "--init", "busybox", "sleep", "1000")
    assert world.relay_pid(identity)
    # one that could be looked into: with no more capabilities than who looks
    less = ["setpriv", "--bounding-set=-sys_ptrace"]
    plain = subprocess.Popen([*less, "sleep", "1000"])
    try:
        assert eventually(lambda: Path(f"/proc/{plain.pid}/comm").read_text() == "sleep\n")
        for pid, seen in (
            (plain.pid, True),
            (world.relay_pid(identity), False),
            (world.monitor_pid(identity), False),
            (world.pid(identity), False),
        ):
            command = [*less, "head", "-c", "0", f"/proc/{pid}/mem"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode == 0) == seen, done
    finally:
        plain.kill()
        plain.wait()


def test_a_container_without_its_relay_ends(world: World) -> None:
    """Nobody would read its output; the monitor cleans up as always."""
    identity = world.background("--name", "one", *QUIET, "busybox", "sleep", "1000")
    os.kill(world.relay_pid(identity), signal.SIGKILL)
    assert world.ok("wait", "one") == "137"
    assert eventually(lambda: world.status("one") == "exited")
    assert world.ok("start", "one") == "one"


def test_a_relay_without_its_monitor_ends(world: World) -> None:
    identity = world.background("--name", "one", *QUIET, "busybox", "sleep", "1000")
    relay = world.relay_pid(identity)
    descriptor = os.pidfd_open(relay)
    os.kill(world.monitor_pid(identity), signal.SIGKILL)
    assert select.select([descriptor], [], [], 60)[0]
    os.close(descriptor)
    world.ok("rm", "-f", "one")


def test_a_log_is_rotated_by_the_monitor(world: World) -> None:
    """The relay cannot open a file: it is given one."""
    script = "i=0; while [ $i -lt 400 ]; do echo line $i of a log that is rotated several times; i=$((i+1)); done"
    identity = world.ok("run", "-d", *QUIET, "--log-size", "4k", "--log-files", "3", "busybox", "sh", "-c", script)
    world.ok("wait", identity)
    directory = world.root / "containers" / identity
    assert sorted(path.name for path in directory.glob("log*")) == ["log", "log.1", "log.2"]
    assert "line 399 of" in world.ok("logs", identity)


@pytest.mark.timeout(120)
def test_the_end_comes_while_a_log_is_asked_for(world: World) -> None:
    """What the relay reads while it waits for a log is not waited for again."""
    for _ in range(25):
        done = world("run", "--rm", *QUIET, "--log-size", "4k", "--log-files", "2", "busybox", "seq", "3000")
        assert done.returncode == 0 and done.stdout.endswith("2999\n3000\n")


@pytest.mark.timeout(180)
def test_lives_leave_no_dead_relays(world: World) -> None:
    """A restart is the same process again: its relays of before are waited for."""
    flags = (*QUIET, "--name", "one", "--restart", "on-failure:3")
    identity = world.ok("run", "-d", *flags, "busybox", "sh", "-c", "[ -e /3 ] && exec sleep 1000; "
        "for n in 1 2 3; do [ -e /$n ] || { >/$n; exit 1; }; done")  # fmt: skip
    assert eventually(lambda: world.status("one") == "running" and world.inspect("one")["RestartCount"] == 3)
    monitor = world.monitor_pid(identity)
    # which its shell becomes in its own time; a dead relay would stay
    assert eventually(lambda: names(children(monitor)) == ["sleep"])


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_relay_that_does_not_answer_cannot_keep_the_container(world: World) -> None:
    """One that is stopped is as one that was taken over and does not mean to answer."""
    identity = world.background("--name", "one", *QUIET, "busybox", "sleep", "1000")
    relay, monitor = (os.pidfd_open(pid) for pid in (world.relay_pid(identity), world.monitor_pid(identity)))
    os.kill(world.relay_pid(identity), signal.SIGSTOP)
    os.kill(world.pid(identity), signal.SIGKILL)
    # the monitor has killed it, and does not wait for its end
    assert select.select([monitor], [], [], 100)[0] and select.select([relay], [], [], 60)[0]
    os.close(relay)
    os.close(monitor)
    assert world.status("one") == "exited"
    assert world.inspect("one")["State"]["ExitCode"] == 137
