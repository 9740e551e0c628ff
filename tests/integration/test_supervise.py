"""--supervise: what the kernel says inside a container with each switch, without it, and under attack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from supervised_calls import ALL, AUTO, CALLS, python
from world import World, eventually, named, reap

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")

MKNOD, MOUNT, UMOUNT2, SYSINFO = 133, 165, 166, 99
SLEEP = ("busybox", "sleep", "1000")


def supervisors() -> set[int]:
    return {int(path.name) for path in named("pycontain-sup")}


def reaped() -> set[int]:
    """The same without those that were orphans, and have ended as our children."""
    reap()
    return supervisors()


def supervisor_of(world: World, identity: str) -> int:
    """A container's: it serves from now on, with what it keeps. Its container may be there before."""
    monitor = world.monitor_pid(identity)
    found: list[int] = []

    def look() -> list[int]:
        for child in Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split():
            try:
                status = Path(f"/proc/{child}/status").read_text()
            except OSError:  # ended since
                continue
            # its last system call but one, before it waits
            if status.startswith("Name:\tpycontain-sup\n") and "\nNoNewPrivs:\t1\n" in status:
                found.append(int(child))
        return found

    assert eventually(look), f"monitor {monitor} has no supervisor"
    return found[0]


# --- off by default -----------------------------------------------------------------------------------------------


def test_without_a_switch_nothing_is_supervised(world: World) -> None:
    before = supervisors()
    identity = world.background(*AUTO, *SLEEP)
    assert not supervisors() - before
    assert world.inspect(identity)["HostConfig"]["Supervise"] == []
    script = """
print(mknod("/null", CHAR, 1, 3))
print(mount("x", "/mnt", "tmpfs"))
print(umount("/proc/interrupts"))
"""
    assert python(world, "os.makedirs('/mnt', exist_ok=True)" + script, *AUTO) == ["EPERM", "EPERM", "EPERM"]


@pytest.mark.parametrize(
    ("switch", "answers"),
    [
        ("mknod", ["done", "EPERM"]),
        ("mount=tmpfs", ["EPERM", "done"]),
        ("sysinfo", ["EPERM", "EPERM"]),
        ("mount=overlay", ["EPERM", "EPERM"]),
    ],
)
def test_each_switch_is_for_its_own_calls(world: World, switch: str, answers: list[str]) -> None:
    script = """
os.makedirs('/mnt', exist_ok=True)
print(mknod("/null", CHAR, 1, 3))
print(mount("x", "/mnt", "tmpfs"))
"""
    assert python(world, script, *AUTO, "--supervise", switch) == answers


# --- mknod --------------------------------------------------------------------------------------------------------


def test_harmless_devices_are_made_and_open(world: World) -> None:
    script = """
os.umask(0o027)
os.mkdir("/d")
os.chdir("/d")
for minor in (3, 5, 7, 8, 9):
    print(mknod(f"/d/c{minor}", CHAR, 1, minor), end=" ")
print(mknod("tty", CHAR, 5, 0), mknod("../d/again", CHAR, 1, 3))
status = os.stat("/d/c3")
print(oct(status.st_mode), status.st_uid, status.st_gid, os.major(status.st_rdev), os.minor(status.st_rdev))
with open("/d/c3", "w") as file:
    file.write("gone")
print(open("/d/c5", "rb").read(4), len(open("/d/c9", "rb").read(4)))
print(mknod("/d/c3", CHAR, 1, 3), mknod("/none/x", CHAR, 1, 3), mknod("/d/c3/x", CHAR, 1, 3), mknod("", CHAR, 1, 3))
print(mknod("/", CHAR, 1, 3), mknod("/d/..", CHAR, 1, 3), mknod("/d/" + "x" * 300, CHAR, 1, 3))
there = os.open("/d", os.O_RDONLY)
os.mknod("by-descriptor", CHAR, os.makedev(1, 3), dir_fd=there)
os.symlink("/d", "/link")
print(mknod("/link/by-link", CHAR, 1, 3), sorted(os.listdir("/d")))
"""
    names = ["again", "by-descriptor", "by-link", "c3", "c5", "c7", "c8", "c9", "tty"]
    assert python(world, script, *AUTO, "--supervise", "mknod") == [
        "done done done done done done done",
        "0o20640 0 0 1 3",
        "b'\\x00\\x00\\x00\\x00' 4",
        "EEXIST ENOENT ENOTDIR ENOENT",
        "EEXIST EEXIST ENAMETOOLONG",
        f"done {names}",
    ]


def test_other_devices_are_refused_as_ever(world: World) -> None:
    script = """
print(mknod("/disk", BLOCK, 8, 0), mknod("/mem", CHAR, 1, 1), mknod("/kmsg", CHAR, 1, 11), mknod("/f", CHAR, 10, 229))
print(mknod("/fifo", 0o010600, 0, 0), mknod("/file", 0o100600, 0, 0), mknod("/socket", 0o140600, 0, 0))
print(mknod("/dev/shm/null", CHAR, 1, 3), os.listdir("/dev/shm"))
print(mknod("/proc/null", CHAR, 1, 3) != "done", mknod("/sys/null", CHAR, 1, 3) != "done")
"""
    assert python(world, script, *AUTO, "--supervise", "mknod") == [
        "EPERM EPERM EPERM EPERM",
        "done done done",
        "EPERM []",
        "True True",
    ]


def test_a_whiteout_can_be_made_where_the_file_system_takes_it(world: World) -> None:
    assert python(world, 'print(mknod("/dev/shm/white", CHAR, 0, 0))', *AUTO, "--supervise", "mknod") == ["done"]


def test_devices_are_for_who_may_write_the_directory(world: World) -> None:
    script = """
os.makedirs("/own/deep"), os.chmod("/own", 0o700)
os.chown("/own/deep", 1000, 1000)
print(mknod("/own/deep/root", CHAR, 1, 3))
os.chmod("/own", 0o755)
os.mkdir("/closed")
os.setresgid(1000, 1000, 1000)
os.setresuid(1000, 1000, 1000)
print(mknod("/own/deep/user", CHAR, 1, 3))
"""
    # a user has no CAP_MKNOD; root has it unless it was taken away, and so has every directory of the container's
    assert python(world, script, *AUTO, "--supervise", "mknod") == ["done", "EPERM"]
    dropped = (*AUTO, "--supervise", "mknod", "--cap-drop", "MKNOD")
    assert python(world, 'print(mknod("/null", CHAR, 1, 3))', *dropped) == ["EPERM"]
    weak = (*AUTO, "--supervise", "mknod", "--cap-drop", "DAC_OVERRIDE")
    script = """
os.mkdir("/d"), os.chown("/d", 1000, 1000), os.chmod("/d", 0o755)
print(mknod("/d/null", CHAR, 1, 3))
"""
    assert python(world, script, *weak) == ["EACCES"]


# --- mount --------------------------------------------------------------------------------------------------------


def test_a_tmpfs_is_mounted_used_and_unmounted(world: World) -> None:
    script = """
os.mkdir("/m")
print(mount("mine", "/m", "tmpfs", 2 | 4, "size=1m,mode=700"))
open("/m/file", "w").write("here")
line = [line for line in open("/proc/self/mountinfo") if " /m " in line][0].split(" - ")
print(line[0].split()[5].split(",")[:3], line[1].split()[:2], "size=1024k" in line[1])
print(mount("over", "/m", "tmpfs"), os.listdir("/m"), umount("/m"), os.listdir("/m"))
os.chdir("/m")
print(umount("/m"))
os.chdir("/")
print(umount("/m"), os.listdir("/m"), umount("/m"))
print(mount("x", "/none", "tmpfs"), mount("x", "/m", "tmpfs", 0, "size=x"))
print(mount(None, "/m", "tmpfs"), umount("/m", 2))
"""
    lines = python(world, script, *AUTO, "--supervise", "mount")
    assert lines == [
        "done",
        "['rw', 'nosuid', 'nodev'] ['tmpfs', 'mine'] True",
        "done [] done ['file']",
        "EBUSY",
        "done [] EINVAL",
        "ENOENT EINVAL",
        "done done",
    ]


def test_what_a_call_was_about_is_not_busy_when_it_is_answered(world: World) -> None:
    """The worker has ended by then, or has let go: of the directory, of what it has mounted, of where that is."""
    script = """
os.mkdir("/m")
for _ in range(200):
    assert mount("x", "/m", "tmpfs") == "done"
    os.chdir("/m")
    os.mkdir("b")
    assert umount("/m") == "EBUSY"
    assert mount("x", "b", "tmpfs") == "done"
    assert mknod("null", CHAR, 1, 3) == "EPERM"
    os.chdir("/")
    assert umount("/m/b") == "done"
    answer = umount("/m")
    assert answer == "done", answer
print("never")
"""
    assert python(world, script, *ALL) == ["never"]


def test_mount_of_the_shell_works(world: World) -> None:
    script = "mkdir /m && mount -t tmpfs x /m && touch /m/a && ls /m && umount /m && ls -A /m"
    assert world.inside(script, *AUTO, "--supervise", "mount=tmpfs") == "a"


OVERLAY = """
os.mkdir("/s"), os.mkdir("/m")
assert mount("x", "/s", "tmpfs") == "done"
for name in ("low", "low2", "up", "work"):
    os.mkdir("/s/" + name)
open("/s/low/below", "w").write("below")
open("/s/low2/second", "w").write("second")
"""


def test_an_overlay_shows_its_layers_and_writes_to_its_upper_directory(world: World) -> None:
    script = (
        OVERLAY
        + """
print(mount("o", "/m", "overlay", 0, "lowerdir=/s/low:/s/low2,upperdir=/s/up,workdir=/s/work,userxattr"))
print(sorted(os.listdir("/m")))
open("/m/new", "w").write("x")
open("/m/below", "a").write(" and above")
print(open("/m/below").read(), sorted(os.listdir("/s/up")), open("/s/low/below").read())
print(umount("/m"), os.listdir("/m"))
os.chdir("/s")
print(mount("o", "/m", "overlay", 1, "lowerdir=low:low2"), sorted(os.listdir("/m")))
"""
    )
    assert python(world, script, *AUTO, "--supervise", "mount=tmpfs,overlay") == [
        "done",
        "['below', 'second']",
        "below and above ['below', 'new'] below",
        "done []",
        "done ['below', 'second']",
    ]


def test_an_overlay_does_not_show_what_mounts_hide(world: World, tmp_path: Path) -> None:
    """A volume with another one mounted in it: as a layer it would show what that one covers."""
    (tmp_path / "data" / "secret").mkdir(parents=True)
    (tmp_path / "data" / "secret" / "key").write_text("secret")
    (tmp_path / "empty").mkdir()
    (tmp_path / "plain").mkdir()
    for path in tmp_path.rglob("*"):
        path.chmod(0o755)
    pairs = (("data", "/data"), ("empty", "/data/secret"), ("plain", "/plain"))
    volumes = [word for source, target in pairs for word in ("-v", f"{tmp_path}/{source}:{target}")]
    script = (
        OVERLAY
        + """
for layer in ("/sys", "/proc", "/data", "/data/secret", "/plain", "/sys/fs", "/dev/pts"):
    print(layer, mount("o", "/m", "overlay", 1, f"lowerdir={layer}:/s/low"))
    umount("/m")
print(os.listdir("/data/secret"))
"""
    )
    lines = python(world, script, *AUTO, "--supervise", "mount", *volumes)
    assert lines == [
        "/sys EPERM",
        "/proc EPERM",
        "/data EPERM",
        "/data/secret done",
        "/plain done",
        "/sys/fs EPERM",
        "/dev/pts EPERM",
        "[]",
    ]


def test_only_new_mounts_of_known_types_on_the_containers_own_tree(world: World) -> None:
    script = """
os.mkdir("/m")
BIND, MOVE, REMOUNT, REC, SHARED, PRIVATE = 4096, 8192, 32, 16384, 1 << 20, 1 << 18
print([mount("/", "/m", "none", flags) for flags in (BIND, BIND | REC, MOVE, REMOUNT, SHARED, PRIVATE, 1 << 30)])
kinds = ("proc", "sysfs", "cgroup2", "devpts", "mqueue", "ext4", "ramfs", "none", "")
print([mount("x", "/m", kind) for kind in kinds])
own = ("/", "/proc", "/proc/acpi", "/proc/sys/net", "/sys", "/sys/firmware", "/dev")
print([mount("x", on, "tmpfs") for on in own])
print([mount("x", on, "tmpfs") for on in ("/dev/null", "/dev/pts", "/dev/shm", "/etc/hosts", "/sys/fs/cgroup")])
print([umount(on) for on in ("/", "/proc", "/proc/interrupts", "/proc/sys", "/sys/firmware", "/dev", "/etc/hosts")])
print([umount(on, 2) for on in ("/proc/interrupts", "/sys")], umount("/m"), umount("/none"), umount("/m", 64))
print(call(libc.mount, 1, b"/m", b"tmpfs", ctypes.c_ulong(0), None), call(libc.mount, b"x", b"/m", None, 0, None))
print([call(libc.syscall, number, -1, 0, 0, 0, 0) for number in (428, 429, 430, 433, 442)])
"""
    assert python(world, script, *AUTO, "--supervise", "mount") == [
        str(["EPERM"] * 7),
        str([*["EPERM"] * 9]),
        str(["EPERM"] * 7),
        str(["EPERM"] * 5),
        str(["EPERM"] * 7),
        "['EPERM', 'EPERM'] EINVAL ENOENT EINVAL",
        "EFAULT EINVAL",
        str(["ENOSYS"] * 5),
    ]


def test_a_mount_is_for_the_containers_root(world: World) -> None:
    script = """
os.mkdir("/m"), os.chmod("/m", 0o777)
os.setresuid(1000, 1000, 1000)
print(mount("x", "/m", "tmpfs"))
"""
    assert python(world, script, *AUTO, "--supervise", "mount") == ["EPERM"]
    script = "os.mkdir('/m')\nprint(mount('x', '/m', 'tmpfs'))"
    assert python(world, script, *AUTO, "--supervise", "mount", "--cap-drop", "SYS_CHROOT") == ["EPERM"]


def test_a_chroot_in_the_container_is_the_root_of_its_paths(world: World) -> None:
    script = """
os.makedirs("/jail/m"), os.makedirs("/m")
os.symlink("/m", "/jail/link")
os.chroot("/jail")
os.chdir("/")
print(mount("x", "/link", "tmpfs"), mknod("/link/../null", CHAR, 1, 3))
print(sorted(os.listdir("/")), umount("/../../m"))
"""
    assert python(world, script, *ALL) == ["done done", "['link', 'm', 'null'] done"]


def test_with_the_capability_the_kernel_decides_what_is_not_ours(world: World) -> None:
    script = """
os.mkdir("/m"), os.mkdir("/n")
print(mount("/m", "/n", None, 4096), mount("x", "/m", "tmpfs"), umount("/n"), umount("/m"))
"""
    assert python(world, script, *AUTO, "--supervise", "mount", "--cap-add", "SYS_ADMIN") == ["done done done done"]
    unconfined = (*ALL, "--security-opt", "seccomp=unconfined")
    assert python(world, script, *unconfined) == ["EPERM done EINVAL done"]


# --- sysinfo ------------------------------------------------------------------------------------------------------

SYSINFO_SCRIPT = """
import time
info = (ctypes.c_ulong * 14)()
print(call(libc.sysinfo, ctypes.byref(info)), info[0])
print(call(libc.syscall, 99, 1))
"""


def test_the_uptime_is_the_containers(world: World) -> None:
    first, second = python(world, SYSINFO_SCRIPT, *AUTO, "--supervise", "sysinfo")
    done, uptime = first.split()
    assert done == "done" and int(uptime) < 60 < float(Path("/proc/uptime").read_text().split()[0])
    assert second == "EFAULT"


def test_sysinfo_works_in_the_hosts_user_namespace(world: World) -> None:
    first, _ = python(world, SYSINFO_SCRIPT, "--userns", "host", "--supervise", "sysinfo")
    assert int(first.split()[1]) < 60


# --- executed commands, and ends ----------------------------------------------------------------------------------


def test_an_executed_command_has_the_same_supervisor(world: World) -> None:
    before = supervisors()
    identity = world.background(*ALL, *SLEEP)
    supervisor = supervisor_of(world, identity)
    world.ok("exec", identity, "sh", "-c", "mkdir /m && mount -t tmpfs x /m && mknod /null c 1 3 && echo >/null")
    assert eventually(lambda: supervisors() - before == {supervisor})  # one that does a call for it may be ending
    world.ok("exec", identity, "umount", "/m")
    world.ok("rm", "-f", identity)
    assert eventually(lambda: not supervisors() - before)
    assert not list(world.run_root.glob("containers/*"))


def test_the_supervisor_has_little_and_is_not_in_the_containers_cgroup(world: World) -> None:
    identity = world.background(*ALL, *SLEEP)
    supervisor = supervisor_of(world, identity)
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{supervisor}/status").read_text().splitlines())
    assert status["NoNewPrivs"] == "1" and status["Groups"].strip() == ""
    # DAC_OVERRIDE, SETGID, SETUID, SYS_PTRACE, SYS_ADMIN, MKNOD
    wanted = sum(1 << number for number in (1, 6, 7, 19, 21, 27))
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == wanted
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16)
    links = {os.readlink(path) for path in Path(f"/proc/{supervisor}/fd").iterdir()}
    assert all(link.startswith(("/dev/null", "socket:", "anon_inode:", "/")) for link in links) and len(links) <= 6
    group = Path(f"/proc/{world.pid(identity)}/cgroup").read_text()
    assert Path(f"/proc/{supervisor}/cgroup").read_text() != group


@pytest.mark.parametrize("init", [(), ("--init",)], ids=["", "init"])
def test_without_its_supervisor_a_call_does_not_exist_and_nothing_hangs(world: World, init: tuple[str, ...]) -> None:
    before = supervisors()
    script = "until [ -e /go ]; do sleep 0.05; done; mount -t tmpfs x /mnt 2>&1; mknod /null c 1 3 2>&1; echo end"
    identity = world.background(*ALL, *init, "busybox", "sh", "-c", script)
    supervisor = supervisor_of(world, identity)
    os.kill(supervisor, signal.SIGKILL)
    assert eventually(lambda: ") Z " in Path(f"/proc/{supervisor}/stat").read_text())
    # what is executed now has nobody to ask either
    done = world("exec", identity, "sh", "-c", "mkdir -p /mnt; mount -t tmpfs x /mnt")
    assert done.returncode != 0 and "Function not implemented" in done.stderr, done
    world("exec", identity, "touch", "/go")  # the container's end may come before this command's own, and kill it
    assert eventually(lambda: "end" in world.ok("logs", identity))
    assert world.ok("logs", identity).count("Function not implemented") == 2
    world.ok("rm", "-f", identity)
    assert eventually(lambda: not supervisors() - before)


def test_the_supervisor_ends_with_a_killed_monitor(world: World) -> None:
    before = supervisors()
    identity = world.background(*ALL, *SLEEP)
    parent = int(Path(f"/proc/{world.pid(identity)}/stat").read_text().rsplit(") ", 1)[1].split()[1])
    os.kill(parent, signal.SIGKILL)

    assert eventually(lambda: not reaped() - before)
    world.ok("rm", "-f", identity)


def test_a_restarted_container_has_a_new_supervisor_and_no_dead_one(world: World) -> None:
    before = supervisors()
    script = "mkdir -p /m; mount -t tmpfs x /m && echo >>/count; sleep 0.2; exit 1"
    identity = world.background(*ALL, "--restart", "on-failure:2", "busybox", "sh", "-c", script)
    assert eventually(lambda: world.inspect(identity)["State"]["Status"] == "exited", 60)
    assert eventually(lambda: not supervisors() - before)
    world.ok("rm", identity)


# --- attacks ------------------------------------------------------------------------------------------------------


def test_a_flood_of_calls_is_the_containers_own_trouble(world: World) -> None:
    """More callers than workers; another container's calls go on, and all of these are answered."""
    script = """
os.makedirs("/d")
def many(name):
    for number in range(20):
        if mknod(f"/d/{name}-{number}", CHAR, 1, 3) != "done":
            print("wrong")
threads = [threading.Thread(target=many, args=(name,)) for name in range(40)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(os.listdir("/d")))
"""
    assert python(world, script, *ALL) == ["800"]


def test_a_mount_does_not_come_to_the_host(world: World, tmp_path: Path) -> None:
    """On a directory whose mounts are the host's, too, there is none."""
    shared = tmp_path / "shared"
    (shared / "m").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "x", shared], check=True)
    try:
        subprocess.run(["mount", "--make-shared", shared], check=True)
        (shared / "m").mkdir(mode=0o777)
        flags = ("-v", f"{shared}:/v:rshared", *AUTO, "--supervise", "mount")
        assert python(world, 'print(mount("x", "/v/m", "tmpfs"))', *flags) == ["EPERM"]
        assert not (shared / "m").is_mount()
        flags = ("-v", f"{shared}:/v", *AUTO, "--supervise", "mount")
        assert python(world, 'print(mount("x", "/v/m", "tmpfs"))', *flags) == ["done"]
        assert not (shared / "m").is_mount()
    finally:
        subprocess.run(["umount", "-l", shared], check=True)


def test_what_is_detached_while_it_is_used_counts_on(world: World) -> None:
    script = """
os.mkdir("/m")
held = []
for _ in range(128):
    assert mount("x", "/m", "tmpfs") == "done"
    held.append(os.open("/m", os.O_RDONLY))
    assert umount("/m", 2) == "done"
print(mount("x", "/m", "tmpfs"))
"""
    assert python(world, script, *ALL) == ["ENOSPC"]
    script = """
os.mkdir("/m")
for _ in range(200):
    assert mount("x", "/m", "tmpfs") == "done"
    assert umount("/m", 2) == "done"
print("all")
"""
    assert python(world, script, *ALL) == ["all"]


def test_an_overlay_is_as_restricted_as_its_layers(world: World, tmp_path: Path) -> None:
    (tmp_path / "low").mkdir()
    script = """
os.mkdir("/m")
print(mount("o", "/m", "overlay", 1, "lowerdir=/low:/etc"))
print([line.split()[5].split(",")[:3] for line in open("/proc/self/mountinfo") if " /m " in line])
"""
    flags = (*ALL, "-v", f"{tmp_path}/low:/low:nosuid,noexec")
    assert python(world, script, *flags) == ["done", "[['ro', 'nosuid', 'noexec']]"]


def test_an_overlay_counts_as_many_as_it_keeps(world: World) -> None:
    """Its layers' file systems live as long as it does, also when they are not mounted anywhere else any more."""
    script = """
os.makedirs("/s")
for number in range(4):
    layers = [f"/s/{number}.{layer}" for layer in range(30)]
    for path in layers:
        os.mkdir(path)
        assert mount("x", path, "tmpfs") == "done"
    os.makedirs(f"/m/{number}")
    print(mount("o", f"/m/{number}", "overlay", 1, "lowerdir=" + ":".join(layers)))
    for path in layers:
        assert umount(path) == "done"
for number in range(3):
    assert umount(f"/m/{number}") == "done"
print(sum(mount("x", "/m/0", "tmpfs") == "done" for _ in range(130)))
"""
    assert python(world, script, *ALL) == ["done", "done", "done", "ENOSPC", "128"]


def test_what_has_others_below_it_is_not_detached(world: World) -> None:
    script = """
os.mkdir("/m")
print(mount("x", "/m", "tmpfs"))
os.mkdir("/m/below")
print(mount("x", "/m/below", "tmpfs"), umount("/m", 2), umount("/m/below"), umount("/m", 2))
"""
    assert python(world, script, *ALL) == ["done", "done EBUSY done done"]


def test_no_more_mounts_than_there_is_room_for(world: World) -> None:
    script = """
os.mkdir("/m")
print([mount("x", "/m", "tmpfs") for _ in range(130)][126:])
for _ in range(128):
    assert umount("/m") == "done"
print(mount("x", "/m", "tmpfs"))
"""
    assert python(world, script, *ALL) == ["['done', 'done', 'ENOSPC', 'ENOSPC']", "done"]


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--supervise", "reboot"), "'reboot' is unknown: give mknod, sysinfo or mount"),
        (("--supervise", "mount=ext4"), "mount can be of tmpfs, overlay or fuse, not 'ext4'"),
        (("--supervise", "mount="), "mount can be of tmpfs, overlay or fuse, not ''"),
        (("--supervise", "mount", "--userns", "host"), "--supervise mount: only for a container in a user namespace"),
        (("--supervise", "mknod", "--privileged"), "--supervise mknod: only for a container in a user namespace"),
        ((*ALL, "--security-opt", "mask=/etc/secret"), "an overlay shows what --security-opt mask=/etc/secret hides"),
    ],
)
def test_refused_in_one_line(world: World, flags: tuple[str, ...], words: str) -> None:
    done = world("run", "--rm", "--network", "none", *flags, "busybox", "true")
    assert done.returncode == 125 and words in done.stderr, done
    first, *hint = done.stderr.splitlines()
    assert first.startswith("pycontain: ") and hint == ["Try 'pycontain run --help'"], done
    assert world.ok("ps", "-aq") == ""


def test_a_profile_of_the_callers_is_added_to(world: World, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    rules = [{"names": ["mkdirat", "mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11}]
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    flags = (*ALL, "--security-opt", f"seccomp={profile}")
    script = """
print(mount("x", "/etc", "tmpfs"), mount("/", "/tmp", None, 4096))
try:
    os.mkdir("/x")
except OSError as error:
    print(error.errno)
"""
    assert python(world, script, *flags) == ["done EPERM", "11"]
    rules[0]["action"] = "SCMP_ACT_NOTIFY"
    del rules[0]["errnoRet"]
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, "listenerPath": "/x"}))
    done = world("run", "--rm", *flags, "busybox", "true")
    assert done.returncode == 125 and "SCMP_ACT_NOTIFY" in done.stderr, done


def test_it_is_in_the_record_and_in_inspect(world: World) -> None:
    world.ok(
        "create", "--name", "kept", "--supervise", "sysinfo", "--supervise", "mount=fuse,tmpfs,mknod", *AUTO, *SLEEP
    )
    assert world.inspect("kept")["HostConfig"]["Supervise"] == ["mknod", "sysinfo", "mount=tmpfs,fuse"]
    world.ok("start", "kept")
    world.ok("exec", "kept", "mknod", "/null", "c", "1", "3")


# --- FUSE ---------------------------------------------------------------------------------------------------------

#: A file system that answers what its mount needs, and to all else nothing or what `answers` has; see linux/fuse.h.
FUSE = """
import struct, select
def serve(device, silent):
    while True:
        try:
            data = os.read(device, 1 << 18)
        except OSError:
            return  # it was unmounted
        length, opcode, unique, node = struct.unpack_from("=IIQQ", data)
        if opcode == 26:
            body = struct.pack("=IIIIHHIII", 7, 31, 0, 0, 0, 0, 4096, 1, 0) + bytes(28)
        elif opcode in (3, 1) and not silent:
            attributes = struct.pack("=QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
            body = struct.pack("=QII", 0, 0, 0) + attributes
        elif silent:
            print("asked", flush=True)
            continue
        else:
            os.write(device, struct.pack("=IiQ", 16, -38, unique))
            continue
        os.write(device, struct.pack("=IiQ", 16 + len(body), 0, unique) + body)
def fuse(target, silent=False, options="allow_other"):
    device = os.open("/dev/fuse", os.O_RDWR)
    answer = mount("mine", target, "fuse.test", 2 | 4, f"fd={device},rootmode=40000,user_id=0,group_id=0,{options}")
    threading.Thread(target=serve, args=(device, silent), daemon=True).start()
    return answer
"""


@pytest.fixture
def device(tmp_path: Path) -> tuple[str, str]:
    """/dev/fuse with the mode that it has on other machines."""
    os.mknod(tmp_path / "fuse", 0o020666, os.makedev(10, 229))
    os.chmod(tmp_path / "fuse", 0o666)
    return "--device", f"{tmp_path}/fuse:/dev/fuse"


def test_a_fuse_file_system_of_the_guests(world: World, device: tuple[str, str]) -> None:
    script = (
        FUSE
        + """
os.mkdir("/m")
print(fuse("/m"), os.stat("/m").st_ino, [line.split(" - ")[1].split()[:2] for line in open("/proc/self/mountinfo")
      if " /m " in line])
print(umount("/m"))
print([mount("x", "/m", "fuse", 0, data) for data in ("fd=0", "fd=99,rootmode=40000", "", "fd=x", "fd=0,fd=0")])
sys.stdout.flush()
os._exit(0)
"""
    )
    lines = python(world, script, *AUTO, "--supervise", "mount=fuse", *device)
    assert lines == ["done 1 [['fuse.test', 'mine']]", "done", "['EINVAL', 'EBADF', 'EINVAL', 'EINVAL', 'EINVAL']"]
    refused = python(
        world, "os.mkdir('/m')\nprint(mount('x', '/m', 'fuse', 0, 'fd=0'))", *AUTO, "--supervise", "mount=tmpfs"
    )
    assert refused == ["EPERM"]


def test_a_file_system_that_never_answers_is_the_containers_own_trouble(world: World, device: tuple[str, str]) -> None:
    """Paths on it hold a worker each; the other container's calls go on, and all ends with the container."""
    before = supervisors()
    script = (
        FUSE
        + """
os.mkdir("/m")
print(fuse("/m", silent=True))
for _ in range(20):
    threading.Thread(target=lambda: mount("x", "/m/below/deep", "tmpfs"), daemon=True).start()
sys.stdin.read()
"""
    )
    command = ("sparse", "/usr/bin/python3", "-I", "-S", "-c", CALLS + script)
    identity = world.background("-i", *ALL, *device, *command)
    assert eventually(lambda: "asked" in world.ok("logs", identity)), world.ok("logs", identity)
    script = """
import time
os.mkdir("/m")
began = time.monotonic()
print(mount("x", "/m", "tmpfs"), time.monotonic() - began < 8)
"""
    # a worker has 10 s for a call
    assert python(world, script, *ALL) == ["done True"]
    world.ok("rm", "-f", identity)
    assert eventually(lambda: not reaped() - before), reaped()


def test_a_worker_that_waits_for_a_server_has_not_its_device(world: World, device: tuple[str, str]) -> None:
    """Else the connection would live as long as the worker waits, and the worker as long as the connection lives."""
    before = supervisors()
    script = (
        FUSE
        + """
os.mkdir("/m")
own = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={own},rootmode=40000,user_id=0,group_id=0,allow_other"
print(mount("mine", "/m", "fuse.test", 2 | 4, options))
threading.Thread(target=serve, args=(own, True), daemon=True).start()
threading.Thread(target=lambda: mount("x", "/m/below/deep", "fuse", 0, options), daemon=True).start()
sys.stdin.read()
"""
    )
    command = ("sparse", "/usr/bin/python3", "-I", "-S", "-c", CALLS + script)
    identity = world.background("-i", *ALL, *device, *command)
    assert eventually(lambda: "asked" in world.ok("logs", identity)), world.ok("logs", identity)
    world.ok("rm", "-f", identity)
    assert eventually(lambda: not reaped() - before), reaped()


def test_a_supervisor_that_is_killed_at_work_leaves_nobody_waiting(world: World) -> None:
    before = supervisors()
    script = """
os.mkdir("/d")
number = 0
while mknod(f"/d/{number}", CHAR, 1, 3) == "done":
    number += 1
    if number == 1:
        print("begins", flush=True)
print(mknod("/d/last", CHAR, 1, 3), number > 0, flush=True)
"""
    command = ("sparse", "/usr/bin/python3", "-I", "-S", "-c", CALLS + script)
    identity = world.background(*ALL, *command)
    assert eventually(lambda: "begins" in world.ok("logs", identity))
    os.kill(supervisor_of(world, identity), signal.SIGKILL)
    assert world.ok("wait", identity) == "0"
    assert world.ok("logs", identity).splitlines()[1:] == ["ENOSYS True"]
    world.ok("rm", identity)
    assert eventually(lambda: not reaped() - before)
