"""The OCI runtimes' verbs, each by itself: all runtimes on the same bundles, in turn."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.bundles import Bundles
from tests.bench.peers import Runtime
from tests.bench.timing import Clock, Failed, Row, interleave

_PR_SET_CHILD_SUBREAPER = 36


@contextmanager
def _adopting() -> Iterator[None]:
    """Be the parent of what runtimes leave behind: then a container's end is an event."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _reap(pid: int) -> None:
    """Wait for a container's init, a child of ours since its runtime has ended."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


class Life:
    """One container of one runtime, verb after verb."""

    def __init__(self, runtime: Runtime, bundles: Bundles, base: Path) -> None:
        self.runtime, self.bundles = runtime, bundles
        self.pid_file = base / f"pid-{runtime.state.name}"
        self.id = f"bench-{runtime.name}"

    def create(self) -> float:
        bundle = str(self.bundles.idle)
        return self.runtime("create", "-b", bundle, "--pid-file", str(self.pid_file), self.id)

    def state(self) -> float:
        return self.runtime("state", self.id)

    def start(self) -> float:
        return self.runtime("start", self.id)

    def exec(self) -> float:
        return self.runtime("exec", self.id, "true")

    def kill(self) -> float:
        took = self.runtime("kill", self.id, "KILL")
        _reap(int(self.pid_file.read_text()))
        return took

    def delete(self) -> float:
        return self.runtime("delete", self.id)

    def whole(self) -> float:
        """youki's benchmark: a container that stays is created, started, and deleted by force."""
        took = self.create() + self.start() + self.runtime("delete", "--force", self.id)
        _reap(int(self.pid_file.read_text()))
        return took

    def clear(self) -> None:
        """Whatever is left of it after a failure."""
        try:
            self.runtime("delete", "--force", self.id)
        except Failed:
            pass


VERBS = ("create", "state", "start", "exec", "kill", "delete")


def _run(runtime: Runtime, bundle: Path) -> Callable[[], float]:
    return lambda: runtime("run", "-b", str(bundle), f"bench-{runtime.name}")


def measure(runtimes: list[Runtime], bundles: Bundles, base: Path, rounds: int, clock: Clock) -> Iterator[Row]:
    """A row for each of the targets. Rounds: of each."""
    lives = [Life(runtime, bundles, base) for runtime in runtimes]
    for name, bundle in (("run", bundles.true), ("run, no filter", bundles.bare)):
        row = Row(name)
        interleave(row, [(one.name, _run(one, bundle)) for one in runtimes], rounds, clock, 40)
        yield row
    with _adopting():
        row = Row("create + start + delete")
        interleave(row, [(life.runtime.name, life.whole) for life in lives], rounds, clock, 60)
        yield row
        yield from _each(lives, rounds, clock)
        for life in lives:
            life.clear()


def _each(lives: list[Life], rounds: int, clock: Clock) -> list[Row]:
    """Verb by verb: the same verb of all runtimes in turn, then the next verb."""
    rows = {verb: Row(verb) for verb in VERBS}
    broken: set[str] = set()
    for number in range(rounds + 2):
        for verb in VERBS:
            for life in lives:
                who = life.runtime.name
                if who in broken:
                    continue
                try:
                    took = float(getattr(life, verb)())
                except Failed as reason:
                    rows[verb].column(who).trouble = str(reason)
                    broken.add(who)
                    life.clear()
                    continue
                if number >= 2:
                    rows[verb].column(who).times.append(took)
        if clock.left() < 0 and number > 4:
            break
    return list(rows.values())
