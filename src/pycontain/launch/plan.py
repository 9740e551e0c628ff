"""The launch plan as bytes: see docs/design.md, "The launch plan"."""

from __future__ import annotations

from _struct import Struct

from pycontain.kernel.errors import Error
from pycontain.launch.ops import (
    SIDES,
    Op,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

MAGIC = b"PYCPLAN\0"
VERSION = 1
#: The helper refuses larger ones; see plan.h.
MAX_SIZE = 8 << 20

_HEADER = Struct("<8sIIII")
_RECORD = Struct("<HBBI")
_PAIR = Struct("<II")
_LENGTH = Struct("<I")
_NUMBER = Struct("<Q")
_MASK = (1 << 64) - 1


class PlanError(Error):
    """Bytes that are no plan, or values that no plan can carry."""


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def _text(value: str, op: Op) -> bytes:
    data = value.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise PlanError(f"cannot {op.describe()}: NUL character in {value!r}")
    return data


def _field(kind: str, value: Any, op: Op) -> bytes:
    if kind == "n":
        return _NUMBER.pack(value & _MASK)
    if kind == "s":
        data = _text(value, op)
        return _pad(_LENGTH.pack(len(data)) + data + b"\0")
    if kind == "b":
        return _pad(_LENGTH.pack(len(value)) + value + b"\0")
    items = [_text(item, op) + b"\0" for item in value]
    data = b"".join(items)
    return _pad(_PAIR.pack(len(data), len(items)) + data)


def encode(ops: Iterable[tuple[int, Op]]) -> bytes:
    """A plan of (side, operation) pairs as bytes. Raises PlanError for a NUL in a string or a plan too large."""
    records = []
    for side, op in ops:
        body = b"".join([_field(kind, value, op) for (_, kind), value in zip(op.fields, op.values)])  # noqa: B905
        records.append(_RECORD.pack(op.code, side, 0, len(body) + 8))
        records.append(body)
    payload = b"".join(records)
    size = len(payload) + _HEADER.size
    if size > MAX_SIZE:
        raise PlanError(
            f"the launch plan has {size} bytes, more than {MAX_SIZE}: arguments, environment or mounts are too many"
        )
    return _HEADER.pack(MAGIC, VERSION, size, len(records) // 2, 0) + payload


def decode(data: bytes) -> list[tuple[int, Op]]:
    """The (side, operation) pairs of a plan, for people and error texts. Raises PlanError."""
    try:
        return list(_decode(data))
    except (IndexError, ValueError, KeyError) as error:
        raise PlanError(f"not a launch plan: {error}") from None


def _registry() -> dict[int, type[Op]]:
    from pycontain.launch import ops_all

    return {cls.code: cls for cls in ops_all.classes()}


def _decode(data: bytes) -> Iterator[tuple[int, Op]]:
    registry = _registry()
    if len(data) < _HEADER.size:
        raise ValueError("too short")
    magic, version, size, count, _ = _HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION or size != len(data):
        raise ValueError("wrong magic, version or size")
    at = _HEADER.size
    for _ in range(count):
        if at + 8 > size:
            raise ValueError("truncated record")
        code, side, _, length = _RECORD.unpack_from(data, at)
        if length < 8 or length % 8 or at + length > size or side >= len(SIDES):
            raise ValueError("bad record")
        cls = registry[code]
        op = object.__new__(cls)
        op.values = _values(data[at + 8 : at + length], cls.fields)
        yield side, op
        at += length
    if at != size:
        raise ValueError("text after the last record")


def _values(body: bytes, fields: tuple[tuple[str, str], ...]) -> tuple[Any, ...]:
    values: list[Any] = []
    at = 0
    for _, kind in fields:
        if len(body) < at + 8:
            raise ValueError("truncated field")
        if kind == "n":
            number = _NUMBER.unpack_from(body, at)[0]
            values.append(number - (1 << 64) if number >= 1 << 63 else number)
            at += 8
            continue
        head = 8 if kind == "l" else 4
        length = _LENGTH.unpack_from(body, at)[0]
        raw = body[at + head : at + head + length]
        if len(raw) != length:
            raise ValueError("truncated string")
        if kind == "b":
            values.append(raw)
        elif kind == "s":
            values.append(raw.decode("utf-8", "surrogateescape"))
        else:
            values.append([item.decode("utf-8", "surrogateescape") for item in raw.split(b"\0")[:-1]])
        at += (head + length + (kind != "l") + 7) & ~7
    if at != len(body):
        raise ValueError("text after the last field")
    return tuple(values)
