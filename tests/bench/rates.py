"""Starts a second, with one caller and with several at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from tests.bench.timing import Clock, Failed

CALLERS = (1, 2, 4, 8)
_SECONDS = 2.5


class Rate:
    """who → callers → starts a second."""

    def __init__(self) -> None:
        self.found: dict[str, dict[int, float]] = {}
        self.trouble: dict[str, str] = {}


def _rate(once: Callable[[int], object], callers: int) -> float:
    """Raises Failed. once: with the caller's number."""
    count = [0] * callers
    trouble: list[Failed] = []
    begin = time.monotonic()

    def call(number: int) -> None:
        while time.monotonic() < begin + _SECONDS and not trouble:
            try:
                once(number)
            except Failed as reason:
                trouble.append(reason)
            count[number] += 1

    threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if trouble:
        raise trouble[0]
    return sum(count) / (time.monotonic() - begin)


def measure(starters: Sequence[tuple[str, Callable[[int], object]]], clock: Clock) -> Rate:
    """All with one caller, then all with two, and so on."""
    rate = Rate()
    for callers in CALLERS:
        for who, once in starters:
            if who in rate.trouble or clock.left() < 0:
                continue
            try:
                rate.found.setdefault(who, {})[callers] = _rate(once, callers)
            except Failed as reason:
                rate.trouble[who] = f"with {callers} callers: {reason}"
    return rate
