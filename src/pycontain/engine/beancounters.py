"""stats --beancounters: what containers hold, held at the most, may hold, and were refused."""

from __future__ import annotations

from pycontain.cgroup import stats as figures
from pycontain.engine import load, names, state
from pycontain.engine.stats import why
from pycontain.engine.top import open_group
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pycontain.cgroup.stats import Beancounter
    from pycontain.engine.paths import Paths

#: Controller → whether a group's figures have it.
_SOURCES = ("memory", "pids")


class Beancounters:
    """The rows of one container. reason: why some are missing, "" for none missing."""

    __slots__ = ("id", "name", "reason", "rows")

    def __init__(self, container_id: str, name: str, rows: list[Beancounter], reason: str) -> None:
        self.id = container_id
        self.name = name
        self.rows = rows
        self.reason = reason

    def record(self) -> dict[str, Any]:
        """For ``--format json``: null for what the kernel does not know."""
        keys = ("resource", "held", "maxheld", "barrier", "limit", "failcnt")
        rows = [{key.capitalize(): getattr(row, key) for key in keys} for row in self.rows]
        return {"Id": self.id, "Name": self.name, "Beancounters": rows}


def read(paths: Paths, containers: Sequence[str]) -> list[Beancounters]:
    """Of these, or of all that run. Raises NotFound, UsageError; Error for one that does not run."""
    if containers:
        return [_read(paths, names.find(paths, text), text) for text in containers]
    found = []
    for container_id in names.all_ids(paths):
        if state.alive(paths, container_id):
            try:
                found.append(_read(paths, container_id, container_id[:12]))
            except Error:
                continue  # it has just ended
    return sorted(found, key=lambda one: one.name)


def _read(paths: Paths, container_id: str, text: str) -> Beancounters:
    with open_group(paths, container_id, text) as group:
        try:
            known = figures.read(group)
        except OSError:
            raise Error(f"container {text} has just ended") from None
        lacking = [name for name in _SOURCES if getattr(known, name) is None]
        reasons = dict.fromkeys(why(group, name) for name in lacking)
    reason = f"no rows of {' and '.join(lacking)}: {'; '.join(reasons)}" if lacking else ""
    return Beancounters(container_id, load.read_record(paths, container_id).name, figures.beancounters(known), reason)
