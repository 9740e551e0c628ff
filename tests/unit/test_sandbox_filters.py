"""The filters of the helper's own processes (src/helper/gen_sandbox.py): what is left of the system calls."""

from __future__ import annotations

import errno
import importlib.util
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from test_seccomp_bpf import evaluate

SOURCE = Path(__file__).parents[2] / "src"
ALLOW, KILL = 0x7FFF0000, 0
EPERM, ENOSYS = (0x50000 | number for number in (errno.EPERM, errno.ENOSYS))
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
#: What would let a process reach more than it holds: none of them has these.
NEVER = """
open openat openat2 creat execve execveat ptrace process_vm_readv process_vm_writev mount umount2 move_mount open_tree
fsopen pivot_root chroot socket connect bind listen socketpair unlinkat renameat renameat2 mkdirat mknodat linkat
symlinkat fchmodat fchownat setns unshare clone3 bpf perf_event_open keyctl io_uring_setup userfaultfd pidfd_open
pidfd_getfd memfd_create setuid setresuid setgid init_module finit_module kexec_load reboot tgkill tkill
"""


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gen_sandbox", SOURCE / "helper" / "gen_sandbox.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = generator()
KINDS = sorted(GENERATOR.FILTERS)


def numbers(machine: str) -> dict[str, int]:
    found: dict[str, int] = import_module(f"pycontain.kernel.syscalls_{machine}").NUMBERS
    return found


@pytest.mark.parametrize("machine", AUDIT)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_listed_is_refused(kind: str, machine: str) -> None:
    program = GENERATOR.programs(machine)[kind]
    plain, conditional = GENERATOR.FILTERS[kind]
    listed = set(plain.split()) | {call for call, _ in conditional}
    for name, number in numbers(machine).items():
        values = (0, 0x5413, 0x5414, 16, 17, 0xFFFFFFFF)
        answers = {evaluate(program, AUDIT[machine], number, (value,) * 6) for value in values}
        # beyond the highest that is listed it is ENOSYS (docs/seccomp.md, "Calls that the profile does not name")
        assert (answers <= {EPERM, ENOSYS}) == (name not in listed), name
        assert KILL not in answers


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_reaches_beyond_what_is_held(kind: str) -> None:
    plain, conditional = GENERATOR.FILTERS[kind]
    named = set(plain.split()) | {call for call, _ in conditional}
    # these two see to files; Landlock holds them to their directories
    files = {"openat", "unlinkat"}
    mine = {"pause": files, "monitor": files | {"open", "openat2", "renameat", "renameat2", "socket", "umount2"}}
    assert named & set(NEVER.split()) == mine.get(kind, set())
    assert named <= set(numbers("x86_64"))


@pytest.mark.parametrize("machine", AUDIT)
def test_conditions(machine: str) -> None:
    programs, table, audit = GENERATOR.programs(machine), numbers(machine), AUDIT[machine]

    def answer(kind: str, name: str, *arguments: int) -> int:
        return evaluate(programs[kind], audit, table[name], arguments)

    for kind in ("relay", "front", "wait"):
        for name in ("mmap", "mprotect"):
            assert answer(kind, name, 0, 4096, 3) == ALLOW
            assert answer(kind, name, 0, 4096, 7) == answer(kind, name, 0, 4096, 4) == EPERM
    assert answer("relay", "ioctl", 5, 0x5414) == ALLOW
    for request in (0x5412, 0x541C, 0x5401, 0x5403, 0x540E):  # TIOCSTI, TIOCLINUX, terminal modes, TIOCSCTTY
        assert answer("relay", "ioctl", 5, request) == EPERM
    assert answer("front", "ioctl", 0, 0x5403) == ALLOW
    assert answer("front", "ioctl", 0, 0x5412) == EPERM
    assert answer("wait", "clone", 17) == answer("wait", "clone", 17 | 0x1200000) == ALLOW
    assert answer("wait", "clone", 17 | 0x10000000) == EPERM  # CLONE_NEWUSER


@pytest.mark.parametrize("machine", AUDIT)
def test_another_architecture_kills(machine: str) -> None:
    """By int 0x80 a 64-bit process makes calls under other numbers."""
    for program in GENERATOR.programs(machine).values():
        assert evaluate(program, 0x40000003, 4) == KILL
    assert evaluate(GENERATOR.programs("x86_64")["relay"], AUDIT["x86_64"], 0x40000000) == KILL


def test_a_machine_without_a_table_has_none(tmp_path: Path) -> None:
    assert set(GENERATOR.programs("riscv64").values()) == {b""}
    out = tmp_path / "sandbox.gen.h"
    for machine in ("x86_64", "riscv64"):
        subprocess.run(
            [sys.executable, str(SOURCE / "helper" / "gen_sandbox.py"), str(SOURCE), machine, str(out)], check=True
        )
        text = out.read_text()
        for kind in KINDS:
            assert f"filter_{kind}[]" in text
            assert (f"#define FILTER_{kind.upper()}_LEN 0\n" in text) == (machine == "riscv64")
