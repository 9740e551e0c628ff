"""stats: what containers use, between one look and the next."""

from __future__ import annotations

import os
import time

from pycontain.cgroup import stats as figures
from pycontain.cgroup import tree
from pycontain.engine import figures as json_figures
from pycontain.engine import load, names, oomkills, record, state
from pycontain.engine.top import open_group
from pycontain.kernel import files
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pycontain.cgroup.group import Group
    from pycontain.engine.oomkills import Kill
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record

#: column → the controller without which it stays empty
_COLUMNS = {"MEM": "memory", "BLOCK I/O": "io"}


class Row:
    """What one container uses; None where it cannot be known. Sizes in bytes, cpu in percent of one processor.

    received, sent: of its network namespace, loopback left out. read, written: of all disks.
    """

    __slots__ = (
        *("cpu", "figures", "id", "kills", "limit", "memory", "name", "pids"),
        *("read", "received", "sent", "written"),
    )

    def __init__(self, container_id: str, name: str) -> None:
        self.id = container_id
        self.name = name
        self.cpu: float | None = None
        self.memory: int | None = None
        self.limit: int | None = None
        self.received: int | None = None
        self.sent: int | None = None
        self.read: int | None = None
        self.written: int | None = None
        self.pids: int | None = None
        #: All that its cgroup knows; None where it does not run.
        self.figures: figures.Stats | None = None
        self.kills: list[Kill] = []

    @property
    def percent(self) -> float | None:
        """Memory in percent of its limit."""
        return 100 * self.memory / self.limit if self.memory is not None and self.limit else None

    def record(self) -> dict[str, Any]:
        """For ``--format json``."""
        return {
            "Id": self.id,
            "Name": self.name,
            "CpuPercent": _rounded(self.cpu),
            "MemoryUsage": self.memory,
            "MemoryLimit": self.limit,
            "MemoryPercent": _rounded(self.percent),
            "NetworkReceived": self.received,
            "NetworkSent": self.sent,
            "BlockRead": self.read,
            "BlockWritten": self.written,
            "Pids": self.pids,
            **json_figures.record(self.figures),
            "OomKills": [kill.record() for kill in self.kills] if self.kills or self.figures else None,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


class Watch:
    """Looks at containers again and again: processor time is a difference."""

    def __init__(self, paths: Paths, containers: Sequence[str]) -> None:
        """containers: names or IDs; none for all that run. Raises NotFound, UsageError."""
        self.paths = paths
        self.chosen = [names.find(paths, text) for text in containers]
        #: id → (when, processor time in µs) at the last look
        self._last: dict[str, tuple[float, int]] = {}
        #: Why something is not known: sentences, of the last look.
        self.reasons: list[str] = []

    def look(self) -> list[Row]:
        """The figures of this moment, the newest container first."""
        gaps = _Gaps()
        rows = [self._row(container_id, found, gaps) for container_id, found in self._containers()]
        self.reasons = gaps.sentences()
        return rows

    def _containers(self) -> list[tuple[str, Record]]:
        ids = self.chosen or [one for one in names.all_ids(self.paths) if state.alive(self.paths, one)]
        found = []
        for container_id in ids:
            try:
                found.append((container_id, load.read_record(self.paths, container_id)))
            except Error:
                # gone meanwhile, or damaged: there is still its ID
                if self.chosen or os.path.exists(record.path(self.paths, container_id)):
                    found.append((container_id, record.Record(id=container_id)))
        return found if self.chosen else sorted(found, key=lambda pair: pair[1].created, reverse=True)

    def _row(self, container_id: str, found: Record, gaps: _Gaps) -> Row:
        row = Row(container_id, found.name)
        try:
            with open_group(self.paths, container_id, found.name) as group:
                now = time.monotonic()
                known = figures.read(group)
                row.pids = known.pids.current if known.pids else _tasks(group)
                gaps.look(group, known)
        except (OSError, Error):
            self._last.pop(container_id, None)
            return row  # it does not run
        row.figures, row.kills = known, oomkills.read(self.paths, container_id)
        self._processor(row, now, known)
        if known.memory:
            row.memory, row.limit = known.memory.working_set, known.memory.max or _host_memory()
        if known.io is not None:
            row.read = sum(device.read_bytes for device in known.io)
            row.written = sum(device.written_bytes for device in known.io)
        self._network(row, found, gaps)
        return row

    def _processor(self, row: Row, now: float, known: figures.Stats) -> None:
        if known.cpu is None:
            return
        before = self._last.get(row.id)
        self._last[row.id] = now, known.cpu.usage
        if before is not None and now > before[0]:
            row.cpu = max(0.0, (known.cpu.usage - before[1]) / (now - before[0]) / 1e4)

    def _network(self, row: Row, found: Record, gaps: _Gaps) -> None:
        if found.network == "host":
            gaps.host_network = True
            return
        pid, _ = state.read_pid(self.paths, row.id)
        try:
            row.received, row.sent = traffic(files.read_text(f"/proc/{pid}/net/dev"))
        except (OSError, ValueError):
            pass  # it has ended


def traffic(text: str) -> tuple[int, int]:
    """Bytes received and sent by all devices but the loopback: /proc/PID/net/dev (proc_pid_net(5))."""
    received = sent = 0
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = rest.split()
        if name.strip() != "lo" and len(numbers) >= 9:
            received += int(numbers[0])
            sent += int(numbers[8])
    return received, sent


def _tasks(group: Group) -> int:
    """Threads in a group and below, where there is no pids controller to ask."""
    count = 0
    for fd in tree.each(group.fd):
        try:
            count += files.read_bytes("cgroup.threads", dir_fd=fd).count(b"\n")
        except OSError:
            continue  # gone
    return count


def _host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class _Gaps:
    """What could not be known at one look, and why."""

    def __init__(self) -> None:
        self.host_network = False
        #: sentence → columns
        self.found: dict[str, list[str]] = {}

    def look(self, group: Group, known: figures.Stats) -> None:
        absent = {"memory": known.memory is None, "io": known.io is None}
        for column, controller in _COLUMNS.items():
            if absent[controller]:
                columns = self.found.setdefault(why(group, controller), [])
                if column not in columns:
                    columns.append(column)

    def sentences(self) -> list[str]:
        lines = [f"{' and '.join(columns)}: {sentence}" for sentence, columns in self.found.items()]
        if self.host_network:
            lines.append("NET I/O: a container with --network host has no figures of its own")
        return lines


def why(group: Group, controller: str) -> str:
    """Why a group has no figures of a controller, and what to do."""
    if controller not in group.hierarchy.controllers:
        return f"not in cgroup v2 on this host: {group.hierarchy.why_missing(controller)}"
    above = group.hierarchy.directory(os.path.dirname(group.path))
    return (
        f"the {controller} controller is not enabled for containers without such a limit: "
        f"'echo +{controller} >{above}/cgroup.subtree_control', there and in the groups above, counts from then on"
    )
