"""crun's --regex: one verb for each container whose ID an expression finds."""

from __future__ import annotations

import os

from pycontain.kernel.errors import Error, UsageError, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def each(root: str, pattern: str, do: Callable[[str], object]) -> int:
    """Do it for all of them, also when one fails; none is no error. Raises the first Error, UsageError."""
    failed: Error | None = None
    for name in names(root, pattern):
        try:
            do(name)
        except Error as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return 0


def names(root: str, pattern: str) -> list[str]:
    """The IDs below ``root`` in which the expression (Python's re, which has what POSIX's has) is found."""
    import re

    try:
        expression = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"--regex: {pattern!r} is not a regular expression: {error}", 1) from None
    try:
        listed = os.listdir(root)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Error(f"cannot list the containers in {root}: {os_text(error)}", 1) from None
    return sorted(name for name in listed if expression.search(name))
