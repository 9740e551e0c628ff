"""The bundles that all runtimes run: what ``spec`` writes, with a static program in a busybox tree."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

from pycontain.launch.profile import default_profile
from pycontain.oci.template import document


def _spec(args: list[str], *, filtered: bool) -> dict[str, Any]:
    """A default-like container: all namespaces, masks, a cgroup; filtered: Docker's kind of seccomp profile, too.

    Without rules for devices: crun 1.8 wants to raise RLIMIT_MEMLOCK for them, which not every machine lets it. Ours
    and runc load a device filter all the same.
    """
    spec = document(rootless=False)
    spec["process"].update(terminal=False, args=args)
    spec["hostname"] = "bench"
    spec["ociVersion"] = "1.0.2"  # crun 1.8 knows no later one
    spec["linux"]["resources"] = {}
    if filtered:
        bounding = frozenset(spec["process"]["capabilities"]["bounding"])
        spec["linux"]["seccomp"] = default_profile(bounding, platform.machine())
    return spec


class Bundles:
    """``true``: ends at once; ``bare``: the same without a filter; ``idle``: stays."""

    def __init__(self, base: Path, tree: Path) -> None:
        self.tree = base / "rootfs"
        subprocess.run(["cp", "-a", str(tree), str(self.tree)], check=True)
        self.true = self._make(base / "true", ["true"], filtered=True)
        self.bare = self._make(base / "bare", ["true"], filtered=False)
        self.idle = self._make(base / "idle", ["sleep", "1000000"], filtered=True)

    def _make(self, directory: Path, args: list[str], *, filtered: bool) -> Path:
        directory.mkdir()
        spec = _spec(args, filtered=filtered)
        spec["root"]["path"] = str(self.tree)
        (directory / "config.json").write_text(json.dumps(spec))
        return directory
