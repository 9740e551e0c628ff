"""Fixtures of the tests that start containers."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.host import criu, debian, lxcfs
from tests.host import images as host_images
from tests.host.cache import NotReady

import oci_bundle
from oci_bundle import Oci
from oci_saved import Saved
from systemd_guest import Guest
from tenant_world import TenantWorld
from world import TIMEOUT, World, cgroup_mount, eventually, reap
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


@pytest.fixture
def tenants(images: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TenantWorld]:
    """pycontain with tenants; after the test all are destroyed, and the test fails when something stays behind."""
    world = TenantWorld(images, tmp_path_factory.mktemp("tenants"))
    yield world
    world.destroy_all()
    world.remove_all()

    def clean() -> bool:
        reap()
        return not world.leftovers()

    assert eventually(clean), world.leftovers()


def _ready(make: Callable[[], Path]) -> Path:
    try:
        return make()
    except NotReady as reason:
        pytest.fail(f"{reason}\nwhere there is a network: python -m tests.host prepare", pytrace=False)


@pytest.fixture(scope="session")
def debian_root() -> Path:
    """A root with Python: that of the test hosts, which nobody may write to."""
    return _ready(debian.root)


@pytest.fixture(scope="session")
def criu_programs() -> Path:
    """A directory for PATH that has criu."""
    return _ready(criu.directory)


@pytest.fixture(scope="session")
def systemd_guest(debian_root: Path) -> Iterator[Guest]:
    """A systemd of its own in namespaces of this machine, for the whole session; scripts leave it as they found it."""
    with Guest(cgroup_mount(), debian_root, _ready(host_images.store)) as guest:
        yield guest


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that everybody may enter; tmp_path lies in one that every start of pytest closes to others again."""
    path = Path(tempfile.mkdtemp(prefix="pycontain-test-"))
    path.chmod(0o755)
    yield path
    # what somebody has mounted there, and left, is not to be emptied
    assert str(path) not in Path("/proc/self/mountinfo").read_text()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def oci(images: World, reachable: Path) -> Iterator[Oci]:
    """A bundle with a busybox root, and pycontain-oci with a state directory of its own."""
    runtime = oci_bundle.make(images, reachable)
    yield runtime
    oci_bundle.check_nothing_left(runtime)


@pytest.fixture
def saved(oci: Oci, criu_programs: Path, tmp_path: Path) -> Iterator[Saved]:
    """The same with CRIU, and a directory for images."""
    yield Saved(oci, tmp_path, criu_programs)
    reap()


@pytest.fixture(scope="session")
def templates(images: World) -> World:
    """The session's store with busybox-vps and debian-vps in it, as the cache has them."""
    store = _ready(host_images.templates)
    for part in ("layers", "images", "refs"):
        subprocess.run(["cp", "-a", "--reflink=auto", f"{store}/{part}/.", str(images.root / part)], check=True)
    return images


@pytest.fixture
def lxcfs_there(tmp_path: Path) -> Iterator[Path]:
    """lxcfs runs and is mounted where distributions have it, in this mount namespace alone."""
    where = Path("/var/lib/lxcfs")
    path = _ready(lxcfs.directory)
    made = not where.exists()
    where.mkdir(exist_ok=True)
    # a pid file of its own: lxcfs removes whatever it is given when it ends
    command = [str(path / "usr/bin/lxcfs"), "--foreground", f"--pidfile={tmp_path}/lxcfs.pid", str(where)]
    with subprocess.Popen(command, env=lxcfs.environment(path), stderr=subprocess.DEVNULL) as server:
        try:
            assert eventually((where / "proc" / "uptime").exists), "lxcfs does not start"
            yield where
        finally:
            server.terminate()
            server.wait()
            subprocess.run(["umount", "--lazy", str(where)], stderr=subprocess.DEVNULL, check=False)
            if made:
                where.rmdir()
