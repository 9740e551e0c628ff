"""What the container sees of the kernel: masked and read-only paths, /sys, and a /dev with nothing but what is safe."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from pycontain.engine.confinement import MASKED, READ_ONLY
from world import World

#: Those that this kernel has.
MASKED_HERE = [path for path in MASKED if os.path.exists(path)]
READ_ONLY_HERE = [path for path in READ_ONLY if os.path.exists(path)]


def created(world: World, *arguments: str, **changes: object) -> str:
    """A container that is made but not started, with other values in the ``linux`` section of its config.json."""
    identity = world.ok("create", "--network", "none", *arguments)
    path = world.root / "containers" / identity / "config.json"
    spec = json.loads(path.read_text())
    spec["linux"].update(changes)
    path.write_text(json.dumps(spec))
    return identity


# --- /proc --------------------------------------------------------------------------------------------------------


def test_proc_is_the_containers_own(world: World) -> None:
    line = world.inside("grep ' /proc ' /proc/self/mountinfo")
    options, _, kind = line.partition(" - ")
    assert kind.split()[0] == "proc"
    assert options.split()[5] == "rw,nosuid,nodev,noexec,relatime"


def test_the_list_names_what_the_kernel_calls_so() -> None:
    """A name that no kernel has masks nothing. procfs: proc(5); latency_stats: kernel/latencytop.c."""
    assert {path for path in MASKED if path.startswith("/proc/")} == {
        f"/proc/{name}"
        for name in ("acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats".split())
    }


@pytest.mark.parametrize("path", MASKED_HERE)
def test_a_masked_path_shows_nothing(world: World, path: str) -> None:
    if os.path.isdir(path):
        assert world.inside(f"ls -A {path}; stat -f -c %T {path}") == "tmpfs"
        assert world.inside(f"touch {path}/x 2>&1; true").endswith("Read-only file system")
    else:
        assert world.inside(f"wc -c < {path}; stat -c '%t:%T %F' {path}") == "0\n1:3 character special file"


@pytest.mark.parametrize("path", MASKED_HERE)
def test_a_masked_path_is_so_for_every_process(world: World, path: str) -> None:
    """Also below /proc/1/root, for an executed command, and with all capabilities."""
    identity = world.background("--network", "none", *world.all_capabilities, "busybox", "sleep", "1000")
    size = "ls -A {0} | wc -l" if os.path.isdir(path) else "wc -c < {0}"
    script = f"{size.format(path)}; {size.format('/proc/1/root' + path)}"
    assert world.ok("exec", identity, "sh", "-c", script).split() == ["0", "0"]


def test_a_path_that_does_not_exist_is_not_masked_and_no_error(world: World) -> None:
    identity = created(world, "busybox", "echo", "runs", maskedPaths=["/nowhere", "/etc/passwd/x"])
    assert world.ok("start", "-a", identity) == "runs"


def test_a_file_and_a_directory_of_the_image_can_be_masked(world: World) -> None:
    identity = created(
        world, "busybox", "sh", "-c", "wc -c < /etc/passwd; ls -A /var", maskedPaths=["/etc/passwd", "/var"]
    )
    assert world.ok("start", "-a", identity) == "0"


@pytest.mark.parametrize("path", READ_ONLY_HERE)
def test_a_read_only_path_is_one(world: World, path: str) -> None:
    script = "import os, sys; print(bool(os.statvfs(sys.argv[1]).f_flag & os.ST_RDONLY))"
    arguments = ("sparse", "/usr/bin/python3", "-I", "-S", "-c", script, path)
    assert world.ok("run", "--rm", "--network", "none", *world.all_capabilities, *arguments) == "True"


@pytest.mark.usefixtures("host_users")
@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/vm/drop_caches",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/net/core/somaxconn",
        "/proc/irq/default_smp_affinity",
    ],
)
def test_a_setting_of_the_kernel_cannot_be_written(world: World, path: str) -> None:
    """Root with all capabilities and without a filter opens the file for writing, and writes nothing if it can."""
    script = (
        f"import os, errno\ntry: os.open({path!r}, os.O_WRONLY)\nexcept OSError as e: print(errno.errorcode[e.errno])"
    )
    assert world.python(script, *world.all_capabilities, "--security-opt", "seccomp=unconfined") == "EROFS"


def test_paths_of_the_image_can_be_made_read_only(world: World) -> None:
    script = "touch /var/x 2>&1; touch /etc/y && echo can"
    identity = created(world, "busybox", "sh", "-c", script, readonlyPaths=["/var"])
    assert world.ok("start", "-a", identity) == "touch: /var/x: Read-only file system\ncan"


# --- /sys ---------------------------------------------------------------------------------------------------------


def test_sys_is_read_only(world: World) -> None:
    script = "for f in uevent_helper mm/transparent_hugepage/enabled; do echo 1 > /sys/kernel/$f; done 2>&1; true"
    assert world.inside(script, *world.all_capabilities).count("Read-only file system") == 2


def test_cgroups_are_read_only(world: World) -> None:
    script = "mkdir /sys/fs/cgroup/x 2>&1; echo 1 2>&1 > /sys/fs/cgroup/cgroup.procs; true"
    answer = world.inside(script, *world.all_capabilities)
    assert answer.count("Read-only file system") == 2


def test_the_cgroup_mount_is_version_2_alone(world: World) -> None:
    """Nothing with a release_agent (CVE-2022-0492)."""
    lines = world.inside("grep cgroup /proc/self/mounts").splitlines()
    assert [line.split()[1:3] for line in lines] == [["/sys/fs/cgroup", "cgroup2"]]
    assert world.inside("find / -xdev -name release_agent; find /sys -name release_agent") == ""


# --- /dev ---------------------------------------------------------------------------------------------------------

NODES = {
    "full": (1, 7, 0o666),
    "null": (1, 3, 0o666),
    "random": (1, 8, 0o666),
    "tty": (5, 0, 0o666),
    "urandom": (1, 9, 0o666),
    "zero": (1, 5, 0o666),
}
LINKS = {
    "fd": "/proc/self/fd",
    "ptmx": "pts/ptmx",
    "stderr": "/proc/self/fd/2",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
}
DIRECTORIES = {"mqueue": "mqueue", "pts": "devpts", "shm": "tmpfs"}


def listing(world: World, *flags: str) -> dict[str, list[object]]:
    """Everything in /dev: mode, major, minor, uid, gid, text of a link."""
    script = (
        "import os, json; r = {}\n"
        "for e in os.scandir('/dev'):\n"
        "  s = e.stat(follow_symlinks=False); t = os.readlink(e.path) if e.is_symlink() else ''\n"
        "  r[e.name] = [s.st_mode, os.major(s.st_rdev), os.minor(s.st_rdev), s.st_uid, s.st_gid, t]\n"
        "print(json.dumps(r))"
    )
    network = ("run", "--rm", "--network", "none")
    output = world.ok(*network, *flags, "sparse", "/usr/bin/python3", "-c", script)
    found: dict[str, list[object]] = json.loads(output)
    return found


@pytest.mark.usefixtures("host_users")
def test_dev_has_the_standard_devices_and_no_other(world: World) -> None:
    found = listing(world)
    assert set(found) == {*NODES, *LINKS, *DIRECTORIES}
    assert {name: found[name] for name in NODES} == {
        name: [stat.S_IFCHR | mode, major, minor, 0, 0, ""] for name, (major, minor, mode) in NODES.items()
    }
    assert {name: found[name][5] for name in LINKS} == LINKS


@pytest.mark.usefixtures("host_users")
def test_dev_lies_in_memory(world: World) -> None:
    # a file that is bound has its file system's "/dev/..." behind the hyphen
    script = "grep -E '^([^ ]+ ){4}/dev' /proc/self/mountinfo"
    lines = [line.split(" - ") for line in world.inside(script).splitlines()]
    mounts = {first.split()[4]: (first.split()[5], second.split()[0]) for first, second in lines}
    options, kind = mounts.pop("/dev")
    assert kind == "tmpfs" and {"nosuid", "noexec"} <= set(options.split(","))
    assert {path.removeprefix("/dev/"): kind for path, (_, kind) in mounts.items()} == DIRECTORIES
    assert all("nosuid" in options and "noexec" in options for options, _ in mounts.values())


def test_the_devices_work(world: World) -> None:
    script = (
        "echo x > /dev/null && head -c 4 /dev/zero | od -An -tx1 && head -c 5 /dev/urandom | wc -c; echo x > /dev/full"
    )
    done = world("run", "--rm", "--network", "none", "busybox", "sh", "-c", script)
    assert done.stdout.split() == ["00", "00", "00", "00", "5"]
    assert "No space left" in done.stderr


def test_shared_memory_has_the_size_that_was_asked_for(world: World) -> None:
    assert world.inside("df -k /dev/shm | tail -1").split()[1] == "65536"
    assert world.inside("df -k /dev/shm | tail -1; stat -c %a /dev/shm", "--shm-size", "5m").split()[1] == "5120"
    assert world.inside("stat -c %a /dev/shm") == "1777"


def test_pseudo_terminals_are_the_containers_own(world: World) -> None:
    script = (
        "import os; m, s = os.openpty(); print(os.ttyname(s), sorted(os.listdir('/dev/pts')));"
        "print(os.stat('/dev/pts').st_dev)"
    )
    seen, device = world.python(script).splitlines()
    assert seen == "/dev/pts/0 ['0', 'ptmx']"
    # not what the host's has in it, before and after: others use that
    assert int(device) != os.stat("/dev/pts").st_dev


def test_a_terminal_is_the_console(world: World) -> None:
    script = "tty; stat -c '%t:%T %u %a' /dev/console; ls /dev/pts; stat -c %t:%T /dev/pts/0"
    lines = world.inside(script, "-t").split()
    assert lines == ["/dev/pts/0", "88:0", "0", "620", "0", "ptmx", "88:0"]


def test_a_terminal_belongs_to_the_user(world: World) -> None:
    assert world.inside("stat -c %u:%g /dev/pts/0; echo > /dev/tty && echo can", "-t", "-u", "1000").split() == [
        "1000:5",
        "can",
    ]


def test_without_a_terminal_there_is_no_console(world: World) -> None:
    assert world.inside("ls /dev/console 2>&1; true").endswith("No such file or directory")


# --- the root -----------------------------------------------------------------------------------------------------


def test_the_hosts_root_is_not_to_be_seen(world: World, workdir: Path) -> None:
    """Neither by "..", nor by a mount that is left over, nor by /proc."""
    mark = workdir / "mark"
    mark.write_text("host")
    script = f"cd /..; ls {mark} /proc/1/root{mark} /proc/1/cwd/../..{mark} /../../..{mark} 2>/dev/null | wc -l"
    assert world.inside(script, *world.all_capabilities) == "0"
    # the first mount is the root, and its parent is not in the list: nothing lies below it
    lines = [line.split() for line in world.inside("cat /proc/self/mountinfo").splitlines()]
    identities = {words[0] for words in lines}
    assert [words[4] for words in lines if words[1] not in identities] == ["/"]


def test_chroot_does_not_lead_out(world: World, workdir: Path) -> None:
    """The well-known way out of a chroot(2) ends in the container's root."""
    mark = workdir / "mark"
    mark.write_text("host")
    script = (
        "import os; os.mkdir('/tmp/x'); fd = os.open('/', os.O_RDONLY); os.chroot('/tmp/x'); os.fchdir(fd)\n"
        "for _ in range(50): os.chdir('..')\n"
        f"os.chroot('.'); print(os.path.exists({str(mark)!r}), os.path.exists('/usr/bin/python3'))"
    )
    assert world.python(script) == "False True"


def test_no_mount_of_the_container_is_seen_by_the_host(world: World) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    identity = world.background("--network", "none", "--tmpfs", "/x", "busybox", "sleep", "1000")
    assert Path("/proc/self/mountinfo").read_text() == before
    monitor = Path(f"/proc/{world.monitor_pid(identity)}/mountinfo").read_text()
    assert monitor == before
    assert list((world.root / "containers" / identity / "root").iterdir()) == []
