"""What lists print: plain columns, or JSON.

Plain text serves a terminal and a pipe alike, so there is no second form to go wrong, and it costs nothing to import.
JSON is one array, as podman prints it, with one object a line: ``jq`` reads it whole, ``grep`` finds a line.
"""

from __future__ import annotations

import sys

from pycontain.kernel import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Columns are set apart as Docker's are.
GAP = "   "


def printable(value: str) -> str:
    """``value`` without characters that could move the cursor or change the terminal: they stand as escapes.

    Names, commands and labels come from other people, and some from inside containers.
    """
    if value.isprintable():
        return value
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)


def shorten(value: str, width: int) -> str:
    """At most ``width`` characters, the last an ellipsis where something is left out."""
    return value if len(value) <= width else value[: width - 1] + "…"


def _width(value: str) -> int:
    if value.isascii():
        return len(value)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in value)


def columns(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a line of headers, columns left-aligned, no blanks at the ends of lines."""
    lines = [list(headers)] + [[printable(cell) for cell in row] for row in rows]
    widths = [max(_width(line[index]) for line in lines) for index in range(len(headers))]
    text = []
    for line in lines:
        padded = [cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)]
        text.append(GAP.join(padded).rstrip() + "\n")
    return "".join(text)


def json_lines(objects: Iterable[Mapping[str, object]]) -> str:
    """One JSON array, one object a line; ``[]`` for none."""
    lines = ",\n".join(jsontext.dumps(dict(one)) for one in objects)
    return f"[\n{lines}\n]\n" if lines else "[]\n"


def json_pretty(value: object) -> str:
    """JSON for reading, indented by four (``inspect``)."""
    import json

    return json.dumps(value, indent=4) + "\n"


def show(text: str) -> None:
    """Print on standard output; what cannot be encoded there stands as an escape."""
    stream = sys.stdout
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def show_list(
    format: str, headers: Sequence[str], rows: Iterable[Sequence[str]], objects: Iterable[Mapping[str, object]]
) -> None:
    """Print ``rows`` as a table, or ``objects`` where ``format`` is "json"."""
    show(json_lines(objects) if format == "json" else columns(headers, rows))


def human_size(count: int) -> str:
    """Bytes in decimal units with three digits, as Docker's SIZE column: ``4.21MB``."""
    value, units = float(count), ("kB", "MB", "GB", "TB", "PB")
    if count < 1000:
        return f"{count}B"
    for unit in units:
        value /= 1000
        if value < 999.5 or unit == units[-1]:
            break
    places = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{places}f}{unit}"


def binary_size(count: int) -> str:
    """Bytes in binary units, as Docker's memory columns: ``7.4MiB``."""
    if count < 1024:
        return f"{count}B"
    value, units = float(count), ("KiB", "MiB", "GiB", "TiB", "PiB")
    for unit in units:
        value /= 1024
        if value < 1023.5 or unit == units[-1]:
            break
    places = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{places}f}{unit}"


_DAY = 86400
#: (up to, in units of, word), as Docker's list has them
_SPANS = (
    (60, 1, "second"),
    (3600, 60, "minute"),
    (2 * _DAY, 3600, "hour"),
    (14 * _DAY, _DAY, "day"),
    (60 * _DAY, 7 * _DAY, "week"),
    (730 * _DAY, 30 * _DAY, "month"),
    (float("inf"), 365 * _DAY, "year"),
)


def human_duration(seconds: float) -> str:
    """How long, in one unit: ``1 second``, ``3 minutes``, ``2 weeks``."""
    if seconds < 1:
        return "less than a second"
    length, word = next((length, word) for limit, length, word in _SPANS if seconds < limit)
    count = int(seconds // length)
    return f"{count} {word}{'' if count == 1 else 's'}"
