"""sandbox.c, in a process of its own: what is left when both walls stand, and when Landlock alone does."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = Path(__file__).parents[2] / "src" / "helper"
RELAY, FRONT, WAIT, INIT, WITH, PAUSE, MONITOR = range(7)
_LANDLOCK_CREATE_RULESET = 444

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def landlock_abi() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return max(int(libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)), 0)


def build(directory: Path, machine: str, *more: str) -> Path:
    """The probe with the filters of a machine; those of one without a table are empty."""
    header = directory / "sandbox.gen.h"
    generator = [sys.executable, str(HELPER / "gen_sandbox.py"), str(HELPER.parent), machine, str(header)]
    subprocess.run(generator, check=True)
    sources = [str(Path(__file__).parent / "sandbox_probe.c"), str(HELPER / "sandbox.c")]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", f"-I{directory}", f"-I{HELPER}"]
    subprocess.run(["cc", *flags, *more, *sources, "-o", str(directory / "probe")], check=True)
    return directory / "probe"


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("probe"), platform.machine())


@pytest.fixture(scope="module")
def unfiltered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("unfiltered"), "riscv64")


def attempts(program: Path, kind: int, file: Path, *more: str) -> dict[str, str]:
    file.write_text("")
    command = [str(program), str(kind), str(file), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return dict(line.split() for line in done.stdout.splitlines())


def test_both_walls(probe: Path, tmp_path: Path) -> None:
    found = attempts(probe, RELAY, tmp_path / "log")
    assert found.pop("sandbox") == "done"
    assert {name for name, answer in found.items() if answer == "done"} == {"write", "truncate", "memory"}
    assert found["shadow"] == found["exec"] == found["ptrace"] == found["socket"] == found["kill"] == "EPERM"
    assert (tmp_path / "log").read_text() == "x"


@pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")
def test_landlock_alone(unfiltered: Path, tmp_path: Path) -> None:
    """The other wall stands on its own."""
    found = attempts(unfiltered, RELAY, tmp_path / "log")
    assert found.pop("sandbox") == "done"
    assert found["shadow"] == found["create"] == found["mkdir"] == found["exec"] == "EACCES"
    assert found["ptrace"] == "EPERM"
    assert found["write"] == found["truncate"] == found["code"] == "done"
    assert found["setuid"] == ("EPERM" if os.geteuid() == 0 else found["setuid"])  # without capabilities
    assert found["kill"] == ("EPERM" if landlock_abi() >= 6 else "done")


@pytest.mark.parametrize("abi", range(1, min(landlock_abi(), 6)))
def test_the_landlock_of_an_older_kernel(abi: int, tmp_path: Path) -> None:
    """What it knows is asked for, and stands; of those that are older than this one."""
    found = attempts(build(tmp_path, "riscv64", f"-DLANDLOCK_ABI_MAX={abi}"), RELAY, tmp_path / "log")
    assert found["shadow"] == found["create"] == found["mkdir"] == found["exec"] == "EACCES"
    assert found["kill"] == "done"


@pytest.mark.skipif(landlock_abi() < 2, reason="this kernel has no such Landlock")
def test_a_monitor_without_another_life(probe: Path, tmp_path: Path) -> None:
    """Its filter lets it open files: it is Landlock that holds it to the directories of its rules."""
    own = tmp_path / "own"
    own.mkdir()
    found = attempts(probe, MONITOR, tmp_path / "log", str(own))
    done = {"sandbox", "write", "truncate", "memory", "kill", "create-below", "remove-below"}
    assert {name for name, answer in found.items() if answer == "done"} == done
    assert found["shadow"] == found["create"] == found["create-above"] == "EACCES"
    assert found["exec"] == found["ptrace"] == found["socket"] == found["mkdir"] == found["setuid"] == "EPERM"


@pytest.mark.parametrize("kind", [FRONT, WAIT])
def test_the_others_open_nothing_either(probe: Path, tmp_path: Path, kind: int) -> None:
    found = attempts(probe, kind, tmp_path / "log")
    assert found["sandbox"] == "done"
    assert {name for name, answer in found.items() if answer == "done"} == {"sandbox", "write", "memory"}
    assert found["shadow"] == found["create"] == found["exec"] == found["ptrace"] == found["socket"] == "EPERM"


def test_init_cannot_even_say_so(probe: Path, tmp_path: Path) -> None:
    """It does not write: the first attempt to report ends the probe."""
    (tmp_path / "log").write_text("")
    done = subprocess.run(
        [str(probe), str(INIT), str(tmp_path / "log")], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
