"""The planner's processes: one that keeps some others ready, each of which answers one client after the other.

They are made before they are needed, since fork(2) of an interpreter, and the copying of its pages afterwards, cost
more than a plan. What one request leaves behind is cleared away before the next one (clean.py), and none lives long.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import time
from select import EPOLLEXCLUSIVE, EPOLLIN, epoll
from signal import SIG_DFL, SIGCHLD, SIGINT, SIGTERM, set_wakeup_fd, signal
from socket import AF_UNIX, SO_RCVTIMEO, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, socket
from struct import Struct

from pycontain.kernel.errors import Error, os_text
from pycontain.launch import start
from pycontain.planner import caller
from pycontain.planner.clean import Clean, move
from pycontain.planner.serve import Unfit, compare, greet, prepare, receive, serve, share_helper
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
#: What a process tells the first one: its number when it has a client, minus that when it has none again; that the
#: package has changed.
_NEWS = Struct("=i")
_STALE = -1
#: After so many clients a process ends: each leaves its frames on the stack.
_CLIENTS = 32
#: Frames that a request may have, as in an interpreter of its own.
_DEPTH = 1000
#: Seconds without a client after which processes that were made for a crowd may go.
_CALM = 5.0
#: How one of those ends.
_SPARE = 3
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
    """Of what is installed: another version has been put there when it changes."""
    try:
        found = [os.stat(f"{_PACKAGE}/road.bin"), os.stat(start.helper_path())]
    except OSError:
        return ()
    return tuple([fact for one in found for fact in (one.st_dev, one.st_ino, one.st_mtime_ns, one.st_size)])


def _depth() -> int:
    """Frames on the stack."""
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


class Planner:
    """listener: bound. faces: the commands. rehearse: does in vain what they do, see ``_rehearse``.

    workers: how many processes are kept ready. idle: seconds, 0: for ever.
    """

    def __init__(
        self, listener: socket, faces: Mapping[bool, Face], rehearse: Callable[[], None], workers: int, idle: float
    ) -> None:
        self.faces, self.rehearse, self.workers, self.idle = faces, rehearse, workers, idle
        # what the others keep is out of the way of their clients' descriptors
        self.listener = socket(fileno=move(listener.detach()))
        self.listener.setblocking(False)
        self.ours = caller.surroundings()
        self.installed = _fingerprint()
        self.news, tell = os.pipe()
        os.set_blocking(self.news, False)
        self._tell = move(tell)
        # its end tells the others that this process is gone
        alive, self._life = os.pipe()
        self._alive = move(alive)
        # a byte for each process that is one too many: whoever reads it ends
        spare, self._surplus = os.pipe()
        os.set_blocking(spare, False)
        self._spare = move(spare)
        self._dismissed = 0
        #: in one of the others: its client, and how many there have been
        self._link: socket | None = None
        self._clients = 0
        self._wake, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(self._wake, False)
        set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in (SIGCHLD, SIGTERM, SIGINT):
            signal(number, lambda *_: None)
        #: processes without a client, and with one
        self.waiting: set[int] = set()
        self.busy: set[int] = set()
        self._stale = False
        self._last = time.monotonic()

    # --- the first process ---------------------------------------------------------------------------------------

    def run(self) -> int:
        """Until nobody has asked for a while, a signal ends it, or the package has changed; the exit status."""
        share_helper()
        gc.disable()
        self.rehearse()
        self.clean = Clean()
        gc.collect()
        gc.freeze()
        address = os.environ.get("NOTIFY_SOCKET", "")
        os.environ.clear()  # nothing of it is the clients'
        self._last = time.monotonic()
        while True:
            while len(self.waiting) + len(self.busy) < self.workers or not self.waiting:
                self._fork()
            if address:
                _tell_ready(address)
                address = ""
            crowd = len(self.waiting) - self._dismissed - self.workers
            timeout = max(self._last + self.idle - time.monotonic(), 0) if self.idle else None
            if crowd > 0:
                timeout = _CALM if timeout is None else min(timeout, _CALM)
            found, _, _ = select.select([self.news, self._wake], [], [], timeout)
            if crowd > 0 and not found:
                os.write(self._surplus, bytes(crowd))
                self._dismissed += crowd
                continue
            self._read_news()
            if self._stale or (self._wake in found and self._ended()):
                return 0
            self._reap()
            if not found and not self.busy:
                return 0

    def _read_news(self) -> None:
        """All that there is."""
        while True:
            try:
                data = os.read(self.news, 1024 * _NEWS.size)
            except BlockingIOError:
                return
            self._last = time.monotonic()
            for (pid,) in _NEWS.iter_unpack(data):
                if pid == _STALE:
                    self._stale = True
                elif pid in self.waiting:
                    self.waiting.remove(pid)
                    self.busy.add(pid)
                elif -pid in self.busy:
                    self.busy.remove(-pid)
                    self.waiting.add(-pid)

    def _ended(self) -> bool:
        numbers = os.read(self._wake, 4096)
        return SIGTERM in numbers or SIGINT in numbers

    def _reap(self) -> None:
        """Raises Error where a process ended by itself before it had a client: the next one would, too."""
        while self.waiting or self.busy:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._read_news()  # it may have said since that it has a client
            if os.waitstatus_to_exitcode(status) == _SPARE:
                self._dismissed -= 1
            elif pid in self.waiting and os.WIFEXITED(status) and status:
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
        try:
            set_wakeup_fd(-1)
            for number in (SIGCHLD, SIGTERM, SIGINT):
                signal(number, SIG_DFL)
            self.clean.settle()
            os.close(self._life)
            self._rehearse()
            os.register_at_fork(after_in_child=self._forget)
            doors = epoll()
            self.doors = epoll.fromfd(move(os.dup(doors.fileno())))
            doors.close()
            # one client wakes one process
            self.doors.register(self.listener, EPOLLIN | EPOLLEXCLUSIVE)
            self.doors.register(self._alive, EPOLLIN)
            self.doors.register(self._spare, EPOLLIN)
            prepare()
        except BaseException as error:
            self._end(1, error)
        self._next()

    def _next(self) -> NoReturn:
        """Take one client; it may be that its request takes the next one."""
        status = 1
        try:
            status = self._accept()
            if self._link is not None:
                self._serve(self._link)
        except BaseException as error:
            self._end(1, error)
        self._end(status, None)

    def _end(self, status: int, error: BaseException | None) -> NoReturn:
        try:
            if error is not None and not isinstance(error, KeyboardInterrupt):
                os.write(2, f"pycontain planner: {type(error).__name__}: {error}\n".encode("utf-8", "backslashreplace"))
        finally:
            os._exit(status)

    def _again(self) -> NoReturn:
        """After a plan has gone: the next client, from inside of the request, which is not unwound."""
        self._clients += 1
        try:
            assert self._link is not None
            self._link.close()
            self._link = None
            if self._clients == _CLIENTS or not self.clean.restore():
                self._end(0, None)
            prepare()
            sys.setrecursionlimit(_DEPTH + _depth())
            os.write(self._tell, _NEWS.pack(-os.getpid()))
        except BaseException as error:
            self._end(1, error)
        self._next()

    def _forget(self) -> None:
        """In a process that a request makes: the client is not to wait for its end."""
        if self._link is not None:
            self._link.close()

    def _rehearse(self) -> None:
        """Have memory of one's own before a client waits: the first use of a page that fork(2) shares copies it.

        An object is used, as far as its page is concerned, when something refers to it. A plan takes 2 ms less then.
        """
        gc.unfreeze()
        gc.get_objects()
        self.rehearse()

    def _accept(self) -> int:
        """The status to end with; 0 where there is a client."""
        while True:
            found = [fd for fd, _ in self.doors.poll()]
            if self._alive in found:
                return 0
            try:
                if self._spare in found and os.read(self._spare, 1):
                    return _SPARE
                self._link = socket(AF_UNIX, SOCK_STREAM, 0, move(self.listener.accept()[0].detach()))
                return 0
            except BlockingIOError:
                pass  # another one was quicker

    def _serve(self, link: socket) -> None:
        link.setblocking(True)
        # a client that does not say what it wants is one that went to do it itself
        link.setsockopt(SOL_SOCKET, SO_RCVTIMEO, _TIME.pack(1, 0))
        try:
            try:
                process = greet(link)
                if _fingerprint() != self.installed:
                    os.write(self._tell, _NEWS.pack(_STALE))
                    raise Unfit("another version is installed")
                compare(link, process, _PREFIX, self.ours)
            finally:
                # the client waits by now: who reads this keeps neither of us from working
                os.write(self._tell, _NEWS.pack(os.getpid()))
            request = receive(link)
        except (Unfit, ProtocolError, OSError):  # one that has gone, or that may not be looked at
            try:
                link.sendall(NO)  # to one that may have gone
            except OSError:
                pass
            return
        serve(link, self.faces, process, request, self._again)
        sys.stderr.flush()
