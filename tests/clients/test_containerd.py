"""containerd's shim, driven by ctr, with pycontain-oci as its binary."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clients import archive
from tests.clients.conftest import MakeView, contrib
from tests.clients.daemon import daemon
from tests.clients.terminal import SIZE, talk
from tests.clients.view import View

from world import PYCONTAIN_OCI, eventually

pytestmark = pytest.mark.slow

CONFIG = """
version = 2
root = "{state}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/containerd/containerd.sock"
"""
RUNTIME = ("--runtime", "io.containerd.runc.v2", "--runc-binary", PYCONTAIN_OCI)
UNTIL_TERM = "trap 'exit 7' TERM; touch /dev/shm/up; while :; do sleep 0.1; done"


class Ctr:
    def __init__(self, view: View) -> None:
        self.view = view

    def __call__(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.view("ctr", *words, **more)

    def ok(self, *words: str, **more: Any) -> str:
        return self.view.ok("ctr", *words, **more)

    def run(self, name: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self("run", "--rm", *RUNTIME, archive.NAME, name, *words, **more)

    def task(self, name: str) -> str:
        """What ``task ls`` says of a container, in lower case."""
        rows = [line.split() for line in self.ok("task", "ls").splitlines()[1:]]
        return next((row[2].lower() for row in rows if row[0] == name), "gone")

    def end(self, name: str) -> None:
        """Kill a task and remove it."""
        self("task", "kill", "-s", "KILL", name)
        assert eventually(lambda: self.task(name) == "stopped")
        self.ok("task", "rm", name)


@pytest.fixture(scope="module")
def station(make_view: MakeView, archives: Path) -> Iterator[Ctr]:
    with make_view("containerd", "ctr", "containerd-shim-runc-v2", parents=("default",)) as view:
        config = view.write("config.toml", CONFIG.format(state=view.state))
        ctr = Ctr(view)
        with daemon(view, ["containerd", "--config", config], lambda: ctr("version").returncode == 0):
            ctr.ok("images", "import", str(archives / "image.tar"))
            yield ctr
        assert not view.names("/run/containerd/runc/default")


@pytest.fixture
def ctr(station: Ctr) -> Iterator[Ctr]:
    """containerd; after the test its tasks and containers are removed, which must work."""
    yield station
    for name in station.ok("task", "ls", "-q").split():
        station.end(name)
    for name in station.ok("container", "ls", "-q").split():
        station.ok("container", "rm", name)
    assert eventually(lambda: set(station.view.groups()) <= {"default"}), station.view.groups()


@pytest.fixture
def running(ctr: Ctr) -> Ctr:
    """containerd with a container ``one`` that ends with 7 at SIGTERM."""
    ctr.ok("run", "-d", *RUNTIME, archive.NAME, "one", "sh", "-c", UNTIL_TERM)
    assert ctr.task("one") == "running"
    up = ("task", "exec", "--exec-id", "up", "one", "test", "-e", "/dev/shm/up")
    assert eventually(lambda: ctr(*up).returncode == 0)
    return ctr


def test_output_and_status(ctr: Ctr) -> None:
    done = ctr.run("one", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_program_that_is_missing(ctr: Ctr) -> None:
    done = ctr.run("one", "nosuch")
    assert done.returncode == 1
    assert 'OCI runtime create failed: container one: exec: "nosuch": executable file not found in $PATH' in done.stderr


def test_options_of_the_command_line(ctr: Ctr) -> None:
    probe = "pwd; echo $WORD; touch /new 2>/dev/null || echo ro; cat /there/file; grep NoNewPrivs /proc/self/status"
    ctr.view.write("there/file", "from outside\n")
    mount = f"type=bind,src={ctr.view.state}/there,dst=/there,options=rbind:ro"
    flags = ["--cwd", "/tmp", "--env", "WORD=word", "--read-only", "--mount", mount]
    done = ctr("run", "--rm", *RUNTIME, *flags, archive.NAME, "one", "sh", "-c", probe)
    assert done.stdout.split() == ["/tmp", "word", "ro", "from", "outside", "NoNewPrivs:", "1"], done


def test_a_terminal(ctr: Ctr) -> None:
    words = ["ctr", "run", "--rm", "-t", *RUNTIME, archive.NAME, "one", "sh"]
    status, output = talk(ctr.view, words, ("# ", "tty\n"), ("/dev/pts/0", SIZE), ("30 100", "exit 5\n"))
    assert status == 5, output


def test_kill_and_remove(running: Ctr) -> None:
    running.ok("task", "kill", "-s", "TERM", "one")
    assert eventually(lambda: running.task("one") == "stopped")
    done = running("task", "rm", "one")
    assert done.returncode == 0 and "non-zero exit code 7" in done.stderr, done


def test_exec(running: Ctr) -> None:
    done = running("task", "exec", "--exec-id", "e", "one", "sh", "-c", "echo in; exit 4")
    assert (done.returncode, done.stdout) == (4, "in\n"), done
    done = running("task", "exec", "--exec-id", "f", "one", "nosuch")
    assert done.returncode == 1 and "executable file not found in $PATH" in done.stderr
    words = ["ctr", "task", "exec", "-t", "--exec-id", "g", "one", "sh"]
    status, output = talk(running.view, words, ("# ", SIZE), ("30 100", "exit 6\n"))
    assert status == 6, output


def test_pause(running: Ctr) -> None:
    running.ok("task", "pause", "one")
    assert running.task("one") == "paused"
    running.ok("task", "resume", "one")
    assert running.task("one") == "running"


def test_processes(running: Ctr) -> None:
    pid = running.ok("task", "ls").splitlines()[1].split()[1]
    rows = running.ok("task", "ps", "one").splitlines()
    assert pid in [row.split()[0] for row in rows[1:]]


def test_metrics(running: Ctr) -> None:
    assert "one" in running.ok("task", "metrics", "one")


def test_containerd_reads_the_drop_in_file(ctr: Ctr) -> None:
    config = ctr.view.write("drop-in.toml", contrib("containerd-config.toml"))
    lines = [line.strip() for line in ctr.view.ok("containerd", "--config", config, "config", "dump").splitlines()]
    at = lines.index('[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.pycontain.options]')
    assert f'BinaryName = "{PYCONTAIN_OCI}"' in lines[at:] and "SystemdCgroup = true" in lines[at:]


COUNT = "i=0; while :; do i=$((i+1)); echo $i >/dev/shm/count; sleep 0.05; done"


def _count(ctr: Ctr, name: str) -> int:
    """0 where the file is just empty."""
    return int(ctr("task", "exec", "--exec-id", "count", name, "cat", "/dev/shm/count").stdout.strip() or 0)


def test_a_checkpoint_into_a_directory(ctr: Ctr) -> None:
    images = f"{ctr.view.state}/images"
    ctr.ok("run", "-d", *RUNTIME, archive.NAME, "saved", "sh", "-c", COUNT)
    assert eventually(lambda: _count(ctr, "saved") > 3)
    ctr.ok("task", "checkpoint", "--exit", "--image-path", images, "saved")
    assert eventually(lambda: ctr.task("saved") == "stopped")
    ctr.ok("task", "rm", "saved")
    ctr.ok("container", "rm", "saved")
    assert "inventory.img" in ctr.view.names(images)


def test_checkpoint_and_restore(ctr: Ctr) -> None:
    """containerd keeps the images as an image of its own; it pauses the container meanwhile."""
    ctr.ok("run", "-d", *RUNTIME, archive.NAME, "saved", "sh", "-c", COUNT)
    assert eventually(lambda: _count(ctr, "saved") > 3)
    ctr.ok("container", "checkpoint", "--rw", "--image", "--task", "saved", "localhost/saved:latest")
    assert ctr.task("saved") == "running"
    before = _count(ctr, "saved")
    assert eventually(lambda: _count(ctr, "saved") > before)
    ctr.end("saved")
    ctr.ok("container", "rm", "saved")
    ctr.ok("container", "restore", "--rw", "--live", "again", "localhost/saved:latest")
    first = _count(ctr, "again")
    assert eventually(lambda: _count(ctr, "again") > max(first, 3))
    ctr.end("again")
    ctr.ok("container", "rm", "again")
    ctr.ok("image", "rm", "localhost/saved:latest")
