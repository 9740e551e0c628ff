"""Fixtures of the tests that start containers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import prctl
import pytest
from tests.host import debian
from tests.host import images as host_images
from tests.host.cache import NotReady

import oci_bundle
from oci_bundle import Oci
from systemd_guest import Guest
from world import PYCONTAIN, TIMEOUT, World, cgroup_mount, eventually, isolated, reap


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
def host_users(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers in the host's user namespace where no flag says otherwise."""
    path = tmp_path_factory.mktemp("config") / "pycontain.toml"
    path.write_text('userns = "host"\n')
    monkeypatch.setenv("PYCONTAIN_CONFIG", str(path))


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A directory that a container may be given."""
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture
def unified() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in a mount namespace in which cgroup v2 is at /sys/fs/cgroup, as on a unified host.

    The kernel is the same: controllers that cgroup v1 has are still not in cgroup v2.
    """
    prepare = 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", prepare, "sh"]

    def run(command: list[str], *, timeout: float = TIMEOUT, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **more,
        )

    return run


@pytest.fixture(scope="session")
def systemd_guest() -> Iterator[Guest]:
    """A systemd of its own in namespaces of this machine, for the whole session; scripts leave it as they found it."""
    try:
        root, store = debian.root(), host_images.store()
    except NotReady as reason:
        pytest.fail(f"{reason}\nwhere there is a network: python -m tests.host prepare", pytrace=False)
    with Guest(cgroup_mount(), root, store) as guest:
        yield guest


@pytest.fixture
def oci(images: World, tmp_path: Path) -> Iterator[Oci]:
    """A bundle with a busybox root, and pycontain-oci with a state directory of its own."""
    runtime = oci_bundle.make(images, tmp_path)
    yield runtime
    oci_bundle.check_nothing_left(runtime)
