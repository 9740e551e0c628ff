"""JSON without the ``json`` package, which costs 5 ms to import (it pulls in ``re``).

The C scanner and encoder of the standard library (module ``_json``) do the work; this gives them the context object
that ``json.decoder`` and ``json.encoder`` would.
"""

from __future__ import annotations

import _json

from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\n\r"


def _fraction(text: str) -> float:
    value = float(text)
    if value - value:  # infinite, which cannot be written as JSON again
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


class _Context:
    """What ``_json.make_scanner`` reads: see json.decoder.JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = staticmethod(_fraction)
    parse_int = int

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}

    @staticmethod
    def parse_constant(name: str) -> float:
        raise ValueError(f"{name} is not JSON")


class JsonError(Error):
    """Text that is not JSON; the message gives line and column."""


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _position(text: str, at: int) -> str:
    line = text.count("\n", 0, at) + 1
    return f"line {line} column {at - text.rfind(chr(10), 0, at)}"


def _reason(text: str, error: Exception) -> str:
    # The C scanner fetches its exception from json.decoder in sys.modules and, where nobody imported that,
    # fails with a SystemError; so ask the package itself, which costs time only in the error.
    if isinstance(error, SystemError):
        import json

        try:
            json.loads(text)
        except ValueError as real:
            return str(real)
    return str(error)


def loads(text: str, what: str = "JSON text") -> Any:
    """The value of a JSON document (RFC 8259).

    ``what`` names the document in the error. Raises JsonError with line and column.
    """
    start = _skip(text, 0)
    try:
        value, end = _json.make_scanner(_Context())(text, start)  # type: ignore[arg-type]
    except StopIteration as stop:
        raise JsonError(f"{what}: not JSON at {_position(text, stop.value)}: expected a value") from None
    except RecursionError:
        raise JsonError(f"{what}: nested too deeply") from None
    except (ValueError, SystemError) as error:
        raise JsonError(f"{what}: not JSON: {_reason(text, error)}") from None
    end = _skip(text, end)
    if end != len(text):
        raise JsonError(f"{what}: not JSON at {_position(text, end)}: text after the end of the value")
    return value


def _unknown(value: object) -> Any:
    raise TypeError(f"not JSON: {type(value).__name__}")


def dumps(value: object) -> str:
    """``value`` as compact JSON in ASCII, keys in the order in which they stand."""
    encode = _json.make_encoder({}, _unknown, _json.encode_basestring_ascii, None, ":", ",", False, False, False)
    return "".join(encode(value, 0))


def load_bytes(data: bytes, what: str) -> Any:
    """As loads, for UTF-8 bytes."""
    try:
        return loads(data.decode("utf-8"), what)
    except UnicodeDecodeError as error:
        raise JsonError(f"{what}: not UTF-8 at byte {error.start}") from None
