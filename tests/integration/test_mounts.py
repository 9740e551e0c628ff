"""The root, volumes, tmpfs: what can be written, where it goes, and that all of it goes away."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontain.image import store
from world import World, digest, eventually

RUN = ("run", "--rm", "--network", "none")


def options(world: World, path: str, *flags: str) -> set[str]:
    """The mount options that the container sees at a path (those of the mount, not of the file system)."""
    lines = [line.split() for line in world.inside("cat /proc/self/mountinfo", *flags).splitlines()]
    return set(next(words[5] for words in reversed(lines) if words[4] == path).split(","))


# --- the root -----------------------------------------------------------------------------------------------------


def layer_of(world: World, image: str) -> Path:
    found = store.lookup(str(world.root), image)
    assert found is not None
    (layer,) = found.layers
    return world.root / "layers" / layer


def test_a_layer_is_never_written(world: World) -> None:
    """Whatever the container does with what it got from the image."""
    before = digest(layer_of(world, "busybox"))
    script = (
        "echo x >> /etc/passwd; chmod 777 /etc; chown 5 /etc/group; rm -r /var; mv /home /home2; ln /etc/shadow /etc/s;"
        "touch /bin/busybox; mkdir /var; rm /etc/hosts; ln -sf x /etc/passwd; find / -xdev -exec touch {} +; true"
    )
    world("run", "--rm", "--network", "none", "busybox", "sh", "-c", script)
    assert digest(layer_of(world, "busybox")) == before
    assert world.inside("tail -1 /etc/passwd; ls -d /home").endswith("/home")


def test_what_is_written_stays_until_the_container_goes(world: World) -> None:
    world.ok(
        "run", "--name", "c", "--network", "none", "busybox", "sh", "-c", "cat /new 2>/dev/null; echo more >> /new"
    )
    assert world.ok("start", "-a", "c") == "more"
    assert world.ok("start", "-a", "c") == "more\nmore"
    world.ok("rm", "c")
    assert world.inside("ls /new 2>/dev/null || echo none") == "none"


def test_containers_of_one_image_do_not_see_each_other(world: World) -> None:
    one = world.background("--network", "none", "busybox", "sleep", "1000")
    other = world.background("--network", "none", "busybox", "sleep", "1000")
    world.ok("exec", one, "touch", "/mine")
    assert world("exec", other, "ls", "/mine").returncode != 0


def test_a_read_only_root(world: World) -> None:
    script = "for f in /x /etc/passwd /tmp/x /var/x; do echo > $f; done 2>&1; rm /bin/sh 2>&1; mkdir /y 2>&1; true"
    answer = world.inside(script, "--read-only", *world.all_capabilities)
    assert answer.count("Read-only file system") == 6
    assert "ro" in options(world, "/", "--read-only") and "rw" in options(world, "/")


def test_beside_a_read_only_root_the_rest_is_as_the_flags_say(world: World, workdir: Path) -> None:
    script = "for f in /v/x /t/x /dev/shm/x /dev/null; do echo > $f && echo can; done; echo x 2>&1 > /etc/hosts; true"
    flags = ("--read-only", "-v", f"{workdir}:/v", "--tmpfs", "/t")
    lines = world.inside(script, *flags).splitlines()
    assert lines[:4] == ["can"] * 4
    # the container's own files of /etc belong to the root, as with Docker
    assert "Read-only file system" in lines[4]


def test_a_working_directory_is_made_also_in_a_read_only_root(world: World) -> None:
    assert world.inside("pwd", "--read-only", "-w", "/made/here") == "/made/here"


# --- tmpfs --------------------------------------------------------------------------------------------------------


def test_a_tmpfs_is_empty_and_safe(world: World) -> None:
    assert options(world, "/etc/new/t", "--tmpfs", "/etc/new/t") >= {"rw", "nosuid", "nodev", "noexec"}
    assert world.inside("ls -A /etc/new/t; stat -f -c %T /etc/new/t", "--tmpfs", "/etc/new/t") == "tmpfs"
    assert world.inside("ls -A /var | wc -l", "--tmpfs", "/var") == "0"


def test_what_a_tmpfs_may(world: World) -> None:
    assert options(world, "/t", "--tmpfs", "/t:exec,dev,suid").isdisjoint({"noexec", "nodev", "nosuid"})
    assert options(world, "/t", "--tmpfs", "/t:ro") >= {"ro"}
    script = "df -k /t | tail -1 | awk '{print $2}'; stat -c '%a %u:%g' /t"
    assert world.inside(script, "--tmpfs", "/t:size=5m,mode=700,uid=5,gid=6") == "5120\n700 5:6"


def test_the_size_of_a_tmpfs_is_a_limit(world: World) -> None:
    done = world(*RUN, "--tmpfs", "/t:size=1m", "busybox", "sh", "-c", "dd if=/dev/zero of=/t/x bs=64k")
    assert done.returncode != 0 and "No space left" in done.stderr


@pytest.mark.usefixtures("host_users")
def test_noexec_and_nodev_do_what_they_say(world: World) -> None:
    script = "cp /bin/busybox /t/b; /t/b true 2>&1; mknod /t/null c 1 3; echo > /t/null; true"
    done = world(*RUN, "--tmpfs", "/t", "busybox", "sh", "-c", script)
    assert (done.stdout + done.stderr).count("ermission denied") == 2


# --- volumes ------------------------------------------------------------------------------------------------------


def test_a_volume_goes_both_ways(world: World, workdir: Path) -> None:
    (workdir / "in").write_text("host")
    assert world.inside("cat /v/in; echo guest > /v/out; stat -c %u /v/out", "-v", f"{workdir}:/v") == "host0"
    assert (workdir / "out").read_text() == "guest\n"


def test_a_read_only_volume(world: World, workdir: Path) -> None:
    (workdir / "in").write_text("host")
    script = "cat /v/in; for c in 'rm /v/in' 'touch /v/x' 'chmod 0 /v/in' 'mkdir /v/y'; do $c 2>&1; done; true"
    answer = world.inside(script, "-v", f"{workdir}:/v:ro", *world.all_capabilities)
    assert answer.startswith("host") and answer.count("Read-only file system") == 4
    assert [path.name for path in workdir.iterdir()] == ["in"]


@pytest.fixture
def nested(workdir: Path) -> Iterator[Path]:
    """A directory of the host with a mount below it."""
    (workdir / "sub").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", workdir / "sub"], check=True)
    (workdir / "sub" / "deep").write_text("deep")
    yield workdir
    subprocess.run(["umount", "-l", workdir / "sub"], check=True)


def test_what_is_mounted_below_a_volume_comes_along(world: World, nested: Path) -> None:
    assert world.inside("cat /v/sub/deep", "-v", f"{nested}:/v") == "deep"
    assert world.inside("cat /v/sub/deep", "-v", f"{nested}:/v:rbind") == "deep"
    assert world.inside("ls /v/sub", "-v", f"{nested}:/v:bind") == ""


def test_read_only_is_also_what_is_mounted_below(world: World, nested: Path) -> None:
    answer = world.inside("touch /v/sub/x /v/x 2>&1; true", "-v", f"{nested}:/v:ro")
    assert answer.count("Read-only file system") == 2


@pytest.mark.parametrize("swap", [False, True])
def test_a_volume_in_a_volume(world: World, workdir: Path, swap: bool) -> None:
    """Whatever the order of the flags."""
    for name in ("outer", "inner"):
        (workdir / name).mkdir()
        (workdir / name / name).touch()
    flags = [("-v", f"{workdir}/outer:/v"), ("-v", f"{workdir}/inner:/v/in:ro")]
    words = [word for pair in (reversed(flags) if swap else flags) for word in pair]
    script = "ls /v; ls /v/in; touch /v/can; touch /v/in/cannot 2>&1; true"
    lines = world.inside(script, *words).splitlines()
    assert lines[:3] == ["in", "outer", "inner"] and lines[3].endswith("Read-only file system")
    assert (workdir / "outer" / "in").is_dir() and (workdir / "outer" / "can").exists()


def test_missing_targets_are_made(world: World, workdir: Path) -> None:
    (workdir / "file").write_text("text")
    script = "stat -c '%F %a' /a /a/b /a/b/c /f /f/g; cat /f/g"
    flags = ("-v", f"{workdir}:/a/b/c", "-v", f"{workdir}/file:/f/g")
    lines = world.inside(script, *flags).splitlines()
    assert lines == ["directory 755"] * 4 + ["regular file 644", "text"]


def test_a_file_over_a_file_of_the_image(world: World, workdir: Path) -> None:
    (workdir / "file").write_text("mine\n")
    assert world.inside("cat /etc/passwd", "-v", f"{workdir}/file:/etc/passwd:ro") == "mine"
    assert world.inside("id -u nobody") == "65534"


@pytest.mark.parametrize("name", ["hosts", "resolv.conf", "hostname"])
def test_a_volume_takes_the_place_of_the_containers_own_file(world: World, workdir: Path, name: str) -> None:
    (workdir / name).write_text("mine\n")
    flags = ("-v", f"{workdir}/{name}:/etc/{name}:ro")
    assert world.inside(f"cat /etc/{name}; grep -c ' /etc/{name} ' /proc/self/mountinfo", *flags) == "mine\n1"


def test_a_volume_over_a_system_directory(world: World, workdir: Path) -> None:
    (workdir / "x").touch()
    assert world.inside("ls /dev/shm", "-v", f"{workdir}:/dev/shm") == "x"
    assert world.inside("ls /dev/new", "-v", f"{workdir}:/dev/new") == "x"


def test_a_link_of_the_host_is_followed_where_the_user_names_it(world: World, workdir: Path) -> None:
    (workdir / "real").mkdir()
    (workdir / "real" / "x").touch()
    (workdir / "link").symlink_to("real")
    assert world.inside("ls /v", "-v", f"{workdir}/link:/v") == "x"


def test_a_device_and_a_set_user_id_program_on_a_volume(world: World, workdir: Path) -> None:
    assert options(world, "/v", "-v", f"{workdir}:/v:nosuid,nodev,noexec") >= {"nosuid", "nodev", "noexec"}
    assert options(world, "/v", "-v", f"{workdir}:/v").isdisjoint({"nosuid", "nodev", "noexec"})
    os.mknod(workdir / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    script = "echo > /v/null"
    assert world(*RUN, "-v", f"{workdir}:/v", "busybox", "sh", "-c", script).returncode == 0
    assert world(*RUN, "-v", f"{workdir}:/v:nodev", "busybox", "sh", "-c", script).returncode != 0


def test_the_words_of_mount(world: World, workdir: Path) -> None:
    (workdir / "x,y z").mkdir()
    (workdir / "x,y z" / "file").touch()
    (workdir / "plain").mkdir()
    assert options(world, "/v", "--mount", f"type=bind,source={workdir}/plain,destination=/v,readonly") >= {"ro"}
    assert world.inside("ls /v", "--mount", f"type=bind,src={workdir}/plain,dst=/v") == ""
    script = "df -k /t | tail -1 | awk '{print $2}'; stat -c %a /t"
    assert world.inside(script, "--mount", "type=tmpfs,dst=/t,tmpfs-size=3m,tmpfs-mode=711") == "3072\n711"


# --- propagation --------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(workdir: Path) -> Iterator[Path]:
    """A directory of the host whose mounts propagate."""
    subprocess.run(["mount", "--bind", workdir, workdir], check=True)
    subprocess.run(["mount", "--make-shared", workdir], check=True)
    (workdir / "a").mkdir()
    (workdir / "b").mkdir()
    yield workdir
    subprocess.run(["umount", "-R", "-l", workdir], check=True)


@pytest.mark.parametrize(
    ("word", "arrives", "leaves"),
    [("", False, False), (":rprivate", False, False), (":rslave", True, False), (":rshared", True, True)],
)
def test_propagation(world: World, shared: Path, word: str, arrives: bool, leaves: bool) -> None:
    """Mounts of the host below a volume, and of the container."""
    flags = ("--network", "none", "--cap-add", "SYS_ADMIN", "-v", f"{shared}:/v{word}")
    identity = world.background(*flags, "busybox", "sleep", "1000")
    subprocess.run(["mount", "-t", "tmpfs", "none", shared / "a"], check=True)
    (shared / "a" / "mark").touch()
    assert (world.ok("exec", identity, "ls", "/v/a") == "mark") == arrives
    world.ok("exec", identity, "mount", "-t", "tmpfs", "none", "/v/b")
    world.ok("exec", identity, "touch", "/v/b/mark")
    assert (shared / "b" / "mark").exists() == leaves
    world.ok("rm", "-f", identity)


def test_a_mount_of_the_container_does_not_leave_its_root(world: World) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    script = (
        "mount -t tmpfs x /mnt && mount --bind /etc /home && mount --make-rshared /"
        " && mount -t tmpfs y /tmp && echo done"
    )
    assert world.inside(script, "--cap-add", "SYS_ADMIN") == "done"
    identity = world.background(
        "--network", "none", "--cap-add", "SYS_ADMIN", "busybox", "sh", "-c", f"{script}; sleep 1000"
    )
    assert eventually(lambda: world.ok("logs", identity) == "done")
    assert Path("/proc/self/mountinfo").read_text() == before


# --- what cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-v", "{0}/none:/v"), "the host path must exist"),
        (("-v", "{0}:v"), "absolute"),
        (("-v", "{0}"), "is not a volume"),
        (("-v", "./x:/v"), "neither an absolute path"),
        (("-v", "{0}:/v:what"), "what"),
        (("-v", "{0}:/v:ro,rw"), "ro"),
        (("-v", "{0}:/"), "root"),
        (("-v", "{0}:/v/.."), "root"),
        (("-v", "{0}:/v", "-v", "{0}:/v"), "two mounts have one target"),
        (("-v", "{0}:/v", "--tmpfs", "/v"), "two mounts have one target"),
        (("-v", "{0}:/v", "--tmpfs", "/v/"), "two mounts have one target"),
        (("-v", "{0}:/v\n"), "control"),
        (("--tmpfs", "t"), "absolute"),
        (("--tmpfs", "/t:size=x"), "size"),
        (("--mount", "type=what,dst=/x"), "type"),
        (("--mount", "type=bind,dst=/x"), "source"),
        (("-v", "{0}:/etc/passwd"), "not a directory"),
        (("-v", "{0}/file:/etc"), "is a directory (the source is a file)"),
        (("-v", "{0}:/etc/passwd/x"), "not a directory"),
        (("--tmpfs", "/etc/passwd"), "not a directory"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line(world: World, workdir: Path, flags: tuple[str, ...], words: str) -> None:
    (workdir / "file").touch()
    line = world.refused("run", "--network", "none", *[flag.format(workdir) for flag in flags], "busybox", "true")
    assert words in line


def test_a_target_that_is_the_root_by_a_link(world: World, workdir: Path) -> None:
    """What lay on the root would not be seen, and nobody would know."""
    identity = world.ok("create", "--network", "none", "-v", f"{workdir}:/link", "busybox", "true")
    (world.root / "containers" / identity / "upper" / "link").symlink_to("/")
    line = world.refused("start", "-a", identity)
    assert line.endswith(f"cannot bind {workdir} on /link: device or resource busy (it is the container's root)")


# --- taking it away -----------------------------------------------------------------------------------------------

AWKWARD = r"""
import os, socket
os.chdir('/')
for number in range(5000):
    os.mkdir('deep'); os.chdir('deep')
open('bottom', 'w').close()
os.chdir('/'); os.mkdir('wide'); os.chdir('wide')
for number in range(3000):
    open(f'f{number}', 'w').close()
os.mkdir('/names'); os.chdir('/names')
for name in [b'a\nb', b'-rf', b' ', b'\xff\xfe', b'..x', b'.m0', b'*', b'x' * 255, b'\\', b'"', b"'"]:
    os.mkdir(name); open(name + b'/' + name, 'w').close()
os.mkdir('/kinds'); os.chdir('/kinds')
os.mkfifo('fifo'); os.mknod('null', 0o20666, os.makedev(1, 3)); os.mknod('disk', 0o60666, os.makedev(7, 0))
socket.socket(socket.AF_UNIX).bind('socket')
for number, target in enumerate(['/', '/etc', '..', '../../../../..', '/proc/1/root', 'loop', '/sys', '/dev']):
    os.symlink(target, f'link{number}')
os.symlink('loop', 'loop')
open('one', 'w').close(); os.link('one', 'two')
os.makedirs('/closed/a/b'); open('/closed/a/b/c', 'w').close()
for path in ['/closed/a/b/c', '/closed/a/b', '/closed/a', '/closed']:
    os.chmod(path, 0)
os.makedirs('/others/x'); os.chown('/others/x', 5, 6); os.chown('/others', 5, 6); os.chmod('/others', 0o1777)
os.remove('/etc/group'); os.rmdir('/srv'); os.mkdir('/srv')
print('made')
"""


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))


@pytest.mark.usefixtures("host_users")
def test_what_a_container_leaves_is_removed_whatever_it_is(world: World) -> None:
    """rm of the monitor (--rm), and of the command; no tree is too deep for the descriptors that there are."""
    run = ("--network", "none", "sparse", "/usr/bin/python3", "-c", AWKWARD)
    before = sorted(os.listdir("/"))
    assert world.ok("run", "--rm", *run, preexec_fn=few_descriptors) == "made"
    assert list((world.root / "containers").iterdir()) == []
    assert world.ok("run", "--name", "c", *run) == "made"
    world.ok("rm", "c", preexec_fn=few_descriptors)
    assert list((world.root / "containers").iterdir()) == []
    assert sorted(os.listdir("/")) == before


def test_a_mount_in_the_containers_directory_is_not_emptied(world: World, workdir: Path) -> None:
    """Somebody has mounted something there: nothing of it is removed with the container."""
    (workdir / "precious").write_text("keep")
    world.ok("run", "--name", "c", "--network", "none", "busybox", "mkdir", "/here")
    (directory,) = (world.root / "containers").iterdir()
    subprocess.run(["mount", "--bind", workdir, directory / "upper" / "here"], check=True)
    try:
        line = world.refused("rm", "c", status=125)
        assert line.endswith("Resource busy") and str(directory) in line
        assert (workdir / "precious").read_text() == "keep"
    finally:
        subprocess.run(["umount", directory / "upper" / "here"], check=True)
    world.ok("rm", directory.name)


def test_a_volume_over_etc_leaves_the_containers_own_files(world: World, workdir: Path) -> None:
    """As Docker: names can be looked up, whatever is mounted there."""
    (workdir / "other").write_text("volume\n")
    answer = world.inside("cat /etc/other; cat /etc/hostname", "-v", f"{workdir}:/etc", "--hostname", "h")
    assert answer == "volume\nh"
