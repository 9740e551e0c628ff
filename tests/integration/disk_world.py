"""Stores on file systems of their own, by what keeps a container's disk there (storage/disk.py)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from world import World, reap

MIB = 1 << 20
#: how the file system is made, and mounted
KINDS = {
    "ext4": (["mke2fs", "-q", "-F", "-t", "ext4", "-O", "quota,project", "-E", "quotatype=prjquota"], "prjquota"),
    "xfs": (["mkfs.xfs", "-q", "-f"], "prjquota"),
    "btrfs": (["mkfs.btrfs", "-q", "-f"], ""),
    "image": (["mke2fs", "-q", "-F", "-t", "ext4"], ""),
}
_SIZE = {"xfs": 320 * MIB}


class DiskWorld(World):
    """kind: one of KINDS."""

    def __init__(self, root: Path, run_root: Path, kind: str) -> None:
        super().__init__(root, run_root)
        self.kind = kind

    def leftovers(self) -> list[str]:
        """As World's; the mount of the store is none."""
        found = [line for line in super().leftovers() if f" {self.root} " not in line]
        return found + [f"project {path.name}" for path in (self.root / "projects").glob("*")]


def run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done


def copy_image(source: Path, target: Path, name: str) -> None:
    """One image of a store into another one."""
    found = World(source, source.parent / "run")
    image = json.loads(found.ok("image", "inspect", name))[0]
    parts = [f"refs/{name}%3Alatest", f"images/{image['Id']}"]
    parts += [f"layers/{layer}{end}" for layer in image["RootFS"]["Layers"] for end in ("", ".json")]
    for part in parts:
        run("cp", "-a", str(source / part), str(target / part))


@contextmanager
def store(kind: str, images: Path, base: Path, *names: str) -> Iterator[DiskWorld]:
    """A store with these images of another one, and busybox."""
    command, options = KINDS[kind]
    image, point = base / "image", base / "store"
    image.touch()
    os.truncate(image, _SIZE.get(kind, 192 * MIB))
    point.mkdir()
    run(*command, str(image))
    mount = ["mount", "-o", ",".join(filter(None, ["loop", options])), str(image), str(point)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        assert options, mount
        pytest.skip("this kernel has no project quotas; tests/host/test_host_disk.py has a host with them")
    try:
        if kind == "btrfs":
            run("btrfs", "quota", "enable", str(point))
        for part in ("images", "layers", "refs"):
            (point / part).mkdir(mode=0o700)
        for name in ("busybox", *names):
            copy_image(images, point, name)
        yield DiskWorld(point, base / "run", kind)
        reap()
    finally:
        run("umount", str(point))
