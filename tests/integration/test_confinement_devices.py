"""Devices: a node can be made, to open it is another matter; --device gives what it says."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from world import World

#: Nodes are made, with the owner that is asked for, in the host's user namespace alone.
pytestmark = pytest.mark.usefixtures("host_users")

#: Opens a device for reading, for writing, for both, and prints what the kernel says.
OPEN = """
import errno, os, sys
for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
    try:
        os.close(os.open(sys.argv[1], flags | os.O_NONBLOCK))
        print('can')
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


def access(world: World, path: str, *flags: str, node: str = "") -> list[str]:
    """What opening a path gives: reading, writing, both. ``node``: "c 1 1", made at the path before."""
    make = f"mknod {path} {node} && " if node else ""
    script = f'{make}exec /usr/bin/python3 -I -S -c "$0" {path}'
    output = world.ok("run", "--rm", "--network", "none", *flags, "sparse", "sh", "-c", script, OPEN)
    return output.split()


def disks() -> list[str]:
    """The host's disks, as mknod(1) takes them."""
    lines = Path("/proc/partitions").read_text().splitlines()[2:]
    return [f"b {line.split()[0]} {line.split()[1]}" for line in lines[:2]]


@pytest.mark.parametrize(
    "node", [*disks(), "c 1 1", "c 1 2", "c 1 4", "c 1 11", "c 10 229", "c 4 0", "c 5 1", "c 10 200", "b 7 0"]
)
def test_a_device_of_the_host_can_be_made_but_not_opened(world: World, node: str) -> None:
    """Disks, the memory, ports, the kernel's log, FUSE, consoles, tunnels, loop devices; as root with MKNOD."""
    assert access(world, "/tmp/node", node=node) == ["EPERM"] * 3


@pytest.mark.parametrize("node", disks()[:1])
def test_nor_with_all_capabilities(world: World, node: str) -> None:
    flags = (*world.all_capabilities, "--security-opt", "seccomp=unconfined")
    assert access(world, "/tmp/node", *flags, node=node) == ["EPERM"] * 3


def test_nor_by_an_executed_command(world: World) -> None:
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    script = f"mknod /tmp/node {disks()[0]} && head -c1 /tmp/node"
    done = world("exec", identity, "sh", "-c", script)
    assert done.returncode != 0 and "Operation not permitted" in done.stderr


@pytest.mark.parametrize("node", ["c 1 3", "c 1 5", "c 1 7", "c 1 9"])
def test_a_standard_device_can_be_made_and_opened_anywhere(world: World, node: str) -> None:
    assert access(world, "/tmp/node", node=node) == ["can"] * 3


def test_a_node_that_the_image_has_cannot_be_opened(world: World) -> None:
    identity = world.ok("create", "--network", "none", "busybox", "head", "-c1", "/disk")
    _, major, minor = disks()[0].split()
    upper = world.root / "containers" / identity / "upper"
    os.mknod(upper / "disk", stat.S_IFBLK | 0o666, os.makedev(int(major), int(minor)))
    done = world("start", "-a", identity)
    assert done.returncode != 0 and "Operation not permitted" in done.stderr


# --- --device -----------------------------------------------------------------------------------------------------

FUSE = os.makedev(10, 229)


@pytest.fixture
def fuse(tmp_path: Path) -> Path:
    """A device that containers do not have, and that opens for reading and writing without doing anything."""
    path = tmp_path / "fuse"
    os.mknod(path, stat.S_IFCHR | 0o600, FUSE)
    path.chmod(0o640)
    os.chown(path, 5, 6)
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        pytest.skip(f"this kernel has no FUSE: {error}")
    return path


@pytest.mark.parametrize(
    ("access_flag", "expected"),
    [
        ("", ["can", "can", "can"]),
        (":rwm", ["can", "can", "can"]),
        (":rw", ["can", "can", "can"]),
        (":r", ["can", "EPERM", "EPERM"]),
        (":w", ["EPERM", "can", "EPERM"]),
        (":m", ["EPERM", "EPERM", "EPERM"]),
    ],
)
def test_a_device_for_what_is_said(world: World, fuse: Path, access_flag: str, expected: list[str]) -> None:
    assert access(world, "/dev/given", "--device", f"{fuse}:/dev/given{access_flag}") == expected


def test_another_node_of_it_can_do_no_more(world: World, fuse: Path) -> None:
    flags = ("--device", f"{fuse}:/dev/given:r")
    assert access(world, "/tmp/node", *flags, node="c 10 229") == ["can", "EPERM", "EPERM"]


def test_only_that_device_is_given(world: World, fuse: Path) -> None:
    assert access(world, "/tmp/node", "--device", str(fuse), node="c 10 232") == ["EPERM"] * 3


def test_the_node_has_the_hosts_mode_and_owner(world: World, fuse: Path) -> None:
    script = "stat -c '%F %t:%T %a %u:%g' /dev/a/b /else"
    flags = ("--device", f"{fuse}:/dev/a/b", "--device", f"{fuse}:/else:r")
    line = "character special file a:e5 640 5:6"
    assert world.inside(script, *flags) == f"{line}\n{line}"


def test_it_is_there_after_a_restart(world: World, fuse: Path) -> None:
    flags = ("--network", "none", "--device", f"{fuse}:/dev/given:r", "--device", f"{fuse}:/given")
    identity = world.ok("create", *flags, "busybox", "stat", "-c", "%t:%T", "/dev/given", "/given")
    for _ in range(2):
        assert world.ok("start", "-a", identity) == "a:e5\na:e5"


def test_a_file_of_the_image_in_the_way_is_an_error(world: World, fuse: Path) -> None:
    """runtime-spec, Devices: and a link is not followed."""
    line = world.refused("run", "--network", "none", "--device", f"{fuse}:/etc/passwd", "busybox", "true")
    assert "cannot create the device node /etc/passwd: file exists (another file is there)" in line
    line = world.refused("run", "--network", "none", "--device", f"{fuse}:/etc/mtab", "busybox", "true")
    assert "another file is there" in line


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("/nowhere", "No such file or directory"),
        ("/etc/passwd", "is not a device"),
        ("relative", "absolute"),
        ("/dev/null:rel", "absolute"),
        ("/dev/null:/x:q", "rwm"),
    ],
)
def test_what_is_no_device_is_refused_in_one_line(world: World, device: str, words: str) -> None:
    assert words in world.refused("run", "--network", "none", "--device", device, "busybox", "true")
