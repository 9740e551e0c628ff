"""What cannot be: one clear line, the right status, and nothing left. Wrong flags, wrong files, a wrong host."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontain.cli import verbs
from pycontain.cli.args import Flag
from pycontain.kernel.errors import UsageError
from world import World, eventually
from worlds import copy_image, disk, fresh, settled

QUIET = ("--network", "none")
SLEEP = (*QUIET, "--init", "busybox", "sleep", "1000")


def nothing(world: World) -> bool:
    """Whether no container is there."""
    return not list((world.root / "containers").iterdir())


# --- images and commands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "answer"),
    [
        ("nosuchimage", "nosuchimage"),
        ("example.org/team/thing:1.2", "example.org/team/thing:1.2"),
        ("busybox:other", "busybox:other"),
        ("0123456789ab", "0123456789ab"),
        ("UPPER", "UPPER"),
        ("a b", "a b"),
        ("..", ".."),
        ("/etc/passwd", "/etc/passwd"),
        ("busybox:", "busybox:"),
        ("busybox@sha256:12", "sha256:12"),
        ("x" * 300, "xxx"),
        ("-", "-"),
    ],
)
def test_an_image_that_cannot_be(world: World, image: str, answer: str) -> None:
    for verb in ("run", "create"):
        assert answer in world.refused(verb, "--", image, "true")
    assert nothing(world)


def test_no_image_at_all(world: World) -> None:
    assert world.refused("run").startswith("IMAGE is missing: pycontain run [OPTIONS] IMAGE [COMMAND...]")
    assert "IMAGE" in world.refused("run", "")


def test_an_empty_command(world: World) -> None:
    line = world.refused("run", "--name", "one", "--entrypoint", "", *QUIET, "busybox", status=127)
    assert line == "image busybox has no command of its own: give one after its name"
    for command in (
        ["run", "--name", "one", *QUIET, "busybox", ""],
        ["run", "--entrypoint", "", *QUIET, "busybox", ""],
    ):
        assert world.refused(*command, status=127).startswith('exec: "": the command has no name')
    assert nothing(world)


# --- flags --------------------------------------------------------------------------------------------------------

#: No reader of a value takes all of these.
NONSENSE = ("nonsense!", "", "\x01", "-1", "99999999999999999999999", "a=b=c", "/nowhere/at/all", ":::", "=", "0", "..")
#: Flags that take any text; what it means is found out later.
ANY = {"entrypoint", "description"}
#: What these say is what a settings file says: its model judges it (tests/unit/test_tenant_settings.py).
SETTINGS = {"tenant create", "tenant set", "tenant import"}


def flags_with_values() -> Iterator[tuple[str, Flag]]:
    for command in verbs.COMMANDS:
        for flag in verbs.load(command).flags:
            yield command, flag


def rejected(flag: Flag) -> list[str]:
    """The nonsense that the flag's reader refuses."""
    found = []
    for text in NONSENSE:
        try:
            flag.convert(text)
        except UsageError:
            found.append(text)
    return found


CASES = [(command, flag, text) for command, flag in flags_with_values() for text in rejected(flag)[:2]]


def test_every_flag_refuses_something() -> None:
    missing = {flag.key for command, flag in flags_with_values() if command not in SETTINGS and not rejected(flag)}
    assert missing <= ANY


@pytest.mark.parametrize(("command", "flag", "text"), CASES, ids=[f"{c}-{f.title}-{t!r}" for c, f, t in CASES])
def test_a_flag_with_a_value_that_cannot_be(world: World, command: str, flag: Flag, text: str) -> None:
    for name in flag.names:
        words = [f"{name}={text}"] if text else [f"{name}="]
        line = world.refused(*command.split(), *words)
        assert line.startswith(f"{flag.title}: "), line


@pytest.mark.parametrize("command", list(verbs.COMMANDS))
def test_every_verb_refuses_what_it_does_not_know(world: World, command: str) -> None:
    words = command.split()
    assert world.refused(*words, "--no-such-flag").startswith("unknown flag --no-such-flag")
    verb = verbs.load(command)
    valued = next((flag for flag in verb.flags if not flag.is_bool), None)
    if valued:
        assert "needs a value" in world.refused(*words, valued.title)
    if not any(argument.many for argument in verb.arguments):
        first = "create" if command == "tenant snapshot" else "x"
        line = world.refused(*words, first, *["x"] * len(verb.arguments))
        assert "one argument too many" in line
    if verb.arguments and not verb.arguments[0].optional:
        assert "is missing: pycontain" in world.refused(*words)


#: Flags of run whose value is well-formed and cannot be: the answer has these words.
IMPOSSIBLE: list[tuple[tuple[str, ...], str]] = [
    (("-v", "/no/such/path:/x"), "volume /no/such/path: No such file or directory: the host path must exist"),
    (("-v", "relative/path:/x"), "'relative/path' is neither an absolute path (./x: $PWD/x) nor the name of a volume"),
    (("-v", "/etc:/x", "-v", "/usr:/x"), "two mounts have one target"),
    (("-v", "/etc:/"), "is the container's root"),
    (("-v", "/etc"), "is not a volume: give SOURCE:TARGET"),
    (("-v", "/etc:/x:bogus"), "bogus"),
    (("--mount", "type=bind,source=/no/such,destination=/x"), "/no/such"),
    (("--mount", "type=nothing,destination=/x"), "nothing"),
    (("--tmpfs", "/x:size=lots"), "lots"),
    (("-v", "/etc:/etc/passwd/below"), "/etc/passwd/below"),
    (("--device", "/no/such"), "device /no/such: No such file or directory"),
    (("--device", "/etc/passwd"), "/etc/passwd is not a device"),
    (("-u", "nobody-there"), "nobody-there"),
    (("-u", "0:nobody-there"), "nobody-there"),
    (("-u", "99999999999"), "99999999999"),
    (("--group-add", "nobody-there"), "nobody-there"),
    (("-w", "/etc/passwd"), "/etc/passwd"),
    (("--security-opt", "seccomp=/no/such"), "seccomp=/no/such: No such file or directory"),
    (("--security-opt", "seccomp=/etc/passwd"), "/etc/passwd: not JSON"),
    (("--security-opt", "seccomp=/etc"), "/etc: Is a directory"),
    (("--sysctl", "kernel.no_such_thing=1"), "kernel.no_such_thing"),
    (("--sysctl", "net.no.such=1"), "net.no.such"),
    (("--sysctl", "net.core.somaxconn=many"), "net.core.somaxconn"),
    (("--ulimit", "nofile=1000000000:1000000000"), "CAP_SYS_RESOURCE"),
    (("--ulimit", "nofile=20:10"), "20"),
    (("--cgroup-parent", "/a/../b"), ".."),
    (("--cgroup-parent", "/" + "x" * 300), "longer than 255 bytes"),
    (("--name", "one", "--hostname", "x" * 65), "--hostname"),
    (("--network", "nowhere"), "nowhere"),
    (("--network", "container:"), "container:"),
    (("--env-file", "/no/such"), "/no/such"),
    (("--cidfile", "/no/such/file"), "/no/such/file"),
    (("--rm", "--restart", "always"), "--rm and --restart"),
    (("-p", "80:80"), "--network none"),
    (("--memory-swap", "1g"), "--memory"),
    (("--pid", "container:x"), "--pid"),
]


@pytest.mark.parametrize(("flags", "answer"), IMPOSSIBLE, ids=[" ".join(flags)[:60] for flags, _ in IMPOSSIBLE])
def test_a_flag_that_cannot_be_done(world: World, flags: tuple[str, ...], answer: str) -> None:
    network = () if "--network" in flags else QUIET
    for verb in ("run", "create"):
        done = world(verb, *network, *flags, "busybox", "true")
        if verb == "create" and done.returncode == 0:
            # it shows only where the container is started, and then the container stays
            identity = done.stdout.strip()
            assert answer in world.refused("start", identity)
            assert world.status(identity) == "created"
            world.ok("rm", identity)
        else:
            assert answer in world.refused(verb, *network, *flags, "busybox", "true")
    assert nothing(world)


@pytest.mark.parametrize(
    ("flags", "controller"), [(("-m", "64m"), "memory"), (("--cpus", "0.5"), "cpu"), (("--pids-limit", "5"), "pids")]
)
def test_a_limit_that_cannot_be_enforced_names_its_controller(
    world: World, flags: tuple[str, ...], controller: str
) -> None:
    from pycontain.cgroup import hierarchy

    if controller in hierarchy.find().controllers:
        pytest.skip(f"this host has the controller {controller}")
    line = world.refused("run", *QUIET, *flags, "busybox", "true")
    assert f"{controller}" in line
    assert nothing(world)


def test_more_than_an_execve_takes(world: World, workdir: Path) -> None:
    """E2BIG: the kernel's limit on arguments and environment (execve(2)), 6 MiB at most, 128 KiB a string."""
    many = [f"VARIABLE{number}={'x' * 60000}" for number in range(16)]
    path = workdir / "env"
    path.write_text("\n".join(many))
    flags = [word for _ in range(8) for word in ("--env-file", str(path))]
    assert world("run", "--rm", *QUIET, *flags, "busybox", "true").returncode == 0
    lines = [f"V{number}={'x' * 1000}" for number in range(1000)]
    files = []
    for part in range(7):
        one = workdir / f"env{part}"
        one.write_text("\n".join(line.replace("V", f"V{part}_", 1) for line in lines))
        files += ["--env-file", str(one)]
    line = world.refused("run", *QUIET, *files, "busybox", "true", status=126)
    assert "argument list too long" in line
    path.write_text(f"LONG={'x' * 200000}")
    line = world.refused("run", *QUIET, "--env-file", str(path), "busybox", "true", status=126)
    assert "argument list too long" in line
    assert nothing(world)


def test_many_arguments(world: World) -> None:
    words = [f"w{number}" for number in range(20000)]
    out = world.ok("run", "--rm", *QUIET, "busybox", "sh", "-c", "echo $#; echo ${20000}", "sh", *words)
    assert out == "20000\nw19999"


@pytest.mark.usefixtures("host_users")
def test_a_thousand_volumes(world: World, workdir: Path) -> None:
    flags = []
    for number in range(1000):
        (workdir / f"v{number}").mkdir()
        flags += ["-v", f"{workdir}/v{number}:/m/{number}:ro"]
    (workdir / "v999" / "file").write_text("last")
    out = world.ok("run", "--rm", *QUIET, *flags, "busybox", "sh", "-c", "ls /m | wc -l; cat /m/999/file", timeout=120)
    assert out == "1000\nlast"


# --- privileges ---------------------------------------------------------------------------------------------------

VERBS = [
    ["run", "busybox", "true"],
    ["create", "busybox", "true"],
    ["start", "x"],
    ["stop", "x"],
    ["restart", "x"],
    ["kill", "x"],
    ["pause", "x"],
    ["unpause", "x"],
    ["wait", "x"],
    ["exec", "x", "true"],
    ["attach", "x"],
    ["logs", "x"],
    ["inspect", "x"],
    ["top", "x"],
    ["stats", "x"],
    ["port", "x"],
    ["rename", "x", "y"],
    ["cp", "x:/etc/passwd", "/tmp/nowhere/"],
    ["rm", "x"],
    ["rm", "-f", "x"],
    ["rm", "--all"],
    ["ps"],
    ["ps", "-a"],
    ["image", "build", "busybox"],
    ["image", "ls"],
    ["image", "rm", "busybox"],
    ["network", "ls"],
    ["network", "prune", "--force"],
    ["volume", "ls"],
]


@pytest.mark.parametrize("command", VERBS, ids=" ".join)
def test_a_user_without_privileges(world: World, command: list[str]) -> None:
    before = set(world.root.rglob("*"))
    drop = "setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all --bounding-set=-all".split()
    # the directories are root's, and so are those above them in this test: as /var/lib/pycontain is for a user
    done = subprocess.run(
        [*drop, *world.command, *command], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 125, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert "root" in done.stderr
    assert set(world.root.rglob("*")) == before


def test_root_without_capabilities(world: World) -> None:
    """Root in name only: what the kernel refuses is named."""
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *world.command, "run", *QUIET, "busybox", "true"],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 125
    assert done.stderr.count("\n") == 1, done.stderr
    assert "ermission denied" in done.stderr or "not permitted" in done.stderr
    assert nothing(world)


# --- a kernel that lacks something --------------------------------------------------------------------------------

#: Loads a filter under which the system calls do not exist, and executes the rest of the command line.
LACKING = """
import errno, os, sys
import pyseccomp
filter = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
for name in sys.argv[1].split(","):
    filter.add_rule(pyseccomp.ERRNO(errno.ENOSYS), name)
filter.load()
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize(
    "call",
    ["clone3", "openat2", "mount_setattr", "fsopen", "fsmount", "move_mount", "open_tree", "close_range", "seccomp"],
)
def test_a_kernel_without_a_system_call(world: World, call: str) -> None:
    command = [*world.command, "run", "--rm", *QUIET, "-v", "/usr:/x:ro", "busybox", "true"]
    done = subprocess.run(
        [sys.executable, "-c", LACKING, call, *command],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 0:
        pytest.skip(f"{call} is not needed, or something else is used where it is missing")
    assert done.returncode == 125, done
    assert done.stderr.count("\n") == 1, done.stderr
    assert "unction not implemented" in done.stderr
    assert "kernel" in done.stderr
    assert nothing(world)
    settled(world)


# --- a host that lacks something ----------------------------------------------------------------------------------


def in_private_mounts(world: World, script: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run pycontain in a mount namespace of its own in which a script has changed something."""
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", f'{script}\nexec "$@"', "sh"]
        + [*world.command, *command],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def one_line(done: subprocess.CompletedProcess[str], status: int = 125) -> str:
    assert done.returncode == status, done
    assert done.stdout == ""
    assert done.stderr.startswith("pycontain: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def one_answer(done: subprocess.CompletedProcess[str]) -> None:
    """At most one error, whatever a build that came before it has told of its steps."""
    assert "Traceback" not in done.stderr, done
    assert sum(line.startswith("pycontain: ") for line in done.stderr.splitlines()) <= 1, done


def test_no_cgroup2(world: World) -> None:
    done = in_private_mounts(world, "mount -t tmpfs none /sys/fs/cgroup", "run", *QUIET, "busybox", "true")
    assert "cgroup v2 is not mounted: mount it" in one_line(done)
    assert nothing(world)
    for verb in VERBS:
        if verb[:2] == ["image", "rm"]:
            continue  # the other tests need it
        one_answer(in_private_mounts(world, "mount -t tmpfs none /sys/fs/cgroup", *verb))


def test_a_read_only_cgroup2(world: World) -> None:
    from world import cgroup_mount

    script = f"mount --bind {cgroup_mount()} {cgroup_mount()}; mount -o remount,bind,ro {cgroup_mount()}"
    line = one_line(in_private_mounts(world, script, "run", *QUIET, "busybox", "true"))
    assert "read-only" in line.lower()
    assert nothing(world)


def test_a_read_only_root(world: World) -> None:
    script = f"mount --bind {world.root} {world.root}; mount -o remount,bind,ro {world.root}"
    for command in (["run", *QUIET, "busybox", "true"], ["create", "busybox", "true"], ["image", "rm", "busybox"]):
        line = one_line(in_private_mounts(world, script, *command))
        assert "Read-only file system" in line
        assert str(world.root) in line
    assert nothing(world)


def test_a_read_only_run_root(world: World, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    other = World(world.root, run)
    script = f"mount --bind {run} {run}; mount -o remount,bind,ro {run}"
    line = one_line(in_private_mounts(other, script, "run", *QUIET, "busybox", "true"))
    assert f"{run}" in line and "Read-only file system" in line
    other = World(world.root, Path("/proc/nowhere"))
    assert "/proc/nowhere" in one_line(in_private_mounts(other, "true", "run", *QUIET, "busybox", "true"))
    file = tmp_path / "file"
    file.write_text("")
    for root, run in (
        (world.root, file / "run"),
        (world.root, file),
        (file / "root", tmp_path / "r"),
        (file, tmp_path / "r"),
    ):
        other = World(root, run)
        line = other.refused("run", *QUIET, "busybox", "true")
        assert str(file) in line
    assert nothing(world)


def test_a_root_that_cannot_be_an_upper_directory(world: World, tmp_path: Path) -> None:
    """overlayfs does not take an overlay for its upper directory."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "none", tmp_path / "merged"], check=True)
    try:
        with fresh(world, tmp_path / "merged" / "root", tmp_path / "run") as made:
            line = made.refused("run", *QUIET, "busybox", "true")
            assert (
                "overlayfs cannot use an overlay as upper directory: give --root on ext4, xfs, btrfs or tmpfs" in line
            )
            assert nothing(made)
    finally:
        subprocess.run(["umount", "-l", tmp_path / "merged"], check=True)


def test_a_full_disk(world: World, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "8m") as point:
        copy_image(world.root, point / "root")
        with fresh_disk(point, tmp_path) as made:
            path = point / "filling"
            with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(bytes(4096))
            line = made.refused("run", *QUIET, "busybox", "true")
            assert "No space left on device" in line
            path.unlink()
            assert made.ok("run", "--rm", *QUIET, "busybox", "echo", "room") == "room"


def fresh_disk(point: Path, tmp_path: Path) -> Any:
    from contextlib import contextmanager

    @contextmanager
    def make() -> Iterator[World]:
        made = World(point / "root", tmp_path / "run")
        try:
            yield made
        finally:
            made.remove_all()
        settled(made)

    return make()


def test_a_full_run_directory(world: World, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "1m") as point, fresh(world, tmp_path / "root", point / "run") as made:
        assert made.ok("run", "--rm", *QUIET, "busybox", "echo", "room") == "room"
        path = point / "filling"
        with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        line = made.refused("run", *QUIET, "busybox", "true")
        assert "No space left on device" in line
        assert nothing(made)
        path.unlink()


# --- damaged files ------------------------------------------------------------------------------------------------


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path, to: str) -> None:
    path.unlink()
    path.symlink_to(to)


def _other_types(path: Path) -> str:
    """The same JSON with other types in it."""
    try:
        value = json.loads(path.read_text())
    except ValueError:
        return "0 0 0 0 0"
    return json.dumps({key: [] if isinstance(item, (dict, str)) else "x" for key, item in value.items()})


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_text(""),
    "text": lambda path: path.write_text("not JSON\n"),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "list": lambda path: path.write_text("[]"),
    "object": lambda path: path.write_text("{}"),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    "deep": lambda path: path.write_text("[" * 200000),
    "directory": _directory,
    "link": lambda path: _link(path, "/no/such"),
    "loop": lambda path: _link(path, path.name),
    "types": lambda path: path.write_text(_other_types(path)),
    "gone": lambda path: path.unlink(),
}

ON_ONE = [
    ["start", "one"],
    ["start", "-a", "one"],
    ["stop", "-t", "0", "one"],
    ["restart", "-t", "0", "one"],
    ["kill", "one"],
    ["pause", "one"],
    ["unpause", "one"],
    ["wait", "one"],
    ["exec", "one", "true"],
    ["attach", "--no-stdin", "one"],
    ["logs", "one"],
    ["inspect", "one"],
    ["top", "one"],
    ["stats", "--no-stream", "one"],
    ["port", "one"],
    ["rename", "one", "two"],
    ["rename", "two", "one"],
    ["cp", "one:/etc/passwd", "-"],
    ["ps", "-a"],
    ["rm", "one"],
]


def try_all(world: World, commands: list[list[str]]) -> None:
    """Every verb answers in one line or less, and never with a traceback."""
    for command in commands:
        done = world(*command)
        assert "Traceback" not in done.stderr, done
        assert done.stderr.count("\n") <= 1, done


@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.parametrize("name", ["container.json", "config.json", "exit"])
def test_a_damaged_file_of_a_container_that_has_ended(world: World, name: str, damage: str) -> None:
    assert world("run", "--name", "one", *QUIET, "busybox", "true").returncode == 0
    identity = world.inspect("one")["Id"]
    DAMAGES[damage](world.root / "containers" / identity / name)
    try_all(world, ON_ONE)
    for command in (["rm", "-f", "one"], ["rm", "-f", "two"], ["rm", "-f", identity]):
        assert world(*command).returncode == 0
    settled(world)


@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.parametrize("name", ["container.json", "config.json"])
def test_a_damaged_file_of_a_container_that_runs(world: World, name: str, damage: str) -> None:
    identity = world.background("--name", "one", *SLEEP)
    DAMAGES[damage](world.root / "containers" / identity / name)
    try_all(world, [["pause", "one"], ["unpause", "one"], ["exec", "one", "true"], ["top", "one"], ["inspect", "one"]])
    try_all(world, [["ps"], ["rm", "one"], ["logs", "one"], ["stats", "--no-stream", "one"], ["port", "one"]])
    world.ok("stop", "-t", "1", identity)
    try_all(world, ON_ONE)
    assert world("rm", "-f", identity).returncode == 0
    settled(world)


@pytest.mark.parametrize("damage", ["empty", "text", "binary", "directory", "link", "gone"])
@pytest.mark.parametrize("name", ["pid", "cgroup"])
def test_damaged_run_state(world: World, name: str, damage: str) -> None:
    identity = world.background("--name", "one", *SLEEP)
    first = world.pid(identity)
    DAMAGES[damage](world.run_root / "containers" / identity / name)
    try_all(
        world, [command for command in ON_ONE if command[0] not in ("stop", "kill", "rm", "restart", "wait", "attach")]
    )
    assert world("rm", "-f", "one").returncode == 0
    assert eventually(lambda: not Path(f"/proc/{first}").exists())
    settled(world)


def test_the_pid_of_another_process(world: World) -> None:
    """A process ID is believed with its start time only."""
    identity = world.background("--name", "one", *SLEEP)
    pid = world.run_root / "containers" / identity / "pid"
    before = pid.read_text()
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            pid.write_text(f"{other.pid} 1\n")
            try_all(world, [["exec", "one", "true"], ["top", "one"], ["inspect", "one"], ["ps"]])
            assert "has ended" in world.refused("exec", "one", "true")
            world.ok("kill", "one")
            assert other.poll() is None
        finally:
            other.kill()
    assert before
    world.ok("rm", "one")


def test_a_cgroup_that_is_not_its_own_is_left_alone(world: World) -> None:
    from world import cgroup_mount

    other = cgroup_mount() / "pycontain-test-other"
    other.mkdir()
    try:
        identity = world.background("--name", "one", *SLEEP)
        second = world.background("--name", "two", *SLEEP)
        for text in (
            str(other),
            str(cgroup_mount()),
            f"{cgroup_mount()}/pycontain",
            f"{cgroup_mount()}/pycontain/{second}",
            f"{cgroup_mount()}/pycontain/../{other.name}/{identity}",
            f"/no/such/{identity}",
        ):
            (world.run_root / "containers" / identity / "cgroup").write_text(text + "\n")
            os.kill(world.monitor_pid(identity), 9)
            assert eventually(lambda: world.status("one") == "exited")
            assert world.status("two") == "running"
            world.ok("start", "one")
    finally:
        other.rmdir()


def test_a_parent_cgroup_of_somebody_elses_stays(world: World) -> None:
    from world import cgroup_mount

    parent = cgroup_mount() / "pycontain-test-parent"
    parent.mkdir()
    try:
        world.ok("run", "--rm", "--cgroup-parent", "/pycontain-test-parent", *QUIET, "busybox", "true")
        assert parent.is_dir()
        identity = world.background("--cgroup-parent", "/pycontain-test-parent", *SLEEP)
        os.kill(world.monitor_pid(identity), 9)
        world.ok("rm", "-f", identity)
        assert [path for path in parent.iterdir() if path.is_dir()] == []
    finally:
        parent.rmdir()


# --- what does not belong there -----------------------------------------------------------------------------------


def test_links_and_strangers_in_the_root(world: World, tmp_path: Path) -> None:
    """What is no container is not taken for one, and nothing outside is touched."""
    outside = tmp_path / "outside"
    (outside / "upper").mkdir(parents=True)
    (outside / "keep").write_text("")
    identity, stranger = "a" * 64, "b" * 64
    with fresh(world, tmp_path / "root", tmp_path / "run") as made:
        made.ok("create", "--name", "one", *SLEEP)
        (made.root / "containers" / "lost+found").mkdir()
        (made.root / "containers" / "file").write_text("")
        (made.root / "containers" / identity).symlink_to(outside)
        (made.root / "containers" / stranger).write_text("")
        (made.root / "names" / "up").symlink_to("../containers/..")
        (made.root / "names" / "root").symlink_to("../..")
        (made.root / "names" / "out").symlink_to(outside)
        (made.root / "names" / "here").symlink_to(f"../containers/{identity}")
        (made.root / "names" / "file").write_text("")
        assert made.ok("ps", "-aq")
        for name in ("up", "root", "out", "file", "lost+found", ".", "..", "containers", identity, stranger):
            done = made("rm", "-f", name)
            assert done.returncode in (0, 125), done
            assert done.stderr.count("\n") <= 2
            assert "Traceback" not in done.stderr
        made("rm", "-f", "here")
        assert (outside / "keep").exists()
        assert (outside / "upper").is_dir()
        assert made.status("one") == "created"
        made("rm", "-f", "--all")
        assert (outside / "keep").exists()
        assert (made.root / "containers" / "lost+found").is_dir()
        (made.root / "containers" / "lost+found").rmdir()
        containers = made.root / "containers"
        for path in [containers / "file", containers / stranger, *made.root.glob("names/*")]:
            path.unlink()


def test_directories_that_are_elsewhere(world: World, tmp_path: Path) -> None:
    """A link in place of a directory of ours is a person's way to put it on another disk."""
    with fresh(world, tmp_path / "root", tmp_path / "run") as made:
        for name in ("containers", "names", "cache", "images", "layers", "refs"):
            source = made.root / name
            if source.exists():
                source.rename(tmp_path / name)
            else:
                (tmp_path / name).mkdir()
            source.symlink_to(tmp_path / name)
        assert made.ok("run", "--rm", *QUIET, "busybox", "echo", "text") == "text"
        identity = made.background("--name", "one", *SLEEP)
        assert (tmp_path / "containers" / identity).is_dir()
        made.ok("rm", "-f", "one")


@pytest.mark.parametrize("name", ["containers", "names", "cache", "images", "layers", "refs"])
def test_a_file_in_place_of_a_directory(world: World, tmp_path: Path, name: str) -> None:
    made = World(tmp_path / "root", tmp_path / "run")
    copy_image(world.root, made.root)
    target = made.root / name
    if target.exists():
        target.rename(tmp_path / "away")
    target.write_text("")
    for command in [["run", *QUIET, "busybox", "true"], ["create", "busybox", "true"], *VERBS[2:]]:
        one_answer(made(*command))
    settled(made)


def test_another_root_with_the_same_run_root(world: World, tmp_path: Path) -> None:
    """What the first command with a --run-root makes in its --root, the next one makes in another."""
    other = World(tmp_path / "other", world.run_root)
    copy_image(world.root, other.root)
    identity = world.background("--name", "one", *SLEEP)
    assert other.ok("run", "--rm", *QUIET, "busybox", "echo", "text") == "text"
    other.background("--name", "one", *SLEEP)
    assert json.loads(other.ok("ps", "-a", "--format", "json"))[0]["Name"] == "one"
    other.ok("rm", "-f", "one")
    assert world.status(identity) == "running"


def test_a_directory_that_was_emptied(world: World, tmp_path: Path) -> None:
    """/run is gone while nothing runs: the next command makes what it needs, and none hangs."""
    with fresh(world, tmp_path / "root", tmp_path / "run") as made:
        made.ok("create", "--name", "one", *SLEEP)
        subprocess.run(["rm", "-rf", made.run_root], check=True)
        for command in (["ps", "-a"], ["inspect", "one"], ["stop", "one"], ["rename", "one", "two"], ["rm", "two"]):
            assert made(*command).returncode == 0
        subprocess.run(["rm", "-rf", made.run_root / "containers"], check=True)
        assert made.ok("run", "--rm", *QUIET, "busybox", "echo", "text") == "text"
        subprocess.run(["rm", "-rf", made.run_root / "pending"], check=True)
        assert made.ok("run", "--rm", *QUIET, "busybox", "echo", "text") == "text"
        for name in ("containers", "names", "cache"):
            subprocess.run(["rm", "-rf", made.root / name], check=True)
        assert made.ok("run", "--rm", *QUIET, "busybox", "echo", "text") == "text"


def test_long_paths(world: World, tmp_path: Path) -> None:
    """Sockets have short addresses; directories need not."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    with fresh(world, deep / "root", deep / "run") as made:
        made.background("--name", "one", *SLEEP)
        assert made.ok("exec", "one", "echo", "text") == "text"
        made.ok("stop", "one")


def test_strange_characters_in_paths(world: World, tmp_path: Path) -> None:
    for text in ("a b", "a:b", "a,b", "a\\b", "ä", "a'b", 'a"b', "a%sb", "a\nb"):
        with fresh(world, tmp_path / text / "root", tmp_path / text / "run") as made:
            done = made("run", "--rm", *QUIET, "busybox", "echo", "text")
            if done.returncode:
                assert len([line for line in done.stderr.split("\n") if not line.startswith("Try ")]) == 2, done
            else:
                assert (done.stdout, done.stderr) == ("text\n", "")


def test_closed_standard_descriptors(world: World) -> None:
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            [
                "sh",
                "-c",
                f'"$@" {closed}',
                "sh",
                *world.command,
                "run",
                "--rm",
                *QUIET,
                "busybox",
                "sh",
                "-c",
                "exit 3",
            ],
            capture_output=True,
            timeout=30,
        )
        assert done.returncode == 3, (closed, done)
    settled(world)


def test_a_busy_socket_is_no_container(world: World, tmp_path: Path) -> None:
    """A socket of somebody else's in place of the monitor's: an answer, and no hang."""
    world.ok("create", "--name", "one", *SLEEP)
    identity = world.inspect("one")["Id"]
    directory = world.run_root / "containers" / identity
    directory.mkdir()
    short = os.open(directory, os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(f"/proc/self/fd/{short}/attach")
        os.close(short)
        other.listen()
        try_all(world, [["ps", "-a"], ["inspect", "one"], ["stop", "one"], ["rm", "one"]])
