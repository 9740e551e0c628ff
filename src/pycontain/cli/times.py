"""The times that ``logs`` takes: an instant, a Unix time, or how long ago."""

from __future__ import annotations

import time

from pycontain.cli.args import decimal
from pycontain.kernel.errors import UsageError

#: nanoseconds
SECOND = 1_000_000_000
#: The longer spellings first: "ms" begins with "m".
_UNITS = (
    ("ms", 10**6),
    ("us", 10**3),
    ("µs", 10**3),
    ("ns", 1),
    ("h", 3600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
)
#: Year 9999: what is later is a mistake.
_LATEST = 253_402_300_799 * SECOND


def now() -> int:
    """Nanoseconds since the epoch."""
    return time.time_ns()


def duration(value: str) -> int | None:
    """Nanoseconds of ``1h30m``, ``90s``, ``1.5h``, ``250ms`` (Go's time.ParseDuration); None where it is none."""
    total = 0
    rest = value
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number = decimal(rest[:digits], 9)
        unit = next((pair for pair in _UNITS if rest.startswith(pair[0], digits)), None)
        if number is None or unit is None:
            return None
        total += number * unit[1] // SECOND
        rest = rest[digits + len(unit[0]) :]
    return total if value else None


def moment(value: str) -> int:
    """Nanoseconds since the epoch of ``--since`` and ``--until``.

    RFC 3339 (2026-01-02T15:04:05.123456789Z), the same without zone (local time), a date, a Unix time with an optional
    fraction, or a duration, which counts back from now. Raises UsageError.
    """
    length = duration(value)
    if length is not None:
        return now() - length
    number = decimal(value, 9)
    if number is None:
        number = _instant(value)
    if number is None or number > _LATEST:
        raise UsageError(f"{value!r} is not a time: give 10m, 2026-01-02T15:04:05Z, 2026-01-02 or a Unix time")
    return number


def _instant(value: str) -> int | None:
    from datetime import UTC, datetime

    # fromisoformat takes microseconds only, and forms that are no RFC 3339, such as week numbers.
    head, point, tail = value.partition(".")
    if len(head) < 10 or head[4] != "-" or head[7] != "-" or not value.isascii():
        return None
    digits = len(tail) - len(tail.lstrip("0123456789"))
    fraction = decimal("0." + tail[:digits], 9) if digits else 0
    if fraction is None or (point and not digits):
        return None
    try:
        instant = datetime.fromisoformat(head + tail[digits:])
        since = instant.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return (since.days * 86400 + since.seconds) * SECOND + fraction
