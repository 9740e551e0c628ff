"""status, list and get: what a tenant is doing and what it is set to. Nothing here takes a lock."""

from __future__ import annotations

import os
import time

from pycontain.engine import state as containers
from pycontain.kernel.errors import Error, UsageError
from pycontain.tenant import dumps, file, ready, state, wish
from pycontain.tenant.place import Tenants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pycontain.tenant.settings import Settings
    from pycontain.tenant.state import State

RUNNING, STARTING, STOPPING, SUSPENDED = "running", "starting", "stopping", "suspended"
STOPPED, FAILED, DAMAGED = "stopped", "failed", "damaged"
#: word → exit status of status
WORDS = {RUNNING: 0, STARTING: 0, STOPPING: 0, SUSPENDED: 0, STOPPED: 3, FAILED: 1, DAMAGED: 5}

#: reboot(2) in a PID namespace ends its init by these (pid_namespaces(7)).
_SIGHUP, _SIGINT = 1, 2


#: What is done to one that goes on meanwhile: phase → its name.
_BESIDES = {state.SETTING: "set", state.SNAPSHOTTING: "snapshot", state.SUSPENDING: "suspend"}


class Status:
    """word: one of the above. reason: why, where there is more to say. pid: of its init, 0. started: seconds since the
    epoch, 0 where it does not run."""

    __slots__ = ("pid", "reason", "started", "word")

    def __init__(self, word: str, reason: str = "", pid: int = 0, started: float = 0.0) -> None:
        self.word = word
        self.reason = reason
        self.pid = pid
        self.started = started


def status(tenants: Tenants, name: str) -> Status:
    """What it is doing at this moment."""
    try:
        found = tenants.state(name)
    except Error as error:
        return Status(DAMAGED, error.message)
    if found is None and not os.path.exists(tenants.settings_path(name)):
        return Status(STOPPED, "creating was interrupted: the next verb undoes it")
    if found is None and (other := tenants.coming_as(name)):
        return status(tenants, other)
    if found is None:
        return Status(DAMAGED, f"it has settings and no state: 'pycontain tenant create {name}' makes it from them")
    if found.phase:
        return _interrupted(tenants, name, found)
    if not found.container or not os.path.isdir(tenants.paths.container(found.container)):
        return Status(DAMAGED, "its container is gone")
    if not os.path.exists(tenants.settings_path(name)):
        return Status(DAMAGED, f"{tenants.settings_path(name)} is gone")
    return _of_container(tenants, name, found)


def _interrupted(tenants: Tenants, name: str, found: State) -> Status:
    """A verb that does more than one thing: it works still, or the next verb completes or undoes it."""
    if found.container and found.phase in _BESIDES:
        known = _of_container(tenants, name, found)
        if not tenants.working(name):
            what = _BESIDES[found.phase]
            known.reason = f"an interrupted {what} is undone by the next verb"
        return known
    if tenants.working(name):
        return Status(STOPPED, f"it is {found.phase}")
    complete = found.phase in (state.DESTROYING, state.RENAMING) or found.detail.get("step") in ("swap", "set-up")
    end = "completes it" if complete else "undoes it"
    return Status(STOPPED, f"{found.phase} was interrupted: the next verb {end}")


def _of_container(tenants: Tenants, name: str, found: State) -> Status:
    seen = containers.read(tenants.paths, found.container)
    doing = found.doing if found.doing and tenants.working(name) else ""
    if seen.status == containers.PAUSED:
        return Status(SUSPENDED, "", seen.pid, seen.started)
    if seen.status == containers.RUNNING and doing != STOPPING and ready.coming(tenants.paths, found.container):
        return Status(STARTING, "its init has not said yet that it is up", seen.pid, seen.started)
    if seen.status == containers.RUNNING:
        return Status(STOPPING if doing == STOPPING else RUNNING, "", seen.pid, seen.started)
    if seen.status == containers.STARTING or doing == STARTING:
        return Status(STARTING, "", seen.pid, seen.started)
    if seen.status == containers.RESTARTING:
        return Status(STARTING, "it reboots")
    if doing == STOPPING:
        return Status(STOPPING)
    when = dumps.age(tenants, name)
    if when:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
        return Status(SUSPENDED, f"on the disk, since {since}: 'pycontain tenant start {name}' lets it go on")
    return _ended(found, seen)


def _ended(found: State, seen: containers.State) -> Status:
    if found.failure:
        return Status(FAILED, found.failure)
    end = seen.exit
    if seen.status == containers.DEAD and found.wanted == "running":
        return Status(FAILED, "its monitor was killed")
    if found.wanted != "running" or end is None or end.code == 0 or end.signal in (_SIGINT, _SIGHUP):
        return Status(STOPPED)
    if end.code < 0:
        # nobody saw it: the host went down, or its monitor was killed
        if end.started < time.time() - _uptime():
            return Status(STOPPED, "the host went down")
        return Status(FAILED, "its monitor was killed")
    how = f"signal {end.signal}" if end.signal else f"exit status {end.code}"
    return Status(FAILED, f"its init ended by itself: {how}" + (" (out of memory)" if end.oom else ""))


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


# --- what waits ---------------------------------------------------------------------------------------------------

#: What means nothing to a container that runs: the next verb that needs it reads it.
NO_RESTART = (
    "version",
    "id",
    "template",
    "description",
    "boot.onboot",
    "boot.order",
    "boot.delay",
    "boot.stop_timeout",
    "boot.shutdown",
    "hooks.pre-start",
    "hooks.post-start",
    "hooks.pre-stop",
    "hooks.post-stop",
)


def pending(running: dict[str, Any], settings: Settings) -> list[str]:
    """The keys in which the settings differ from those that a running container has."""
    from pycontain.tenant.settings import flat

    if not running:
        return []
    old, new = flat(running), flat(settings.plain())
    return [key for key in new if key not in NO_RESTART and old.get(key) != new[key]]


# --- list ---------------------------------------------------------------------------------------------------------


class Row:
    """One tenant in a list. settings: None where they cannot be read; then problem says why."""

    def __init__(self, tenants: Tenants, name: str) -> None:
        self.tenants = tenants
        self.name = name
        self.status = status(tenants, name)
        self.settings: Settings | None = None
        self.problem = ""
        self.state: State | None = None
        try:
            self.state = tenants.state(name)
            self.settings = file.read(tenants.settings_path(name))
        except Error as error:
            self.problem = error.message

    def value(self, field: str) -> object:
        """A field of FIELDS. Raises UsageError for another one."""
        if field in _FIELDS:
            return _FIELDS[field](self)
        from pycontain.tenant.settings import every_key, flat

        if field not in every_key():
            raise UsageError(f"{field!r} is not a field: there are {', '.join(_FIELDS)}, and the keys of the settings")
        return flat(self.settings.plain())[field] if self.settings else None


def _addresses(row: Row) -> list[str]:
    """Those of the settings, then what the network has given."""
    devices = row.settings.network if row.settings else []
    found = [address for device in devices for address in device.addresses]
    given = not devices or not all(device.addresses for device in devices)
    if given and row.status.pid and row.state and os.path.exists(f"{row.tenants.paths.run_root}/network/leases"):
        from pycontain.network import lease

        leases = lease.leases(row.tenants.paths.run_root)
        mine = [address for address, owner in leases.items() if owner == row.state.container]
        found += [address for address in mine if address not in found]
    return found


def _pending(row: Row) -> list[str]:
    if row.settings is None or row.state is None or not row.status.pid:
        return []
    return pending(row.state.running, row.settings)


def _used(row: Row, what: str) -> object:
    """Bytes or inodes that it uses of its limit, None where that is not known."""
    from pycontain.engine import disk

    try:
        found = disk.usage(row.tenants.paths, row.state.container) if row.state and row.state.container else None
    except Error:
        return None
    figure = getattr(found, what) if found is not None else -1
    return figure if figure >= 0 else None


_FIELDS: dict[str, Callable[[Row], object]] = {
    "id": lambda row: row.state.id if row.state else None,
    "name": lambda row: row.name,
    "status": lambda row: row.status.word,
    "reason": lambda row: row.status.reason or row.problem,
    "ip": _addresses,
    "hostname": lambda row: wish.hostname(row.name, row.settings) if row.settings else None,
    "template": lambda row: row.settings.template if row.settings else None,
    "description": lambda row: row.settings.description if row.settings else None,
    "onboot": lambda row: row.settings.boot.onboot if row.settings else None,
    "order": lambda row: row.settings.boot.order if row.settings else None,
    "memory": lambda row: row.settings.memory.limit if row.settings else None,
    "cpus": lambda row: (row.settings.cpu.cpus or row.settings.cpu.limit or None) if row.settings else None,
    "processes": lambda row: row.settings.processes.max or None if row.settings else None,
    "disk": lambda row: row.settings.disk.space if row.settings else None,
    "disk-used": lambda row: _used(row, "used"),
    "inodes-used": lambda row: _used(row, "used_inodes"),
    "pid": lambda row: row.status.pid or None,
    "started": lambda row: round(row.status.started) or None,
    "pending": _pending,
    "container": lambda row: row.state.container if row.state else None,
}
FIELDS = tuple(_FIELDS)
DEFAULT_FIELDS = ("id", "name", "status", "ip", "hostname", "template")


def rows(tenants: Tenants, names: list[str], fields: list[str], sort: str) -> list[dict[str, object]]:
    """The fields of each tenant (of all where none is named), sorted by one; "-FIELD" the other way round.

    Raises Missing, UsageError, Error.
    """
    chosen = [tenants.find(name) for name in names] if names else tenants.names()
    key, backwards = sort.removeprefix("-"), sort.startswith("-")
    found = [Row(tenants, name) for name in chosen]
    table = [({field: row.value(field) for field in fields}, row.value(key), row.name) for row in found]
    table.sort(key=lambda entry: entry[2])
    table.sort(key=lambda entry: _order(entry[1]), reverse=backwards)
    return [entry[0] for entry in table]


def _order(value: object) -> tuple[int, float, str]:
    """Numbers before texts before nothing."""
    if isinstance(value, (int, float)):
        return 0, float(value), ""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value or "")
    return (1, 0.0, text) if text else (2, 0.0, "")


def cell(value: object) -> str:
    """A field's value in a table."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(cell(one) for one in value)
    if isinstance(value, dict):
        return ",".join(f"{key}={cell(content)}" for key, content in value.items())
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


# --- get ----------------------------------------------------------------------------------------------------------


def get(tenants: Tenants, text: str, key: str) -> object:
    """One setting, a table of them, or all ("" for the key), with the defaults. Raises Missing, UsageError, Error."""
    name = tenants.find(text)
    value: Any = file.read(tenants.settings_path(name)).plain()
    for part in file.parts_of(key) if key else ():
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise UsageError(
                f"{key!r}: {name} has no such setting: 'pycontain tenant get {name}' shows those there are"
            )
    return value
