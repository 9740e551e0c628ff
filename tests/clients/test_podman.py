"""podman and conmon with pycontain-oci as their runtime."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clients import checks
from tests.clients.conftest import MakeView, contrib
from tests.clients.terminal import SIZE, talk
from tests.clients.view import View

from world import eventually

pytestmark = pytest.mark.slow

#: What this kind of machine needs besides the drop-in: no systemd, no CAP_SYS_RESOURCE, cgroup v2 without controllers.
MACHINE = """
[containers]
default_ulimits = []
pids_limit = 0
log_driver = "k8s-file"
"""
UNTIL_TERM = "trap 'echo down; exit 7' TERM; echo up; while :; do sleep 0.1; done"


class Podman:
    def __init__(self, view: View, runtime: str = "pycontain-oci") -> None:
        self.view = view
        state = view.state
        self.command = [
            *("podman", "--root", f"{state}/root", "--runroot", "/run/podman", "--tmpdir", "/run/podman-tmp"),
            *("--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
            *("--runtime", runtime),
        ]

    def __call__(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.view(*self.command, *words, **more)

    def ok(self, *words: str, **more: Any) -> str:
        return self.view.ok(*self.command, *words, **more)

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """``run --rm`` without a network."""
        return self("run", "--rm", "--network=none", *words, **more)

    def inside(self, script: str, *flags: str, **more: Any) -> str:
        """What a script prints in a container, which must succeed without a word on stderr."""
        done = self.run(*flags, "busybox", "sh", "-c", script, **more)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.removesuffix("\n")

    def terminal(self, *words: str, **more: Any) -> list[str]:
        return [*self.command, *words]

    def field(self, name: str, template: str) -> str:
        return self.ok("inspect", "--format", "{{" + template + "}}", name)


@pytest.fixture(scope="module")
def station(make_view: MakeView, archives: Path) -> Iterator[Podman]:
    with make_view("podman", "conmon", parents=("libpod_parent", "libpod_parent/conmon")) as view:
        text = contrib("containers.conf.d/50-pycontain.conf") + MACHINE
        view.environment["CONTAINERS_CONF"] = view.write("containers.conf", text)
        podman = Podman(view)
        podman.ok("import", "-q", str(archives / "rootfs.tar"), "busybox")
        yield podman
        podman("rm", "-f", "-t0", "-a")


@pytest.fixture
def podman(station: Podman) -> Iterator[Podman]:
    """podman; after the test its containers and pods are removed, which must work."""
    yield station
    station.ok("pod", "rm", "-f", "-a", "-t0")
    station.ok("rm", "-f", "-a", "-t0")
    assert station.ok("ps", "-aq") == ""


def test_podman_takes_the_runtime(podman: Podman) -> None:
    info = json.loads(podman.ok("info", "--format", "json"))["host"]
    assert info["ociRuntime"]["name"] == "pycontain-oci"
    assert info["ociRuntime"]["version"].startswith("pycontain-oci version ")
    assert info["cgroupVersion"] == "v2"


def test_output_and_status(podman: Podman) -> None:
    done = podman.run("busybox", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("nosuch", 127, "executable file not found in $PATH: OCI runtime attempted to invoke a command that was not"),
        ("/no/such", 127, "no such file or directory: OCI runtime attempted to invoke a command that was not found"),
        ("/etc/passwd", 126, "permission denied: OCI permission denied"),
        ("/etc", 126, "permission denied: OCI permission denied"),
    ],
)
def test_programs_that_cannot_be_executed(podman: Podman, program: str, status: int, words: str) -> None:
    done = podman.run("busybox", program)
    assert (done.returncode, done.stdout) == (status, ""), done
    assert words in done.stderr and done.stderr.count("\n") == 1
    # read from the log, in which the runtime does not name itself again
    assert done.stderr.startswith("Error: pycontain-oci: container ")


def test_standard_input(podman: Podman) -> None:
    assert podman.run("-i", "busybox", "cat", input="typed\n" * 20000).stdout == "typed\n" * 20000
    assert podman.run("busybox", "cat", input="typed").stdout == ""


def test_a_terminal(podman: Podman) -> None:
    words = podman.terminal("run", "--rm", "-it", "--network=none", "busybox", "sh")
    status, output = talk(podman.view, words, ("# ", "tty\n"), ("/dev/pts/0", SIZE), ("30 100", "exit 5\n"))
    assert status == 5, output


def test_what_a_container_is_given(podman: Podman) -> None:
    checks.given(podman)


def test_capabilities(podman: Podman) -> None:
    checks.capabilities(podman)


def test_limits_are_in_effect_or_refused(podman: Podman) -> None:
    done = podman.run("--memory", "64m", "busybox", "cat", "/sys/fs/cgroup/memory.max")
    if "memory" in podman.view.path("/sys/fs/cgroup/cgroup.controllers").read_text().split():
        assert done.stdout == f"{64 << 20}\n"
    else:  # podman takes it away and says so, or we refuse it
        assert "memory limit" in done.stderr and done.returncode != 0, done
    done = podman.run("--pids-limit", "50", "busybox", "true")
    if "pids" not in podman.view.path("/sys/fs/cgroup/cgroup.controllers").read_text().split():
        assert done.returncode == 126 or "pids" in done.stderr, done
    assert podman.inside("ulimit -n", "--ulimit", "nofile=100:200", "--ulimit", "nproc=100:100") == "100"


def test_a_life_in_the_background(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "one", "--network=none", "busybox", "sh", "-c", UNTIL_TERM)
    assert eventually(lambda: podman.ok("logs", "one") == "up")
    assert podman.field("one", ".State.Status") == "running"
    pid = podman.field("one", ".State.Pid")
    assert podman.view.path(f"/proc/{pid}/comm").exists()
    assert "while :; do sleep" in podman.ok("top", "one", "args")
    podman.ok("stop", "one")
    assert podman.ok("logs", "one") == "up\ndown"
    assert podman.field("one", ".State.ExitCode") == "7"
    podman.ok("start", "one")
    podman.ok("kill", "-s", "KILL", "one")
    assert podman.ok("wait", "one") == "137"
    podman.ok("restart", "-t0", "one")
    assert podman.field("one", ".State.Running") == "true"
    podman.ok("rm", "-f", "-t0", "one")
    wanted = ["libpod_parent", "libpod_parent/conmon"]
    assert eventually(lambda: podman.view.groups() == wanted), podman.view.groups()


def test_create_start_attach(podman: Podman) -> None:
    podman.ok("create", "--name", "two", "--network=none", "busybox", "sh", "-c", "echo once; exit 9")
    done = podman("start", "-a", "two")
    assert (done.returncode, done.stdout) == (9, "once\n")


def test_pause(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "p", "--network=none", "busybox", "sleep", "1000")
    podman.ok("pause", "p")
    assert podman.field("p", ".State.Status") == "paused"
    podman.ok("unpause", "p")
    assert podman.field("p", ".State.Status") == "running"
    podman.ok("pause", "p")
    podman.ok("rm", "-f", "-t0", "p")


def test_exec(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "e", "--network=none", "busybox", "sleep", "1000")
    done = podman("exec", "e", "sh", "-c", "echo in; exit 4")
    assert (done.returncode, done.stdout) == (4, "in\n"), done
    assert podman("exec", "-i", "e", "cat", input="typed").stdout == "typed"
    assert podman.ok("exec", "-u", "7:8", "-w", "/tmp", "-e", "A=b", "e", "sh", "-c", "id -u; pwd; echo $A") == (
        "7\n/tmp\nb"
    )
    assert podman("exec", "e", "nosuch").returncode == 127
    assert podman("exec", "e", "/etc/passwd").returncode == 126
    podman.ok("exec", "-d", "e", "touch", "/made")
    assert eventually(lambda: podman("exec", "e", "test", "-e", "/made").returncode == 0)
    words = podman.terminal("exec", "-it", "e", "sh")
    status, output = talk(podman.view, words, ("# ", SIZE), ("30 100", "exit 6\n"))
    assert status == 6, output


def test_healthcheck(podman: Podman) -> None:
    flags = ("--health-cmd", "test -e /healthy", "--health-interval", "disable", "--health-retries", "1")
    podman.ok("run", "-d", "--name", "h", "--network=none", *flags, "busybox", "sleep", "1000")
    assert podman("healthcheck", "run", "h").returncode == 1
    podman.ok("exec", "h", "touch", "/healthy")
    assert podman("healthcheck", "run", "h").returncode == 0


def test_a_pod(podman: Podman) -> None:
    infra = ("--infra-image", "busybox", "--infra-command", "sleep 1000")
    # podman 4.3 with cgroupfs gives a pod's own group a device filter that refuses all, for every runtime
    podman.ok(
        *("pod", "create", "--name", "pod", "--share-parent=false", "--network=none", "--hostname", "podhost"), *infra
    )
    spaces = "for name in net ipc uts; do readlink /proc/self/ns/$name; done; hostname"
    first = podman.ok("run", "--rm", "--pod", "pod", "busybox", "sh", "-c", spaces)
    second = podman.ok("run", "--rm", "--pod", "pod", "busybox", "sh", "-c", spaces)
    assert first == second and first.endswith("podhost")
    podman.ok("pod", "rm", "-f", "-t0", "pod")


def test_user_namespaces(podman: Podman) -> None:
    probe = "cat /proc/self/uid_map; touch /file && stat -c %u /file"
    lines = podman.inside(probe, "--uidmap", "0:100000:5000", "--gidmap", "0:200000:5000").split("\n")
    assert [line.split() for line in lines] == [["0", "100000", "5000"], ["0"]]


def test_user_namespaces_by_themselves(podman: Podman) -> None:
    state = podman.view.state
    podman.view.write("subid", "containers:300000:1000000\n")
    for name in ("subuid", "subgid"):
        podman.view.ok("mount", "--bind", f"{state}/subid", f"/etc/{name}")
    mapped = podman.inside("cat /proc/self/uid_map", "--userns=auto:size=1024").split()
    assert mapped == ["0", "300000", "1024"]


def test_restart_policy(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "r", "--network=none", "--restart", "on-failure:2", "busybox", "false")
    assert eventually(lambda: podman.field("r", ".RestartCount") == "2", 60)
    assert eventually(lambda: podman.field("r", ".State.Status") == "exited", 60)


def test_volumes_and_tmpfs(podman: Podman) -> None:
    podman.ok("volume", "create", "data")
    podman.inside("echo kept >/data/file", "-v", "data:/data")
    assert podman.inside("cat /data/file", "-v", "data:/data") == "kept"
    podman.ok("volume", "rm", "data")
    assert "size=1024k" in podman.inside("grep ' /mnt ' /proc/mounts", "--tmpfs", "/mnt:size=1m")


def test_namespaces_of_the_host(podman: Podman) -> None:
    def host(name: str) -> str:
        return podman.view.ok("readlink", f"/proc/1/ns/{name}")

    probe = "for name in pid ipc uts net; do readlink /proc/self/ns/$name; done"
    flags = ("--pid=host", "--ipc=host", "--uts=host", "--network=host")
    assert podman.ok("run", "--rm", *flags, "busybox", "sh", "-c", probe).split() == [
        host(name) for name in ("pid", "ipc", "uts", "net")
    ]


def test_privileged(podman: Podman) -> None:
    done = podman.run("--privileged", "busybox", "sh", "-c", "mount -t tmpfs none /mnt && echo mounted")
    assert done.stdout == "mounted\n", done


def test_init(podman: Podman) -> None:
    binary = podman.view.state / "init"
    podman.view.ok("cp", "/usr/bin/busybox", str(binary))
    done = podman.run("--init", "--init-path", "/usr/bin/tini-static", "busybox", "sh", "-c", "echo $$; exit 2")
    assert done.returncode == 2 and done.stdout != "1\n", done


#: sd_notify(3) by the host's Python, which is mounted.
_READY = "import os,socket; socket.socket(1, 2).sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])"


def test_a_service_manager_is_told(podman: Podman) -> None:
    """--sdnotify=container, as in a unit of Type=notify: conmon has a socket of its own for the program, not we."""
    path = podman.view.write("manager", "")
    where = podman.view.path(path)
    where.unlink()
    libraries = [f"-v=/usr/{name}:/{name}:ro" for name in ("lib", "lib64")]
    flags = ["--name=told", "--network=none", "--sdnotify=container", "-v=/usr:/usr:ro", *libraries]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(where))
        manager.settimeout(30)
        script = f'/usr/bin/python3 -c "{_READY}"; exec sleep 1000'
        command = ["env", f"NOTIFY_SOCKET={path}", *podman.command, "run", "-d", *flags, "busybox", "sh", "-c", script]
        with podman.view.start(*command) as run:
            said = ""
            while "READY=1" not in said:
                said += manager.recv(4096).decode() + "\n"
            assert run.wait(30) == 0


COUNT = "i=0; while :; do i=$((i+1)); echo $i >/dev/shm/count; sleep 0.05; done"


def _count(podman: Podman, name: str) -> int:
    found: list[int] = []

    def readable() -> bool:
        text = podman("exec", name, "cat", "/dev/shm/count").stdout.strip()  # empty for a moment, again and again
        found.extend([int(text)] if text else [])
        return bool(text)

    assert eventually(readable)
    return found[0]


def test_checkpoint_and_restore(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "saved", "--network=none", "busybox", "sh", "-c", COUNT)
    assert eventually(lambda: _count(podman, "saved") > 3)
    podman.ok("container", "checkpoint", "--leave-running", "saved")
    assert podman.field("saved", ".State.Status") == "running"
    before = _count(podman, "saved")
    podman.ok("container", "checkpoint", "--tcp-established", "--file-locks", "saved")
    assert podman.field("saved", ".State.Status") == "exited"
    podman.ok("container", "restore", "--tcp-established", "--file-locks", "saved")
    assert podman.field("saved", ".State.Status") == "running"
    first = _count(podman, "saved")
    assert first >= before
    assert eventually(lambda: _count(podman, "saved") > first)
    podman.ok("pause", "saved")
    podman.ok("unpause", "saved")
    podman.ok("kill", "-s", "KILL", "saved")
    assert podman.ok("wait", "saved") == "137"


def test_a_checkpoint_is_exported_and_imported_under_another_name(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "saved", "--network=none", "busybox", "sh", "-c", f"echo made >/made; {COUNT}")
    assert eventually(lambda: _count(podman, "saved") > 3)
    archive = f"{podman.view.state}/saved.tar.gz"
    podman.ok("container", "checkpoint", "--export", archive, "saved")
    podman.ok("rm", "saved")
    podman.ok("container", "restore", "--import", archive, "--name", "other")
    first = _count(podman, "other")
    assert first > 3 and eventually(lambda: _count(podman, "other") > first)
    assert podman.ok("exec", "other", "cat", "/made") == "made"


def test_what_cannot_be_saved_is_told_and_goes_on(podman: Podman) -> None:
    connect = "nc -l -p 5000 <&3 & until nc 127.0.0.1 5000 <&3; do :; done &"
    script = f"mkfifo /dev/shm/pipe; exec 3<>/dev/shm/pipe; {connect} {COUNT}"
    podman.ok("run", "-d", "--name", "saved", "--network=none", "busybox", "sh", "-c", script)
    established = " 0100007F:1388 01 "  # the client's
    assert eventually(lambda: established in podman.ok("exec", "saved", "cat", "/proc/net/tcp"))
    done = podman("container", "checkpoint", "saved")
    assert done.returncode == 125 and "--tcp-established" in done.stderr, done
    first = _count(podman, "saved")
    assert eventually(lambda: _count(podman, "saved") > first)
