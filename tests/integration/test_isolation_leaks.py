"""Nothing of the caller's comes along: descriptors, directory, environment, signals, session, keyring, groups."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from world import World, eventually

RUN = ("run", "--rm", "--network", "none")
#: What Docker's users expect, and nothing else.
ENVIRONMENT = ["HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]


@pytest.fixture
def extra(tmp_path: Path) -> Iterator[list[int]]:
    """Descriptors that a careless caller leaves open: a file, a directory, a socket, a pipe, at high numbers too."""
    pipe = os.pipe()
    pair = socket.socketpair()
    made = [
        os.open(tmp_path / "secret", os.O_RDWR | os.O_CREAT),
        os.open("/", os.O_RDONLY | os.O_DIRECTORY),
        *pipe,
        os.dup(pair[0].fileno()),
    ]
    made.append(fcntl.fcntl(made[0], fcntl.F_DUPFD, 500))
    for fd in made:
        os.set_inheritable(fd, True)
    yield made
    for fd in made:
        os.close(fd)
    for end in pair:
        end.close()


def opened(pid: int) -> dict[int, str]:
    """The descriptors of a process of the host; those that go meanwhile are left out."""

    def target(path: Path) -> str:
        try:
            return os.readlink(path)
        except FileNotFoundError:
            return ""  # "run -d" comes back just before the program is executed

    found = {int(path.name): target(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return {number: text for number, text in found.items() if text}


# --- descriptors --------------------------------------------------------------------------------------------------


def _has_standard_ones(process: int) -> bool:
    """And no other descriptor."""
    return sorted(opened(process)) == [0, 1, 2]


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--init",),
        ("-t",),
        ("-i",),
        ("--network", "bridge", "-p", "127.0.0.1:18080:80"),
        ("--network", "host"),
        ("--security-opt", "no-new-privileges"),
        ("--security-opt", "seccomp=unconfined"),
        ("-u", "1000"),
        ("--pid", "host"),
    ],
    ids=" ".join,
)
def test_only_0_1_and_2_are_open(world: World, extra: list[int], flags: tuple[str, ...]) -> None:
    network = () if "--network" in flags else ("--network", "none")
    identity = world.background(*network, *flags, "busybox", "sleep", "1000", pass_fds=extra)
    pid = world.pid(identity)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    # an init of ours closes the last of the others while its command is executed already, and an execve(2) one by one
    for process in (pid, *map(int, children)):
        assert eventually(partial(_has_standard_ones, process)), opened(process)


def test_only_0_1_and_2_are_open_behind_exec_and_start(world: World, extra: list[int]) -> None:
    script = "ls /proc/self/fd"
    identity = world.background("--network", "none", "--name", "c", "busybox", "sleep", "1000")
    # 3 is the directory that ls reads
    assert world.ok("exec", identity, "sh", "-c", script, pass_fds=extra).split() == ["0", "1", "2", "3"]
    made = world.ok("create", "--network", "none", "busybox", "sh", "-c", script)
    assert world.ok("start", "-a", made, pass_fds=extra).split() == ["0", "1", "2", "3"]
    world.ok("run", "-d", "--name", "other", "--network", "container:c", "busybox", "sleep", "1000", pass_fds=extra)
    assert sorted(opened(world.pid(world.inspect("other")["Id"]))) == [0, 1, 2]


LINKS = "for n in 0 1 2; do readlink /proc/self/fd/$n; done"


def test_an_executed_command_has_pipes_and_not_the_callers_files(world: World, tmp_path: Path) -> None:
    """What is open for reading only can be opened again by /proc/self/fd, for writing too, by root inside."""
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    command = [*world.command, "exec", "-i", identity, "sh", "-c"]
    secret, output = tmp_path / "secret", tmp_path / "output"
    secret.write_text("from the host\n")
    with secret.open() as reader, output.open("w") as writer:
        script = f"{LINKS}; cat; echo overwritten > /proc/self/fd/0"
        subprocess.run([*command, script], stdin=reader, stdout=writer, stderr=writer, check=True, timeout=60)
    assert secret.read_text() == "from the host\n"
    lines = output.read_text().splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["pipe"] * 3
    assert lines[3:] == ["from the host"]


def test_an_executed_command_does_not_get_the_callers_terminal(world: World) -> None:
    """It could read what is typed there long after it has ended."""
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    master, slave = os.openpty()
    command = [*world.command, "exec", "-i", identity, "sh", "-c", f"{LINKS}; read line; echo got $line"]
    child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.write(master, b"typed\n")
    assert child.wait(60) == 0
    seen = b""
    with open(master, "rb", buffering=0) as terminal:
        try:
            while True:
                seen += terminal.read(4096)
        except OSError as error:  # all of it was read, and nobody has the other end
            assert error.errno == errno.EIO
    lines = seen.decode().replace("\r", "").splitlines()
    assert [line.partition(":")[0] for line in lines if ":" in line] == ["pipe"] * 3
    assert "got typed" in lines


def test_the_pipes_of_an_executed_command(world: World) -> None:
    """Everything arrives, in both directions, and ends where one side has had enough."""
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    data = os.urandom(3 << 20)
    command = [*world.command, "exec", "-i", identity]
    done = subprocess.run([*command, "cat"], input=data, capture_output=True, check=True, timeout=60)
    assert done.stdout == data
    done = subprocess.run([*command, "head", "-c", "5"], input=data, capture_output=True, check=True, timeout=60)
    assert done.stdout == data[:5]
    script = " ".join(["yes", "|", *world.command, "exec", "-i", identity, "cat", "|", "head", "-1"])
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=True, timeout=60).stdout == b"y\n"
    # who is left behind with the pipes does not keep it
    assert world.ok("exec", identity, "sh", "-c", "sleep 1000 & echo done") == "done"


def test_the_monitor_holds_nothing_of_the_callers(world: World, extra: list[int], workdir: Path) -> None:
    """A lock or a pipe's end would live as long as the container, and a directory could not be unmounted."""
    identity = world.background("--network", "none", "busybox", "sleep", "1000", pass_fds=extra, cwd=workdir)
    foreign = [os.readlink(f"/proc/self/fd/{fd}") for fd in extra if fd != extra[1]]
    for pid in (world.monitor_pid(identity), world.relay_pid(identity)):
        held = opened(pid)
        assert set(foreign) & set(held.values()) == set()
        assert "/" not in held.values()
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert {held[fd] for fd in range(3)} == {"/dev/null"}
        assert Path(f"/proc/{pid}/environ").read_bytes() == b""


def test_the_monitor_does_not_hold_the_containers_ends_of_its_pipes(world: World) -> None:
    """Or it would not see that the container has closed them."""
    identity = world.background("-i", "--network", "none", "busybox", "sleep", "1000")
    mine = [text for text in opened(world.relay_pid(identity)).values() if text.startswith("pipe:")]
    theirs = [text for text in opened(world.pid(identity)).values() if text.startswith("pipe:")]
    assert sorted(mine) == sorted(theirs)
    assert len(set(mine)) == 3
    monitor = world.monitor_pid(identity)
    assert eventually(lambda: not [text for text in opened(monitor).values() if text.startswith("pipe:")])


def test_closed_standard_descriptors_of_the_caller_are_no_holes(world: World) -> None:
    """What is opened next would be standard output."""
    command = [*world.command, "run", "-d", "--network", "none", "busybox", "sleep", "1000"]
    subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command], check=True, timeout=60)
    (directory,) = (world.run_root / "containers").iterdir()
    found = opened(world.pid(directory.name))
    assert found[0] == "/dev/null" and found[1].startswith("pipe:") and found[2].startswith("pipe:")


# --- environment --------------------------------------------------------------------------------------------------


def test_the_environment_is_the_images_and_no_more(world: World) -> None:
    caller = {**os.environ, "SECRET": "x", "LD_PRELOAD": "", "TERM": "weird", "LANG": "C", "PYTHONPATH": "/"}
    identity = world.background("--hostname", "h", "--network", "none", "busybox", "sleep", "1000", env=caller)
    environment = Path(f"/proc/{world.pid(identity)}/environ")
    assert eventually(environment.read_bytes)  # empty as long as its execve(2) is under way
    found = environment.read_bytes().decode().split("\0")
    assert sorted(found) == ["", *sorted([*ENVIRONMENT, "HOSTNAME=h"])]
    # busybox's sh adds what it always adds
    seen = world.ok("exec", identity, "env", env=caller).splitlines()
    assert sorted(seen) == sorted([*ENVIRONMENT, "HOSTNAME=h"])


def test_a_terminal_has_a_type(world: World) -> None:
    caller = {**os.environ, "TERM": "weird"}
    lines = world.ok(*RUN, "-t", "--hostname", "h", "busybox", "env", env=caller).replace("\r", "").splitlines()
    assert sorted(lines) == sorted([*ENVIRONMENT, "HOSTNAME=h", "TERM=xterm"])


def test_python_is_not_led_astray(world: World, workdir: Path) -> None:
    """The interpreter on the host takes no hint from the caller's environment or directory."""
    (workdir / "os.py").write_text("raise SystemExit('astray')")
    (workdir / "pycontain").mkdir()
    caller = {**os.environ, "PYTHONPATH": str(workdir), "PYTHONSTARTUP": str(workdir / "os.py"), "PYTHONHOME": "/none"}
    assert world.ok(*RUN, "busybox", "echo", "right", env=caller, cwd=workdir) == "right"


# --- signals ------------------------------------------------------------------------------------------------------


def disturb() -> None:
    """In the caller: ignore and block what one can."""
    for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1, signal.SIGRTMIN):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCHLD])


def masks(text: str) -> dict[str, str]:
    return {
        line.split(":")[0]: line.split()[1] for line in text.splitlines() if line.startswith("Sig") and "/" not in line
    }


@pytest.mark.parametrize("flags", [(), ("--init",), ("-t",)], ids=" ".join)
def test_signals_are_as_after_the_boot(world: World, flags: tuple[str, ...]) -> None:
    text = world.ok(*RUN, *flags, "busybox", "cat", "/proc/self/status", preexec_fn=disturb)
    assert set(masks(text).values()) == {"0000000000000000"}


def test_signals_of_an_executed_command_too(world: World) -> None:
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    text = world.ok("exec", identity, "cat", "/proc/self/status", preexec_fn=disturb)
    assert set(masks(text).values()) == {"0000000000000000"}


def test_a_caller_that_ignores_its_children_gets_the_status(world: World) -> None:
    """The kernel would reap them before the monitor sees how they ended."""
    assert world(*RUN, "busybox", "sh", "-c", "exit 7", preexec_fn=disturb).returncode == 7
    identity = world.background("--network", "none", "busybox", "sh", "-c", "exit 9", preexec_fn=disturb)
    assert world.ok("wait", identity) == "9"


# --- session, umask, ids ------------------------------------------------------------------------------------------


def test_the_session_is_the_containers_own(world: World) -> None:
    pid = world.pid(world.background("--network", "none", "busybox", "sleep", "1000"))
    assert os.getsid(pid) == pid == os.getpgid(pid)
    # and so is the monitor's: a terminal that goes away takes neither
    monitor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert os.getsid(monitor) == monitor


def unmask(mask: int) -> Callable[[], None]:
    def set_it() -> None:
        os.umask(mask)

    return set_it


def test_the_umask_is_0022_whatever_the_callers_is(world: World) -> None:
    script = "umask; touch /tmp/x; stat -c %a /tmp/x"
    assert world.ok(*RUN, "busybox", "sh", "-c", script, preexec_fn=unmask(0o777)) == "0022\n644"
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    assert world.ok("exec", identity, "sh", "-c", "umask", preexec_fn=unmask(0)) == "0022"


@pytest.mark.parametrize("mask", [0, 0o77, 0o777])
def test_files_of_the_state_do_not_follow_the_callers_umask(world: World, mask: int) -> None:
    """A user in the container has to read /etc/hosts, and nobody outside what is in the container's directory."""
    script = "cat /etc/hosts /etc/resolv.conf /etc/hostname >/dev/null && stat -c %a /mnt"
    flags = ("--name", "c", "--network", "none", "-u", "1000", "-v", f"volume{mask}:/mnt")
    assert world.ok("run", *flags, "busybox", "sh", "-c", script, preexec_fn=unmask(mask)) == "755"
    (directory,) = (world.root / "containers").iterdir()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "config.json").stat().st_mode & 0o777 == 0o600
    world.ok("start", "-a", "c", preexec_fn=unmask(mask))
    shutil.rmtree(world.root / "volumes" / f"volume{mask}")


def test_the_callers_groups_stay_outside(world: World) -> None:
    command = ["setpriv", "--groups", "4242,4243", *world.command, *RUN, "-u", "1000", "busybox", "id", "-G"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"


def test_the_callers_inheritable_capabilities_stay_outside(world: World) -> None:
    """CVE-2022-24769 and its like."""
    own = ["setpriv", "--inh-caps", "+chown,+net_admin", "--ambient-caps", "+chown,+net_admin"]
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    for verb in ((*RUN, "busybox"), ("exec", identity)):
        command = [*own, *world.command, *verb, "cat", "/proc/self/status"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = {line.split(":")[0]: int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Cap")}
        assert (found["CapInh"], found["CapAmb"]) == (0, 0)


#: keyctl(2): KEYCTL_GET_KEYRING_ID, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING
KEYRING = """
import ctypes
libc = ctypes.CDLL(None)
text = ctypes.create_string_buffer(200)
identity = libc.syscall(250, 0, -3, 0)
libc.syscall(250, 6, identity, text, 200)
print(identity, text.value.decode())
"""


def test_the_session_keyring_is_the_containers_own(world: World) -> None:
    flags = ("--network", "none", "--security-opt", "seccomp=unconfined")
    done = subprocess.run(["/usr/bin/python3", "-c", KEYRING], capture_output=True, text=True, check=True)
    outside = done.stdout.split()[0]
    container = world.background(*flags, "sparse", "sleep", "1000")
    seen = [
        world.ok("run", "--rm", *flags, "sparse", "/usr/bin/python3", "-c", KEYRING),
        world.ok("exec", container, "/usr/bin/python3", "-c", KEYRING),
    ]
    identities = [text.split()[0] for text in seen]
    assert len({outside, *identities}) == 3
    assert all(text.split(";")[-1].startswith("pycontain-") for text in seen)


# --- our own program (CVE-2019-5736) ------------------------------------------------------------------------------

WRITE = """
import errno, os
def attempt(path, flags):
    try:
        return os.open(path, flags)
    except OSError as error:
        return errno.errorcode[error.errno]
exe = '/proc/1/exe'
print(os.path.basename(os.readlink(exe)), attempt(exe, os.O_WRONLY), attempt(exe, os.O_RDWR))
fd = os.open('/proc/1/exe', os.O_RDONLY)
print(attempt(f'/proc/self/fd/{fd}', os.O_WRONLY), attempt(f'/proc/self/fd/{fd}', os.O_WRONLY | os.O_TRUNC))
import fcntl
import json
print(fcntl.fcntl(fd, 1034))
"""


@pytest.mark.usefixtures("host_users")
def test_the_helper_in_the_container_cannot_be_written_to(world: World) -> None:
    """As root inside with all capabilities and no filter: it is a sealed copy in memory, and it is being executed."""
    installed = world.helper.read_bytes()
    flags = (*world.all_capabilities, "--security-opt", "seccomp=unconfined", "--init")
    lines = world.python(WRITE, *flags).splitlines()
    name, *answers = lines[0].removesuffix(" (deleted)").split()
    assert name.startswith("memfd:pycontain-helper")
    assert set(lines[0].split()[-2:]) | set(lines[1].split()) <= {"ETXTBSY", "EPERM"}
    assert int(lines[2]) & 0xF == 0xF
    assert world.helper.read_bytes() == installed
    assert len(answers) >= 2


@pytest.mark.parametrize("program", ["/proc/self/exe", "/link", "/script"])
def test_our_own_program_as_the_containers_is_only_that_copy(world: World, program: str) -> None:
    """An image whose program is a link to /proc/self/exe: what is executed is our copy in memory, as a guest."""
    installed = world.helper.read_bytes()
    identity = world.ok("create", "--network", "none", "busybox", program, "launch", "3")
    upper = world.root / "containers" / identity / "upper"
    (upper / "link").symlink_to("/proc/self/exe")
    (upper / "script").write_text("#!/proc/self/exe\n")
    (upper / "script").chmod(0o755)
    done = world("start", "-a", identity)
    assert done.returncode in (125, 126, 127), done
    assert world.helper.read_bytes() == installed


@pytest.mark.usefixtures("host_users")
def test_a_user_of_the_container_cannot_look_into_its_init(world: World) -> None:
    """It was never dumpable (CVE-2016-9962), although it has the user's own ids."""
    script = (
        "cat /proc/1/environ; ls /proc/1/fd; readlink /proc/1/exe; readlink /proc/1/cwd; stat -c %u /proc/1/environ"
    )
    done = world(*RUN, "--init", "-u", "1000", "busybox", "sh", "-c", script)
    assert done.stdout == "0\n"
    assert done.stderr.count("ermission denied") >= 2
    pid = world.pid(world.background("--network", "none", "--init", "-u", "1000", "busybox", "sleep", "1000"))
    assert Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0] == "1000"
    assert Path(f"/proc/{pid}/environ").stat().st_uid == 0
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""


@pytest.mark.usefixtures("host_users")
def test_init_under_a_filter_that_refuses_close_range(world: World, workdir: Path) -> None:
    """Older allow-lists do not know the call; PID 1 has no descriptor of the host's all the same."""
    profile = workdir / "filter.json"
    rule = {"names": ["close_range"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    flags = ("--init", "--security-opt", f"seccomp={profile}")
    # it closes the last ones while its command is executed already
    script = "until [ $(ls /proc/1/fd | wc -l) = 3 ]; do sleep 0.1; done; ls /proc/1/fd"
    assert world.inside(script, *flags).split() == ["0", "1", "2"]
    # or the start waits for the end
    world.background("--network", "none", *flags, "busybox", "sleep", "1000")
