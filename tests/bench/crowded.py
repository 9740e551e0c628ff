"""How long a start takes while many guests run, and how fast all of them go. ``crowd.py`` looks at one such crowd."""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from pathlib import Path

from tests.bench.timing import Clock, Failed, spawn

LEVELS = (0, 100, 500, 1000)
#: Starts that are measured at each level.
_SAMPLE = 20


class Level:
    """While so many run: milliseconds of ``run -d`` and of ``run --rm true``."""

    def __init__(self, guests: int, stays: list[float], ends: list[float]) -> None:
        self.guests, self.stays, self.ends = guests, stays, ends


class Crowded:
    def __init__(self) -> None:
        self.levels: list[Level] = []
        self.trouble = ""
        #: guests, KiB of the machine's memory that each took, seconds until all were gone
        self.guests, self.memory, self.gone = 0, 0.0, 0.0


def _available() -> int:
    """KiB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    raise Failed("no MemAvailable")


class _Filler:
    def __init__(self, command: list[str], env: dict[str, str], errors: Path, network: str) -> None:
        self.command, self.env, self.errors = command, env, errors
        self.flags = ["--network", network]
        self.lock = threading.Lock()
        self.count = 0
        self.trouble: list[Failed] = []

    def stay(self) -> float:
        took = spawn([*self.command, "run", "-d", *self.flags, "busybox", "sleep", "1000000"], self.env, self.errors)
        with self.lock:
            self.count += 1
        return took

    def end(self) -> float:
        return spawn([*self.command, "run", "--rm", *self.flags, "busybox", "true"], self.env, self.errors)

    def _some(self, until: int, clock: Clock) -> None:
        while self.count < until and not self.trouble and clock.left() > 0:
            try:
                self.stay()
            except Failed as reason:
                self.trouble.append(reason)

    def fill(self, until: int, clock: Clock) -> None:
        """Two at a time. Raises Failed."""
        threads = [threading.Thread(target=self._some, args=(until, clock)) for _ in range(min(2, os.cpu_count() or 1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.trouble:
            raise Failed(f"guest {self.count + 1}: {self.trouble[0]}")
        if self.count < until:
            raise Failed(f"the time was over at {self.count} guests")


def measure(command: list[str], env: dict[str, str], base: Path, clock: Clock, network: str) -> Crowded:
    """command: pycontain with its store, which has busybox. The guests have a network of their own."""
    found = Crowded()
    filler = _Filler(command, env, base / "errors", network)
    try:
        filler.end()
        before = _available()
        for guests in LEVELS:
            filler.fill(guests, clock)
            ends = [filler.end() for _ in range(_SAMPLE)]
            stays = [filler.stay() for _ in range(_SAMPLE)]
            found.levels.append(Level(guests, stays, ends))
        found.memory = (before - _available()) / filler.count
    except Failed as reason:
        found.trouble = str(reason)
    found.guests = filler.count
    begin = time.monotonic()
    subprocess.run([*command, "rm", "-f", "--all"], env=env, check=False, stdout=subprocess.DEVNULL)
    found.gone = time.monotonic() - begin
    return found


def median(times: list[float]) -> float:
    return statistics.median(times)
