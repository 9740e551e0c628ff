"""A bundle with a busybox root and the commands on it: what tests of pycontain-oci share."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

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
        # whole at any moment: another command may be reading it
        written = self.bundle / f".config.{threading.get_ident()}"
        written.write_text(json.dumps(self.spec))
        written.replace(self.bundle / "config.json")
        command = [PYCONTAIN_OCI, "--root", str(self.root), *arguments]
        # a container that waits at its gate holds its standard descriptors: files, no pipes
        out, err = self.bundle / "out", self.bundle / "err"
        with out.open("w") as stdout, err.open("w") as stderr:
            done = subprocess.run(
                command, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, check=False, **{"timeout": 60, **more}
            )
        return subprocess.CompletedProcess(command, done.returncode, out.read_text(), err.read_text())

    def ok(self, *arguments: str, **more: Any) -> str:
        done = self(*arguments, **more)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("state", name))
        return found


def make(images: World, directory: Path) -> Oci:
    bundle = directory / "bundle"
    bundle.mkdir()
    layer = json.loads(images.ok("image", "inspect", "busybox"))[0]["RootFS"]["Layers"][0]
    subprocess.run(["cp", "-a", str(images.root / "layers" / layer), str(bundle / "rootfs")], check=True)
    return Oci(bundle, directory / "state")


def check_nothing_left(runtime: Oci) -> None:
    for name in os.listdir(runtime.root) if runtime.root.is_dir() else ():
        runtime("delete", "--force", name)
    reap()
    assert not runtime.root.is_dir() or not os.listdir(runtime.root)
    assert eventually(lambda: not list((cgroup_mount() / "pycontain-oci").glob("*/cgroup.procs")))


def output(oci: Oci, script: str, **changes: Any) -> str:
    """What a shell script says in a container of the bundle with these changes of ``linux``."""
    oci.spec["process"]["args"] = ["sh", "-c", script]
    oci.spec["linux"].update(changes)
    done = oci("run", "-b", str(oci.bundle), "probe")
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def refused(oci: Oci, *words: str) -> str:
    """create fails with one line that has these words, and nothing is left."""
    done = oci("create", "-b", str(oci.bundle), "refused")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    assert all(word in done.stderr for word in words), done
    assert not (oci.root / "refused").exists()
    return done.stderr
