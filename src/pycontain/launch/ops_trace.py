"""How long each operation of a plan takes."""

from __future__ import annotations

from pycontain.launch.ops import HOST, SIDES, Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Trace(Op):
    """Measure all records, and print a line for each when the launch, or what waits for the container, ends.

    fd: where to print. words: what each record does, in the order of the plan; ``fill`` writes them.
    """

    code, name, side = 100, "trace", HOST
    fields = (("fd", "n"), ("words", "l"))

    def __init__(self, fd: int, words: Sequence[str] = ()) -> None:
        self.values = (fd, list(words))

    def fill(self, records: Sequence[tuple[int, Op]]) -> None:
        """The plan is complete."""
        words = [f"{SIDES[side]:<6}{op.name:<18}{op.describe()}" for side, op in records]
        self.values = (self.values[0], words)

    def describe(self) -> str:
        return "measure all of it"
