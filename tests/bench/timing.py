"""What is measured: commands, in rows of a table, run in turn so that all see the same minutes of the machine."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

#: A command line that takes longer has failed. Seconds.
PATIENCE = 60.0


class Failed(Exception):
    """A command of a peer, or of ours, did not do what it is there for: its row is left out, and says why."""


class Clock:
    """How long the whole bench may take; ``share`` gives a section its part of what is left."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        return self.end - time.monotonic()


def spawn(argv: Sequence[str], env: Mapping[str, str], errors: Path) -> float:
    """Run a program to its end with nothing on its standard streams; milliseconds. Raises Failed.

    posix_spawn, and no pipes: what is measured is the program, and a container may keep a pipe open.
    """
    null, trouble = os.open("/dev/null", os.O_RDWR), os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, trouble, 2)]
    try:
        begin = time.perf_counter()
        pid = os.posix_spawnp(argv[0], list(argv), dict(env), file_actions=actions)
        _, status = os.waitpid(pid, 0)
        took = (time.perf_counter() - begin) * 1e3
    except OSError as error:
        raise Failed(f"{argv[0]}: {error.strerror}") from None
    finally:
        os.close(null)
        os.close(trouble)
    if status:
        said = errors.read_text(errors="replace").strip().splitlines()
        raise Failed(said[-1] if said else f"{argv[0]}: status {os.waitstatus_to_exitcode(status)}")
    return took


class Column:
    """One row's measurements of one runtime."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.times: list[float] = []
        self.trouble = ""

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def middle(self) -> tuple[float, float]:
        """The middle half."""
        if len(self.times) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.times, n=4)
        return low, high


class Row:
    """One thing that is measured, for all that can do it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.columns: dict[str, Column] = {}

    def column(self, who: str) -> Column:
        return self.columns.setdefault(who, Column(who))

    def known(self) -> list[Column]:
        return [column for column in self.columns.values() if column.times and not column.trouble]

    def median(self, who: str) -> float | None:
        column = self.columns.get(who)
        return column.median if column and column.times and not column.trouble else None


Measure = Callable[[], float]


def interleave(row: Row, measures: Iterable[tuple[str, Measure]], rounds: int, clock: Clock, seconds: float) -> None:
    """A B C A B C. Who fails is left out from there on. Ends early where the time is over.

    Two rounds come first that do not count: caches are warm then.
    """
    chosen = list(measures)
    until = time.monotonic() + min(seconds, max(clock.left(), 0.0))
    for number in range(rounds + 2):
        for who, measure in chosen:
            column = row.column(who)
            if column.trouble:
                continue
            try:
                took = measure()
            except Failed as reason:
                column.trouble = str(reason)
                continue
            if number >= 2:
                column.times.append(took)
        if time.monotonic() > until and number >= 4:
            return
