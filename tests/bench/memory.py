"""What stays in memory beside an idle guest: monitors, relays, conmon, containerd's shim."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

#: How many idle guests are started by each.
GUESTS = 10


class Beside:
    """Of one guest, KiB: private and resident memory of the processes that stay; how many; their names."""

    def __init__(self, private: float, resident: float, count: float, names: list[str]) -> None:
        self.private, self.resident, self.count, self.names = private, resident, count, names


def _processes() -> set[int]:
    """All are ours: view.sh has made a PID namespace."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _figures(pid: int) -> tuple[str, int, int]:
    """Its program's name, private and resident KiB."""
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    private = resident = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        key, _, rest = line.partition(":")
        if key in ("Private_Clean", "Private_Dirty"):
            private += int(rest.split()[0])
        elif key == "Rss":
            resident = int(rest.split()[0])
    return name, private, resident


def measure(start: Callable[[int], object]) -> Beside:
    """start: an idle guest, ``sleep``, in the background. Raises Failed."""
    before = _processes()
    for number in range(GUESTS):
        start(number)
    time.sleep(1)  # what is still beginning is no idle guest yet
    private = resident = count = 0
    names: set[str] = set()
    for pid in _processes() - before:
        try:
            name, own, all_ = _figures(pid)
        except OSError:
            continue  # it has ended
        if name in ("sleep", "busybox"):
            continue  # the guest itself
        private, resident, count = private + own, resident + all_, count + 1
        names.add(name)
    return Beside(private / GUESTS, resident / GUESTS, count / GUESTS, sorted(names))
