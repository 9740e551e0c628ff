"""Fixtures that tests of several directories share: a world with images, clean after each test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import prctl
import pytest

from world import PYCONTAIN, World, eventually, isolated, reap


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A store with the images busybox and sparse, for the whole session."""
    if os.geteuid() != 0 or not isolated():
        pytest.exit("the integration tests need root and namespaces of their own: scripts/isolated pytest …", 2)
    if not os.path.exists(PYCONTAIN):
        pytest.exit("pycontain is not installed beside this Python: make build", 2)
    # monitors that lose their parent come to us, and do not stay as zombies of a PID 1 that is late
    prctl.set_child_subreaper(1)
    base = tmp_path_factory.mktemp("world")
    world = World(base / "root", base / "run")
    for image in ("busybox", "sparse"):
        subprocess.run([*world.command, "image", "build", image], check=True, capture_output=True, timeout=300)
    return world


@pytest.fixture
def world(images: World) -> Iterator[World]:
    """pycontain; after the test all containers are removed, and the test fails when something stays behind."""
    yield images
    images.remove_all()

    def clean() -> bool:
        reap()
        return not images.leftovers()

    # the kernel takes network devices and cgroups down in the background
    assert eventually(clean), images.leftovers()


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A directory that a container may be given."""
    tmp_path.chmod(0o755)
    return tmp_path
