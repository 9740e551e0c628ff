"""Texts that stand for numbers in settings: sizes, rates, percentages. Quick to import: no pydantic here."""

from __future__ import annotations

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_LARGEST = (1 << 63) - 1


def _split(text: str, suffixes: tuple[str, ...]) -> tuple[str, str] | None:
    """Digits (with a fraction) and the unit's letter, None for what is neither."""
    upper = text.strip().upper()
    for suffix in suffixes:
        if upper.endswith(suffix) and len(upper) > len(suffix) and (suffix != "B" or upper[-2:-1] in "KMGT0123456789"):
            upper = upper[: -len(suffix)]
            break
    unit = upper[-1:] if upper[-1:] in ("K", "M", "G", "T") else ""
    digits = upper[: len(upper) - len(unit)]
    whole, point, fraction = digits.partition(".")
    plain = digits.isascii() and whole.isdigit() and (not point or fraction.isdigit()) and len(digits) <= 20
    return (digits, unit) if plain else None


def size(text: str) -> int:
    """Bytes of ``512M``, ``1.5G``, ``4096``: units are powers of 1024. Raises ValueError."""
    parts = _split(text, ("IB", "B"))
    if parts is None:
        raise ValueError(f"{text!r} is not a size: give a number with K, M, G or T, such as 512M")
    digits, unit = parts
    number = _times(digits, 1 << _UNITS[unit])
    if number > _LARGEST:
        raise ValueError(f"{text!r} is more than there can be")
    return number


def rate(text: str) -> int:
    """Bits a second of ``10M``, ``100Mbit``: units are powers of 1000. Raises ValueError."""
    parts = _split(text, ("BIT/S", "BIT"))
    if parts is None or not (number := _times(parts[0], _DECIMAL[parts[1]])) or number > _LARGEST:
        raise ValueError(f"{text!r} is not a rate in bits a second: give a number with K, M or G, such as 100M")
    return number


def percent(text: str) -> float:
    """``150%`` or ``150`` as a number of CPUs: 1.5. Raises ValueError."""
    digits = text.strip().removesuffix("%")
    whole, point, fraction = digits.partition(".")
    if not (digits.isascii() and whole.isdigit() and (not point or fraction.isdigit()) and 0 < float(digits) <= 1e6):
        raise ValueError(f"{text!r} is not a share of CPU time: give percent of one CPU, such as 150%")
    return float(digits) / 100


def _times(digits: str, factor: int) -> int:
    """A plain decimal times a whole number, without a float's roundings; what is below one is cut off."""
    whole, _, fraction = digits.partition(".")
    return int(whole) * factor + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)


def show_size(count: int) -> str:
    """Bytes as the settings have them, in the largest unit that needs no fraction: ``512M``."""
    for unit, shift in (("T", 40), ("G", 30), ("M", 20), ("K", 10)):
        if count and count % (1 << shift) == 0:
            return f"{count >> shift}{unit}"
    return str(count)
