"""When an init is up: as the template says that it is known, waited for by events.

``notify``: READY=1 came to the socket in NOTIFY_SOCKET; the monitor has then made the file ``ready``. ``console``: a
prompt for a login is on the console. ``exec``: init was executed, nothing more.
"""

from __future__ import annotations

import os
import select
import time

from pycontain.engine import follow, logfiles, record, state
from pycontain.engine.logfiles import HEAD, is_entry
from pycontain.kernel import inotify
from pycontain.kernel.errors import Error
from pycontain.tenant.template import LABEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths

NOTIFY, CONSOLE, EXEC = "notify", "console", "exec"
#: What a getty asks.
_PROMPT = b"login:"
#: How much of the console's last line is kept, in bytes.
_LINE = 4096
_RUN_EVENTS = inotify.CREATE | inotify.MOVED_TO | inotify.DELETE_SELF
_LOG_EVENTS = inotify.MODIFY | inotify.CREATE | inotify.MOVED_TO


def is_up(paths: Paths, container_id: str) -> bool:
    """Whether the init of a container that runs has said that it is up."""
    return os.path.exists(f"{paths.run(container_id)}/ready")


def of_container(paths: Paths, container_id: str) -> str:
    """How it is known of a container, by the labels of its template. Raises Error where it is damaged or gone."""
    found = record.read_known(paths, container_id)
    how = found.labels.get(f"{LABEL}.ready", EXEC)
    own_init = found.command == found.labels.get(f"{LABEL}.init", "/sbin/init").split()
    # another command than the template's, such as a shell for rescue, says nothing
    return how if how in (NOTIFY, CONSOLE) and own_init else EXEC


def coming(paths: Paths, container_id: str) -> bool:
    """Whether the init of a container that runs will say that it is up, and has not yet."""
    try:
        return of_container(paths, container_id) == NOTIFY and not is_up(paths, container_id)
    except Error:
        return False


def wait(paths: Paths, container_id: str, name: str, seconds: float) -> None:
    """Until the init of a tenant that was started is up. seconds: at the most.

    Raises Error where it ends before, or where time is up.
    """
    how = of_container(paths, container_id)
    if how == EXEC:
        return
    deadline = time.monotonic() + seconds
    with inotify.Inotify() as watch:
        # watched first, looked at then
        watch.add(paths.run(container_id), _RUN_EVENTS)
        watch.add(paths.container(container_id), _LOG_EVENTS)
        prompt = _Prompt(paths, container_id)
        owner = follow.open_monitor(paths, container_id)
        try:
            while not (is_up(paths, container_id) if how == NOTIFY else prompt.seen()):
                if not state.alive(paths, container_id):
                    raise Error(
                        f"tenant {name}: its init has ended before it was up: 'pycontain tenant console {name}'"
                    )
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Error(_late(name, how, seconds))
                poll = select.poll()
                poll.register(watch.fd, select.POLLIN)
                if owner >= 0:
                    poll.register(owner, select.POLLIN)
                # a reboot in place has another monitor than the one that we know
                poll.poll(1000 * left if owner >= 0 else min(1000.0, 1000 * left))
                watch.read()
                if owner < 0 or _ended(owner):
                    owner = _another(paths, container_id, owner)
        finally:
            prompt.close()
            if owner >= 0:
                os.close(owner)


def _late(name: str, how: str, seconds: float) -> str:
    missing = "READY=1 of its init" if how == NOTIFY else "a login prompt on its console"
    return (
        f"tenant {name}: it runs, but {missing} did not come within {seconds:g} seconds: 'pycontain tenant console"
        f" {name}' shows how far it is; --timeout gives it longer"
    )


def _ended(owner: int) -> bool:
    poll = select.poll()
    poll.register(owner, select.POLLIN)
    return bool(poll.poll(0))


def _another(paths: Paths, container_id: str, owner: int) -> int:
    if owner >= 0:
        os.close(owner)
    return follow.open_monitor(paths, container_id)


class _Prompt:
    """Looks for a login prompt in what the console has shown since the container's last start."""

    def __init__(self, paths: Paths, container_id: str) -> None:
        self.directory = paths.container(container_id)
        self.since = _started(paths, container_id)
        self.file: logfiles.LogFile | None = None
        self.line = b""

    def close(self) -> None:
        if self.file:
            self.file.close()

    def seen(self) -> bool:
        """Whether there is one by now."""
        found = _PROMPT in self.line
        while not found:
            if self.file is not None:
                found = self._read(self.file)
                if found or logfiles.is_current(self.directory, self.file.key):
                    return found
            newer = logfiles.open_all(self.directory, self.file.key if self.file else None)
            if not newer:
                return False
            self.close()
            self.file = newer.pop(0)
            logfiles.close_all(newer)
        return found

    def _read(self, file: logfiles.LogFile) -> bool:
        for _, entry in file.lines():
            if not is_entry(entry) or entry[: len(self.since)] < self.since:
                continue
            self.line = (self.line + entry[HEAD:])[-_LINE:]
            if _PROMPT in self.line:
                return True
            if entry[38:39] != b"P":
                self.line = b""
        return False


def _started(paths: Paths, container_id: str) -> bytes:
    """When it was started, as the log has times; all of the log where that is not known."""
    from pycontain.engine.logs import stamp

    try:
        moment = os.stat(f"{paths.run(container_id)}/pid").st_mtime_ns
    except OSError:
        return b""
    return stamp(moment)
