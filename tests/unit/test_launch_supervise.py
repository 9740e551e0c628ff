"""--supervise: what a switch is, and what the beginning of the filter answers."""

from __future__ import annotations

import os
import struct

import pytest

from pycontain.kernel import syscalls_aarch64, syscalls_x86_64
from pycontain.kernel.errors import Error, UsageError
from pycontain.launch import supervise

ALLOW, KILL, NOTIFY, ENOSYS = 0x7FFF0000, 0x80000000, 0x7FC00000, 0x00050026
X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
#: A base that is told from what is put before it.
BASE = struct.pack("=HBBI", 0x06, 0, 0, KILL)


def run(program: bytes, arch: int, number: int) -> int:
    """What the kernel makes of these programs: loads, comparisons, jumps, returns."""
    lines: list[tuple[int, int, int, int]] = list(struct.iter_unpack("=HBBI", program))
    data = {0: number, 4: arch}
    at, accumulator = 0, 0
    while True:
        code, yes, no, value = lines[at]
        at += 1
        if code == 0x20:
            accumulator = data[value]
        elif code == 0x15:
            at += yes if accumulator == value else no
        elif code == 0x05:
            at += value
        else:
            assert code == 0x06
            return value


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["mknod"], ["mknod"]),
        (["sysinfo,mknod"], ["mknod", "sysinfo"]),
        (["mount"], ["mount=tmpfs,overlay,fuse"]),
        (["mount=fuse"], ["mount=fuse"]),
        (["mount=overlay,tmpfs"], ["mount=tmpfs,overlay"]),
        (["mount=tmpfs,sysinfo", "mount=fuse"], ["sysinfo", "mount=tmpfs,fuse"]),
        (["mknod", "mknod"], ["mknod"]),
    ],
)
def test_switches(given: list[str], found: list[str]) -> None:
    assert supervise.parse(given) == found
    assert supervise.parse(found) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is unknown: give mknod, sysinfo or mount, or mount=TYPE,TYPE"),
        ("all", "'all' is unknown"),
        ("tmpfs", "'tmpfs' is unknown"),
        ("mount,tmpfs", "'tmpfs' is unknown"),
        ("mknod=null", "'mknod=null' is unknown"),
        ("mount=tmpfs,ext4", "'ext4' is unknown"),
        ("mount=proc", "mount can be of tmpfs, overlay or fuse, not 'proc'"),
        ("mknod,", "'' is unknown"),
    ],
)
def test_what_is_no_switch(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        supervise.parse([text])
    assert words in caught.value.message and caught.value.message.startswith(f"--supervise {text}:")


def test_bits() -> None:
    assert supervise.bits([]) == (0, 0)
    assert supervise.bits(["mknod", "sysinfo"]) == (3, 0)
    assert supervise.bits(["mount=tmpfs,fuse"]) == (4, 5)


def test_the_numbers_are_those_of_the_tables() -> None:
    for machine, table in (("x86_64", syscalls_x86_64), ("aarch64", syscalls_aarch64)):
        numbers = table.NUMBERS
        wanted = {
            "mknod": [numbers[name] for name in ("mknod", "mknodat") if name in numbers],
            "sysinfo": [numbers["sysinfo"]],
            "mount": [numbers["mount"], numbers["umount2"]],
        }
        assert {name: list(found) for name, found in supervise._NUMBERS[machine].items()} == wanted
        newer = ("open_tree", "move_mount", "fsopen", "fspick", "mount_setattr", "open_tree_attr")
        assert list(supervise._NEWER) == [numbers[name] for name in newer]


@pytest.mark.parametrize("calls", range(1, 8))
def test_supervised_calls_are_notified_and_all_others_are_the_profiles(calls: int) -> None:
    program = supervise.program(BASE, calls, "x86_64", pass_mounts=False)
    wanted = {
        number for name, bit in supervise.CALLS.items() if calls & bit for number in supervise._NUMBERS["x86_64"][name]
    }
    for number in range(500):
        answer = NOTIFY if number in wanted else KILL
        if calls & 4 and number in supervise._NEWER:
            answer = ENOSYS
        assert run(program, X86_64, number) == answer
    # other architectures: 32 bits, and x32 by its numbers
    assert {run(program, I386, number) for number in range(500)} == {KILL}
    assert {run(program, X86_64, number | 1 << 30) for number in range(500)} == {KILL}


def test_where_the_profile_has_mounts_the_newer_calls_stay() -> None:
    program = supervise.program(BASE, 4, "aarch64", pass_mounts=True)
    assert run(program, AARCH64, 428) == KILL
    assert run(program, AARCH64, 40) == run(program, AARCH64, 39) == NOTIFY
    assert run(program, X86_64, 40) == KILL


def test_without_a_profile_all_else_is_allowed() -> None:
    program = supervise.program(b"", 2, "x86_64", pass_mounts=True)
    assert run(program, X86_64, 99) == NOTIFY
    assert {run(program, X86_64, number) for number in range(99)} == {ALLOW}
    assert run(program, I386, 99) == ALLOW


def test_a_machine_whose_numbers_nobody_knows() -> None:
    with pytest.raises(Error, match="no supervised calls for riscv64: only for x86_64 and aarch64"):
        supervise.program(BASE, 1, "riscv64", pass_mounts=False)


@pytest.mark.parametrize(
    ("release", "flags"),
    [("5.18.0-1-amd64", 0), ("5.19.0", 32), ("6.1.0-rc1+", 32), ("6.18-custom", 32), ("4.19.5", 0)],
)
def test_signals_do_not_interrupt_where_the_kernel_can(
    monkeypatch: pytest.MonkeyPatch, release: str, flags: int
) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", release, "", "x86_64")))
    assert supervise.flags() == flags
