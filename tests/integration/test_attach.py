"""Terminals, standard input and output, attach, detach and signals: what a person at a terminal or a pipe sees."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from client import Client, Terminal, pause_process, status_value
from world import World, eventually

QUIET = ("--network", "none")
DETACH = b"\x10\x11"
#: Says what it gets, until it gets "end".
ECHO = 'echo ready; while read line; do test "$line" = end && exit 4; echo "got:$line"; done; echo eof'


def console(world: World, *flags: str, command: str = "exec sh", name: str = "one") -> Terminal:
    return Terminal(world, "run", "-it", "--name", name, *QUIET, *flags, "busybox", "sh", "-c", command)


# --- a terminal ---------------------------------------------------------------------------------------------------


def test_a_shell_at_a_terminal(world: World) -> None:
    with console(world, "--rm") as terminal:
        terminal.expect("/ # ")
        assert terminal.raw
        terminal.send("echo a$((1+1))b; tty; exit 5\n")
        terminal.expect("a2b")
        terminal.expect("/dev/")
        assert terminal.finish() == 5
        assert terminal.attributes() == terminal.before
    assert world.status("one") == "gone"


def test_the_size_of_the_terminal_arrives(world: World) -> None:
    script = "stty size; trap 'stty size' WINCH; echo trapped; while :; do sleep 0.05; done"
    with Terminal(
        world, "run", "--rm", "--name", "one", "-it", *QUIET, "busybox", "sh", "-c", script, rows=33, columns=101
    ) as terminal:
        assert "33 101\r\n" in terminal.expect("trapped")
        terminal.resize(44, 122)
        terminal.expect("44 122\r\n")
        terminal.resize(50, 150)
        terminal.expect("50 150\r\n")
        world.ok("kill", "one")
        assert terminal.finish() == 137


def _asks(terminal: Terminal, command: str, answer: str) -> bool:
    terminal.send(command + "; echo asked\n")
    terminal.expect("asked\r", terminal.output.count(b"asked\r") + 1)
    return answer in terminal.output.decode()


def test_interrupt_stop_and_end_of_file_keys(world: World) -> None:
    with console(world, "--rm") as terminal:
        terminal.expect("/ # ")
        terminal.send("sh -c 'echo sl$((0))eeps; exec sleep 1000'\n")
        terminal.expect("sl0eeps")
        terminal.send(b"\x03")
        terminal.expect("/ # ", 2)
        terminal.send("sh -c 'echo re$((0))ads; exec cat'\n")
        terminal.expect("re0ads")
        terminal.send("line\n")
        terminal.expect("line", 2)
        terminal.send(b"\x04")
        terminal.expect("/ # ", 3)
        terminal.send("sh -c 'echo sl$((0))eeps; exec sleep 1000'\n")
        terminal.expect("sl0eeps", 2)
        terminal.send(b"\x1a")
        terminal.expect("Stopped")
        terminal.send("exit 3\n")
        terminal.expect("You have stopped jobs")
        terminal.send("exit 3\n")
        assert terminal.finish() == 3


def test_interrupt_key_with_init(world: World) -> None:
    """It reaches the command and not its init."""
    with console(
        world, "--rm", "--init", command="trap 'exit 9' INT; echo ready; while :; do sleep 1; done"
    ) as terminal:
        terminal.expect("ready")
        terminal.send(b"\x03")
        assert terminal.finish() == 9


def test_the_console_is_the_containers_own(world: World) -> None:
    with console(world, "--rm") as terminal:
        terminal.expect("/ # ")
        terminal.send("tty; ls -l /dev/console; echo hello >/dev/console; echo hi >/dev/tty; ls /dev/pts; exit\n")
        terminal.expect("/dev/pts/0")
        terminal.expect("hello", 2)
        terminal.expect("hi", 2)
        assert terminal.finish() == 0


def test_detach_and_attach_again(world: World) -> None:
    with console(world) as terminal:
        terminal.expect("/ # ")
        terminal.send("x=kept\n")
        terminal.expect("/ # ", 2)
        terminal.send(DETACH)
        assert terminal.finish() == 0
        assert terminal.attributes() == terminal.before
    assert world.status("one") == "running"
    with Terminal(world, "attach", "one", rows=20, columns=70) as terminal:
        assert eventually(lambda: terminal.raw)
        terminal.send("echo $x\n")
        terminal.expect("kept")
        assert eventually(lambda: _asks(terminal, "stty size", "20 70"))
        terminal.send("exit 6\n")
        assert terminal.finish() == 6
        assert terminal.attributes() == terminal.before
    assert world.ok("wait", "one") == "6"


def test_keys_that_only_begin_to_detach(world: World) -> None:
    """ctrl-p is history for the shell; it comes when the next key shows that nobody detaches."""
    with console(world) as terminal:
        terminal.expect("/ # ")
        terminal.send("echo f$((2+1))rst\n")
        terminal.expect("f3rst")
        terminal.send(b"\x10")
        terminal.send(b"\n")
        terminal.expect("f3rst", 2)
        # one ctrl-p too many, then the sequence
        terminal.send(b"\x10")
        terminal.send(b"\x10")
        terminal.send(b"\x11")
        assert terminal.finish() == 0
    assert world.status("one") == "running"


@pytest.mark.parametrize(
    ("keys", "typed"),
    [("a,b,c", b"aabc"), ("ctrl-x", b"\x18"), ("a,a,b", b"aaab"), ("x,x,y,x,x,z", b"xxyxxyxxz"), ("ctrl-@", b"\x00")],
)
def test_keys_of_ones_own(world: World, keys: str, typed: bytes) -> None:
    with console(world, "--detach-keys", keys) as terminal:
        terminal.expect("/ # ")
        for number in range(len(typed)):
            terminal.send(typed[number : number + 1])
        assert terminal.finish() == 0
    assert world.status("one") == "running"


def test_no_keys(world: World) -> None:
    with console(world, "--detach-keys", "") as terminal:
        terminal.expect("/ # ")
        terminal.send(DETACH)
        terminal.send(b"\x03\n")
        assert _asks(terminal, "echo still", "still")
        terminal.send("exit 2\n")
        assert terminal.finish() == 2


def test_two_clients_see_the_same(world: World) -> None:
    with console(world) as first:
        first.expect("/ # ")
        with Terminal(world, "attach", "one") as second:
            assert eventually(lambda: second.raw)
            # its own first: that the relay has let it in shows by nothing else
            second.send("echo t$((0))wo\n")
            first.expect("t0wo")
            second.expect("t0wo")
            first.send("echo o$((0))ne\n")
            second.expect("o0ne")
            first.expect("o0ne")
            second.send(DETACH)
            assert second.finish() == 0
        first.send("echo a$((1))lone; exit 1\n")
        first.expect("a1lone")
        assert first.finish() == 1


def test_a_client_that_comes_and_goes_does_not_disturb(world: World) -> None:
    with console(world) as first:
        first.expect("/ # ")
        for _ in range(3):
            with Terminal(world, "attach", "one") as second:
                assert eventually(lambda: second.raw)
                second.process.kill()
        first.send("echo s$((1+1))till; exit 0\n")
        first.expect("s2till")
        assert first.finish() == 0


def test_the_end_of_the_container_ends_all_clients(world: World) -> None:
    with console(world) as first:
        first.expect("/ # ")
        with Terminal(world, "attach", "one") as second:
            assert eventually(lambda: second.raw)
            world.ok("kill", "one")
            assert (first.finish(), second.finish()) == (137, 137)
            assert first.attributes() == first.before
            assert second.attributes() == second.before


@pytest.mark.parametrize("verb", ["kill", "rm -f", "stop -t 0"])
def test_the_terminal_is_restored_when_it_is_ended_from_elsewhere(world: World, verb: str) -> None:
    with console(world) as terminal:
        terminal.expect("/ # ")
        world.ok(*verb.split(), "one")
        assert terminal.finish() == 137
        assert terminal.attributes() == terminal.before


def test_the_terminal_is_restored_when_the_monitor_is_killed(world: World) -> None:
    with console(world) as terminal:
        terminal.expect("/ # ")
        os.kill(world.monitor_pid(str(world.inspect("one")["Id"])), signal.SIGKILL)
        assert terminal.finish() == 125
        assert "pycontain: the container's monitor is gone, and the container with it" in terminal.output.decode()
        assert terminal.attributes() == terminal.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_the_terminal_is_restored_when_the_client_is_ended(world: World, number: signal.Signals) -> None:
    """--sig-proxy=false: the signal is the client's own; the container lives on."""
    with console(world, "--sig-proxy=false") as terminal:
        terminal.expect("/ # ")
        os.kill(terminal.pid, number)
        assert terminal.finish() == 128 + number
        assert terminal.attributes() == terminal.before
    assert world.status("one") == "running"


def test_the_callers_terminal_goes_away(world: World) -> None:
    """Its window is closed: the shell hears SIGHUP, as it would without a container."""
    terminal = console(world, command="trap 'exit 11' HUP; echo ready; while :; do sleep 1; done")
    with terminal:
        terminal.expect("ready")
        os.kill(terminal.pid, signal.SIGHUP)
        assert terminal.finish() == 11


def test_a_terminal_without_input_keeps_the_interrupt_key(world: World) -> None:
    """-t alone: nobody passes keys on, so the caller's terminal stays as it is and ^C is a signal."""
    script = "trap 'exit 8' INT; echo ready; while :; do sleep 1 & wait $!; done"
    with Terminal(world, "run", "-t", "--name", "one", *QUIET, "busybox", "sh", "-c", script) as terminal:
        terminal.expect("ready")
        assert not terminal.raw
        terminal.send(b"\x03")
        assert terminal.finish() == 8


def test_a_terminal_for_a_pipe_is_refused_in_one_line(world: World) -> None:
    for stdin in ("", "text"):
        line = world.refused("run", "-t", "-i", *QUIET, "busybox", "cat", input=stdin)
        assert line == "--tty: standard input is not a terminal: leave out -t to pass a file or a pipe"
    assert list((world.root / "containers").iterdir()) == []
    world.ok("create", "-it", "--name", "one", *QUIET, "busybox", "sh")
    assert "standard input is not a terminal" in world.refused("start", "-ai", "one")
    assert world.status("one") == "created"
    world.ok("start", "one")
    assert "standard input is not a terminal" in world.refused("attach", "one")
    assert "standard input is not a terminal" in world.refused("exec", "-it", "one", "true")


def test_attach_without_input_needs_no_terminal(world: World) -> None:
    script = "while read x; do [ $x = end ] && exit 3; echo got $x; done"
    world.background("-it", "--name", "one", *QUIET, "busybox", "sh", "-c", script)
    with Client(world, "attach", "--no-stdin", "one") as watching, Terminal(world, "attach", "one") as typing:
        assert watching.process.stdout and eventually(lambda: typing.raw)
        output = watching.process.stdout.fileno()

        def watched() -> bool:
            typing.send("word\n")
            typing.expect("got word")
            return bool(select.select([output], [], [], 0.1)[0])

        assert eventually(watched)  # nothing else says that it is there
        typing.send("end\n")
        assert typing.finish() == 3
        assert watching.finish() == 3
        assert b"got word\r\n" in watching.output


def test_output_to_a_terminal_from_a_container_without_one(world: World) -> None:
    with Terminal(world, "run", "--rm", *QUIET, "busybox", "sh", "-c", "tty; echo text") as terminal:
        terminal.expect("not a tty")
        assert terminal.finish() == 0


def test_a_detached_terminal(world: World) -> None:
    """run -d -it: the terminal is there before anybody looks at it."""
    world.background("-it", "--name", "one", *QUIET, "busybox", "sh", "-c", "test -t 0 && echo terminal; exec sh")
    assert eventually(lambda: "terminal" in world.ok("logs", "one"))
    with Terminal(world, "attach", "one") as terminal:
        assert eventually(lambda: terminal.raw)
        terminal.send("exit 12\n")
        assert terminal.finish() == 12


# --- pipes --------------------------------------------------------------------------------------------------------


def test_input_ends_with_its_pipe(world: World) -> None:
    with Client(world, "run", "--rm", "-i", *QUIET, "busybox", "sh", "-c", ECHO, stdin=subprocess.PIPE) as client:
        client.expect("ready")
        client.send("a\n")
        client.expect("got:a")
        client.close_input()
        assert client.finish() == 0
        assert client.output == b"ready\ngot:a\neof\n"


def test_without_i_the_container_has_no_input(world: World) -> None:
    done = world("run", "--rm", *QUIET, "busybox", "cat", input="text")
    assert (done.returncode, done.stdout) == (0, "")


def test_attach_to_a_container_without_i(world: World) -> None:
    script = "while :; do echo tick; sleep 0.1; done"
    world.background("--name", "one", *QUIET, "busybox", "sh", "-c", script)
    with Client(world, "attach", "one", stdin=subprocess.PIPE) as client:
        client.send("ignored\n")
        client.expect("tick", 3)
        world.ok("kill", "one")
        assert client.finish() == 137


def test_a_detached_container_with_input(world: World) -> None:
    """run -d -i: its input stays open, whoever comes and goes."""
    world.background("-i", "--name", "one", *QUIET, "busybox", "sh", "-c", ECHO)
    for word in ("a", "b"):
        with Client(world, "attach", "one", stdin=subprocess.PIPE) as client:
            client.send(word + "\n")
            client.expect(f"got:{word}")
            client.process.kill()
    assert world.status("one") == "running"
    with Client(world, "attach", "one", stdin=subprocess.PIPE) as client:
        client.send("end\n")
        assert client.finish() == 4
    assert world.ok("logs", "one") == "ready\ngot:a\ngot:b"


def test_start_with_input(world: World) -> None:
    world.ok("create", "-i", "--name", "one", *QUIET, "busybox", "sh", "-c", ECHO)
    for _ in range(2):
        done = world("start", "-i", "one", input="x\nend\n")
        assert (done.returncode, done.stdout) == (4, "ready\ngot:x\n")
    # without -i its input is for whoever attaches
    with Client(world, "start", "-a", "one") as client:
        client.expect("ready")
        assert world("attach", "one", input="y\nend\n").returncode == 4
        assert client.finish() == 4
        assert client.output == b"ready\ngot:y\n"


def test_output_and_errors_stay_apart(world: World) -> None:
    done = world("run", "--rm", *QUIET, "busybox", "sh", "-c", "echo out; echo err >&2; echo out2; echo err2 >&2")
    assert (done.stdout, done.stderr) == ("out\nout2\n", "err\nerr2\n")


def test_binary_data_both_ways(world: World) -> None:
    data = bytes(range(256)) * 5000
    done = subprocess.run(
        [*world.command, "run", "--rm", "-i", *QUIET, "busybox", "cat"], input=data, capture_output=True, timeout=60
    )
    assert done.stdout == data


def test_a_slow_reader_loses_nothing(world: World) -> None:
    """The container has long ended, with more output on the way than fits any buffer; and its status arrives."""
    lines = 200000
    with Client(world, "run", "--name", "one", *QUIET, "busybox", "sh", "-c", f"seq {lines}; exit 7") as client:
        client.expect("\n100\n")
        time.sleep(0.5)
        assert client.finish(60) == 7
        assert client.output == "".join(f"{number}\n" for number in range(1, lines + 1)).encode()


def test_a_reader_that_comes_after_the_end_loses_nothing(world: World) -> None:
    """What the container has written fits the buffers, so it ends; who reads late gets all of it, and the status."""
    count = 150000
    with Client(
        world, "run", "--name", "one", *QUIET, "busybox", "sh", "-c", f"yes | head -c {count}; exit 7"
    ) as client:
        assert eventually(lambda: world.status("one") == "exited")
        # longer than the monitor waits for anybody
        time.sleep(3)
        assert world.ok("rm", "one") == "one"
        assert client.finish() == 7
        assert len(client.output) == count


def test_a_stopped_client_keeps_nothing_from_its_end(world: World) -> None:
    """Its buffers are full, so the container waits, as it would at a pipe; and it can be removed like any other."""
    flags = ("--name", "one", "-p", "18081:80")
    with Client(world, "run", *flags, "busybox", "yes") as client:
        client.expect("y\n")
        pause_process(client.pid)
        first = world.inspect("one")
        assert _idle(int(first["State"]["Pid"]))
        # it waits for nobody: there would be no end to that
        world.ok("rm", "-f", "one")
        # neither its name nor its port is held
        world.background("--name", "one", "-p", "18081:80", "busybox", "sleep", "1000")
        os.kill(client.pid, signal.SIGCONT)
        assert client.finish() == 137
        assert client.output.endswith(b"y\ny\n") or client.output.endswith(b"y")


def _idle(pid: int) -> bool:
    """Whether the process blocks: it sleeps, and has not run for a while."""

    def ran() -> tuple[str, str]:
        return status_value(pid, "State")[0], status_value(pid, "voluntary_ctxt_switches")

    def same() -> bool:
        before = ran()
        time.sleep(0.1)
        return before[0] == "S" and ran() == before

    return eventually(same)


def test_two_readers_one_of_them_stopped(world: World) -> None:
    """Backpressure is for all clients; when the stopped one goes, the others go on."""
    with Client(world, "run", "--name", "one", *QUIET, "busybox", "yes") as stopped:
        stopped.expect("y\n")
        pause_process(stopped.pid)
        assert _idle(int(world.inspect("one")["State"]["Pid"]))
        with Client(world, "attach", "one") as other:
            stopped.process.kill()
            other.expect("y\n", 200000)
            world.ok("kill", "one")
            assert other.finish() == 137


def test_a_reader_that_goes_away(world: World) -> None:
    """yes | head: the client ends as a program in a pipe does; the container stays, with its input closed."""
    done = subprocess.run(
        ["sh", "-c", f"{' '.join(world.command)} run -i --name one --network none busybox yes | head -1; cat"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert done.stdout == b"y\n"
    assert world.status("one") == "running"


def test_output_that_cannot_be_written(world: World) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*world.command, "run", "--rm", *QUIET, "busybox", "echo", "text"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (
        125,
        "pycontain: cannot write to standard output: No space left on device\n",
    )


def test_input_that_nobody_reads_does_not_hold_signals_up(world: World) -> None:
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 1000 & wait $!; done"
    with Client(
        world, "run", "--name", "one", "-i", *QUIET, "busybox", "sh", "-c", script, stdin=subprocess.PIPE
    ) as client:
        client.expect("ready")
        assert client.process.stdin
        os.set_blocking(client.process.stdin.fileno(), False)
        assert eventually(lambda: not _writes(client))
        client.signal(signal.SIGTERM)
        client.process.stdin.close()
        client.process.stdin = None
        assert client.finish() == 9


def _writes(client: Client) -> bool:
    """Whether there is still room for input."""
    assert client.process.stdin
    try:
        os.write(client.process.stdin.fileno(), bytes(65536))
        return True
    except BlockingIOError:
        time.sleep(0.2)
        return False


def test_a_killed_client_closes_the_input(world: World) -> None:
    """run -i: the command reads to the end of its input, also when that comes by SIGKILL in the middle."""
    script = "echo ready; sleep 1; cat >/dev/null; echo end"
    with Client(
        world, "run", "--name", "one", "-i", *QUIET, "busybox", "sh", "-c", script, stdin=subprocess.PIPE
    ) as client:
        client.expect("ready")
        client.send("x" * 60000)
        client.process.kill()
        client.process.wait()
        assert eventually(lambda: world.status("one") == "exited")
    assert world.ok("logs", "one").endswith("end")


def test_many_clients(world: World) -> None:
    """More than anybody needs; stop comes through."""
    world.background("--name", "one", *QUIET, "--init", "busybox", "sh", "-c", "while sleep 0.1; do echo beat; done")
    waiting = [subprocess.Popen([*world.command, "wait", "one"], stdout=subprocess.PIPE) for _ in range(60)]
    try:
        with Client(world, "attach", "one") as client:
            client.expect("beat")
            world.ok("stop", "one")
            assert client.finish() == 143
        assert [process.communicate(timeout=60)[0] for process in waiting] == [b"143\n"] * len(waiting)
    finally:
        for process in waiting:
            process.kill()
            process.wait()


# --- signals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM"])
def test_signals_are_passed_on(world: World, name: str) -> None:
    script = f"trap 'echo heard {name}; exit 3' {name}; echo ready; while :; do sleep 1000 & wait $!; done"
    with Client(world, "run", "--rm", *QUIET, "busybox", "sh", "-c", script) as client:
        client.expect("ready")
        client.signal(getattr(signal, f"SIG{name}"))
        assert client.finish() == 3
        assert client.output == f"ready\nheard {name}\n".encode()


def test_attach_passes_signals_on_as_well(world: World) -> None:
    script = "trap 'exit 3' USR1; echo ready; while :; do sleep 1000 & wait $!; done"
    world.background("--name", "one", *QUIET, "busybox", "sh", "-c", script)
    assert eventually(lambda: "ready" in world.ok("logs", "one"))
    with Client(world, "attach", "one") as client:
        assert eventually(lambda: _catches(client.pid, signal.SIGUSR1))
        client.signal(signal.SIGUSR1)
        assert client.finish() == 3


def _catches(pid: int, number: int) -> bool:
    """Whether a process has blocked the signal: its signalfd reads it."""
    mask = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigBlk:"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_no_signals_where_they_are_not_wanted(world: World, number: signal.Signals) -> None:
    with Client(
        world, "run", "--sig-proxy=false", "--name", "one", *QUIET, "--init", "busybox", "sleep", "1000"
    ) as client:
        assert eventually(lambda: world.status("one") == "running" and _catches(client.pid, number))
        client.signal(number)
        assert client.finish() == 128 + number
    assert world.status("one") == "running"


def test_who_interrupts_three_times_is_let_go(world: World) -> None:
    """sleep as PID 1 hears neither SIGINT nor SIGTERM."""
    with Client(world, "run", "--name", "one", *QUIET, "busybox", "sh", "-c", "echo ready; exec sleep 1000") as client:
        client.expect("ready")
        comm = Path(f"/proc/{world.pid(world.inspect('one')['Id'])}/comm")
        assert eventually(lambda: comm.read_text() == "sleep\n")
        for number in (signal.SIGINT, signal.SIGTERM):
            client.signal(number)
            assert eventually(lambda number=number: not _pending(client.pid, number))  # type: ignore[misc]
        assert client.process.poll() is None
        client.signal(signal.SIGINT)
        assert client.finish() == 130
        assert b"leaving the container to itself" in client.complaints
    assert world.status("one") == "running"


def _pending(pid: int, number: int) -> bool:
    text = Path(f"/proc/{pid}/status").read_text()
    mask = next(line for line in text.splitlines() if line.startswith("ShdPnd:"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def test_a_client_that_is_killed_leaves_the_container(world: World) -> None:
    with Client(world, "run", "--name", "one", *QUIET, "--init", "busybox", "sleep", "1000") as client:
        assert eventually(lambda: world.status("one") == "running")
        client.signal(signal.SIGKILL)
        assert client.finish() == -signal.SIGKILL
    assert world.status("one") == "running"
    world.ok("stop", "one")
    assert world.ok("wait", "one") == "143"


def test_a_terminal_as_output_alone(world: World) -> None:
    """The front process tells the size of its terminal; a container that has ended by then has not read it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [*world.command, "run", "--rm", *QUIET, "busybox", "true"]
    try:
        for _ in range(10):
            running = [
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.PIPE, text=True)
                for _ in range(10)
            ]
            answers = [(process.communicate(timeout=60)[1], process.returncode) for process in running]
            assert answers == [("", 0)] * 10
    finally:
        os.close(slave)
        os.close(master)
