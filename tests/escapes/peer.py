"""An OCI runtime under attack: ours, or a peer that is pointed at, with a bundle that an attacker has filled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from oci_bundle import SPEC
from world import PYCONTAIN_OCI, eventually, reap

TIMEOUT = 60
#: For root in a container that its runtime confines as engines have it do: Docker's default capabilities.
CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD"
        " AUDIT_WRITE SETFCAP"
    ).split()
]
#: crun wants the unified hierarchy, or none.
UNIFIED = ["unshare", "--mount", "--propagation", "slave", "sh", "-c"]
UNIFIED += ['mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"', "sh"]


class Peer:
    """A runtime's command line with a state directory and a bundle of its own.

    A peer is executed as a copy: some attacks overwrite the program that started them.
    """

    def __init__(self, runtime: str | None, base: Path, rootfs: Path) -> None:
        self.ours = runtime is None
        self.name = Path(runtime or PYCONTAIN_OCI).name
        self.bundle = base / "bundle"
        self.bundle.mkdir()
        self.rootfs = self.bundle / "rootfs"
        subprocess.run(["cp", "-a", str(rootfs), str(self.rootfs)], check=True)
        self.program = Path(PYCONTAIN_OCI)
        if runtime is not None:
            self.program = base / self.name
            shutil.copy2(runtime, self.program)
        self.state = base / "state"
        crun = self.name.startswith("crun")
        self.flags = ["--cgroup-manager", "disabled"] if crun else []
        self.prefix = UNIFIED if crun else []
        self.spec: dict[str, Any] = json.loads(json.dumps(SPEC))
        self.spec["ociVersion"] = "1.0.2"  # what older ones take
        process = self.spec["process"]
        process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES)
        process["noNewPrivileges"] = False
        if self.flags:
            self.spec["linux"]["namespaces"].remove({"type": "cgroup"})

    @property
    def command(self) -> list[str]:
        return [*self.prefix, str(self.program), *self.flags, "--root", str(self.state)]

    def __call__(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """One command on the bundle as it is now. Output goes to files: a pipe would be held by the container."""
        (self.bundle / "config.json").write_text(json.dumps(self.spec))
        out, err = self.bundle / "out", self.bundle / "err"
        with out.open("w") as stdout, err.open("w") as stderr:
            options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "timeout": TIMEOUT, "cwd": self.bundle, **more}
            done = subprocess.run([*self.command, *arguments], stdout=stdout, stderr=stderr, check=False, **options)
        text = [path.read_bytes().decode(errors="replace") for path in (out, err)]
        return subprocess.CompletedProcess(done.args, done.returncode, *text)

    def sh(self, script: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a container of the bundle to its end with this shell script as its program."""
        self.spec["process"]["args"] = ["/bin/sh", "-c", script]
        return self("run", "attacked", **more)

    def background(self, script: str) -> None:
        """A container that runs this script and stays."""
        self.spec["process"]["args"] = ["/bin/sh", "-c", script]
        done = self("run", "-d", "attacked")
        assert done.returncode == 0, done

    def mount(self, source: Path, target: str, *options: str) -> None:
        self.spec["mounts"].append(
            {"destination": target, "type": "bind", "source": str(source), "options": ["rbind", *options]}
        )

    def without_mount(self, target: str) -> None:
        self.spec["mounts"] = [mount for mount in self.spec["mounts"] if not mount["destination"].startswith(target)]

    def clear(self) -> None:
        """Remove what the test has left running."""
        for name in os.listdir(self.state) if self.state.is_dir() else ():
            self("delete", "--force", name)
        reap()
        if self.ours:
            assert eventually(lambda: not self.state.is_dir() or not os.listdir(self.state))
