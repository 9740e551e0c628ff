"""pycontain-oci: a bundle's life by OCI's verbs, and its launch plan."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from world import PYCONTAIN_OCI, World, cgroup_mount, eventually, reap

SPEC: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "process": {
        "args": ["sh", "-c", "echo $HELLO; exit 5"],
        "cwd": "/",
        "env": ["PATH=/bin", "HELLO=hello"],
        "user": {"uid": 0, "gid": 0},
        "capabilities": {name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted")},
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs"},
    "hostname": "oci",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["ptmxmode=0666"]},
    ],
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")]},
}


class Oci:
    def __init__(self, bundle: Path, root: Path) -> None:
        self.bundle = bundle
        self.root = root
        self.spec: dict[str, Any] = json.loads(json.dumps(SPEC))

    def __call__(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        (self.bundle / "config.json").write_text(json.dumps(self.spec))
        command = [PYCONTAIN_OCI, "--root", str(self.root), *arguments]
        # a container that waits at its gate holds its standard descriptors: files, no pipes
        out, err = self.bundle / "out", self.bundle / "err"
        with out.open("w") as stdout, err.open("w") as stderr:
            done = subprocess.run(
                command, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, check=False, **{"timeout": 60, **more}
            )
        return subprocess.CompletedProcess(command, done.returncode, out.read_text(), err.read_text())

    def ok(self, *arguments: str) -> str:
        done = self(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("state", name))
        return found


@pytest.fixture
def oci(images: World, tmp_path: Path) -> Iterator[Oci]:
    """A bundle with a busybox root."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    layer = json.loads(images.ok("image", "inspect", "busybox"))[0]["RootFS"]["Layers"][0]
    subprocess.run(["cp", "-a", str(images.root / "layers" / layer), str(bundle / "rootfs")], check=True)
    runtime = Oci(bundle, tmp_path / "state")
    yield runtime
    for name in os.listdir(runtime.root) if runtime.root.is_dir() else ():
        runtime("delete", "--force", name)
    reap()
    assert not runtime.root.is_dir() or not os.listdir(runtime.root)
    assert eventually(lambda: not list((cgroup_mount() / "pycontain-oci").glob("*/cgroup.procs")))


def test_run_ends_with_the_status(oci: Oci) -> None:
    done = oci("run", "-b", str(oci.bundle), "one")
    assert (done.returncode, done.stdout, done.stderr) == (5, "hello\n", "")


def test_life(oci: Oci, tmp_path: Path) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    assert oci.ok("create", "--bundle", str(oci.bundle), "--pid-file", str(tmp_path / "pid"), "life") == ""
    state = oci.state("life")
    pid = int((tmp_path / "pid").read_text())
    assert (state["status"], state["pid"], state["bundle"]) == ("created", pid, str(oci.bundle))
    assert "sleep" not in Path(f"/proc/{pid}/cmdline").read_text()
    assert "not created" not in oci.ok("start", "life")
    assert Path(f"/proc/{pid}/cmdline").read_text() == "sleep\x001000\x00"
    assert oci.state("life")["status"] == "running"
    assert oci("start", "life").returncode == 1
    assert "not stopped" in oci("delete", "life").stderr
    oci.ok("kill", "life", "KILL")
    assert eventually(lambda: oci.state("life")["status"] == "stopped")
    assert oci("kill", "life", "9").returncode == 1
    oci.ok("delete", "life")
    assert "does not exist" in oci("state", "life").stderr


def test_a_missing_program_is_known_at_create(oci: Oci) -> None:
    for program, words in (
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("/no/such", 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        ("/etc", 'exec: "/etc": is a directory'),
    ):
        oci.spec["process"]["args"] = [program]
        done = oci("create", "-b", str(oci.bundle), "bad")
        assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1, done
        assert not (oci.root / "bad").exists()


def test_a_broken_program_is_known_at_start(oci: Oci) -> None:
    script = oci.bundle / "rootfs/bin/broken"
    script.write_text("#!/no/interpreter\n")
    script.chmod(0o755)
    oci.spec["process"]["args"] = ["broken"]
    oci.ok("create", "-b", str(oci.bundle), "broken")
    done = oci("start", "broken")
    assert done.returncode == 1 and "no such file or directory" in done.stderr, done


def test_console_socket(oci: Oci, tmp_path: Path) -> None:
    oci.spec["process"].update(terminal=True, args=["sh", "-c", "tty; read x; echo got $x"])
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(20)
        oci.ok("create", "-b", str(oci.bundle), "--console-socket", path, "tty")
        link, _ = listener.accept()
        _, (master, *_), _, _ = socket.recv_fds(link, 100, 4)
    oci.ok("start", "tty")
    os.write(master, b"word\n")
    output = b""
    while b"got word" not in output:
        output += os.read(master, 1000)
    assert b"/dev/pts/0" in output
    os.close(master)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"process": {"args": []}}, "process.args: is required"),
        ({"process": {"args": ["true"], "cwd": "x"}}, "process.cwd: 'x' is not an absolute path"),
        ({"linux": {"namespaces": [{"type": "moon"}]}}, "linux.namespaces[0].type: 'moon' is unknown"),
        ({"linux": {"namespaces": [{"type": "mount"}], "sysctl": {"kernel.panic": "1"}}}, "linux.sysctl.kernel.panic"),
        ({"root": None}, "root: is required"),
        ({"ociVersion": "0.9"}, "ociVersion"),
        ({"mounts": [{"destination": "/x", "options": ["rbind"]}]}, "mounts[0].source"),
        ({"root": {"path": "nowhere"}}, "nowhere: no such file or directory"),
    ],
)
def test_bad_bundles(oci: Oci, change: dict[str, Any], words: str) -> None:
    oci.spec.update(change)
    done = oci("create", "-b", str(oci.bundle), "bad")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and words in done.stderr, done
    assert not (oci.root / "bad").exists()


def test_plan_prints_and_does_nothing(oci: Oci) -> None:
    (oci.bundle / "config.json").write_text(json.dumps(oci.spec))
    lines = oci.ok("plan", str(oci.bundle))
    assert "clone" in lines and "mount proc on /proc" in lines and "execute 'sh'" in lines
    rows = json.loads(oci.ok("plan", "--format", "json", str(oci.bundle)))
    assert rows[-1]["op"] == "exec" and rows[-1]["fields"]["argv"][0] == "sh"
    assert not oci.root.exists()


def test_ids_and_usage(oci: Oci) -> None:
    for arguments in (("state", "../x"), ("state",), ("state", "a", "b"), ("frobnicate",), ("state", "--moon", "x")):
        done = oci(*arguments)
        assert done.returncode == 1 and done.stderr.startswith("pycontain-oci: ") and done.stderr.count("\n") == 1


def test_log_is_json(oci: Oci, tmp_path: Path) -> None:
    oci("--log", str(tmp_path / "log"), "--log-format", "json", "state", "nobody")
    entry = json.loads((tmp_path / "log").read_text())
    assert entry["level"] == "error" and entry["msg"] == "container does not exist: nobody"
