"""top: the processes of a container, as the host sees them."""

from __future__ import annotations

import time

from pycontain.engine import names, state
from pycontain.kernel import process
from pycontain.kernel.errors import Error, NotFound
from pycontain.kernel.process import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.cgroup.group import Group
    from pycontain.engine.paths import Paths

_DAY = 86400


class Row:
    """One process. started: seconds since the epoch. percent: its processor time against its life."""

    __slots__ = ("percent", "process", "started", "user")

    def __init__(self, found: Process, user: str, booted: float, now: float) -> None:
        self.process = found
        self.user = user
        self.started = booted + found.started
        life = now - self.started
        self.percent = 100 * found.cpu / life if life > 0 else 0.0

    def cells(self, now: float) -> list[str]:
        """The columns of HEADERS."""
        one = self.process
        return [
            self.user,
            str(one.pid),
            str(one.ppid),
            f"{self.percent:.1f}",
            _clock(self.started, now),
            one.terminal_name,
            duration(one.cpu),
            one.command,
        ]

    def record(self) -> dict[str, Any]:
        """For ``--format json``; Time is in seconds."""
        one = self.process
        return {
            "User": self.user,
            "Uid": one.uid,
            "Pid": one.pid,
            "Ppid": one.ppid,
            "State": one.state,
            "Threads": one.threads,
            "CpuPercent": round(self.percent, 2),
            "Started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "Tty": one.terminal_name,
            "Time": round(one.cpu, 2),
            "Command": one.command,
            "Args": one.arguments,
        }


HEADERS = ("USER", "PID", "PPID", "%CPU", "STIME", "TTY", "TIME", "CMD")


def rows(paths: Paths, text: str) -> list[Row]:
    """The processes of a container, the oldest first. Raises NotFound, Error where it does not run."""
    container_id = names.find(paths, text)
    with open_group(paths, container_id, text) as group:
        pids = [pid for pid in group.processes() if pid]
    now = time.time()
    booted = now - time.clock_gettime(time.CLOCK_BOOTTIME)
    users: dict[int, str] = {}
    found = []
    for pid in dict.fromkeys(pids):
        one = process.read(pid)
        if one is not None:
            if one.uid not in users:
                users[one.uid] = host_user(one.uid)
            found.append(Row(one, users[one.uid], booted, now))
    return sorted(found, key=lambda row: (row.started, row.process.pid))


def open_group(paths: Paths, container_id: str, text: str) -> Group:
    """The cgroup of a container that runs. Raises Error."""
    from pycontain.cgroup import group, hierarchy

    found = state.read(paths, container_id)
    if found.status not in (state.RUNNING, state.PAUSED):
        if found.alive:
            raise Error(f"container {text} is {found.status}: it has no processes at this moment, try again")
        raise Error(f"container {text} is not running: start it first")
    tree = hierarchy.find()
    try:
        return group.find(tree, tree.path(state.need_cgroup(paths, container_id, "a list of its processes")))
    except NotFound:
        raise Error(f"container {text} has just ended") from None


def host_user(uid: int) -> str:
    """The name that the host's accounts have for a user, else the number. The container's accounts say nothing here."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def duration(seconds: float) -> str:
    """``[DD-]HH:MM:SS`` as ps(1) has TIME."""
    whole = int(seconds)
    days, rest = divmod(whole, _DAY)
    text = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{text}" if days else text


def _clock(moment: float, now: float) -> str:
    """``15:04`` in the last day, ``Jan02`` in the last year, then the year: STIME of ps(1)."""
    local = time.localtime(moment)
    if now - moment < _DAY:
        return time.strftime("%H:%M", local)
    return time.strftime("%b%d" if now - moment < 365 * _DAY else "%Y", local)
