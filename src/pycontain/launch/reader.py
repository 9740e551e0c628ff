"""Typed access to a parsed config.json: every error names its JSON path.

An absent property and ``null`` are the same: encoders in Go write null for an empty slice.
"""

from __future__ import annotations

from pycontain.kernel.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_JSON_TYPES = {dict: "an object", list: "an array", str: "a string", bool: "true or false", int: "a number"}

REQUIRED: Any = object()


def join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    return _JSON_TYPES.get(type(value), "a number with a fraction")


def _value(obj: dict[str, Any], key: str, where: str, cls: type, default: Any) -> Any:
    value = obj.get(key)
    if value is None:
        if default is REQUIRED:
            raise SpecError(join(where, key), f"is required: expected {_JSON_TYPES[cls]}")
        return default
    if type(value) is not cls:
        raise SpecError(join(where, key), f"expected {_JSON_TYPES[cls]}, found {kind(value)}")
    return value


def _check_text(value: str, where: str) -> None:
    """Only what a C string can hold. JSON can escape half of a character (RFC 8259, section 8.2)."""
    if "\0" in value:
        raise SpecError(where, "NUL character in a string")
    if not value.isascii():
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise SpecError(where, "half of a surrogate pair in a string") from None


def text(obj: dict[str, Any], key: str, where: str, default: str = REQUIRED) -> str:
    """A string without NUL."""
    value: str = _value(obj, key, where, str, default)
    _check_text(value, join(where, key))
    return value


def flag(obj: dict[str, Any], key: str, where: str, default: bool = False) -> bool:
    result: bool = _value(obj, key, where, bool, default)
    return result


def number(
    obj: dict[str, Any], key: str, where: str, default: int = REQUIRED, low: int = 0, high: int = (1 << 63) - 1
) -> int:
    """A whole number between low and high, both included."""
    value: int = _value(obj, key, where, int, default)
    if not low <= value <= high:
        raise SpecError(join(where, key), f"{value} is out of range: expected {low} to {high}")
    return value


def optional_number(obj: dict[str, Any], key: str, where: str, low: int, high: int) -> int | None:
    if obj.get(key) is None:
        return None
    return number(obj, key, where, low=low, high=high)


def table(obj: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    """An object; empty where it is absent."""
    result: dict[str, Any] = _value(obj, key, where, dict, {})
    return result


def items(obj: dict[str, Any], key: str, where: str) -> list[Any]:
    """An array; empty where it is absent."""
    result: list[Any] = _value(obj, key, where, list, [])
    return result


def texts(obj: dict[str, Any], key: str, where: str) -> list[str]:
    """An array of strings without NUL; empty where it is absent."""
    values = items(obj, key, where)
    for index, value in enumerate(values):
        if type(value) is not str:
            raise SpecError(f"{join(where, key)}[{index}]", f"expected a string, found {kind(value)}")
        _check_text(value, f"{join(where, key)}[{index}]")
    return values


def tables(obj: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """An array of objects; empty where it is absent."""
    values = items(obj, key, where)
    for index, value in enumerate(values):
        if type(value) is not dict:
            raise SpecError(f"{join(where, key)}[{index}]", f"expected an object, found {kind(value)}")
    return values


def environment(obj: dict[str, Any], where: str) -> list[str]:
    """The array ``env`` of NAME=VALUE strings; empty where it is absent."""
    values = texts(obj, "env", where)
    for index, entry in enumerate(values):
        name, equals, _ = entry.partition("=")
        if not equals or not name:
            raise SpecError(f"{join(where, 'env')}[{index}]", f"{entry!r} is not NAME=VALUE")
    return values


def choice(obj: dict[str, Any], key: str, where: str, allowed: dict[str, int]) -> int:
    """What a required string of a fixed set stands for."""
    value = text(obj, key, where)
    if value not in allowed:
        raise SpecError(join(where, key), f"{value!r} is unknown: expected one of {', '.join(allowed)}")
    return allowed[value]


def absolute(path: str, where: str) -> str:
    if not path.startswith("/"):
        raise SpecError(where, f"{path!r} is not an absolute path")
    return path
