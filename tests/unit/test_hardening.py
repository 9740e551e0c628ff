"""What is installed: how the helper is built, and that nothing of ours has more rights than who executes it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PACKAGE = Path(sysconfig.get_path("platlib")) / "pycontain"
BIN = Path(sys.executable).parent
PROGRAMS = [PACKAGE / "pycontain-helper", BIN / "pycontain", BIN / "pycontain-oci"]


def elf(program: Path, *flags: str) -> str:
    done = subprocess.run(["readelf", "--wide", *flags, str(program)], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_the_helpers_memory_is_data_or_code(program: Path) -> None:
    """No segment is both, the stack is no code, and what the linker has filled in becomes read-only."""
    segments = [line.split() for line in elf(program, "--segments").splitlines() if " 0x" in line]
    flags = {words[0]: "".join(words[6:-1]) for words in segments if words[0] != "LOAD"}
    assert flags["GNU_STACK"] == "RW" and "GNU_RELRO" in flags
    assert {"".join(words[6:-1]) for words in segments if words[0] == "LOAD"} <= {"R", "RE", "RW"}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_the_helper_needs_no_other_file(program: Path) -> None:
    """Nothing is loaded from where a container could put something (CVE-2019-14271)."""
    text = elf(program, "--segments", "--dynamic")
    assert "INTERP" not in text and "NEEDED" not in text


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the instruction is that of x86_64")
def test_functions_with_arrays_guard_their_stack() -> None:
    """mov %fs:0x28, REGISTER: where the guard is read. All that the helper adds; musl itself has none here."""
    code = (PACKAGE / "pycontain-helper").read_bytes()
    guarded = sum(code.count(bytes([0x64, 0x48, 0x8B, modrm, 0x25, 0x28, 0, 0, 0])) for modrm in range(0x04, 0x44, 8))
    assert guarded > 40, guarded


def test_nothing_that_is_installed_is_set_user_id_or_has_capabilities() -> None:
    """CVE-2022-47952, CVE-2026-39402: no helper of ours gives rights to who executes it."""
    files = [path for path in [*PACKAGE.rglob("*"), *PROGRAMS] if not path.is_symlink()]
    assert len(files) > 100
    for path in files:
        mode = path.stat().st_mode
        assert not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH), path
        assert "security.capability" not in os.listxattr(path), path
