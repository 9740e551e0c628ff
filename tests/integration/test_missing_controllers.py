"""Limits whose controller this host does not have: an error that says so, or with ``warn`` one warning a start."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontain.cgroup import hierarchy
from world import PYCONTAIN_OCI, World

QUIET = ("--network", "none")
#: Every flag that is a limit, and its controller.
FLAGS = [
    (("--memory", "64m"), "memory"),
    (("--memory-reservation", "8m"), "memory"),
    (("--memory", "64m", "--memory-swap", "-1"), "memory"),
    (("--cpus", "0.5"), "cpu"),
    (("--cpu-shares", "512"), "cpu"),
    (("--cpu-quota", "20000"), "cpu"),
    (("--cpu-period", "50000"), "cpu"),
    (("--cpuset-cpus", "0"), "cpuset"),
    (("--cpuset-mems", "0"), "cpuset"),
    (("--pids-limit", "5"), "pids"),
    (("--blkio-weight", "100"), "io"),
]
IDS = [" ".join(flags) for flags, _ in FLAGS]
#: What the kernel does anyway.
NO_LIMITS = ("--memory-swap", "-1", "--cpu-shares", "1024", "--pids-limit", "-1")


def skip_where_it_is_there(controller: str) -> None:
    if controller in hierarchy.find().controllers:
        pytest.skip(f"this host has the {controller} controller: tests/host proves its limits")


@pytest.mark.parametrize(("flags", "controller"), FLAGS, ids=IDS)
def test_each_limit_names_its_controller_and_what_to_change(
    world: World, flags: tuple[str, ...], controller: str
) -> None:
    skip_where_it_is_there(controller)
    line = world.refused("run", *QUIET, *flags, "busybox", "true")
    assert f"the {controller} controller is not available in cgroup v2 on this host: " in line
    assert "boot with " in line or "built without" in line
    assert not list((world.root / "containers").iterdir())


def test_no_limit_is_no_error(world: World) -> None:
    assert world.ok("run", "--rm", *QUIET, *NO_LIMITS, "busybox", "echo", "text") == "text"


@pytest.mark.parametrize(("flags", "controller"), FLAGS, ids=IDS)
def test_warn_starts_it_and_says_so_once_a_start(world: World, flags: tuple[str, ...], controller: str) -> None:
    skip_where_it_is_there(controller)
    done = world("run", "--name", "one", *QUIET, "--missing-controllers=warn", *flags, "busybox", "true")
    assert (done.returncode, done.stdout) == (0, ""), done
    assert done.stderr.count("\n") == 1, done
    assert (
        done.stderr.startswith("pycontain: warning: ") and f"not enforced: the {controller} controller" in done.stderr
    )
    (warning,) = world.inspect("one")["Warnings"]
    assert done.stderr == f"pycontain: warning: {warning}\n"
    again = world("start", "-a", "one")
    assert (again.returncode, again.stderr) == (0, done.stderr)
    assert world.inspect("one")["Warnings"] == [warning]


def test_what_an_update_leaves_out_is_told_by_inspect(world: World) -> None:
    skip_where_it_is_there("pids")
    warn = ("--missing-controllers=warn",)
    world.background("--name", "one", *QUIET, *warn, "--init", "busybox", "sleep", "1000")
    assert world.inspect("one")["Warnings"] == []
    done = world("update", "--pids-limit", "5", "one")
    (warning,) = world.inspect("one")["Warnings"]
    assert done.returncode == 0 and warning in done.stderr and "not enforced: the pids controller" in warning, done


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[dict[str, str]]:
    file = tmp_path / "pycontain.toml"
    file.write_text('missing_controllers = "warn"\n')
    yield {**os.environ, "PYCONTAIN_CONFIG": str(file)}


def test_the_configuration_file_says_it_for_the_host(world: World, configured: dict[str, str]) -> None:
    skip_where_it_is_there("pids")
    flags = (*QUIET, "--pids-limit", "5")
    done = world("run", "--rm", *flags, "busybox", "echo", "text", env=configured)
    assert done.returncode == 0 and "not enforced: the pids controller" in done.stderr, done
    # and a flag has the last word
    line = world.refused("run", *flags, "--missing-controllers", "error", "busybox", "true", env=configured)
    assert "the pids controller is not available" in line


def test_a_wrong_configuration_file(world: World, configured: dict[str, str]) -> None:
    file = Path(configured["PYCONTAIN_CONFIG"])
    file.write_text("missing_controllers = 5\n")
    line = world.refused("run", *QUIET, "busybox", "true", env=configured)
    assert line == f"{file}: missing_controllers: 5 is none of error, warn"
    assert not list((world.root / "containers").iterdir())


def bundle(directory: Path, world: World, limit: int) -> None:
    image = json.loads(world.ok("image", "inspect", "busybox"))[0]
    # a copy: without a /dev of its own the container gets its devices in its root
    layer = world.root / "layers" / image["RootFS"]["Layers"][0]
    subprocess.run(["cp", "-a", str(layer), str(directory / "rootfs")], check=True)
    spec: dict[str, Any] = {
        "ociVersion": "1.2.0",
        "process": {"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs", "readonly": True},
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount")], "resources": {"pids": {"limit": limit}}},
    }
    (directory / "config.json").write_text(json.dumps(spec))


def test_the_oci_face(world: World, tmp_path: Path, configured: dict[str, str]) -> None:
    skip_where_it_is_there("pids")
    bundle(tmp_path, world, 5)
    log = tmp_path / "log"

    def run(*flags: str, **more: Any) -> subprocess.CompletedProcess[str]:
        log.unlink(missing_ok=True)
        command = [PYCONTAIN_OCI, "--root", str(tmp_path / "oci"), "--log", str(log), "--log-format", "json", *flags]
        command += ["run", "-b", str(tmp_path), "one"]
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False, **more
        )

    done = run()
    assert done.returncode == 1 and "pids limit: the pids controller is not available" in done.stderr, done
    assert json.loads(log.read_text())["level"] == "error"
    for answer in (run("--missing-controllers", "warn"), run(env=configured)):
        assert answer.returncode == 0, answer
        (line,) = log.read_text().splitlines()
        assert json.loads(line)["level"] == "warning"
        assert "pids limit: not enforced: the pids controller" in json.loads(line)["msg"]
    done = run("--missing-controllers", "maybe")
    assert done.returncode == 1 and "--missing-controllers: 'maybe' is neither error nor warn" in done.stderr
    assert not list((tmp_path / "oci").iterdir())
