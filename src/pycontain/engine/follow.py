"""logs -f: what a container writes from now on, until it has ended. It waits for inotify(7) and for the monitor."""

from __future__ import annotations

import os
import select
import time
from _socket import SO_PEERCRED, SOL_SOCKET
from _struct import Struct

from pycontain.engine import control, logfiles, state
from pycontain.engine.logs import Printer, find_start, print_files, print_rest
from pycontain.kernel import files, inotify
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.logfiles import LogFile
    from pycontain.engine.paths import Paths

_LOG_EVENTS = inotify.MODIFY | inotify.CREATE | inotify.MOVED_TO
_RUN_EVENTS = inotify.CREATE | inotify.MOVED_TO | inotify.DELETE_SELF
#: How long, in milliseconds, to rely on inotify alone while the process that has the container's lock is not known:
#: between the claim of a start and its first process, and while a restart policy is at work.
_UNKNOWN = 1000
#: struct ucred: pid, uid, gid.
_CREDENTIALS = Struct("iII")


class Follower:
    """One ``logs -f``."""

    def __init__(self, paths: Paths, container_id: str, printer: Printer) -> None:
        """Raises Error."""
        self.paths = paths
        self.container_id = container_id
        self.printer = printer
        self.directory = paths.container(container_id)
        self.current: LogFile | None = None
        #: pidfd of the process that has the container's lock.
        self.owner = -1
        self.watch = inotify.Inotify()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.close()
        if self.owner >= 0:
            os.close(self.owner)
        if self.current:
            self.current.close()

    def run(self) -> None:
        """Print until the container has ended, or until the time that is wanted. Raises Error, BrokenPipeError."""
        # watched first, looked at then: nothing falls between
        self.watch.add(self.directory, _LOG_EVENTS)
        self.watch.add(self.paths.run(self.container_id), _RUN_EVENTS)
        self._begin()
        while True:
            self._find_owner()
            ended = not state.alive(self.paths, self.container_id)
            over = ended or self._left() == 0
            self._advance()
            if ended and self.current:
                print_rest(self.current, self.printer)
            self.printer.flush()
            if over:
                return
            self._wait()

    def _begin(self) -> None:
        """What is there already."""
        found = logfiles.open_all(self.directory)
        try:
            start = find_start(found, self.printer.wanted, False)
            print_files(found, start, self.printer, False)
            self.current = found.pop() if found else None
        finally:
            logfiles.close_all(found)

    # --- the files --------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Print all that was written, through as many rotations as there were."""
        while True:
            if self.current:
                self._print(self.current)
                if logfiles.is_current(self.directory, self.current.key):
                    return
            newer = self._newer()
            if not newer:
                return
            if self.current:
                # it was renamed before the newer one was made: now all of it is there
                self._print(self.current)
                print_rest(self.current, self.printer)
                self.current.close()
            self.current = newer.pop()
            for file in newer:
                self._print(file)
                print_rest(file, self.printer)
            logfiles.close_all(newer)

    def _print(self, file: LogFile) -> None:
        for _, line in file.lines():
            self.printer.line(line)

    def _newer(self) -> list[LogFile]:
        """The files after the current one, the oldest first."""
        return logfiles.open_all(self.directory, self.current.key if self.current else None)

    # --- waiting ----------------------------------------------------------------------------------------------

    def _find_owner(self) -> None:
        """Whose end is the end, or a restart: asked before the lock is looked at, so that no end is missed."""
        if self.owner < 0:
            self.owner = open_monitor(self.paths, self.container_id)

    def _wait(self) -> None:
        """Until something has happened, or the time that is wanted is over. Raises BrokenPipeError."""
        poll = select.poll()
        poll.register(self.watch.fd, select.POLLIN)
        if self.owner >= 0:
            poll.register(self.owner, select.POLLIN)
        for fd in self.printer.outputs():
            poll.register(fd, 0)  # any event: nobody reads it any more
        left = self._left()
        timeout = left if self.owner >= 0 else min(_UNKNOWN, left or _UNKNOWN)
        for fd, _ in poll.poll(timeout):
            if fd == self.watch.fd:
                self.watch.read()
            elif fd == self.owner:
                os.close(self.owner)
                self.owner = -1
            else:
                raise BrokenPipeError

    def _left(self) -> float | None:
        """Milliseconds until the end of the time that is wanted."""
        until = self.printer.wanted.until_time
        return None if until is None else max(0.0, (until - time.time_ns()) / 1e6)


def open_monitor(paths: Paths, container_id: str) -> int:
    """A pidfd of the container's monitor, -1 where there is none or it cannot be told."""
    try:
        pid, init = state.open_init(paths, container_id)
    except Error:
        return _listener(paths, container_id)
    try:
        parent = _parent(pid)
        owner = os.pidfd_open(parent) if parent else -1
        if owner >= 0 and _parent(pid) != parent:
            os.close(owner)
            owner = -1
        return owner
    except OSError:
        return -1
    finally:
        os.close(init)


def _parent(pid: int) -> int:
    """PPID, 0 where there is no such process."""
    try:
        return int(files.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _listener(paths: Paths, container_id: str) -> int:
    """A pidfd of who listens at the attach socket: a container that waits for its restart has no init."""
    try:
        monitor = control.connect(paths, container_id)
    except Error:
        return -1
    if monitor is None:
        return -1
    try:
        credentials = monitor.link.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size)
        (pid, _, _) = _CREDENTIALS.unpack(credentials)
        owner = os.pidfd_open(pid) if pid > 0 else -1
        if owner >= 0 and _hung_up(monitor.link.fileno()):
            os.close(owner)  # it may be another process by now
            owner = -1
        return owner
    except OSError:
        return -1
    finally:
        monitor.close()


def _hung_up(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))
