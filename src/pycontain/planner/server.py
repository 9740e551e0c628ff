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
from signal import SIG_DFL, SIGCHLD, SIGINT, SIGTERM, set_wakeup_fd, signal
from socket import AF_UNIX, SO_RCVTIMEO, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, socket
from struct import Struct

from pycontain.kernel.errors import Error, os_text
from pycontain.planner import caller
from pycontain.planner.serve import Unfit, greet, receive, serve, share_helper
from pycontain.planner.wire import NO, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from pycontain.planner.serve import Face

#: Clients that wait while all processes are busy; one more goes without a planner.
_BACKLOG = 16
#: sun_path of unix(7), without its NUL.
_PATH_MAX = 107
#: Descriptors that a process has to be able to have open: see serve.py.
_FILES = 1024
#: What a process tells the first one: its number when it has a client; that the package has changed.
_NEWS = Struct("=i")
_STALE = -1
_TIME = Struct("=qq")
_PACKAGE = __file__.rpartition("/")[0].rpartition("/")[0]
#: The commands are in its bin (src/helper/find.c).
_PREFIX = _PACKAGE.rpartition("/lib/")[0]


def listen(path: str) -> socket:
    """The socket that systemd has given, or one at this path, whose directory is the user's alone. Raises Error."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        os.set_inheritable(3, False)
        return socket(fileno=3)
    directory, _, name = os.path.abspath(path).rpartition("/")
    if len(os.fsencode(path)) > _PATH_MAX:
        raise Error(f"{path}: longer than the {_PATH_MAX} bytes that a socket's path may have")
    try:
        at = _open_directory(directory)
        _lock(os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=at), path)
        try:
            os.unlink(name, dir_fd=at)
        except FileNotFoundError:
            pass
        listener = socket(AF_UNIX, SOCK_STREAM)
        listener.bind(f"/proc/self/fd/{at}/{name}")
        os.close(at)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise Error(f"cannot listen on {path}: {os_text(error)}") from None
    return listener


def _open_directory(path: str) -> int:
    """Made where it is not there. Raises Error for one that is open to others, OSError."""
    try:
        os.makedirs(path, 0o700)
    except FileExistsError:
        pass
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    facts = os.fstat(fd)
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise Error(f"{path}: has to be this user's, and closed to all others: choose another one, or chmod 700 it")
    return fd


def _tell_ready(address: str) -> None:
    """A service manager wants to know when we are there (sd_notify(3)). Raises OSError."""
    path = os.fsencode(address)
    link = socket(AF_UNIX, SOCK_DGRAM)
    link.sendto(b"READY=1", b"\0" + path[1:] if path[:1] == b"@" else path)
    link.close()


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
    """listener: bound. faces: the commands. rehearse: does in vain what they do, see ``_rehearse``.

    workers: how many processes are kept ready. idle: seconds, 0: for ever.
    """

    def __init__(
        self, listener: socket, faces: Mapping[bool, Face], rehearse: Callable[[], None], workers: int, idle: float
    ) -> None:
        self.listener, self.faces, self.rehearse, self.workers, self.idle = listener, faces, rehearse, workers, idle
        self.listener.setblocking(False)
        self.ours = caller.surroundings()
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
        #: processes without a client, and with one
        self.waiting: set[int] = set()
        self.busy: set[int] = set()

    # --- the first process ---------------------------------------------------------------------------------------

    def run(self) -> int:
        """Until nobody has asked for a while, a signal ends it, or the package has changed; the exit status."""
        share_helper()
        gc.disable()
        gc.collect()
        gc.freeze()
        address = os.environ.get("NOTIFY_SOCKET", "")
        os.environ.clear()  # nothing of it is the clients'
        last = time.monotonic()
        while True:
            while len(self.waiting) < self.workers:
                self._fork()
            if address:
                _tell_ready(address)
                address = ""
            timeout = max(last + self.idle - time.monotonic(), 0) if self.idle else None
            found, _, _ = select.select([self.news, self._wake], [], [], timeout)
            if self.news in found:
                last = time.monotonic()
                if self._read_news():
                    return 0
            if self._wake in found and self._ended():
                return 0
            self._reap()
            if not found and not self.busy:
                return 0

    def _read_news(self) -> bool:
        """Whether the package has changed."""
        data = os.read(self.news, 1024 * _NEWS.size)
        for (pid,) in _NEWS.iter_unpack(data):
            if pid == _STALE:
                return True
            if pid in self.waiting:
                self.waiting.remove(pid)
                self.busy.add(pid)
        return False

    def _ended(self) -> bool:
        numbers = os.read(self._wake, 4096)
        return SIGTERM in numbers or SIGINT in numbers

    def _reap(self) -> None:
        """Raises Error where a process ended by itself before it had a client: the next one would, too."""
        while self.waiting or self.busy:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            if pid in self.waiting and os.WIFEXITED(status) and status:
                raise Error("a process of the planner failed before it had a client: its error stands above")
            self.waiting.discard(pid)
            self.busy.discard(pid)

    def _fork(self) -> None:
        pid = os.fork()
        if pid == 0:
            self._work()
        self.waiting.add(pid)

    # --- the others ----------------------------------------------------------------------------------------------

    def _work(self) -> NoReturn:
        status = 1
        try:
            set_wakeup_fd(-1)
            for number in (SIGCHLD, SIGTERM, SIGINT):
                signal(number, SIG_DFL)
            os.close(self._life)
            self._rehearse()
            link = self._accept()
            if link is not None:
                os.write(self._tell, _NEWS.pack(os.getpid()))
                self._serve(link)
            status = 0
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):
                os.write(2, f"pycontain planner: {type(error).__name__}: {error}\n".encode("utf-8", "backslashreplace"))
        finally:
            os._exit(status)

    def _rehearse(self) -> None:
        """Have memory of one's own before a client waits: the first use of a page that fork(2) shares copies it.

        An object is used, as far as its page is concerned, when something refers to it. A plan takes 2 ms less then.
        """
        gc.unfreeze()
        gc.get_objects()
        self.rehearse()

    def _accept(self) -> socket | None:
        while True:
            found, _, _ = select.select([self.listener.fileno(), self._alive], [], [])
            if self._alive in found:
                return None
            try:
                return self.listener.accept()[0]
            except BlockingIOError:
                pass  # another one was quicker

    def _serve(self, link: socket) -> None:
        link.setblocking(True)
        # a client that does not say what it wants is one that went to do it itself
        link.setsockopt(SOL_SOCKET, SO_RCVTIMEO, _TIME.pack(1, 0))
        try:
            if _fingerprint() != self.installed:
                os.write(self._tell, _NEWS.pack(_STALE))
                raise Unfit("another version is installed")
            process = greet(link, _PREFIX, self.ours)
            request = receive(link)
        except (Unfit, ProtocolError, ConnectionError, BlockingIOError, FileNotFoundError, ProcessLookupError):
            try:
                link.sendall(NO)  # to one that may have gone
            except OSError:
                pass
            return
        serve(link, self.faces, process, request)
        sys.stderr.flush()
