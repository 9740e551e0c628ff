"""One thing done to several containers, as Docker does it: what fails is said, the others are done."""

from __future__ import annotations

import sys

from pycontain.cli import table
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def show(done: Iterable[tuple[str, Error | None]], number: int) -> int:
    """As each, for what was done to ``number`` containers together."""
    status = 0
    for text, error in done:
        if error is None:
            table.show(f"{text}\n")
            continue
        if number == 1:
            raise error
        sys.stdout.flush()
        sys.stderr.write(f"pycontain: {table.printable(error.message)}\n")
        status = 1
    return status


def each(containers: list[str], act: Callable[[str], str | None]) -> int:
    """Print what ``act`` answers for each container, its own text where that is None; 1 when one of them failed."""
    status = 0
    for text in containers:
        try:
            answer = act(text)
        except Error as error:
            if len(containers) == 1:
                raise
            sys.stdout.flush()
            sys.stderr.write(f"pycontain: {table.printable(error.message)}\n")
            status = 1
            continue
        table.show(f"{text if answer is None else answer}\n")
    return status
