"""Fixtures of the tests that start containers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.host import debian
from tests.host import images as host_images
from tests.host.cache import NotReady

import oci_bundle
from oci_bundle import Oci
from systemd_guest import Guest
from world import TIMEOUT, World, cgroup_mount
from world_fixtures import images, workdir, world

__all__ = ["images", "workdir", "world"]


@pytest.fixture
def host_users(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers in the host's user namespace where no flag says otherwise."""
    path = tmp_path_factory.mktemp("config") / "pycontain.toml"
    path.write_text('userns = "host"\n')
    monkeypatch.setenv("PYCONTAIN_CONFIG", str(path))


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
