"""A resident planner: what it does for commands, and that nothing depends on it (docs/planner.md)."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sysconfig
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests import warm

from oci_bundle import Oci
from world import PYCONTAIN, PYCONTAIN_OCI, World, eventually


def _waits(pid: int) -> int:
    """proc_pid_status(5), voluntary_ctxt_switches; -1 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return -1
    return next((int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches")), -1)


def _is_ready(pid: int) -> bool:
    """Whether it is inside of epoll_wait(2)."""
    try:
        return "epoll" in Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return False


class Planner(warm.Planner):
    """With a look at its processes."""

    def workers(self) -> set[int]:
        pid = self.process.pid
        return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    def waiting(self) -> dict[int, int]:
        """How often each of them has waited, when all wait for a client."""
        pids: set[int] = set()

        def ready() -> bool:
            pids.clear()
            pids.update(self.workers())
            return all(_is_ready(pid) for pid in pids)

        assert eventually(ready, 20)
        return {pid: _waits(pid) for pid in pids}

    def asked(self, before: dict[int, int]) -> bool:
        """Whether one of the processes that were ready has taken a client since."""
        return eventually(lambda: any(_waits(pid) != count for pid, count in before.items()), 5)

    def end(self) -> str:
        for pid in [self.process.pid, *self.workers()]:
            with suppress(ProcessLookupError):  # after a client that was refused it ends
                os.kill(pid, signal.SIGCONT)
        return super().end()


@pytest.fixture
def planner(tmp_path: Path) -> Iterator[Planner]:
    found = Planner(tmp_path)
    yield found
    if found.process.poll() is None:
        assert found.end() == ""
    assert not list(Path("/proc").glob(f"{found.process.pid}/exe"))


# --- it does the same ---------------------------------------------------------------------------------------------


def test_the_plan_is_the_same_byte_for_byte(oci: Oci, planner: Planner) -> None:
    oci.spec["process"]["args"] = ["sleep", "100"]
    plans = []
    with open("/dev/null") as kept:
        for env in (planner.cold, planner.warm, planner.cold, planner.warm):
            before = planner.waiting()
            fds = {"pass_fds": (kept.fileno(),)}
            oci.ok("create", "-b", str(oci.bundle), "--preserve-fds", "1", "one", env=env, **fds)
            assert planner.asked(before) == (env is planner.warm)
            plans.append((oci.root / "one" / "plan").read_bytes())
            oci.ok("delete", "--force", "one")
    assert plans[0] == plans[1] == plans[2] == plans[3]
    assert len(plans[0]) > 1000


def test_the_container_is_the_callers(world: World, planner: Planner) -> None:
    before = planner.waiting()
    script = "echo $$ $PPID; cat; exit 3"
    done = world("run", "--rm", "-i", "--network", "none", "busybox", "sh", "-c", script, input="in", env=planner.warm)
    assert (done.returncode, done.stdout, done.stderr) == (3, "1 0\nin", "")
    assert planner.asked(before)


def test_guests_with_ids_of_their_own_have_one_copy_of_the_helper(world: World, planner: Planner) -> None:
    executed: dict[int, str] = {}

    def copy(*flags: str) -> int:
        made = world.background(*flags, "--network", "none", "busybox", "sleep", "1000", env=planner.warm)
        exe = f"/proc/{world.monitor_pid(made)}/exe"
        assert "memfd:pycontain-helper" in os.readlink(exe)
        with open(exe, "rb") as file:
            assert fcntl.fcntl(file, fcntl.F_GET_SEALS) == 0xF  # seal, shrink, grow, write
        number = os.stat(exe).st_ino
        executed[number] = exe
        return number

    # more than the planner has processes: each of them has had one before. A command for which it was too slow has made
    # a copy that nobody else has
    found = Counter(copy("--userns", "auto") for _ in range(6))
    while found.most_common(1)[0][1] < 5 and found.total() < 50:
        found[copy("--userns", "auto")] += 1
    ((one, _),) = [item for item in found.items() if item[1] > 1]
    # root of the host could change its mode: such a one has a copy of its own
    hosts = {copy("--userns", "host"), copy("--userns", "host")}
    assert len(hosts | {one}) == 3
    # and if somebody did, the next has another copy
    os.chmod(executed[one], 0)
    assert copy("--userns", "auto") != one


def test_init_is_the_child_of_the_command(oci: Oci, planner: Planner) -> None:
    """As without a planner: whoever calls is its subreaper."""
    oci.spec["process"]["args"] = ["sleep", "100"]
    oci.ok("create", "-b", str(oci.bundle), "one", env=planner.warm)
    stat = Path(f"/proc/{oci.state('one')['pid']}/stat").read_text()
    assert int(stat.rpartition(")")[2].split()[1]) == os.getpid()


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--rm", "nosuchimage", "true"],
        ["run", "--nosuchflag"],
        ["run", "--rm", "--network", "none", "--name", "one", "busybox", "/nosuch"],
        ["run", "--rm", "--network", "none", "-w", "relative", "busybox", "true"],
        ["exec", "nosuch", "true"],
        ["start", "nosuch"],
        ["create"],
    ],
    ids=" ".join,
)
def test_errors_are_the_same(world: World, planner: Planner, words: list[str]) -> None:
    before = planner.waiting()
    warm, cold = world(*words, env=planner.warm), world(*words, env=planner.cold)
    assert (warm.returncode, warm.stdout, warm.stderr) == (cold.returncode, cold.stdout, cold.stderr)
    assert warm.returncode != 0 and warm.stderr
    assert planner.asked(before)


def test_a_disk_of_its_own(world: World, planner: Planner) -> None:
    """The mount of an image is a descriptor that goes to the command with the plan."""
    before = planner.waiting()
    script = ("--storage-opt", "size=24m", "busybox", "df", "-kP", "/")
    shown = world.ok("run", "--rm", "--network", "none", *script, env=planner.warm)
    assert int(shown.splitlines()[1].split()[1]) <= 24 << 10
    assert planner.asked(before)


def test_exec_environment_and_directory(world: World, planner: Planner, tmp_path: Path) -> None:
    world.ok("run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "100", env=planner.warm)
    env = {**planner.warm, "PASSED": "on\nwith a line"}
    (tmp_path / "vars").write_text("OF_A_FILE=1\n")
    shown = world.ok("exec", "-e", "PASSED", "--env-file", "vars", "one", "env", env=env, cwd=tmp_path)
    assert "PASSED=on\nwith a line" in shown and "OF_A_FILE=1" in shown


def test_the_umask_is_the_callers(oci: Oci, planner: Planner) -> None:
    oci.spec["process"]["args"] = ["sh", "-c", "umask"]
    for env in (planner.cold, planner.warm):
        assert oci.ok("run", "-b", str(oci.bundle), "one", env=env, umask=0o027) == "0027\n"


def test_many_at_once(world: World, planner: Planner) -> None:
    results: list[str] = []

    def once(number: int) -> None:
        results.append(world.ok("run", "--rm", "--network", "none", "busybox", "echo", str(number), env=planner.warm))

    threads = [threading.Thread(target=once, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(str(number) for number in range(20))


def test_one_client_after_the_other(oci: Oci, planner: Planner, tmp_path: Path) -> None:
    """A process that has done other things gives the plan that an interpreter of its own gives."""
    oci.spec["process"]["args"] = ["sleep", "100"]
    oci.ok("create", "-b", str(oci.bundle), "one", env=planner.cold)
    cold = (oci.root / "one" / "plan").read_bytes()
    oci.ok("delete", "--force", "one")

    def round_of(number: int) -> None:
        spec = {**oci.spec, "hostname": f"other{number}", "process": {**oci.spec["process"], "env": [f"A={number}"]}}
        (tmp_path / "other.json").write_text(json.dumps(spec))
        env = {**planner.warm, f"ONLY_{number}": "x"}
        other = ["create", "-b", str(oci.bundle), "-f", "other.json", f"other{number}"]
        oci.ok(*other, env=env, cwd=tmp_path, umask=number)
        oci.ok("delete", "--force", f"other{number}", env=planner.warm)
        oci.ok("create", "-b", str(oci.bundle), "one", env=planner.warm)
        assert (oci.root / "one" / "plan").read_bytes() == cold
        oci.ok("delete", "--force", "one")

    def some_stay() -> bool:
        ready = planner.workers()
        for number in range(6):
            round_of(number)
        return bool(planner.workers() & ready)

    # a client for which one was too slow ends it; a crowd of slow ones has more, of which one goes again
    assert any(some_stay() for _ in range(5))


def test_none_of_its_processes_lives_long(oci: Oci, planner: Planner) -> None:
    oci.spec["process"]["args"] = ["true"]
    ready = planner.workers()
    # for two processes 64 are enough; there may be more for a while
    for number in range(300):
        oci.ok("run", "-b", str(oci.bundle), f"c{number}", env=planner.warm)
        if not planner.workers() & ready:
            break
    assert eventually(lambda: not planner.workers() & ready)


def test_those_that_a_crowd_has_needed_go(world: World, planner: Planner) -> None:
    command = [*world.command, "exec", "one", "true"]
    world.ok("run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000", env=planner.warm)
    crowd = [subprocess.Popen(command, env=planner.warm) for _ in range(16)]
    assert [process.wait() for process in crowd] == [0] * 16
    assert eventually(lambda: len(planner.workers()) == 2, 60)
    runs(world, planner.warm)


# --- nothing depends on it ------------------------------------------------------------------------------------------


def runs(world: World, env: dict[str, str], **more: Any) -> None:
    assert world.ok("run", "--rm", "--network", "none", "busybox", "echo", "done", env=env, **more) == "done"


def test_one_that_was_killed(world: World, planner: Planner) -> None:
    workers = planner.workers()
    planner.process.kill()
    planner.process.communicate()
    assert planner.path.exists()
    assert eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers))
    runs(world, planner.warm)


def test_one_that_does_not_answer(world: World, planner: Planner) -> None:
    for pid in [planner.process.pid, *planner.workers()]:
        os.kill(pid, signal.SIGSTOP)
    runs(world, planner.warm)


def test_a_process_of_it_that_is_killed_is_replaced(world: World, planner: Planner) -> None:
    before = planner.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: len(planner.workers()) == 2 and not planner.workers() & before)
    waiting = planner.waiting()
    runs(world, planner.warm)
    assert planner.asked(waiting)


def read_request(link: socket.socket) -> bool:
    """Whether there was one: a client that was not answered within 50 ms has gone to do it itself."""
    kind = b"F"
    try:
        while kind == b"F":
            kind = link.recv(1)
    except ConnectionResetError:
        return False
    if not kind:
        return False
    head = link.recv(32, socket.MSG_WAITALL)
    (size,) = struct.unpack_from("=I", head, 8)
    link.recv(size - 32, socket.MSG_WAITALL)
    return True


def answer_ready(listener: socket.socket) -> socket.socket | None:
    """The connection of a client that was told that we are ready, and has asked; None where we were too slow for it."""
    link, _ = listener.accept()
    with suppress(BrokenPipeError):
        link.sendall(b"R")
        if read_request(link):
            return link
    link.close()
    return None


@pytest.mark.parametrize(
    "answer",
    [b"", b"N", b"XYZ", b"R", b"RN", b"RX", b"RG", None],
    ids=["end", "no", "rubbish", "dies", "no-later", "rubbish-later", "dies-later", "silence"],
)
def test_another_at_its_socket(world: World, tmp_path: Path, answer: bytes | None) -> None:
    """Before it has said that it begins, whatever it says is no harm."""
    (tmp_path / "private").mkdir(0o700)
    path = tmp_path / "private" / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        env = {**os.environ, "PYCONTAIN_PLANNER": str(path)}
        command = [*world.command, "run", "--rm", "--network", "none", "busybox", "echo", "done"]
        pipe = subprocess.PIPE
        for _ in range(20):
            with subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True) as process:
                begins = (answer or b"")[:1] == b"R"
                link = answer_ready(listener) if begins else listener.accept()[0]
                if answer is not None and link is not None:
                    with suppress(BrokenPipeError):  # it listens no more
                        link.sendall(answer[1:] if begins else answer)
                    link.close()
                out, errors = process.communicate(timeout=60)
            if link is not None:
                link.close()
                break
    assert link is not None
    if answer == b"RG":  # whether it has begun, nobody can know
        assert process.returncode == 125
        assert errors.startswith("pycontain: the planner failed while it did this: ") and errors.count("\n") == 1
    else:
        assert (process.returncode, out, errors) == (0, "done\n", "")


def test_a_plan_that_is_none(oci: Oci, tmp_path: Path) -> None:
    """A peer that answers with sizes and numbers that do not fit."""
    (tmp_path / "private").mkdir(0o700)
    path = tmp_path / "private" / "socket"
    heads = [(1 << 31, 1, 0, 0), (0, 1, 0, 0), (8, 1, 0, 2), (4, 2, 0, 1), (4, 0, 0, 0), (4, 1 << 20, 0, 0)]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        command = [PYCONTAIN_OCI, "--root", str(oci.root), "run", "-b", str(oci.bundle), "one"]
        env = {**os.environ, "PYCONTAIN_PLANNER": str(path)}
        tries = 0
        while heads:
            tries += 1
            assert tries < 100
            with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
                link = answer_ready(listener)
                if link is not None:
                    link.sendall(b"G")
                    socket.send_fds(link, [b"F"], [0])
                    link.sendall(b"P" + struct.pack("=4I", *heads.pop()) + b"abc\0efg\0")
                    link.shutdown(socket.SHUT_WR)
                _, errors = process.communicate(timeout=60)
            if link is None:
                continue
            link.close()
            assert process.returncode == 1
            assert errors.startswith("pycontain: the planner failed while it did this: ") and errors.count("\n") == 1


@pytest.mark.parametrize("program", ["/dev/null", "/bin/true"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_copy_of_the_helper_that_is_none(oci: Oci, tmp_path: Path, program: str, count: int) -> None:
    """It begins, and sends something else to execute: nothing that would take the place of a container's start."""
    (tmp_path / "private").mkdir(0o700)
    path = tmp_path / "private" / "socket"
    with socket.socket(socket.AF_UNIX) as listener, open(program, "rb") as file:
        listener.bind(str(path))
        listener.listen()
        command = [PYCONTAIN_OCI, "--root", str(oci.root), "run", "-b", str(oci.bundle), "one"]
        env = {**os.environ, "PYCONTAIN_PLANNER": str(path)}
        for _ in range(20):
            with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
                link = answer_ready(listener)
                if link is not None:
                    socket.send_fds(link, [b"G"], [file.fileno()] * count)
                    link.close()
                _, errors = process.communicate(timeout=60)
            if link is not None:
                break
    assert link is not None
    if (program, count) == ("/bin/true", 1):  # whoever is this user may have it execute what it likes
        assert process.returncode == 0
    else:
        assert process.returncode == 1
        assert errors.startswith("pycontain: the planner failed while it did this: ") and errors.count("\n") == 1


def test_a_command_executes_a_sealed_copy_while_it_waits(oci: Oci, planner: Planner) -> None:
    """And another one each time: its mode is not of its owner's guests to change."""
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.ok("run", "-d", "-b", str(oci.bundle), "one", env=planner.warm)
    executed = []
    for _ in range(3):
        command = [PYCONTAIN_OCI, "--root", str(oci.root), "exec", "one", "cat"]
        with subprocess.Popen(command, env=planner.warm, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin and process.stdout
            process.stdin.write(b"there\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"there\n"
            with open(f"/proc/{process.pid}/exe", "rb") as file:
                assert fcntl.fcntl(file, fcntl.F_GET_SEALS) == 0xF  # seal, shrink, grow, write
                executed.append(os.fstat(file.fileno()).st_ino)
            process.stdin.close()
            assert process.wait(20) == 0
    assert len(set(executed)) == 3


def test_a_directory_that_is_open_to_others(world: World, planner: Planner) -> None:
    planner.path.parent.chmod(0o755)
    before = planner.waiting()
    runs(world, planner.warm)
    assert planner.waiting() == before


def test_a_client_in_other_namespaces(world: World, planner: Planner) -> None:
    """Its network is not the planner's: it does it itself."""
    script = '"$@" run --rm --network host busybox ip -o link | wc -l'
    command = ["unshare", "--net", "sh", "-c", script, "sh", *world.command]
    shown = [
        subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        for env in (planner.warm, planner.cold)
    ]
    assert shown[0] == shown[1]


def test_another_version_is_installed(world: World, planner: Planner) -> None:
    road = Path(sysconfig.get_path("platlib")) / "pycontain" / "road.bin"
    facts = road.stat()
    os.utime(road, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    try:
        runs(world, planner.warm)
        _, errors = planner.process.communicate(timeout=20)
        assert (planner.process.returncode, errors) == (0, "")
    finally:
        os.utime(road, ns=(facts.st_atime_ns, facts.st_mtime_ns))


# --- clients that go away -------------------------------------------------------------------------------------------


def request(words: list[str], environ: list[str], oci: bool) -> bytes:
    """What src/helper/planner.c sends before its descriptors have been sent."""
    strings = b"".join([os.fsencode(word) + b"\0" for word in [*words, *environ]])
    body = struct.pack("=3i", 0, 1, 2) + strings
    return struct.pack("=8s6I", b"PYCREQ1\0", 32 + len(body), oci, len(words), len(environ), 3, 0o022) + body


def connect(planner: Planner) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    link.connect(str(planner.path))
    return link


def answers(link: socket.socket) -> bytes:
    """All that it says until it has said no."""
    link.settimeout(20)
    said = b""
    while b"N" not in said and (part := link.recv(16)):
        said += part
    return said


@pytest.mark.parametrize("data", [b"", b"Q" + b"\xff" * 64, b"Q" + request(["run"], [], oci=True)])
def test_a_client_of_another_program_is_refused(world: World, planner: Planner, data: bytes) -> None:
    """Whatever it says: what requests of a program of ours are refused for is in tests/unit/test_planner_wire.py."""
    before = planner.waiting()
    with connect(planner) as link:
        with suppress(BrokenPipeError):  # the answer may be there before the request
            link.sendall(data)
        assert answers(link) == b"RN"
    assert planner.asked(before)
    runs(world, planner.warm)


def test_a_client_that_says_nothing_is_left(planner: Planner) -> None:
    before = planner.waiting()
    with connect(planner) as link:
        assert answers(link) == b"RN"
    assert planner.asked(before)


def test_a_command_that_is_killed_meanwhile(oci: Oci, planner: Planner) -> None:
    """At every moment from 0 to 12 ms: what the planner has begun is undone, or the container can be deleted."""
    oci.spec["process"]["args"] = ["true"]
    oci.ok("run", "-b", str(oci.bundle), "zero", env=planner.warm)
    for step in range(60):
        words = [PYCONTAIN_OCI, "--root", str(oci.root), "create", "-b", str(oci.bundle), "one"]
        with subprocess.Popen(
            words, env=planner.warm, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                process.wait(step * 0.0002)
            except subprocess.TimeoutExpired:
                process.kill()
        assert eventually(lambda: len(planner.workers()) == 2, 60), "a request hangs"
        planner.waiting()  # one of them may still undo what was begun for the client
        oci("delete", "--force", "one")
        assert not (oci.root / "one").exists()


# --- how it is started ----------------------------------------------------------------------------------------------


def test_it_ends_when_nobody_asks(tmp_path: Path) -> None:
    found = Planner(tmp_path, "--idle-timeout", "1")
    _, errors = found.process.communicate(timeout=20)
    assert (found.process.returncode, errors) == (0, "")


def test_a_second_one_is_refused(planner: Planner) -> None:
    command = [PYCONTAIN, "planner", "--socket", str(planner.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == f"pycontain: a planner listens on {planner.path} already\n"


def test_a_directory_that_cannot_be_trusted_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    path = tmp_path / "open" / "socket"
    done = subprocess.run([PYCONTAIN, "planner", "--socket", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert "has to be this user's, and closed to all others" in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o755


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120) / "socket"
    done = subprocess.run([PYCONTAIN, "planner", "--socket", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 125 and "107 bytes" in done.stderr


def test_a_service_managers_socket(world: World, tmp_path: Path) -> None:
    """sd_listen_fds(3): systemd has made it, and starts the planner when somebody connects."""
    (tmp_path / "private").mkdir(0o700)
    path = tmp_path / "private" / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        script = f'exec 3<&{listener.fileno()}; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
        command = ["bash", "-c", script, "bash", PYCONTAIN, "planner", "--idle-timeout", "1"]
        with subprocess.Popen(command, pass_fds=(listener.fileno(),), stderr=subprocess.PIPE, text=True) as process:
            runs(world, {**os.environ, "PYCONTAIN_PLANNER": str(path)})
            _, errors = process.communicate(timeout=20)
            assert (process.returncode, errors) == (0, "")
