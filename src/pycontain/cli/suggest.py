"""What somebody meant who misspelled a verb or a flag."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'run'?``, or nothing where nothing is near."""
    near = min(((distance(word, one), one) for one in known), default=None)
    # One slip in a short word, two in a long one: more is another word.
    if near is None or near[0] > (1 if len(word.lstrip("-")) < 6 else 2):
        return ""
    return f"; did you mean {near[1]!r}?"


def distance(one: str, other: str) -> int:
    """How many characters must be inserted, deleted, replaced or swapped with their neighbour."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, left in enumerate(one, 1):
        line = [row]
        for column, right in enumerate(other, 1):
            cost = min(last[column] + 1, line[column - 1] + 1, last[column - 1] + (left != right))
            if row > 1 and column > 1 and left == other[column - 2] and right == one[row - 2]:
                cost = min(cost, before[column - 2] + 1)
            line.append(cost)
        before, last = last, line
    return last[-1]
