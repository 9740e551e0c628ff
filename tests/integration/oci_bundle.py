"""A bundle with a busybox root and the commands on it: what tests of pycontain-oci share."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from test_oci import Oci
from world import World, cgroup_mount, eventually, reap


def make(images: World, tmp_path: Path) -> Oci:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    layer = json.loads(images.ok("image", "inspect", "busybox"))[0]["RootFS"]["Layers"][0]
    subprocess.run(["cp", "-a", str(images.root / "layers" / layer), str(bundle / "rootfs")], check=True)
    return Oci(bundle, tmp_path / "state")


def check_nothing_left(runtime: Oci) -> None:
    for name in os.listdir(runtime.root) if runtime.root.is_dir() else ():
        runtime("delete", "--force", name)
    reap()
    assert not runtime.root.is_dir() or not os.listdir(runtime.root)
    assert eventually(lambda: not list((cgroup_mount() / "pycontain-oci").glob("*/cgroup.procs")))


@pytest.fixture
def oci(images: World, tmp_path: Path) -> Iterator[Oci]:
    """A bundle with a busybox root."""
    runtime = make(images, tmp_path)
    yield runtime
    check_nothing_left(runtime)


def output(oci: Oci, script: str, **changes: Any) -> str:
    """What a shell script says in a container of the bundle with these changes of ``linux``."""
    oci.spec["process"]["args"] = ["sh", "-c", script]
    oci.spec["linux"].update(changes)
    done = oci("run", "-b", str(oci.bundle), "probe")
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def refused(oci: Oci, *words: str) -> str:
    """create fails with one line that has these words, and nothing is left."""
    done = oci("create", "-b", str(oci.bundle), "refused")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    assert all(word in done.stderr for word in words), done
    assert not (oci.root / "refused").exists()
    return done.stderr
