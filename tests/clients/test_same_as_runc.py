"""The same bundle under runc and under pycontain-oci: a probe inside finds the same.

``EXPLAINED`` has the differences that stay, each with its reason; every other one is a failure.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clients import archive
from tests.clients.bundles import table
from tests.clients.conftest import MakeView
from tests.clients.terminal import talk
from tests.clients.view import View

from world import PYCONTAIN_OCI

pytestmark = pytest.mark.slow

PROBE = (Path(__file__).parent / "probe.sh").read_text()
#: bundles ("*": all), lines that only one of the two has (a pattern for whole lines), why.
EXPLAINED: list[tuple[str, str, str]] = [
    (
        ".*",
        r"runc: mount (/proc/acpi|/proc/scsi|/sys/firmware|/masked) root=/ options=ro,relatime .*tmpfs ro(,.*)?|"
        r"ours: mount (/proc/acpi|/proc/scsi|/sys/firmware|/masked) root=/ options=ro,nosuid,nodev,noexec,relatime .*",
        "masked directories: nosuid, nodev and noexec besides ro",
    ),
    (
        ".*",
        r"runc: mount \S+ root=/null .* tmpfs tmpfs rw(,.*)?|"
        r"ours: mount \S+ root=/null .* devtmpfs devtmpfs .*",
        "masked files: the host's /dev/null covers them, since the container's could be changed by its image",
    ),
    (
        ".*",
        r"(runc|ours): mount /sys root=/ options=ro,nosuid,nodev,noexec,relatime propagation=none sysfs sysfs r[ow]",
        "a new sysfs that is to be read-only: runc makes its super block read-only as well",
    ),
    (
        "shared-cgroup|shared-most",
        r"(runc|ours): mount /sys/fs/cgroup root=/(probe)? .*",
        "without a cgroup namespace runc shows the host's whole tree, pycontain the container's group",
    ),
    (
        "tmpfs",
        r"(runc|ours): tree /tmp drwxrwx(rwt|--T) 0:0 ",
        "runc 1.1.5 gives a tmpfs the mode of the directory that it covers even where the options have a mode",
    ),
    (
        "tmpfs-plain|tmpfs-copy-up-read-only|dev-plain",
        r"(runc|ours): mount (/copied|/dev) root=/ options=r[ow],relatime propagation=none tmpfs tmpfs rw(,mode=755)?",
        "that mode is an option of the new file system here, as in runc 1.2, and one more system call in runc 1.1",
    ),
    (
        "propagation-(shared|unbindable)",
        r"(runc|ours): mount / root=/rootfs .*",
        "runc 1.1 leaves the root private; the specification asks for rootfsPropagation",
    ),
    ("personality", r"(runc|ours): (machine|personality) .*", "runc 1.1 does not know linux.personality"),
]


class Pair:
    """Both runtimes, on one rootfs and one bundle directory."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.bundle = view.path(view.state / "bundle")
        self.bundle.mkdir()
        self.inside = f"{view.state}/bundle"
        self._files()
        view.ok("runc", "spec", "-b", self.inside)
        self.base: dict[str, Any] = json.loads((self.bundle / "config.json").read_text())
        self.host = {name: view.ok("readlink", f"/proc/1/ns/{name}") for name in ("net", "ipc", "uts", "pid", "user")}

    def _files(self) -> None:
        state = self.view.path(self.view.state)
        subprocess.run(["cp", "-a", archive.tree(), state / "rootfs"], check=True)
        root = state / "rootfs"
        for name in ("masked", "read-only", "tree", "copied", "mnt", "tmp"):
            (root / name).mkdir(exist_ok=True)
        (root / "tmp").chmod(0o1777)
        for name in ("masked/file", "read-only/file", "copied/file", "volume", "tmp/chowned"):
            (root / name).write_text("text of a file\n")
        (state / "tree/sub").mkdir(parents=True)
        (state / "tree/file").write_text("file\n")
        (state / "file").write_text("file\n")
        self.view.ok("mount", "-t", "tmpfs", "-o", "nosuid", "sub", f"{self.view.state}/tree/sub")

    def lines(self, runtime: list[str], spec: dict[str, Any]) -> list[str]:
        """What the probe prints, with what differs by nature made the same."""
        (self.bundle / "config.json").write_text(json.dumps(spec))
        made = self.view.path(self.view.state / "rootfs/volume2")
        if made.exists():  # by the other one
            made.rmdir()
        command = [*runtime, "run", "--bundle", self.inside, "probe"]
        if spec["process"].get("terminal"):
            _, text = talk(self.view, command)
        else:
            done = self.view(*command)
            text = done.stdout + done.stderr
        assert re.search(r"^end$", text, re.M), (command, text[-2000:])
        found = [self._plain(line) for line in text.splitlines()]
        return sorted(found) if not spec["process"].get("terminal") else found

    def _plain(self, line: str) -> str:
        for name, link in self.host.items():
            line = line.replace(link, f"{name}:the host's")
        line = re.sub(r"^pid \d{2,}$", "pid of the host", line)
        line = re.sub(r"\b(ppid|pgrp|session)=\d{2,}", r"\1=of the host", line)
        return re.sub(r"(ns\.\w+) \w+:\[\d+\]", r"\1 its own", line)


@pytest.fixture(scope="module")
def pair(make_view: MakeView, archives: Path) -> Iterator[Pair]:
    with make_view("runc") as view:
        yield Pair(view)
        assert not view.names("/run/runc")


def _cases() -> list[str]:
    return list(table(""))


def test_there_are_enough_bundles() -> None:
    assert len(_cases()) >= 40


@pytest.mark.parametrize("case", _cases())
def test_the_probe_finds_the_same(pair: Pair, case: str) -> None:
    spec = json.loads(json.dumps(pair.base))
    spec["root"]["path"] = f"{pair.view.state}/rootfs"
    spec["process"]["terminal"] = False
    spec["process"]["args"] = ["sh", "-c", PROBE, "probe", "one", "two words"]
    spec["linux"]["cgroupsPath"] = "/probe"
    table(str(pair.view.state))[case](spec)
    theirs = pair.lines(["runc"], spec)
    ours = pair.lines([PYCONTAIN_OCI], spec)
    different = [f"runc: {line}" for line in theirs if line not in ours]
    different += [f"ours: {line}" for line in ours if line not in theirs]
    reasons = [re.compile(pattern) for name, pattern, _ in EXPLAINED if re.fullmatch(name, case)]
    left = [line for line in different if not any(reason.fullmatch(line) for reason in reasons)]
    assert not left, "\n".join(left)
