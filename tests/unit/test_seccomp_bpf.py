"""launch/bpf.py; and evaluate(), the BPF machine that the other seccomp tests run programs on."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontain.launch import bpf

INSTRUCTION = struct.Struct("=HBBI")
JUMPS: dict[int, Callable[[int, int], bool]] = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: bool(a & k),
}


def seccomp_data(arch: int, number: int, arguments: tuple[int, ...]) -> bytes:
    """struct seccomp_data (linux/seccomp.h)."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    return struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0, *(value & (2**64 - 1) for value in padded))


def evaluate(program: bytes, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """The action of a classic BPF program for one system call: what the kernel's interpreter would return."""
    code = list(INSTRUCTION.iter_unpack(program))
    data = seccomp_data(arch, number, arguments)
    accumulator, at = 0, 0
    while True:
        operation, true, false, constant = code[at]
        at += 1
        if operation == 0x20:
            assert constant % 4 == 0 and constant <= 60
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif operation == 0x54:
            accumulator &= constant
        elif operation == 0x05:
            at += constant
        elif operation == 0x06:
            return int(constant)
        else:
            at += true if JUMPS[operation](accumulator, constant) else false


def assembled(program: bpf.Program, start: int) -> tuple[bytes, list[tuple[int, int, int, int]]]:
    data = program.assemble(start)
    return data, list(INSTRUCTION.iter_unpack(data))


def test_one_return() -> None:
    program = bpf.Program()
    data, code = assembled(program, program.ret(0x7FFF0000))
    assert code == [(0x06, 0, 0, 0x7FFF0000)]
    assert evaluate(data, 0, 0) == 0x7FFF0000


def test_equal_nodes_are_one() -> None:
    program = bpf.Program()
    assert program.ret(1) == program.ret(1)
    assert program.load(0, program.ret(1)) == program.load(0, program.ret(1))


@pytest.mark.parametrize("comparison, constant, taken", [(bpf.NOT_LESS, 0, True), (bpf.GREATER, 0xFFFFFFFF, False)])
def test_a_test_with_one_result_is_left_out(comparison: int, constant: int, taken: bool) -> None:
    program = bpf.Program()
    yes, no = program.ret(1), program.ret(2)
    assert program.test(comparison, constant, yes, no) == (yes if taken else no)
    assert program.test(bpf.EQUAL, 5, yes, yes) == yes


@pytest.mark.parametrize("length", [1, 253, 254, 255, 256, 257, 600, 1500])
def test_jumps_of_any_length(length: int) -> None:
    """A chain of tests whose first ones jump over all of the others, both ways."""
    program = bpf.Program()
    hit, miss = program.ret(1), program.ret(2)
    node = miss
    for value in range(length, 0, -1):
        node = program.test(bpf.EQUAL, value, hit if value % 2 else program.load(bpf.ARCH, miss), node)
    node = program.test(bpf.EQUAL, 10**6, program.load(bpf.ARCH, hit), node)
    data = program.assemble(program.load(bpf.NUMBER, node))
    for value in (0, 1, 2, length - 1, length, length + 1, 10**6):
        expected = 1 if (0 < value <= length and value % 2) or value == 10**6 else 2
        assert evaluate(data, 0, value) == expected


def test_both_branches_far_away() -> None:
    """The trampoline of one branch must not push the other one out of reach."""
    for filler in range(240, 270):
        program = bpf.Program()
        far_true = program.load(bpf.ARCH, program.mask(0xF, program.ret(1)))
        far_false = program.load(bpf.ARCH, program.mask(0xF0, program.ret(2)))
        node = program.ret(4)
        for value in range(filler):
            node = program.test(bpf.EQUAL, 1000 + value, program.ret(3), node)
        for true, false in ((far_true, far_false), (far_false, far_true)):
            both = program.test(bpf.EQUAL, 7, true, false)
            data = program.assemble(program.load(bpf.NUMBER, program.test(bpf.NOT_LESS, 1000, node, both)))
            expected = [1, 2, 3, 3, 4] if true == far_true else [2, 1, 3, 3, 4]
            assert [evaluate(data, 0, number) for number in (7, 8, 1000, 999 + filler, 1000 + filler)] == expected


def test_too_long() -> None:
    program = bpf.Program()
    node = program.ret(0)
    for value in range(bpf.MAX_INSTRUCTIONS):
        node = program.test(bpf.EQUAL, value, program.ret(1), node)
    with pytest.raises(bpf.TooLong) as raised:
        program.assemble(node)
    assert raised.value.length > bpf.MAX_INSTRUCTIONS


@given(st.lists(st.integers(0, 2**32 - 1), unique=True, max_size=400), st.integers(0, 2**32 - 1))
def test_a_search_tree_finds_its_values(values: list[int], other: int) -> None:
    values.sort()
    program = bpf.Program()

    def tree(part: list[int]) -> int:
        if not part:
            return program.ret(0)
        half = len(part) // 2
        above = program.test(bpf.GREATER, part[half], tree(part[half + 1 :]), tree(part[:half]))
        return program.test(bpf.EQUAL, part[half], program.ret(part[half] & 0xFF | 0x100), above)

    data = program.assemble(program.load(bpf.NUMBER, tree(values)))
    for value in [*values[:20], other]:
        assert evaluate(data, 0, value) == (value & 0xFF | 0x100 if value in values else 0)
