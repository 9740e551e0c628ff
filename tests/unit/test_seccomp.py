"""launch/seccomp.py: what a linux.seccomp object compiles to, what it must not say, and the cache."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from pycontain.kernel.errors import Error, SpecError
from pycontain.launch import seccomp
from pycontain.launch.seccomp import cached_filter, compile_filter, filter_flags, uses_notify
from pycontain.launch.seccomp_rules import ACTIONS, ARCHITECTURES
from test_seccomp_bpf import evaluate

X86_64, X86, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
ALLOW, LOG, KILL, TRAP, NOTIFY = 0x7FFF0000, 0x7FFC0000, 0, 0x30000, 0x7FC00000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
READ, WRITE, SOCKET = 0, 1, 41


def rule(names: str, action: str = "ALLOW", *args: dict[str, Any], **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"names": names.split(), "action": f"SCMP_ACT_{action}", **more}
    if args:
        made["args"] = list(args)
    return made


def arg(index: int, op: str, value: int, two: int | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"index": index, "op": f"SCMP_CMP_{op}", "value": value}
    if two is not None:
        made["valueTwo"] = two
    return made


def section(default: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"defaultAction": f"SCMP_ACT_{default}", "syscalls": list(rules), **more}


def answer(of: dict[str, Any], number: int, *arguments: int, arch: int = X86_64, machine: str = "x86_64") -> int:
    return evaluate(compile_filter(of, machine), arch, number, arguments)


# --- actions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, value", ACTIONS.items())
def test_every_action(name: str, value: int) -> None:
    of = section("LOG", rule("read", name[9:]), listenerPath="/run/agent")
    expected = value | errno.EPERM if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else value
    assert answer(of, READ) == expected
    assert answer(of, WRITE) == LOG
    by_default = section(name[9:], rule("write exit_group", "ALLOW"), listenerPath="/run/agent")
    assert answer(by_default, READ) == expected


def test_errno_and_trace_carry_a_number() -> None:
    of = section(
        "ERRNO", rule("read", "ERRNO", errnoRet=2), rule("write", "TRACE", errnoRet=0xFFFF), defaultErrnoRet=13
    )
    assert [answer(of, number) for number in (READ, WRITE)] == [0x50002, 0x7FF0FFFF]
    assert answer(section("ERRNO", rule("write"), defaultErrnoRet=13), READ) == 0x5000D
    assert answer(section("ERRNO", rule("write", errnoRet=None), defaultErrnoRet=0), READ) == 0x50000


# --- which rule decides --------------------------------------------------------------------------------------------


def test_the_first_rule_without_conditions_decides() -> None:
    of = section("LOG", rule("read", "ERRNO", arg(0, "EQ", 1)), rule("read", "ALLOW"), rule("read", "TRAP"))
    assert answer(of, READ, 1) == answer(of, READ, 2) == ALLOW


def test_a_rule_with_the_default_action_says_nothing() -> None:
    of = section("LOG", rule("read", "LOG"), rule("read", "ALLOW"))
    assert answer(of, READ) == ALLOW


def test_conditions_of_one_rule_hold_together_rules_one_by_one() -> None:
    of = section(
        "LOG", rule("read", "ALLOW", arg(0, "EQ", 1), arg(2, "LT", 10)), rule("read", "ALLOW", arg(1, "EQ", 5))
    )
    assert answer(of, READ, 1, 0, 9) == ALLOW
    assert answer(of, READ, 1, 0, 10) == LOG
    assert answer(of, READ, 2, 0, 9) == LOG
    assert answer(of, READ, 2, 5, 10) == ALLOW


def test_two_conditions_on_one_argument_are_two_rules() -> None:
    """runc#2735: it looks like a range and is not one."""
    of = section("LOG", rule("read", "ALLOW", arg(0, "GT", 10), arg(0, "LT", 5)))
    assert [answer(of, READ, value) for value in (4, 5, 10, 11)] == [ALLOW, LOG, LOG, ALLOW]


def test_equality_comes_before_bounds() -> None:
    of = section("LOG", rule("read", "TRAP", arg(0, "GE", 0)), rule("read", "ALLOW", arg(0, "EQ", 7)))
    assert [answer(of, READ, value) for value in (6, 7, 8)] == [TRAP, ALLOW, TRAP]


def test_narrow_bounds_come_before_wide_ones() -> None:
    of = section("LOG", rule("read", "TRAP", arg(0, "LT", 100)), rule("read", "ALLOW", arg(0, "LT", 10)))
    assert [answer(of, READ, value) for value in (9, 10, 100)] == [ALLOW, TRAP, LOG]
    of = section("LOG", rule("read", "TRAP", arg(0, "GT", 10)), rule("read", "ALLOW", arg(0, "GT", 100)))
    assert [answer(of, READ, value) for value in (10, 11, 101)] == [LOG, TRAP, ALLOW]


def test_a_contradiction_is_an_error() -> None:
    of = section("LOG", rule("read", "TRAP", arg(0, "EQ", 1)), rule("write read", "ALLOW", arg(0, "EQ", 1)))
    with pytest.raises(SpecError, match=r"^linux\.seccomp\.syscalls\[1\]: contradicts linux\.seccomp\.syscalls\[0\]"):
        compile_filter(of, "x86_64")


@pytest.mark.parametrize("op, holds", [
    ("EQ", (0, 0, 1, 0, 0, 0)), ("NE", (1, 1, 0, 1, 1, 1)), ("LT", (1, 1, 0, 0, 0, 0)), ("LE", (1, 1, 1, 0, 0, 0)),
    ("GE", (0, 0, 1, 1, 1, 1)), ("GT", (0, 0, 0, 1, 1, 1)),
])  # fmt: skip
@pytest.mark.parametrize("low", [1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE])
def test_comparisons_have_64_bits(op: str, holds: tuple[int, ...], low: int) -> None:
    value = 5 << 32 | low
    of = section("LOG", rule("read", "ALLOW", arg(1, op, value)))
    near = (4 << 32 | 0xFFFFFFFF, value - 1, value, value + 1, 6 << 32, 6 << 32 | low)
    assert [answer(of, READ, 0, argument) for argument in near] == [ALLOW if hit else LOG for hit in holds]


@pytest.mark.parametrize("mask, two", [
    (0xFF, 0x12), (0xFF00000000, 0x1200000000), (0xF0000000F, 0x300000005), (0x7E020000, 0), (1 << 63 | 1, 1),
    (2**64 - 1, 0x123456789A), (0xFFFFFFFF, 38), (0xFF, 0xFFF12),
])  # fmt: skip
def test_masked_comparisons_have_64_bits(mask: int, two: int) -> None:
    of = section("LOG", rule("read", "ALLOW", arg(3, "MASKED_EQ", mask, two)))
    for bit in range(64):
        for argument in (two & mask, two & mask ^ 1 << bit, two & mask | ~mask & (2**64 - 1)):
            expected = ALLOW if argument & mask == two & mask else LOG
            assert answer(of, READ, 0, 0, 0, argument) == expected


# --- architectures -------------------------------------------------------------------------------------------------


def test_architectures_of_the_machine() -> None:
    of = section("ERRNO", rule("read openat"), architectures=["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"])
    assert answer(of, READ) == ALLOW
    assert answer(of, 3, arch=X86) == ALLOW
    assert answer(of, 0x40000000) == ALLOW
    assert answer(of, 3, arch=ARM) == answer(of, 63, arch=AARCH64) == KILL
    assert answer(of, 63, arch=AARCH64, machine="aarch64") == answer(of, 3, arch=ARM, machine="aarch64") == ALLOW
    assert answer(of, READ, machine="aarch64") == answer(of, 3, arch=X86, machine="aarch64") == KILL


@pytest.mark.parametrize("listed", [None, [], ["SCMP_ARCH_X86_64"], ["SCMP_ARCH_S390X"]])
def test_calls_of_other_architectures_kill(listed: list[str] | None) -> None:
    of = section("ALLOW", architectures=listed)
    assert answer(of, READ) == ALLOW
    assert answer(of, 3, arch=X86) == KILL
    assert answer(of, 0x40000000) == answer(of, 0xFFFFFFFE) == KILL
    assert answer(of, 0xFFFFFFFF) == ALLOW, "a call that a tracer has cancelled"


def test_every_architecture_of_the_specification_is_accepted() -> None:
    assert len(ARCHITECTURES) == 23
    of = section("LOG", rule("read"), architectures=sorted(ARCHITECTURES))
    assert answer(of, READ) == answer(of, 3, arch=X86) == answer(of, 0x40000000) == ALLOW


def test_values_larger_than_an_argument_of_32_bits() -> None:
    """Unlike libseccomp, which would compare with the lower half of the value."""
    for op, expected in (("EQ", LOG), ("NE", ALLOW), ("LT", ALLOW), ("LE", ALLOW), ("GE", LOG), ("GT", LOG)):
        of = section("LOG", rule("read", "ALLOW", arg(0, op, 1 << 32 | 5)), architectures=["SCMP_ARCH_X86"])
        assert [answer(of, 3, value, arch=X86) for value in (4, 5, 6)] == [expected] * 3


def test_calls_that_i386_has_twice() -> None:
    of = section("LOG", rule("socket connect semget"), architectures=["SCMP_ARCH_X86"])
    for number, first, expected in (
        (359, 0, ALLOW), (362, 0, ALLOW), (393, 0, ALLOW), (102, 1, ALLOW), (102, 3, ALLOW), (117, 2, ALLOW),
        (102, 2, LOG), (102, 0, LOG), (117, 1, LOG),
    ):  # fmt: skip
        assert answer(of, number, first, arch=X86) == expected
    of = section("LOG", rule("socketcall", "ERRNO"), rule("socket"), architectures=["SCMP_ARCH_X86"])
    assert answer(of, 102, 1, arch=X86) == EPERM


# --- calls that the profile does not name ---------------------------------------------------------------------------


def test_calls_newer_than_the_profile_are_unknown() -> None:
    """As with runc: a C library falls back from a call that is not there, and gives up on one that is forbidden."""
    of = section("ERRNO", rule("read openat"), architectures=["SCMP_ARCH_X86", "SCMP_ARCH_X32"])
    assert [answer(of, number) for number in (1, 257, 258, 471, 0x3FFFFFFF, 0xFFFFFFFF)] == [
        EPERM, ALLOW, ENOSYS, ENOSYS, ENOSYS, EPERM,
    ]  # fmt: skip
    assert [answer(of, number, arch=X86) for number in (4, 295, 296, 0xFFFFFFFE, 0xFFFFFFFF)] == [
        EPERM, ALLOW, ENOSYS, ENOSYS, EPERM,
    ]  # fmt: skip
    assert [answer(of, 0x40000000 | number) for number in (1, 257, 258)] == [EPERM, ALLOW, ENOSYS]
    for default, expected in (("ALLOW", ALLOW), ("LOG", LOG), ("TRACE", 0x7FF00001)):
        assert answer(section(default, rule("read", "ERRNO")), 471) == expected


def test_unknown_names_are_skipped() -> None:
    of = section("ERRNO", rule("no_such_call read arm_fadvise64_64"))
    assert answer(of, READ) == ALLOW
    assert answer(section("ERRNO", rule("no_such_call")), 471) == EPERM, "and nothing is known of the author"


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of, message", [
    (None, ": must be an object, not null"),
    ([], ": must be an object, not an array"),
    ({}, ".defaultAction: is required"),
    ({"defaultAction": 3}, ".defaultAction: must be a string, not a number"),
    ({"defaultAction": "ALLOW"}, ".defaultAction: 'ALLOW' is none of SCMP_ACT_KILL, "),
    (section("ALLOW", defaultErrnoRet=1), ".defaultErrnoRet: SCMP_ACT_ALLOW takes no errno; "),
    (section("ERRNO", defaultErrnoRet=4096), ".defaultErrnoRet: must be an integer from 0 to 4095, not 4096"),
    (section("TRACE", defaultErrnoRet=65536), ".defaultErrnoRet: must be an integer from 0 to 65535, "),
    (section("ERRNO", defaultErrnoRet=True), ".defaultErrnoRet: must be an integer from 0 to 4095, not a bool"),
    (section("ALLOW", architectures="SCMP_ARCH_X86"), ".architectures: must be an array, not a string"),
    (section("ALLOW", architectures=["SCMP_ARCH_X86", "amd64"]), ".architectures[1]: 'amd64' is no arch"),
    (section("ALLOW", architectures=[7]), ".architectures[0]: must be a string, not a number"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}, ".syscalls: must be an array, not an object"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": ["read"]}, ".syscalls[0]: must be an object, not a str"),
    (section("LOG", {"action": "SCMP_ACT_ALLOW"}), ".syscalls[0].names: must have at least one"),
    (section("LOG", {"names": ["read"]}), ".syscalls[0].action: is required"),
    (section("LOG", rule("read"), rule("x", "PERMIT")), ".syscalls[1].action: 'SCMP_ACT_PERMIT' is none of"),
    (section("LOG", rule("x", "KILL", errnoRet=1)), ".syscalls[0].errnoRet: SCMP_ACT_KILL takes no errno"),
    (section("LOG", rule("x", "ERRNO", errnoRet=-1)), ".syscalls[0].errnoRet: must be an integer from 0"),
    (section("LOG", rule("x", "ALLOW", arg(6, "EQ", 0))), ".syscalls[0].args[0].index: must be an integer fr"),
    (section("LOG", rule("x", "ALLOW", arg(0, "EQ", 0), arg(1, "LIKE", 0))), ".syscalls[0].args[1].op: 'SCMP"),
    (section("LOG", rule("x", "ALLOW", arg(0, "EQ", 1 << 64))), ".syscalls[0].args[0].value: must be an int"),
    (section("LOG", rule("x", "ALLOW", arg(0, "EQ", 0, -1))), ".syscalls[0].args[0].valueTwo: must be an int"),
    (section("LOG", rule("x", "ALLOW", {"index": 0, "op": "SCMP_CMP_EQ"})), ".syscalls[0].args[0].value: is"),
    (section("LOG", rule("read", "NOTIFY")), ".syscalls[0].action: SCMP_ACT_NOTIFY needs somebody to not"),
    (section("NOTIFY"), ".defaultAction: SCMP_ACT_NOTIFY needs somebody to notify"),
    (section("LOG", listenerMetadata="x"), ".listenerMetadata: is of no use without listenerPath"),
    (section("LOG", listenerPath=3), ".listenerPath: must be a string, not a number"),
])  # fmt: skip
def test_errors_name_the_place(of: Any, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        compile_filter(of, "x86_64")
    assert raised.value.message.startswith("linux.seccomp" + message)
    assert "\n" not in raised.value.message


def test_the_place_is_the_callers() -> None:
    with pytest.raises(SpecError, match=r"^profile\.json\.syscalls\[0\]\.args\[0\]\.op: "):
        compile_filter(section("LOG", rule("read", "ALLOW", arg(0, "X", 0))), "x86_64", "profile.json")


def test_null_is_not_there() -> None:
    empty = {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": None, "errnoRet": None}
    of = section("LOG", empty, architectures=None, flags=None, listenerPath=None, listenerMetadata=None)
    assert answer(of, READ) == ALLOW and filter_flags(of) == 0


def test_another_machine() -> None:
    with pytest.raises(Error, match="cannot make a seccomp filter for riscv64: only for x86_64 and aarch64"):
        compile_filter(section("ALLOW"), "riscv64")


def test_a_profile_that_is_too_long() -> None:
    rules = [rule("read", "ALLOW", arg(0, "EQ", value), arg(1, "EQ", value)) for value in range(2000)]
    with pytest.raises(SpecError, match=r"^linux\.seccomp: needs \d+ BPF instructions, the kernel takes 4096: "):
        compile_filter(section("LOG", *rules), "x86_64")


def test_a_long_profile() -> None:
    """More than 255 instructions between a jump and its target, many times."""
    rules = [
        rule("read write", "ERRNO", arg(0, "MASKED_EQ", 0xFFFFFFFF, value), errnoRet=value) for value in range(1200)
    ]
    of = section("LOG", *rules, rule("close"))
    program = compile_filter(of, "x86_64")
    assert 1200 * 2 < len(program) // 8 <= 4096
    for value in (0, 1, 255, 256, 700, 1199):
        assert (
            evaluate(program, X86_64, READ, (value,)) == evaluate(program, X86_64, WRITE, (value,)) == 0x50000 | value
        )
    assert evaluate(program, X86_64, READ, (1200,)) == LOG
    assert evaluate(program, X86_64, 3) == ALLOW


# --- flags ----------------------------------------------------------------------------------------------------------


def test_flags() -> None:
    prefix = "SECCOMP_FILTER_FLAG_"
    of = section("LOG", flags=[prefix + "TSYNC", prefix + "LOG", prefix + "SPEC_ALLOW"])
    assert filter_flags(of) == 7
    assert filter_flags(section("LOG")) == filter_flags(section("LOG", flags=[])) == 0
    notify = section("LOG", rule("read", "NOTIFY"), listenerPath="/x", flags=[prefix + "WAIT_KILLABLE_RECV"])
    assert filter_flags(notify) == 32 and uses_notify(notify) and not uses_notify(of)
    notify["flags"] = [prefix + "TSYNC"]
    assert filter_flags(notify) == 1 | 16
    with pytest.raises(
        SpecError, match=r"^linux\.seccomp\.flags\[1\]: 'SECCOMP_FILTER_FLAG_X' is none of SECCOMP_FILTER"
    ):
        filter_flags(section("LOG", flags=[prefix + "LOG", prefix + "X"]))
    with pytest.raises(SpecError, match=r"^linux\.seccomp\.flags\[0\]: .*WAIT_KILLABLE_RECV is only for filters with"):
        filter_flags(section("LOG", flags=[prefix + "WAIT_KILLABLE_RECV"]))
    with pytest.raises(SpecError, match=r"^spec\.flags: must be an array"):
        filter_flags({"defaultAction": "SCMP_ACT_LOG", "flags": prefix, "syscalls": 3}, "spec")


# --- the cache ------------------------------------------------------------------------------------------------------

SMALL = section("LOG", rule("read"))


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever compiles from here on fails the test."""

    def refuse(*_: object) -> bytes:
        raise AssertionError("compiled")

    monkeypatch.setattr(seccomp, "compile_filter", refuse)


def entry_of(cache: Path) -> Path:
    (entry,) = cache.iterdir()
    return entry


def test_a_cached_program_is_not_compiled_again(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    program = cached_filter(SMALL, "x86_64", str(tmp_path))
    assert program == compile_filter(SMALL, "x86_64")
    request.getfixturevalue("no_compiler")
    assert cached_filter(section("LOG", rule("read")), "x86_64", str(tmp_path)) == program
    for other in (section("LOG", rule("write")), section("LOG", rule("read"), architectures=["SCMP_ARCH_X86"])):
        with pytest.raises(AssertionError, match="compiled"):
            cached_filter(other, "x86_64", str(tmp_path))
    with pytest.raises(AssertionError, match="compiled"):
        cached_filter(SMALL, "aarch64", str(tmp_path))


def test_a_new_compiler_does_not_trust_old_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_filter(SMALL, "x86_64", str(tmp_path))
    monkeypatch.setattr(seccomp, "COMPILER_VERSION", seccomp.COMPILER_VERSION + 1)
    cached_filter(SMALL, "x86_64", str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


def damage(entry: Path, how: str) -> None:
    data = entry.read_bytes()
    if how == "truncated":
        entry.write_bytes(data[:-8])
    elif how == "empty":
        entry.write_bytes(b"")
    elif how == "changed":
        entry.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif how == "longer":
        entry.write_bytes(data + struct.pack("=HBBI", 6, 0, 0, ALLOW))
    elif how == "writable":
        entry.chmod(0o666)
    else:
        entry.unlink()
        if how == "link":
            Path(f"{entry}.target").write_bytes(data)
            entry.symlink_to(f"{entry}.target")
        elif how == "fifo":
            os.mkfifo(entry)
        else:
            entry.mkdir()


@pytest.mark.parametrize("how", ["truncated", "empty", "changed", "longer", "writable", "link", "fifo", "directory"])
def test_a_bad_entry_is_compiled_again(tmp_path: Path, how: str) -> None:
    program = cached_filter(SMALL, "x86_64", str(tmp_path))
    entry = entry_of(tmp_path)
    damage(entry, how)
    assert seccomp.read_entry(str(entry)) is None
    assert cached_filter(SMALL, "x86_64", str(tmp_path)) == program
    if how != "directory":
        assert seccomp.read_entry(str(entry)) == program, "and written again"


@pytest.mark.skipif(os.geteuid() != 0, reason="chown needs root")
def test_an_entry_of_somebody_else_is_compiled_again(tmp_path: Path) -> None:
    program = cached_filter(SMALL, "x86_64", str(tmp_path))
    entry = entry_of(tmp_path)
    os.chown(entry, 65534, 65534)
    assert seccomp.read_entry(str(entry)) is None
    assert cached_filter(SMALL, "x86_64", str(tmp_path)) == program
    assert entry.stat().st_uid == 0


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    program = compile_filter(SMALL, "x86_64")
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "missing", tmp_path / "file", Path("/proc")):
        assert cached_filter(SMALL, "x86_64", str(place)) == program


def test_the_cache_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_MAX_ENTRIES", 8)
    (tmp_path / "other").write_bytes(b"")
    for value in range(30):
        of = section("LOG", rule("read", "ALLOW", arg(0, "EQ", value)))
        program = cached_filter(of, "x86_64", str(tmp_path))
        assert len(list(tmp_path.iterdir())) <= 9
        assert cached_filter(of, "x86_64", str(tmp_path)) == program
    assert (tmp_path / "other").exists()


def test_errors_pass_through_the_cache(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"^here\.defaultAction: is required"):
        cached_filter({}, "x86_64", str(tmp_path), "here")
    assert not list(tmp_path.iterdir())
