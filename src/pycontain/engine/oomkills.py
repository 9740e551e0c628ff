"""When processes of a container were killed for want of memory: what its monitor has recorded (src/helper/oom.c)."""

from __future__ import annotations

from pycontain.engine import state
from pycontain.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.paths import Paths


class Kill:
    """time: seconds since the epoch. count: how many processes."""

    __slots__ = ("count", "time")

    def __init__(self, time: float, count: int) -> None:
        self.time = time
        self.count = count

    def record(self) -> dict[str, Any]:
        """For ``inspect`` and ``stats``."""
        return {"Time": state.moment(self.time), "Count": self.count}


def read(paths: Paths, container_id: str) -> list[Kill]:
    """The kills that are known, the oldest first, of all its lives; none where the host does not count them."""
    directory = paths.container(container_id)
    return [kill for name in ("oom.1", "oom") for kill in _file(f"{directory}/{name}")]


def _file(path: str) -> list[Kill]:
    try:
        lines = files.read_text(path).splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        words = line.split()
        try:
            found.append(Kill(float(words[0]), int(words[1])))
        except (ValueError, IndexError):
            continue  # half a line, of a full disk
    return found
