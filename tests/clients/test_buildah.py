"""buildah with pycontain-oci: RUN steps of a build, and commands in a working container."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clients.conftest import MakeView, contrib
from tests.clients.terminal import talk
from tests.clients.test_podman import MACHINE
from tests.clients.view import View

from world import PYCONTAIN_OCI

pytestmark = pytest.mark.slow

CGROUPFS = 'cgroup_manager = "cgroupfs"\n'
CONTAINERFILE = """
FROM scratch
ADD rootfs.tar /
ENV WORD=word
RUN echo "made of $WORD by $(id -u)" >/made
RUN test "$(cat /made)" = "made of word by 0"
"""


class Buildah:
    def __init__(self, view: View) -> None:
        self.view = view
        self.command = ["buildah", "--root", f"{view.state}/root", "--runroot", "/run/buildah", "--storage-driver"]
        self.command += ["overlay"]

    def __call__(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.view(*self.command, *words, **more)

    def ok(self, *words: str, **more: Any) -> str:
        return self.view.ok(*self.command, *words, **more)

    def build(self, name: str, *flags: str) -> subprocess.CompletedProcess[str]:
        context = f"{self.view.state}/context"
        return self("bud", "--runtime", PYCONTAIN_OCI, "--network=none", *flags, "-t", name, context)


@pytest.fixture(scope="module")
def buildah(make_view: MakeView, archives: Path) -> Iterator[Buildah]:
    with make_view("buildah") as view:
        text = contrib("containers.conf.d/50-pycontain.conf").replace("[engine]\n", f"{MACHINE}[engine]\n{CGROUPFS}", 1)
        view.environment["CONTAINERS_CONF"] = view.write("containers.conf", text)
        view.write("context/Containerfile", CONTAINERFILE)
        subprocess.run(["cp", archives / "rootfs.tar", view.path(view.state / "context")], check=True)
        yield Buildah(view)


@pytest.fixture
def working(buildah: Buildah, archives: Path) -> Iterator[str]:
    """The name of a working container."""
    name = buildah.ok("from", "scratch")
    buildah.ok("add", "-q", name, str(archives / "rootfs.tar"), "/")
    yield name
    buildah.ok("rm", name)


def test_build(buildah: Buildah) -> None:
    done = buildah.build("made")
    assert done.returncode == 0, done
    name = buildah.ok("from", "--pull-never", "localhost/made")
    assert buildah.ok("run", "--runtime", PYCONTAIN_OCI, name, "--", "cat", "/made") == "made of word by 0"
    buildah.ok("rm", name)


def test_a_step_that_fails(buildah: Buildah) -> None:
    buildah.view.write("context/Containerfile.bad", "FROM scratch\nADD rootfs.tar /\nRUN exit 3\n")
    done = buildah.build("bad", "-f", f"{buildah.view.state}/context/Containerfile.bad")
    assert done.returncode == 3 and 'building at STEP "RUN exit 3"' in done.stderr, done


def test_run(buildah: Buildah, working: str) -> None:
    run = ("run", "--runtime", PYCONTAIN_OCI, "--isolation", "oci")
    done = buildah(*run, working, "--", "sh", "-c", "echo out; exit 5")
    assert (done.returncode, done.stdout) == (5, "out\n"), done
    done = buildah(*run, working, "--", "nosuch")
    assert done.returncode != 0 and 'exec: "nosuch": executable file not found in $PATH' in done.stderr
    done = buildah(*run, "--user", "7:8", "--cap-drop", "ALL", working, "--", "grep", "CapEff", "/proc/self/status")
    assert done.stdout.split() == ["CapEff:", "0000000000000000"], done


def test_a_terminal(buildah: Buildah, working: str) -> None:
    words = [*buildah.command, "run", "--runtime", PYCONTAIN_OCI, "--isolation", "oci", "-t", working, "--", "sh"]
    status, output = talk(buildah.view, words, ("# ", "tty\n"), ("/dev/pts/0", "exit 5\n"))
    assert status == 5, output
