"""pycontain-oci with CRIU, and a container that counts: what tests of checkpoint and restore share."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from oci_bundle import Oci
from world import PYCONTAIN_OCI, eventually

COUNT = "i=0; while :; do i=$((i+1)); echo $i >/count/now; sleep 0.05; done"


class Saved:
    """pycontain-oci with CRIU in its path, and a directory for images."""

    def __init__(self, oci: Oci, base: Path, programs: Path) -> None:
        self.oci = oci
        self.images = base / "images"
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        oci.spec["mounts"].append({"destination": "/count", "type": "tmpfs", "source": "tmpfs"})

    def __call__(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.oci(*arguments, env=self.environment, **more)

    def ok(self, *arguments: str, **more: Any) -> str:
        return self.oci.ok(*arguments, env=self.environment, **more)

    def begin(self, *arguments: str, third: Path | None = None, **streams: Any) -> None:
        """A command whose standard descriptors become the container's: /dev/null, or what ``streams`` say.

        third: a file that it has open as descriptor 3.
        """
        log = self.oci.bundle / "log"
        log.unlink(missing_ok=True)
        (self.oci.bundle / "config.json").write_text(json.dumps(self.oci.spec))
        command = [PYCONTAIN_OCI, "--root", str(self.oci.root), "--log", str(log), *arguments]
        if third is not None:
            command = ["sh", "-c", 'exec "$@" 3>"$0"', str(third), *command]
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams}
        done = subprocess.run(command, env=self.environment, check=False, timeout=60, **given)
        assert done.returncode == 0, log.read_text()

    def start(self, script: str = COUNT, name: str = "c") -> None:
        self.oci.spec["process"]["args"] = ["sh", "-c", script]
        self.begin("run", "-d", "-b", str(self.oci.bundle), name)

    def checkpoint(self, *options: str, name: str = "c") -> None:
        self.ok("checkpoint", "--image-path", str(self.images), *options, name)

    def restore(self, *options: str, name: str = "c") -> None:
        self.begin(*self.restore_line(), *options, name)

    def restore_line(self) -> list[str]:
        return ["restore", "-d", "-b", str(self.oci.bundle), "--image-path", str(self.images)]

    def pid(self, name: str = "c") -> int:
        return int(self.oci.state(name)["pid"])

    def inside(self, path: str, name: str = "c") -> str:
        """A file as the container sees it."""
        return Path(f"/proc/{self.pid(name)}/root/{path}").read_text()

    def count(self, name: str = "c") -> int:
        found: list[int] = []

        def readable() -> bool:
            try:
                text = self.inside("count/now", name).strip()  # empty for a moment, again and again
            except FileNotFoundError:  # it has not counted yet
                return False
            found.extend([int(text)] if text else [])
            return bool(text)

        assert eventually(readable)
        return found[0]

    def goes_on_from(self, number: int, name: str = "c") -> bool:
        """Counting was not begun again, and goes on."""
        first = self.count(name)
        return first >= number and eventually(lambda: self.count(name) > first + 1)
