"""podman of an ordinary user, in a user namespace of its own, with pycontain-oci as its runtime.

Here no systemd is that user's: test_limits_in_a_host.py has one, and podman's own choice of the cgroup manager.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.clients.programs import need

from ordinary import HOST, Host, User, eventually
from world import isolated

pytestmark = pytest.mark.slow

_ROOTFS = """
mkdir -p ~/rootfs/bin ~/rootfs/etc ~/rootfs/proc ~/rootfs/sys ~/rootfs/dev ~/rootfs/tmp ~/rootfs/run
cp /bin/busybox ~/rootfs/bin/
for name in sh id cat ip sleep nc printf true; do ln -s busybox ~/rootfs/bin/$name; done
mkdir -p ~/.config/containers
cat >~/.config/containers/containers.conf <<'END'
[containers]
default_ulimits = []
pids_limit = 0
log_driver = "k8s-file"
END
"""


class Podman:
    def __init__(self, user: User) -> None:
        self.user = user
        runtime = f"{user.host.base}/venv/bin/pycontain-oci"
        self.command = ["podman", "--runtime", runtime, "--cgroup-manager", "cgroupfs", "--events-backend", "file"]

    def __call__(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.user.do(*self.command, *words, **more)

    def ok(self, *words: str) -> str:
        done = self(*words)
        assert done.returncode == 0, done
        return done.stdout.removesuffix("\n")

    @property
    def rootfs(self) -> tuple[str, str]:
        return ("--rootfs", f"{self.user.home}/rootfs")

    def states(self) -> list[str]:
        """What is in the runtime's state directory."""
        found = self.user.host.root(f"ls {self.user.run_directory}/pycontain-oci 2>/dev/null || true")
        return found.split()


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    if not isolated():
        pytest.exit("the clients' tests need namespaces of their own: scripts/isolated pytest …", 2)
    need("podman", "conmon", "slirp4netns", "newuidmap")
    with Host() as host:
        host.connect()
        ann = host.people["ann"]
        done = ann.do("sh", "-euc", _ROOTFS)
        assert done.returncode == 0, done
        yield Podman(ann)


@pytest.mark.parametrize("network", ["none", "slirp4netns"])
def test_run(podman: Podman, network: str) -> None:
    script = f"id -u; printf 'GET /word HTTP/1.0\\r\\n\\r\\n' | nc {HOST} 8000; cat /proc/self/uid_map"
    done = podman("run", "--rm", "--network", network, *podman.rootfs, "/bin/sh", "-c", script)
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[0] == "0"
    assert ("from the host" in done.stdout) == (network == "slirp4netns"), done
    assert str(podman.user.first) in done.stdout
    assert podman.states() == []


def test_the_life_of_a_container(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "life", "--network", "none", *podman.rootfs, "/bin/sleep", "1000")
    assert podman.ok("exec", "life", "/bin/id", "-u") == "0"
    assert len(podman.states()) == 1
    assert podman.ok("inspect", "-f", "{{.State.Status}}", "life") == "running"
    podman.ok("stop", "-t", "0", "life")
    podman.ok("rm", "-f", "life")
    assert podman.states() == []
    assert eventually(lambda: not any("sleep 1000" in line for line in podman.user.host.processes()))


def test_exit_status_and_a_missing_program(podman: Podman) -> None:
    quiet = ("run", "--rm", "--network", "none", *podman.rootfs)
    assert podman(*quiet, "/bin/sh", "-c", "exit 42").returncode == 42
    assert podman(*quiet, "/bin/nothing").returncode == 127


def test_another_user_and_a_user_namespace_of_the_containers_own(podman: Podman) -> None:
    quiet = ("run", "--rm", "--network", "none")
    assert podman.ok(*quiet, "--user", "1000:1000", *podman.rootfs, "/bin/id", "-u") == "1000"
    assert podman.ok(*quiet, "--userns", "keep-id", *podman.rootfs, "/bin/id", "-u") == str(podman.user.uid)
