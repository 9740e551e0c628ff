"""--storage-opt: a limit of a container's own files, kept by each of the means that hosts have (storage/disk.py)."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import disk_world
from disk_world import MIB, DiskWorld
from world import World, eventually, reap

NO_NETWORK = ("--network", "none")


@pytest.fixture(scope="module", params=disk_world.KINDS)
def kept(
    request: pytest.FixtureRequest, images: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DiskWorld]:
    with disk_world.store(request.param, images.root, tmp_path_factory.mktemp(request.param)) as found:
        yield found


@pytest.fixture
def store(kept: DiskWorld) -> Iterator[DiskWorld]:
    yield kept
    kept.remove_all()

    def clean() -> bool:
        reap()
        return not kept.leftovers()

    assert eventually(clean), kept.leftovers()


def keep(store: DiskWorld, name: str, options: str, *flags: str) -> str:
    return store.background("--name", name, *NO_NETWORK, "--storage-opt", options, *flags, "busybox", "sleep", "1000")


def fill(store: DiskWorld, name: str, mib: int, file: str = "/fill") -> str:
    """Write so much; what dd says at its end."""
    script = f"dd if=/dev/zero of={file} bs=64k count={mib * 16} conv=fsync 2>&1; true"
    return store.ok("exec", name, "sh", "-c", script)


def room(store: DiskWorld, name: str) -> int:
    """The size of its root in KiB, as df says it inside."""
    return int(store.ok("exec", name, "df", "-kP", "/").splitlines()[1].split()[1])


@pytest.mark.parametrize("flags", [(), ("--userns", "host")], ids=["userns", "host"])
def test_who_fills_a_disk_does_no_harm_to_another(store: DiskWorld, flags: tuple[str, ...]) -> None:
    keep(store, "one", "size=24m", *flags)
    keep(store, "two", "size=24m", *flags)
    said = fill(store, "one", 40)
    assert "No space left" in said or "quota exceeded" in said.lower(), said
    held = int(store.ok("exec", "one", "stat", "-c", "%s", "/fill"))
    assert 12 * MIB < held <= 24 * MIB
    assert "No space" not in fill(store, "two", 8)
    # what is removed can be used again
    store.ok("exec", "one", "rm", "/fill")
    assert "No space" not in fill(store, "one", 8)


def test_df_tells_the_truth(store: DiskWorld) -> None:
    if store.kind == "btrfs":
        pytest.skip("btrfs tells what the file system has, whatever the quota group: documented")
    keep(store, "one", "size=24m")
    assert 16 << 10 < room(store, "one") <= 24 << 10  # an image has its own journal and tables in it
    fill(store, "one", 8)
    used = int(store.ok("exec", "one", "df", "-kP", "/").splitlines()[1].split()[2])
    assert 8 << 10 <= used < 12 << 10


def test_inodes(store: DiskWorld) -> None:
    script = "i=0; while [ $i -lt 400 ] && touch /tmp/$i 2>/dev/null; do i=$((i+1)); done; echo $i"
    if store.kind == "btrfs":
        assert "btrfs" in store.refused("create", "--storage-opt", "size=24m,inodes=200", "busybox")
        return
    keep(store, "one", "size=24m,inodes=256")
    made = int(store.ok("exec", "one", "sh", "-c", f"mkdir -p /tmp; {script}"))
    assert 150 < made <= 256
    assert "No space" in store.ok("exec", "one", "sh", "-c", "touch /etc/more 2>&1; true") or made == 0


def test_limits_change_while_it_runs(store: DiskWorld) -> None:
    keep(store, "one", "size=24m")
    assert "No space" in fill(store, "one", 32) or store.kind == "btrfs"
    if store.kind == "image":
        said = store.refused("update", "--storage-opt", "size=16m", "one")
        assert "cannot shrink while it is in use" in said and "stop the container first" in said
        grown = store("update", "--storage-opt", "size=48m", "one")
        if "CAP_SYS_RESOURCE" in grown.stderr:  # as on hosts that have taken it away
            return
    else:
        assert "are in use" in store.refused("update", "--storage-opt", "size=8m", "one")
        store.ok("update", "--storage-opt", "size=48m", "one")
    said = fill(store, "one", 32)
    assert "No space" not in said and "uota" not in said
    assert store.inspect("one")["HostConfig"]["StorageOpt"] == {"size": str(48 * MIB)}


def test_limits_change_while_it_is_stopped_and_stay(store: DiskWorld) -> None:
    keep(store, "one", "size=24m")
    store.ok("exec", "one", "sh", "-c", "echo mine >/kept; chown 7:8 /kept")
    store.ok("stop", "-t", "0", "one")
    for size in (48, 16):
        store.ok("update", "--storage-opt", f"size={size}m", "one")
        store.ok("start", "one")
        assert store.ok("exec", "one", "sh", "-c", "cat /kept; stat -c %u:%g /kept") == "mine\n7:8"
        if store.kind != "btrfs":
            assert (size - 8) << 10 < room(store, "one") <= size << 10
        store.ok("stop", "-t", "0", "one")


def test_one_that_goes_at_its_end_leaves_nothing(store: DiskWorld) -> None:
    assert store.ok("run", "--rm", *NO_NETWORK, "--storage-opt", "size=24m", "busybox", "echo", "there") == "there"


def test_cp_reaches_the_files_of_one_that_does_not_run(store: DiskWorld, workdir: Path) -> None:
    (workdir / "file").write_text("from outside")
    store.ok("create", "--name", "one", *NO_NETWORK, "--storage-opt", "size=24m", "busybox", "cat", "/file")
    store.ok("cp", str(workdir / "file"), "one:/file")
    assert store.ok("start", "-a", "one") == "from outside"
    store.ok("cp", "one:/file", str(workdir / "back"))
    assert (workdir / "back").read_text() == "from outside"


def test_a_monitor_that_is_killed_leaves_the_disk_as_it_should_be(store: DiskWorld) -> None:
    identity = keep(store, "one", "size=24m")
    store.ok("exec", "one", "sh", "-c", "echo mine >/kept; sync")
    os.kill(store.monitor_pid(identity), signal.SIGKILL)
    store.ok("start", "one")
    assert store.ok("exec", "one", "cat", "/kept") == "mine"
    if store.kind == "image":
        # one device, whoever comes and goes
        command = ["losetup", "-n", "-O", "BACK-FILE"]

        def devices() -> int:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            return done.stdout.count(f"{identity}/disk.img")

        assert eventually(lambda: devices() == 1)


def test_info_says_what_keeps_it(store: DiskWorld) -> None:
    kinds = {"ext4": "project", "xfs": "project", "btrfs": "subvolume", "image": "image"}
    line = next(line for line in store("info").stdout.splitlines() if "Disk limits" in line)
    assert f" {kinds[store.kind]} (" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("size=10X", "size=10X is not a size"),
        ("size=-5", "size=-5 is not a size"),
        ("size=", "give size=SIZE"),
        ("dm.fs=xfs", "give size=SIZE"),
        ("size=1m,size=2m", "size is given twice"),
        ("inodes=many", "inodes=many is not a number"),
        ("size=4k", "too small"),
        ("size=24m,inodes=3", "3 inodes: give at least 64"),
    ],
)
def test_what_cannot_be_is_refused(world: World, options: str, said: str) -> None:
    assert said in world.refused("create", "--storage-opt", options, "busybox")
    assert world.ok("ps", "-aq") == ""


def test_without_mke2fs_it_says_what_to_install(world: World, tmp_path: Path) -> None:
    hide = 'for path in /usr/sbin/mke2fs; do mount --bind /dev/null "$path"; done; exec "$@"'
    command = [*world.command, "create", "--storage-opt", "size=24m", "busybox"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hide, "sh", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 125 and "install e2fsprogs" in done.stderr, done
    assert world.ok("ps", "-aq") == ""


def test_a_container_without_a_limit_cannot_get_one_later(world: World) -> None:
    world.ok("create", "--name", "one", "busybox")
    assert "made without --storage-opt" in world.refused("update", "--storage-opt", "size=24m", "one")
