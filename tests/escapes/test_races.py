"""Races: a process of the attacker's changes what the runtime is about to use. --rounds N says how often each is run.

The attacker is outside (it could as well be in another container that shares the volume): that is the quicker one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.escapes.peer import Peer

from world import World, eventually

Compiled = Callable[[str], Path]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@contextmanager
def swapping(compiled: Compiled, *names: Path) -> Iterator[None]:
    """While this is open, the first name changes places with the others."""
    command = [str(compiled("swap")), *map(str, names)]
    attacker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert attacker.stdout and attacker.stdout.readline() == b"swapping\n"
        yield
        assert attacker.poll() is None, "the attacker has ended before the race had"
    finally:
        attacker.kill()
        attacker.communicate()


def test_a_mount_point_becomes_a_link(peer: Peer, canary: Path, compiled: Compiled, rounds: int) -> None:
    """CVE-2021-30465, CVE-2024-45310, CVE-2024-9341: directories are made, and mounts put, where the link leads."""
    (peer.rootfs / "v/d").mkdir(parents=True)
    (peer.rootfs / "v/l").symlink_to(canary)
    source = canary.parent / "source"
    source.mkdir()
    for target in ("/v/d/made/deep", "/v/d/sub"):
        peer.mount(source, target)
    peer.spec["mounts"].append({"destination": "/v/d/sub/x", "type": "tmpfs", "source": "tmpfs"})
    with swapping(compiled, peer.rootfs / "v/d", peer.rootfs / "v/l"):
        for _ in range(rounds):
            peer.sh("true")
            assert not (canary / "made").exists() and not list((canary / "sub").iterdir())


def test_a_file_to_mount_on_becomes_a_link(peer: Peer, canary: Path, compiled: Compiled, rounds: int) -> None:
    """CVE-2024-45310: an empty file is made on the host. Its directory is the attacker's."""
    (peer.rootfs / "v/d").mkdir(parents=True)
    (peer.rootfs / "v/l").symlink_to(canary)
    peer.mount(canary / "file", "/v/d/empty")
    with swapping(compiled, peer.rootfs / "v/d", peer.rootfs / "v/l"):
        for _ in range(rounds):
            peer.sh("true")
            assert not (canary / "empty").exists()


@pytest.mark.parametrize("name", ["null", "console"])
def test_a_device_is_swapped(peer: Peer, canary: Path, compiled: Compiled, rounds: int, name: str) -> None:
    """CVE-2025-31133, CVE-2025-52565: the source of the masks, the place of the console, is another file by then."""
    dev = canary.parent / "dev"
    dev.mkdir()
    if name == "null":
        os.mknod(dev / name, 0o20666, os.makedev(1, 3))
    else:
        (dev / name).touch()
    (dev / "other").symlink_to("/proc/sys/kernel/core_pattern")
    peer.without_mount("/dev")
    peer.mount(dev, "/dev")
    peer.spec["linux"]["maskedPaths"] = ["/proc/uptime", "/proc/version"]
    show = "for path in /proc/uptime /proc/version; do stat -L -c '%t:%T' $path; done; cat /proc/self/mountinfo"
    with swapping(compiled, dev / name, dev / "other"):
        started = 0
        for _ in range(rounds):
            done = peer.sh(show)
            if done.returncode == 0:
                started += 1
                assert done.stdout.startswith("1:3\n1:3\n"), done
                assert "core_pattern" not in done.stdout
        assert started, "it is refused whoever wins"


@pytest.mark.parametrize("place", ["proc", "dev"])
def test_a_directory_of_the_root_becomes_a_link(
    peer: Peer, canary: Path, compiled: Compiled, rounds: int, place: str
) -> None:
    """CVE-2023-27561, CVE-2025-54867: checked as a directory, mounted on as a link."""
    (peer.rootfs / place).mkdir(exist_ok=True)
    (peer.rootfs / "link").symlink_to(canary)
    peer.spec["linux"]["maskedPaths"] = ["/proc/uptime"]
    started = 0
    with swapping(compiled, peer.rootfs / place, peer.rootfs / "link"):
        for _ in range(rounds):
            # the name may lead elsewhere again when it is looked at: what it shows then is nothing
            done = peer.sh("cat /proc/uptime; stat -L -c '%t:%T' /proc/uptime; true")
            started += done.returncode == 0
            assert done.returncode != 0 or done.stdout in ("1:3\n", ""), done
    assert started, "it is refused whoever wins"


def test_the_working_directory_becomes_a_link(peer: Peer, canary: Path, compiled: Compiled, rounds: int) -> None:
    """CVE-2024-21626, by a swap: a directory at the check, a descriptor's link at chdir."""
    (peer.rootfs / "work").mkdir()
    (peer.rootfs / "link").symlink_to("/proc/self/fd/7")
    peer.spec["process"]["cwd"] = "/work"
    with swapping(compiled, peer.rootfs / "work", peer.rootfs / "link"):
        for _ in range(rounds):
            done = peer.sh(f"ls -d ../../../../../..{canary}/file")
            assert done.stdout == "", done


def hostile(world: World, compiled: Compiled, fill: Callable[[Path], None], *names: str) -> str:
    """A container whose own program makes these names change places; ``fill`` makes them in its root."""
    identity = world.ok("create", "--network", "none", "busybox", "/swap", *names)
    upper = world.root / "containers" / identity / "upper"
    shutil.copy(compiled("swap"), upper / "swap")
    fill(upper)
    world.ok("start", identity)
    assert eventually(lambda: "swapping" in world("logs", identity).stdout)
    return identity


def test_a_directory_is_swapped_while_it_is_copied(world: World, canary: Path, compiled: Compiled, rounds: int) -> None:
    """CVE-2018-15664, CVE-2019-10152: cp in both directions, below a directory that becomes a link to the host's."""

    def fill(upper: Path) -> None:
        (upper / "d/sub").mkdir(parents=True)
        (upper / "d/file").write_text("guest\n")
        (upper / "l").symlink_to(canary)

    identity = hostile(world, compiled, fill, "/d", "/l")
    out, into = canary.parent / "out", canary.parent / "into"
    into.write_text("copied\n")
    for _ in range(rounds):
        world("cp", f"{identity}:/d/file", str(out))
        assert not out.exists() or out.read_text() == "guest\n"
        out.unlink(missing_ok=True)
        world("cp", str(into), f"{identity}:/d/sub/new")
        assert not list((canary / "sub").iterdir())
    assert world.status(identity) == "running"


def test_accounts_are_swapped_while_exec_reads_them(
    world: World, tmp_path: Path, compiled: Compiled, rounds: int
) -> None:
    """CVE-2024-9676, by a swap: the file at the check, a FIFO or a link to the host's when it is opened."""
    host = tmp_path / "passwd"
    host.write_text("guest:x:0:0::/:/bin/sh\n")

    def fill(upper: Path) -> None:
        (upper / "etc").mkdir(exist_ok=True)
        (upper / "etc/passwd").write_text("guest:x:5:5::/:/bin/sh\n")
        os.mkfifo(upper / "etc/fifo")
        (upper / "etc/link").symlink_to(host)

    identity = hostile(world, compiled, fill, "/etc/passwd", "/etc/fifo", "/etc/link")
    for _ in range(rounds):
        # not id(1): it reads the accounts itself, and would wait for a writer of its FIFO
        done = world("exec", "-u", "guest", identity, "grep", "^Uid", "/proc/self/status", timeout=60)
        assert done.returncode != 0 or done.stdout.split()[1:] == ["5"] * 4, done
    assert world.status(identity) == "running"
