from __future__ import annotations

import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontain.cgroup import devices
from pycontain.cgroup.devices import ANY, BLOCK, CHAR, MKNOD, READ, WRITE, Rule
from pycontain.kernel import ebpf
from pycontain.kernel.errors import SpecError

M32 = 0xFFFFFFFF


def evaluate(program: bytes, kind: int, major: int, minor: int, access: int) -> int:
    """What the kernel's interpreter gives for the instructions that kernel/ebpf.py has; all others are an error."""
    assert len(program) % 8 == 0
    code = list(struct.iter_unpack("<BBhi", program))
    context = struct.pack("<III", access << 16 | kind, major, minor)
    registers: list[int | None] = [None] * 11
    registers[1] = 0
    at = 0
    for _ in range(len(code) + 1):
        operation, names, offset, constant = code[at]
        to, source = names & 15, names >> 4
        at += 1
        value = registers[to]
        if operation == ebpf.EXIT:
            assert registers[0] is not None, "R0 is not set"
            return registers[0]
        if operation == ebpf.MOV64_K:
            registers[to] = constant
        elif operation == ebpf.MOV32_X:
            held = registers[source]
            assert held is not None
            registers[to] = held & M32
        elif operation == ebpf.LDX_W:
            assert source == 1
            registers[to] = struct.unpack_from("<I", context, offset)[0]
        elif operation == ebpf.JA:
            at += offset
        else:
            assert value is not None, "a register is used before it is set"
            if operation == ebpf.AND32_K:
                registers[to] = value & constant & M32
            elif operation == ebpf.RSH32_K:
                registers[to] = (value & M32) >> constant
            elif operation == ebpf.JNE_K:
                at += offset if value != constant else 0
            elif operation == ebpf.JSET_K:
                at += offset if value & constant else 0
            else:
                raise AssertionError(f"unknown operation {operation:#x}")
        assert at < len(code), "the program runs over its end"
    raise AssertionError("the program does not end")


def reachable(program: bytes) -> set[int]:
    """The instructions that some path reaches: the kernel's verifier refuses a program with others."""
    code = list(struct.iter_unpack("<BBhi", program))
    seen: set[int] = set()
    todo = [0]
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        operation, _, offset, _ = code[at]
        if operation == ebpf.EXIT:
            continue
        if operation == ebpf.JA:
            todo.append(at + 1 + offset)
        else:
            todo.append(at + 1)
            if operation in (ebpf.JNE_K, ebpf.JSET_K):
                todo.append(at + 1 + offset)
    return seen


def model(rules: list[Rule], kind: int, major: int, minor: int, access: int) -> bool:
    """The rules as they are meant: for each access the last rule that mentions it decides, and no rule denies."""
    for bit in (MKNOD, READ, WRITE):
        if not access & bit:
            continue
        verdict = False
        for rule in rules:
            if (
                rule.type in (ANY, kind)
                and rule.major in (ANY, major)
                and rule.minor in (ANY, minor)
                and rule.access & bit
            ):
                verdict = rule.allow
        if not verdict:
            return False
    return True


numbers = st.sampled_from([ANY, 0, 1, 5, 136, 4095])
rules = st.builds(
    Rule,
    st.booleans(),
    st.sampled_from([ANY, BLOCK, CHAR]),
    numbers,
    st.sampled_from([ANY, 0, 1, 3, 1048575]),
    st.integers(1, 7),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(rules, max_size=8),
    st.lists(
        st.tuples(
            st.sampled_from([BLOCK, CHAR]),
            st.sampled_from([0, 1, 5, 136, 4095]),
            st.sampled_from([0, 1, 3, 1048575]),
            st.integers(1, 7),
        ),
        min_size=1,
        max_size=20,
    ),
)
def test_the_program_does_what_the_rules_say(wanted: list[Rule], requests: list[tuple[int, int, int, int]]) -> None:
    program = devices.program(wanted)
    assert reachable(program) == set(range(len(program) // 8))
    for request in requests:
        assert evaluate(program, *request) == model(wanted, *request)
    if devices.allows_everything(wanted):
        assert all(model(wanted, *request) for request in requests)


@pytest.mark.parametrize(
    ("kind", "major", "minor", "access", "expected"),
    [
        (CHAR, 1, 3, READ | WRITE, 1),
        (CHAR, 1, 8, READ, 1),
        (CHAR, 5, 2, READ | WRITE, 1),
        (CHAR, 136, 77, READ | WRITE, 1),
        (CHAR, 5, 1, READ | WRITE, 0),  # the host's console
        (CHAR, 1, 1, READ, 0),  # mem
        (CHAR, 10, 200, READ | WRITE, 0),  # tun
        (CHAR, 10, 229, READ | WRITE, 0),  # fuse
        (CHAR, 1, 1, MKNOD, 1),
        (BLOCK, 8, 0, MKNOD, 1),
        (BLOCK, 8, 0, READ, 0),
        (BLOCK, 8, 0, MKNOD | READ, 0),
        (BLOCK, 1, 3, READ, 0),
    ],
)
def test_default(kind: int, major: int, minor: int, access: int, expected: int) -> None:
    assert evaluate(devices.default_program(), kind, major, minor, access) == expected


def test_the_default_costs_little() -> None:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        devices.program(devices.default_rules())
        times.append(time.perf_counter() - start)
    assert min(times) < 0.0002
    assert devices.default_program() is devices.default_program()


def test_denied_writing_cannot_be_had_by_reading_and_writing() -> None:
    wanted = [Rule(True, CHAR, 10, ANY), Rule(False, CHAR, 10, 229, WRITE)]
    program = devices.program(wanted)
    assert evaluate(program, CHAR, 10, 229, READ) == 1
    assert evaluate(program, CHAR, 10, 229, READ | WRITE) == 0
    assert evaluate(program, CHAR, 10, 1, READ | WRITE) == 1


def test_rules_that_allow_apart_are_added() -> None:
    program = devices.program([Rule(True, CHAR, 10, 229, READ), Rule(True, CHAR, 10, 229, WRITE)])
    assert evaluate(program, CHAR, 10, 229, READ | WRITE) == 1
    assert evaluate(program, CHAR, 10, 229, READ | WRITE | MKNOD) == 0


def test_everything() -> None:
    assert devices.allows_everything([Rule(False), Rule(True), Rule(True, CHAR, 1, 3)])
    assert not devices.allows_everything([Rule(True), Rule(False, CHAR, 1, 3)])
    assert not devices.allows_everything([])
    assert len(devices.program([Rule(True)])) // 8 == 9


def test_compile_the_spec() -> None:
    spec: list[dict[str, Any]] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": True, "type": "b", "major": 8, "minor": -1, "access": "r"},
        {"allow": True, "type": "a", "major": None, "access": "m"},
    ]
    got = devices.compile(spec)
    assert [str(rule) for rule in got[:5]] == [
        "deny a *:* rwm",
        "deny a *:* rwm",
        "allow c 10:229 rw",
        "allow b 8:* r",
        "allow a *:* m",
    ]
    assert got[5:] == devices.standard_rules()


def test_without_a_list_the_default_holds() -> None:
    assert devices.compile(None) == devices.default_rules()
    assert devices.program(devices.compile([])) == devices.default_program()


@pytest.mark.parametrize(
    ("entry", "where"),
    [
        ("x", "[0]"),
        ({}, "[0].allow"),
        ({"allow": 1, "access": "r"}, "[0].allow"),
        ({"allow": True}, "[0].access"),
        ({"allow": True, "access": ""}, "[0].access"),
        ({"allow": True, "access": "rx"}, "[0].access"),
        ({"allow": True, "access": "r", "type": "p"}, "[0].type"),
        ({"allow": True, "access": "r", "major": "1"}, "[0].major"),
        ({"allow": True, "access": "r", "major": True}, "[0].major"),
        ({"allow": True, "access": "r", "major": 4096}, "[0].major"),
        ({"allow": True, "access": "r", "minor": -2}, "[0].minor"),
    ],
)
def test_compile_names_what_is_wrong(entry: object, where: str) -> None:
    with pytest.raises(SpecError) as caught:
        devices.compile([entry])
    assert caught.value.where == f"linux.resources.devices{where}"


def test_compile_wants_a_list() -> None:
    with pytest.raises(SpecError):
        devices.compile({})


@pytest.mark.parametrize("text", ["c 189:* rwm", "a *:* rwm", "b 8:16 r"])
def test_parse_what_people_write(text: str) -> None:
    assert str(devices.parse(text)) == f"allow {text}"


@pytest.mark.parametrize(
    "text", ["", "c", "c 1:3", "c 1 r", "x 1:3 r", "c 1:3 z", "c -1:3 r", "c 1:x r", "c 5000:1 r", "c 1:3 r w"]
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(SpecError):
        devices.parse(text)
