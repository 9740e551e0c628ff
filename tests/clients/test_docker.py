"""Docker's daemon with pycontain-oci, once as the runtime of all containers and once by name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.clients import checks
from tests.clients.conftest import MakeView, contrib
from tests.clients.daemon import daemon
from tests.clients.terminal import SIZE, talk
from tests.clients.view import View

from world import PYCONTAIN_OCI, eventually

pytestmark = pytest.mark.slow

DOCKER = "/usr/bin/docker"
SOCKET = "unix:///run/docker.sock"
UNTIL_TERM = "trap 'echo down; exit 7' TERM; echo up; while :; do sleep 0.1; done"


class Docker:
    def __init__(self, view: View) -> None:
        self.view = view

    def __call__(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.view(DOCKER, *words, **more)

    def ok(self, *words: str, **more: Any) -> str:
        return self.view.ok(DOCKER, *words, **more)

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """``run --rm`` without a network."""
        return self("run", "--rm", "--network=none", *words, **more)

    def inside(self, script: str, *flags: str, **more: Any) -> str:
        """What a script prints in a container, which must succeed without a word on stderr."""
        done = self.run(*flags, "busybox", "sh", "-c", script, **more)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.removesuffix("\n")

    def field(self, name: str, template: str) -> str:
        return self.ok("inspect", "--format", "{{" + template + "}}", name)


@contextmanager
def dockerd(make_view: MakeView, archives: Path, runtime: dict[str, Any], *flags: str) -> Iterator[Docker]:
    """A daemon in a view of its own with what ``runtime`` adds to its settings, or the flags to its command line."""
    with make_view("dockerd", "docker", "containerd-shim-runc-v2", parents=("docker",)) as view:
        settings = runtime | {
            "data-root": f"{view.state}/docker",
            "exec-root": "/run/docker",
            "pidfile": "/run/docker.pid",
            "hosts": [SOCKET],
            "bridge": "none",
            "iptables": False,
            "ip6tables": False,
            "storage-driver": "overlay2",
            "experimental": True,  # checkpoint
        }
        view.environment["DOCKER_HOST"] = SOCKET
        config = view.write("daemon.json", json.dumps(settings))
        docker = Docker(view)
        with daemon(view, ["dockerd", "--config-file", config, *flags], lambda: docker("version").returncode == 0):
            docker.ok("import", str(archives / "rootfs.tar"), "busybox")
            yield docker
        assert not view.names("/run/docker/runtime-runc/moby") and not view.names("/run/docker/runtime-pycontain/moby")


@pytest.fixture(scope="module")
def station(make_view: MakeView, archives: Path) -> Iterator[Docker]:
    with dockerd(make_view, archives, json.loads(contrib("docker-daemon.json"))) as docker:
        yield docker


@pytest.fixture
def docker(station: Docker) -> Iterator[Docker]:
    """Docker; after the test its containers are removed, which must work."""
    yield station
    if names := station.ok("ps", "-aq").split():
        station.ok("rm", "-f", *names)
    assert eventually(lambda: set(station.view.groups()) <= {"docker"}), station.view.groups()


def test_docker_takes_the_runtime(docker: Docker) -> None:
    info = json.loads(docker.ok("info", "--format", "{{json .}}"))
    assert info["DefaultRuntime"] == "pycontain" and "pycontain" in info["Runtimes"]
    assert docker.inside("echo named", "--runtime", "pycontain") == "named"


def test_the_flag_add_runtime(make_view: MakeView, archives: Path) -> None:
    with dockerd(make_view, archives, {}, "--add-runtime", f"pycontain={PYCONTAIN_OCI}") as docker:
        info = json.loads(docker.ok("info", "--format", "{{json .}}"))
        assert info["DefaultRuntime"] == "runc" and info["Runtimes"]["pycontain"]["path"] == PYCONTAIN_OCI
        assert docker.inside("echo named", "--runtime", "pycontain") == "named"
        # it is ours that is called: its state is not runc's
        docker.ok("run", "-d", "--name", "ours", "--network=none", "--runtime", "pycontain", "busybox", "sleep", "1000")
        identity = docker.field("ours", ".Id")
        roots = [f"/run/docker/runtime-{name}/moby" for name in ("runc", "pycontain")]
        states = [docker.view(PYCONTAIN_OCI, "--root", root, "state", identity) for root in roots]
        assert any(done.returncode == 0 and '"status": "running"' in done.stdout for done in states), states
        docker.ok("rm", "-f", "ours")


def test_output_and_status(docker: Docker) -> None:
    done = docker.run("busybox", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert docker.run("busybox", "true").returncode == 0
    assert docker.run("--no-such-flag", "busybox").returncode == 125


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/no/such", 127, 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ("/etc", 126, 'exec: "/etc": is a directory: permission denied'),
    ],
)
def test_programs_that_cannot_be_executed(docker: Docker, program: str, status: int, words: str) -> None:
    done = docker.run("busybox", program)
    assert (done.returncode, done.stdout) == (status, ""), done
    assert "OCI runtime create failed: " in done.stderr and words in done.stderr, done


def test_a_source_that_is_missing(docker: Docker) -> None:
    done = docker.run("--mount", "type=bind,source=/no/such,target=/there", "busybox", "true")
    assert done.returncode == 125 and "bind source path does not exist" in done.stderr


def test_standard_input(docker: Docker) -> None:
    assert docker.run("-i", "busybox", "cat", input="typed\n" * 20000).stdout == "typed\n" * 20000


def test_a_terminal(docker: Docker) -> None:
    words = [DOCKER, "run", "--rm", "-it", "--network=none", "busybox", "sh"]
    status, output = talk(docker.view, words, ("# ", "tty\n"), ("/dev/pts/0", SIZE), ("30 100", "exit 5\n"))
    assert status == 5, output


def test_what_a_container_is_given(docker: Docker) -> None:
    checks.given(docker)


def test_capabilities(docker: Docker) -> None:
    checks.capabilities(docker)


def test_a_life_in_the_background(docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "one", "--network=none", "busybox", "sh", "-c", UNTIL_TERM)
    assert eventually(lambda: docker.ok("logs", "one") == "up")
    assert docker.field("one", ".State.Status") == "running"
    assert docker.view.path(f"/proc/{docker.field('one', '.State.Pid')}/comm").exists()
    docker.ok("stop", "one")
    assert docker.ok("logs", "one") == "up\ndown"
    assert docker.field("one", ".State.ExitCode") == "7"
    docker.ok("start", "one")
    docker.ok("kill", "one")
    assert docker.ok("wait", "one") == "137"
    docker.ok("restart", "-t0", "one")
    assert docker.field("one", ".State.Running") == "true"


def test_top(docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "top", "--network=none", "busybox", "sleep", "1000")
    assert eventually(lambda: "sleep 1000" in docker.ok("top", "top"))


def test_pause(docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "paused", "--network=none", "busybox", "sleep", "1000")
    docker.ok("pause", "paused")
    assert docker.field("paused", ".State.Status") == "paused"
    docker.ok("unpause", "paused")
    assert docker.field("paused", ".State.Status") == "running"
    docker.ok("pause", "paused")
    docker.ok("rm", "-f", "paused")


def test_exec(docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "base", "--network=none", "busybox", "sleep", "1000")
    done = docker("exec", "base", "sh", "-c", "echo in; exit 4")
    assert (done.returncode, done.stdout) == (4, "in\n"), done
    assert docker("exec", "-i", "base", "cat", input="typed").stdout == "typed"
    assert docker.ok("exec", "-u", "7:8", "-w", "/tmp", "-e", "A=b", "base", "sh", "-c", "id -u; pwd; echo $A") == (
        "7\n/tmp\nb"
    )
    # 126 also for what is missing: Docker 20.10 has it so with runc too
    done = docker("exec", "base", "nosuch")
    assert done.returncode == 126 and 'exec: "nosuch": executable file not found in $PATH' in done.stdout, done
    assert docker("exec", "base", "/etc/passwd").returncode == 126
    docker.ok("exec", "-d", "base", "touch", "/made")
    assert eventually(lambda: docker("exec", "base", "test", "-e", "/made").returncode == 0)
    words = [DOCKER, "exec", "-it", "base", "sh"]
    status, output = talk(docker.view, words, ("# ", SIZE), ("30 100", "exit 6\n"))
    assert status == 6, output


def test_update(docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "limited", "--network=none", "busybox", "sleep", "1000")
    done = docker("update", "--cpu-shares", "512", "limited")
    assert done.returncode == 0, done
    if "cpu" not in docker.view.path("/sys/fs/cgroup/cgroup.controllers").read_text().split():
        assert "Shares discarded" in done.stdout  # by Docker, which looks first


def test_restart_policy(docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "again", "--network=none", "--restart", "on-failure:2", "busybox", "false")
    assert eventually(lambda: docker.field("again", ".RestartCount") == "2", 60)


def test_volumes_and_tmpfs(docker: Docker) -> None:
    docker.ok("volume", "create", "data")
    docker.inside("echo kept >/data/file", "-v", "data:/data")
    assert docker.inside("cat /data/file", "-v", "data:/data") == "kept"
    docker.ok("volume", "rm", "data")
    assert "size=1024k" in docker.inside("grep ' /mnt ' /proc/mounts", "--tmpfs", "/mnt:size=1m")


def test_init(docker: Docker) -> None:
    done = docker.run("--init", "busybox", "sh", "-c", "echo $$; exit 2")
    assert done.returncode == 2 and done.stdout != "1\n", done


def test_build(docker: Docker, archives: Path) -> None:
    """RUN steps go to the default runtime."""
    docker.view.write("context/Dockerfile", "FROM busybox\nRUN echo built >/made\nRUN exit 3\n")
    done = docker("build", "--network=none", "-t", "bad", f"{docker.view.state}/context")
    assert done.returncode == 3 and "returned a non-zero code: 3" in done.stderr, done
    docker.view.write("context/Dockerfile", "FROM busybox\nRUN echo built >/made\n")
    docker.ok("build", "--network=none", "-t", "made", f"{docker.view.state}/context")
    assert docker.run("made", "cat", "/made").stdout == "built\n"


def test_namespaces_of_another_container(docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "shared", "--network=none", "--ipc=shareable", "busybox", "sleep", "1000")
    probe = "for name in net pid ipc; do readlink /proc/self/ns/$name; done"
    flags = ("--network=container:shared", "--pid=container:shared", "--ipc=container:shared")
    pid = docker.field("shared", ".State.Pid")
    wanted = [docker.view.ok("readlink", f"/proc/{pid}/ns/{name}") for name in ("net", "pid", "ipc")]
    assert docker.ok("run", "--rm", *flags, "busybox", "sh", "-c", probe).split() == wanted


def test_checkpoint_and_restore(docker: Docker) -> None:
    # the file is there with a number in it, or not at all
    count = "i=0; while :; do i=$((i+1)); echo $i >/dev/shm/new; mv /dev/shm/new /dev/shm/count; sleep 0.05; done"
    docker.ok("run", "-d", "--name", "saved", "--network=none", "busybox", "sh", "-c", count)

    def counted() -> int:
        return int(docker("exec", "saved", "cat", "/dev/shm/count").stdout.strip() or 0)

    assert eventually(lambda: counted() > 3)
    docker.ok("checkpoint", "create", "--leave-running", "saved", "first")
    before = counted()
    docker.ok("checkpoint", "create", "saved", "second")
    assert eventually(lambda: docker.field("saved", ".State.Status") == "exited")
    docker.ok("start", "--checkpoint", "second", "saved")
    assert docker.field("saved", ".State.Status") == "running"
    first = counted()
    assert first >= before and eventually(lambda: counted() > first)
    docker.ok("rm", "-f", "saved")
