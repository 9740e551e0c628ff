"""The plan as bytes: what goes in comes out, and what is no plan is refused."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontain.launch import ops, ops_all
from pycontain.launch.plan import MAX_SIZE, PlanError, decode, encode

CLASSES = ops_all.classes()

#: Text as file names are: any bytes but NUL.
TEXT = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"x").decode("utf-8", "surrogateescape"))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(-(1 << 63), (1 << 63) - 1),
    "s": TEXT,
    "b": st.binary(max_size=40),
    "l": st.lists(TEXT, max_size=5),
}


def make(cls: type[ops.Op], values: list[Any]) -> ops.Op:
    op = object.__new__(cls)
    op.values = tuple(values)
    return op


OPERATIONS = st.sampled_from(CLASSES).flatmap(
    lambda cls: st.tuples(*[VALUES[kind] for _, kind in cls.fields]).map(lambda values: make(cls, list(values)))
)
RECORDS = st.lists(st.tuples(st.integers(0, len(ops.SIDES) - 1), OPERATIONS), max_size=8)


@given(RECORDS)
def test_what_is_encoded_is_decoded(records: list[tuple[int, ops.Op]]) -> None:
    data = encode(records)
    assert decode(data) == records
    assert len(data) % 8 == 0


@given(RECORDS)
def test_the_layout_is_the_documented_one(records: list[tuple[int, ops.Op]]) -> None:
    """Walked by hand, with nothing of the decoder."""
    data = encode(records)
    assert struct.unpack_from("<8sIIII", data) == (b"PYCPLAN\0", 1, len(data), len(records), 0)
    at = 24
    for side, op in records:
        code, record_side, zero, size = struct.unpack_from("<HBBI", data, at)
        assert (code, record_side, zero) == (op.code, side, 0)
        assert size % 8 == 0
        at += size
    assert at == len(data)


@settings(max_examples=50)
@given(RECORDS.filter(bool), st.data())
def test_a_plan_that_is_cut_short_is_refused(records: list[tuple[int, ops.Op]], draw: st.DataObject) -> None:
    data = encode(records)
    with pytest.raises(PlanError):
        decode(data[: draw.draw(st.integers(0, len(data) - 1))])


@given(st.binary(max_size=200))
def test_anything_else_is_an_error_of_its_own(data: bytes) -> None:
    with pytest.raises(PlanError):
        decode(b"PYCPLAN\0" + data)


@pytest.mark.parametrize("value", [(1 << 64) - 1, -1])
def test_minus_one_and_unlimited_are_the_same_bits(value: int) -> None:
    data = encode([(ops.HOST, ops.Rlimit(7, value, value))])
    assert data[-16:] == b"\xff" * 16


@pytest.mark.parametrize(
    "op",
    [ops.Hostname("a\0b"), ops.Exec(["sh", "a\0"], []), ops.Exec(["sh"], ["A=\0"])],
    ids=["string", "argument", "variable"],
)
def test_a_nul_in_a_string_is_refused_with_what_it_is_for(op: ops.Op) -> None:
    with pytest.raises(PlanError) as caught:
        encode([(ops.GUEST, op)])
    assert op.describe() in caught.value.message
    assert "NUL character" in caught.value.message


def test_a_nul_in_bytes_is_not() -> None:
    record = (ops.GUEST, ops.Seccomp(0, b"\0\0\0\0\0\0\0\0"))
    assert decode(encode([record])) == [record]


def test_a_plan_too_large_is_refused_before_the_helper_sees_it() -> None:
    with pytest.raises(PlanError) as caught:
        encode([(ops.GUEST, ops.Exec(["x" * MAX_SIZE], []))])
    assert f"more than {MAX_SIZE}" in caught.value.message


def test_an_unknown_operation_is_no_plan() -> None:
    data = bytearray(encode([(ops.GUEST, ops.Setsid())]))
    struct.pack_into("<H", data, 24, 999)
    with pytest.raises(PlanError):
        decode(bytes(data))


def test_an_unknown_side_is_no_plan() -> None:
    data = bytearray(encode([(ops.GUEST, ops.Setsid())]))
    data[26] = len(ops.SIDES)
    with pytest.raises(PlanError):
        decode(bytes(data))
