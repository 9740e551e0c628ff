"""ps: which containers there are."""

from __future__ import annotations

import time

from pycontain.engine import repair, state
from pycontain.engine.remove import all_records
from pycontain.network import port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record
    from pycontain.engine.state import State

#: What is shown of a container whose record cannot be read.
DAMAGED = "damaged"


class Row:
    """One container: its ID, its record (None where damaged), its state, and its ports in words."""

    __slots__ = ("id", "ports", "record", "state")

    def __init__(self, container_id: str, record: Record | None, found: State, ports: str) -> None:
        self.id = container_id
        self.record = record
        self.state = found
        self.ports = ports

    @property
    def status(self) -> str:
        return self.state.status if self.record else DAMAGED

    def since(self) -> float:
        """Seconds since it was started or has ended; 0 where it was neither."""
        moment = self.state.started if self.state.alive else self.state.exit.finished if self.state.exit else 0.0
        return max(0.0, time.time() - moment) if moment else 0.0


def _ports(record: Record | None) -> str:
    return ", ".join(str(item) for item in port.from_records(record.ports)) if record else ""


def rows(paths: Paths, everything: bool, filters: dict[str, list[str]]) -> list[Row]:
    """The containers that run, or all, that match: values of one key are alternatives, keys are all needed."""
    repair.repair_all(paths)
    result = []
    for container_id, record in all_records(paths):
        row = Row(container_id, record, state.read(paths, container_id), _ports(record))
        if (everything or "status" in filters or row.state.alive) and _matches(row, filters):
            result.append(row)
    return result


def _matches(row: Row, filters: dict[str, list[str]]) -> bool:
    return all(any(_match(row, key, value) for value in values) for key, values in filters.items())


def _match(row: Row, key: str, value: str) -> bool:
    if key == "id":
        return row.id.startswith(value)
    if key == "status":
        return row.status == value
    if row.record is None:
        return False
    if key == "name":
        return value in row.record.name
    name, equals, content = value.partition("=")
    return name in row.record.labels and (not equals or row.record.labels[name] == content)
