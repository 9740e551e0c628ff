"""The planner's processes: one that keeps some others ready, each of which answers one client and ends.

A process that has done nothing yet is the only thing that a client gets: what one request leaves behind in memory, no
other sees. They are made before they are needed, since fork(2) of an interpreter costs as much as a plan.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import time
from _signal import SIG_DFL, SIGCHLD, SIGINT, SIGTERM, set_wakeup_fd, signal
from _socket import AF_UNIX, SOCK_STREAM, socket

from pycontain.kernel.errors import Error, os_text
from pycontain.planner import caller
from pycontain.planner.serve import Unfit, serve
from pycontain.planner.wire import NO, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from pycontain.planner.serve import Face

#: Clients that wait while all processes are busy; one more goes without a planner.
_BACKLOG = 16
#: What a process tells the first one: it has a client; the package has changed.
_TAKEN, _STALE = b"t", b"s"
_PACKAGE = __file__.rpartition("/")[0].rpartition("/")[0]


def listen(path: str) -> socket:
    """The socket that systemd has given, or one at this path, whose directory is the user's alone. Raises Error."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        os.set_inheritable(3, False)
        return socket(fileno=3)
    directory, _, name = path.rpartition("/")
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        os.chmod(directory, 0o700)
        lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _lock(lock, path)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        at = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        listener = socket(AF_UNIX, SOCK_STREAM)
        listener.bind(f"/proc/self/fd/{at}/{name}")
        os.close(at)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise Error(f"cannot listen on {path}: {os_text(error)}") from None
    return listener


def _lock(fd: int, path: str) -> None:
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Error(f"a planner listens on {path} already") from None


def _fingerprint() -> tuple[int, ...]:
    """Of the installed modules: another version has been put there when it changes."""
    try:
        facts = os.stat(f"{_PACKAGE}/road.bin")
    except OSError:
        return ()
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size


class Planner:
    """listener: bound. faces: the commands. workers: how many processes are kept ready. idle: seconds, 0: for ever."""

    def __init__(self, listener: socket, faces: Mapping[bool, Face], workers: int, idle: float) -> None:
        self.listener, self.faces, self.workers, self.idle = listener, faces, workers, idle
        self.listener.setblocking(False)
        self.ours = caller.Surroundings()
        self.installed = _fingerprint()
        self.news, self._tell = os.pipe()
        # its end tells the others that this process is gone
        self._alive, self._life = os.pipe()
        self._wake, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(self._wake, False)
        set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in (SIGCHLD, SIGTERM, SIGINT):
            signal(number, lambda *_: None)
        self.waiting = 0
        self.busy: set[int] = set()

    # --- the first process ---------------------------------------------------------------------------------------

    def run(self) -> int:
        """Until nobody has asked for a while, a signal ends it, or the package has changed; the exit status."""
        gc.disable()
        gc.collect()
        gc.freeze()
        last = time.monotonic()
        while True:
            while self.waiting < self.workers:
                self._fork()
            timeout = max(last + self.idle - time.monotonic(), 0) if self.idle else None
            found, _, _ = select.select([self.news, self._wake], [], [], timeout)
            self._reap()
            if self._ended():
                return 0
            if self.news in found:
                last = time.monotonic()
                data = os.read(self.news, 4096)
                self.waiting -= data.count(_TAKEN)
                if _STALE in data:
                    return 0
            elif not found and not self.busy_ones():
                return 0

    def busy_ones(self) -> int:
        """How many processes have a client."""
        return len(self.busy) - self.waiting

    def _ended(self) -> bool:
        try:
            numbers = os.read(self._wake, 4096)
        except BlockingIOError:
            return False
        return SIGTERM in numbers or SIGINT in numbers

    def _reap(self) -> None:
        while self.busy:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self.busy.discard(pid)
            # one that was killed while it waited; whoever had a client has told so before
            self.waiting = min(self.waiting, len(self.busy))

    def _fork(self) -> None:
        pid = os.fork()
        if pid == 0:
            self._work()
        self.busy.add(pid)
        self.waiting += 1

    # --- the others ----------------------------------------------------------------------------------------------

    def _work(self) -> NoReturn:
        status = 1
        try:
            set_wakeup_fd(-1)
            for number in (SIGCHLD, SIGTERM, SIGINT):
                signal(number, SIG_DFL)
            os.close(self._life)
            link = self._accept()
            if link is not None:
                os.write(self._tell, _TAKEN)
                self._serve(link)
            status = 0
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):
                os.write(2, f"pycontain planner: {type(error).__name__}: {error}\n".encode("utf-8", "backslashreplace"))
        finally:
            os._exit(status)

    def _accept(self) -> socket | None:
        while True:
            found, _, _ = select.select([self.listener, self._alive], [], [])
            if self._alive in found:
                return None
            try:
                fd, _ = self.listener._accept()
            except BlockingIOError:
                continue  # another one was quicker
            return socket(fileno=fd)

    def _serve(self, link: socket) -> None:
        link.settimeout(None)
        try:
            if _fingerprint() != self.installed:
                os.write(self._tell, _STALE)
                raise Unfit("another version is installed")
            serve(link, self.faces, _PACKAGE.rpartition("/")[0], self.ours)
        except (Unfit, ProtocolError):
            try:
                link.sendall(NO)
            except OSError:
                pass
        sys.stderr.flush()
