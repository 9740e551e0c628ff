"""The price of each operation of a start's plan: ``pycontain-oci --trace``."""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.bench.bundles import Bundles
from tests.bench.peers import Runtime

_STARTS = 25


class Operation:
    """Microseconds: when it began, how long it took; medians."""

    def __init__(self, words: str, began: float, took: float) -> None:
        self.words, self.began, self.took = words, began, took


def measure(runtime: Runtime, bundles: Bundles, base: Path) -> list[Operation]:
    """In the order of a start. Raises Failed."""
    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    order: list[tuple[int, str]] = []
    for _ in range(_STARTS):
        path = base / "trace"
        path.unlink(missing_ok=True)
        runtime("--trace", str(path), "run", "-b", str(bundles.true), "bench")
        seen: dict[str, int] = {}
        for line in path.read_text().splitlines():
            began, took, words = line.split(None, 2)
            if not began[0].isdigit():
                continue  # the heading
            words = " ".join(words.replace(str(base), "…").split())
            key = seen.get(words, 0), words
            seen[words] = key[0] + 1
            if key not in found:
                order.append(key)
            found.setdefault(key, []).append((float(began), float(took)))
    return [
        Operation(key[1], statistics.median([b for b, _ in found[key]]), statistics.median([t for _, t in found[key]]))
        for key in order
    ]
