"""exec: a further command in a running container, as confined as the container's own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import Client, Terminal, reaping, status_value
from world import World, eventually, executed, run_processes

QUIET = ("--network", "none")
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")


@pytest.fixture
def one(world: World) -> Iterator[World]:
    """A world with the running container ``one``."""
    world.background("--name", "one", "-e", "OWN=1", "-w", "/tmp", *QUIET, "--init", "busybox", "sleep", "1000")
    with reaping():
        yield world
        world.ok("rm", "-f", "one")


def init(world: World, name: str = "one") -> int:
    """The host's PID of a container's first process."""
    return int(world.inspect(name)["State"]["Pid"])


def outside(world: World, mark: str) -> int:
    """The host's PID of the process whose command line has ``mark``."""
    found = []

    def look() -> bool:
        for path in run_processes():
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:2] == [b"sleep", mark.encode()]:
                found.append(int(path.name))
        return bool(found)

    assert eventually(look)
    return found[0]


# --- what it runs as ----------------------------------------------------------------------------------------------


def test_output_errors_and_status(one: World) -> None:
    done = one("exec", "one", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    done = one("exec", "one", "sh", "-c", "kill -TERM $$")
    assert (done.returncode, done.stderr) == (143, "")


def test_standard_input(one: World) -> None:
    assert one.ok("exec", "-i", "one", "cat", input="a\nb") == "a\nb"
    assert one.ok("exec", "one", "cat", input="a\nb") == ""
    data = bytes(range(256)) * 4000
    done = subprocess.run([*one.command, "exec", "-i", "one", "cat"], input=data, capture_output=True, timeout=60)
    assert done.stdout == data


def test_environment_and_directory(one: World) -> None:
    assert one.ok("exec", "one", "sh", "-c", "echo $OWN $PWD $HOME") == "1 /tmp /root"
    assert one.ok("exec", "-e", "OWN=2", "-e", "NEW=x=y", "one", "sh", "-c", "echo $OWN $NEW") == "2 x=y"
    assert one.ok("exec", "-w", "/etc", "one", "pwd") == "/etc"
    assert "no such file or directory" in one.refused("exec", "-w", "/nowhere", "one", "pwd").lower()
    assert "not an absolute path" in one.refused("exec", "-w", "etc", "one", "pwd")


def test_users_by_name_and_number(one: World) -> None:
    one.ok("exec", "one", "sh", "-c", "echo app:x:1234:5678::/home/app:/bin/sh >>/etc/passwd")
    one.ok("exec", "one", "sh", "-c", "echo 'team:x:99:app' >>/etc/group")
    show = ("one", "sh", "-c", "echo $(id -u) $(id -g) $(id -G) $HOME")
    assert one.ok("exec", "-u", "app", *show) == "1234 5678 5678 99 /home/app"
    assert one.ok("exec", "-u", "1234", *show) == "1234 5678 5678 99 /home/app"
    assert one.ok("exec", "-u", "4321", *show) == "4321 0 0 /"
    assert one.ok("exec", "-u", "4321:7", *show) == "4321 7 7 /"
    assert one.ok("exec", "-u", "app:team", *show) == "1234 99 99 /home/app"
    assert one.ok("exec", "-u", "0", *show).startswith("0 0 0")
    assert "nobody-there" in one.refused("exec", "-u", "nobody-there", "one", "id")


def test_a_user_has_no_capabilities(one: World) -> None:
    text = one.ok("exec", "-u", "1000", "one", "cat", "/proc/self/status")
    fields = dict(line.split(":\t", 1) for line in text.splitlines())
    assert {int(fields[key], 16) for key in ("CapPrm", "CapEff", "CapAmb", "CapInh")} == {0}


@pytest.mark.parametrize(
    ("command", "status", "answer"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/no/such", 127, 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ("/etc", 126, 'exec: "/etc": is a directory: permission denied'),
    ],
)
@pytest.mark.parametrize("flags", [(), ("-i",), ("-d",)], ids=" ".join)
def test_a_command_that_cannot_start(
    one: World, flags: tuple[str, ...], command: str, status: int, answer: str
) -> None:
    assert one.refused("exec", *flags, "one", command, status=status) == f"container one: {answer}"


def test_not_in_a_container_that_does_not_run(world: World) -> None:
    world.ok("create", "--name", "one", *QUIET, "--init", "busybox", "sleep", "1000")
    assert world.refused("exec", "one", "true") == "container one is not running: start it first"
    world.ok("start", "one")
    world.ok("pause", "one")
    # at once: it would never end
    assert world.refused("exec", "one", "true") == "container one is paused: unpause it first"
    world.ok("unpause", "one")
    assert world("exec", "one", "true").returncode == 0
    world.ok("stop", "one")
    assert world.refused("exec", "one", "true") == "container one is not running: start it first"
    world.ok("rm", "one")
    assert "no container 'one'" in world.refused("exec", "one", "true")


# --- confinement --------------------------------------------------------------------------------------------------


def test_it_is_where_the_containers_processes_are(one: World) -> None:
    """Namespaces, cgroup, root, capabilities and filter are those of the container's own command."""
    with Client(one, "exec", "one", "sleep", "4242"):
        pid, first = outside(one, "4242"), init(one)
        for name in NAMESPACES:
            assert os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/{first}/ns/{name}")
            assert os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
        assert Path(f"/proc/{pid}/cgroup").read_text() == Path(f"/proc/{first}/cgroup").read_text()
        assert one.inspect("one")["Id"] in Path(f"/proc/{pid}/cgroup").read_text()
        assert os.stat(f"/proc/{pid}/root").st_ino == os.stat(f"/proc/{first}/root").st_ino
        # PID 1 is ours (--init) and has given up more: its child is the command
        (command,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        executed(int(command))
        for key in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb", "NoNewPrivs", "Seccomp", "Uid", "Gid"):
            assert status_value(pid, key) == status_value(int(command), key), key
        assert status_value(pid, "Seccomp") == "2"


def test_it_is_in_the_network_that_its_container_has_joined(one: World) -> None:
    one.background("--name", "two", "--network", "container:one", "busybox", "sleep", "1000")
    seen = one.ok("exec", "two", "readlink", "/proc/self/ns/net")
    assert seen == one.ok("exec", "one", "readlink", "/proc/self/ns/net") == os.readlink(f"/proc/{init(one)}/ns/net")
    assert seen != os.readlink("/proc/self/ns/net")


def test_namespaces_of_the_host_that_its_container_has(world: World) -> None:
    """Those of the host as the container knows it, not those in which the command is given."""
    world.background("--name", "one", "--network", "host", "--uts", "host", "busybox", "sleep", "1000")
    done = subprocess.run(
        [
            "unshare",
            "--net",
            "--uts",
            *world.command,
            "exec",
            "one",
            "sh",
            "-c",
            "readlink /proc/self/ns/net; readlink /proc/self/ns/uts",
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout.split() == [os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/uts")]


def test_what_the_filter_forbids(one: World) -> None:
    # unshare(2) needs CAP_SYS_ADMIN, which the filter knows the container lacks
    done = one("exec", "one", "unshare", "-m", "true")
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr


def test_flags_of_the_container_hold(world: World) -> None:
    flags = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--ulimit", "nofile=77:88", "--read-only")
    world.background("--name", "one", *flags, *QUIET, "busybox", "sleep", "1000")
    text = world.ok("exec", "one", "cat", "/proc/self/status")
    fields = dict(line.split(":\t", 1) for line in text.splitlines())
    assert (int(fields["CapBnd"], 16), fields["NoNewPrivs"]) == (0, "1")
    assert world.ok("exec", "one", "sh", "-c", "ulimit -n; ulimit -Hn") == "77\n88"
    assert "Read-only file system" in world("exec", "one", "touch", "/x").stderr


def test_no_descriptors_of_ours(one: World) -> None:
    listed = one.ok("exec", "one", "ls", "/proc/self/fd").split()
    assert listed == ["0", "1", "2", "3"]  # 3 is ls's own
    links = one.ok("exec", "one", "sh", "-c", "readlink /proc/self/fd/0")
    assert links == "/dev/null"


def test_no_environment_of_the_callers(one: World) -> None:
    done = subprocess.run(
        [*one.command, "exec", "one", "env"],
        env={**os.environ, "SECRET": "of the host"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "SECRET" not in done.stdout


# --- background, signals, ends ------------------------------------------------------------------------------------


def test_detached(one: World) -> None:
    assert one.ok("exec", "-d", "one", "sh", "-c", "echo $$ >/pid; exec sleep 4243") == ""
    pid = outside(one, "4243")
    assert os.readlink(f"/proc/{pid}/fd/1") == "/dev/null"
    assert one.ok("exec", "one", "sh", "-c", "kill -9 $(cat /pid)") == ""


def test_a_terminal(one: World) -> None:
    with Terminal(one, "exec", "-it", "one", "sh", "-c", "tty; stty size; exec sh", rows=31, columns=99) as terminal:
        terminal.expect("/dev/pts/0")
        terminal.expect("31 99")
        assert terminal.raw
        terminal.send("sh -c 'echo sl$((0))eeps; exec sleep 1000'\n")
        terminal.expect("sl0eeps")
        terminal.send(b"\x03")
        terminal.expect("/tmp # ", 2)
        terminal.send("exit 6\n")
        assert terminal.finish() == 6
        assert terminal.attributes() == terminal.before


def test_the_size_of_the_terminal_arrives(one: World) -> None:
    script = "trap 'stty size' WINCH; echo trapped; while :; do sleep 0.05; done"
    with Terminal(one, "exec", "-it", "one", "sh", "-c", script) as terminal:
        terminal.expect("trapped")
        terminal.resize(44, 122)
        terminal.expect("44 122\r\n")
        terminal.send(b"\x03")
        assert terminal.finish() == 130


def test_a_detached_command_at_a_terminal_goes_on(one: World) -> None:
    script = "trap 'echo hup >/heard' HUP; echo ready; while :; do seq 1000; sleep 0.05; : >/alive; done"
    with Terminal(one, "exec", "-it", "one", "sh", "-c", script) as terminal:
        terminal.expect("ready")
        terminal.send(b"\x10")
        terminal.send(b"\x11")
        assert terminal.finish() == 0
        assert terminal.attributes() == terminal.before
    one.ok("exec", "one", "rm", "-f", "/alive")
    assert eventually(lambda: one("exec", "one", "test", "-e", "/alive").returncode == 0)
    assert one("exec", "one", "test", "-e", "/heard").returncode == 1
    # what holds the terminal is no process of the container's PID namespace, where its /proc would be the host's
    assert one.ok("exec", "one", "ps", "-o", "args").count("pycontain-helper") == 1, "one is PID 1, by --init"


def test_output_that_has_no_end_does_not_hold_an_ended_command(one: World) -> None:
    """Somebody else may have its output open, and write for ever."""
    done = one("exec", "one", "sh", "-c", "yes & yes >&2 & exit 3", timeout=30)
    assert done.returncode == 3
    one("exec", "one", "killall", "yes")


def test_a_terminal_for_a_pipe(one: World) -> None:
    """-t without -i: output with the terminal's line ends, no input."""
    assert one.ok("exec", "-t", "one", "sh", "-c", "tty; echo x") == "/dev/pts/0\r\nx\r"


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM"])
def test_signals_are_passed_on(one: World, name: str) -> None:
    script = f"sleep 1000 & trap 'kill $!; echo heard; exit 3' {name}; echo ready; while :; do wait; done"
    with Client(one, "exec", "one", "sh", "-c", script) as client:
        client.expect("ready")
        client.signal(getattr(signal, f"SIG{name}"))
        assert client.finish() == 3
        assert client.output == b"ready\nheard\n"


def test_who_interrupts_three_times_is_let_go(one: World) -> None:
    script = "trap 'echo heard' INT; echo ready; while :; do sleep 0.1 & wait $!; done"
    with Client(one, "exec", "one", "sh", "-c", script) as client:
        client.expect("ready")
        for number in (1, 2):
            client.signal(signal.SIGINT)
            client.expect("heard", number)
        client.signal(signal.SIGINT)
        # not to the end of its output, which the command still has
        assert client.process.wait(60) == 130
        assert client.process.stderr
        assert b"leaving the command to itself" in client.process.stderr.readline()
    assert one.status("one") == "running"


def test_it_ends_with_its_container(one: World) -> None:
    with Client(one, "exec", "one", "sh", "-c", "echo ready; exec sleep 1000") as client:
        client.expect("ready")
        one.ok("kill", "one")
        assert client.finish() == 137


def test_it_ends_with_a_container_in_the_hosts_pid_namespace(world: World) -> None:
    """There is no PID namespace that takes it along; the cgroup does."""
    world.background("--name", "one", "--pid", "host", *QUIET, "busybox", "sleep", "1000")
    with Client(world, "exec", "one", "sh", "-c", "echo ready; exec sleep 1000") as client:
        client.expect("ready")
        world.ok("kill", "one")
        assert client.finish() == 137


def test_a_killed_exec_leaves_its_command(one: World) -> None:
    """As with Docker: it goes on in the container, and with it."""
    with Client(one, "exec", "one", "sh", "-c", "echo ready; exec sleep 4244") as client:
        client.expect("ready")
        client.signal(signal.SIGKILL)
        client.process.wait()
    pid = outside(one, "4244")
    assert one.inspect("one")["Id"] in Path(f"/proc/{pid}/cgroup").read_text()
    one.ok("stop", "one")
    assert eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_a_killed_exec_with_a_terminal_hangs_up(one: World) -> None:
    with Terminal(
        one, "exec", "-it", "one", "sh", "-c", "trap 'echo >/hup; exit' HUP; echo ready; sleep 1000 & wait"
    ) as terminal:
        terminal.expect("ready")
        terminal.process.kill()
        terminal.process.wait()
    assert eventually(lambda: one("exec", "one", "test", "-e", "/hup").returncode == 0)


def test_many_at_once(one: World) -> None:
    running = [
        subprocess.Popen(
            [*one.command, "exec", "one", "sh", "-c", f"echo {number}; exit {number}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(20)
    ]
    for number, process in enumerate(running):
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (number, f"{number}\n")


def test_exec_does_not_change_what_is_recorded(one: World) -> None:
    one("exec", "one", "sh", "-c", "exit 9")
    one.ok("stop", "one")
    assert one.ok("wait", "one") == "143"
    assert json.loads(one.ok("ps", "-a", "--format", "json"))[0]["ExitCode"] == 143


def test_no_zombies_under_init(one: World) -> None:
    """The container's init reaps what commands have left behind in its PID namespace."""
    one.ok("exec", "one", "sh", "-c", "sleep 0.1 >/dev/null 2>&1 &")
    # a zombie has its name still; the other one is the container's command
    assert eventually(lambda: one.ok("exec", "one", "ps", "-o", "comm").split().count("sleep") == 1)


def test_a_paste_that_is_longer_than_a_terminal_holds(world: World) -> None:
    """What the command has not taken yet waits, while what it writes is passed on: else both would wait for ever."""
    world.ok("run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "100")
    line = b"x" * 99 + b"\n"
    lines = 3000
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    command = [*world.command, "exec", "-it", "one", "sh", "-c", "stty -echo; echo ready; exec cat"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave) as process:
        try:
            seen = b""
            while b"ready\r\n" not in seen:
                assert select.select([master], [], [], 60)[0], "it does not begin"
                seen += os.read(master, 65536)
            sent, got = 0, 0
            paste = line * lines
            while got < lines:
                wanted = [master] if sent < len(paste) else []
                readable, writable, _ = select.select([master], wanted, [], 60)
                assert readable or writable, f"stuck after {got} lines"
                if readable:
                    got += os.read(master, 65536).count(b"\n")
                if writable:
                    sent += os.write(master, paste[sent : sent + 4000])
            os.write(master, b"\x04")
            assert process.wait(60) == 0
        finally:
            process.kill()
    os.close(master)
    os.close(slave)
