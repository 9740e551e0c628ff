"""What a container is doing: from its lock, its pid file and its last exit."""

from __future__ import annotations

import os
import time

from pycontain.engine import record
from pycontain.kernel import files, lock
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths

CREATED, STARTING, RUNNING, PAUSED = "created", "starting", "running", "paused"
RESTARTING, EXITED, DEAD = "restarting", "exited", "dead"


def moment(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339, Docker's zero time for 0."""
    if not seconds:
        return "0001-01-01T00:00:00Z"
    microseconds = round(seconds * 1e6)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(microseconds // 1_000_000))
    return f"{whole}.{microseconds % 1_000_000:06d}Z"


class Exit:
    """The last end of a container. code: exit status, 128+n for signal n. Times: seconds since the epoch.

    Code -1: nobody saw its end (the monitor was killed, or the host went down).
    """

    __slots__ = ("code", "finished", "oom", "signal", "started")

    def __init__(self, code: int, signal: int, oom: bool, started: float, finished: float) -> None:
        self.code = code
        self.signal = signal
        self.oom = oom
        self.started = started
        self.finished = finished


class State:
    """status: one of the words above. pid: of its init on the host, 0 where there is none. exit: the last one."""

    __slots__ = ("exit", "pid", "started", "status")

    def __init__(self, status: str, pid: int = 0, started: float = 0.0, exit: Exit | None = None) -> None:
        self.status = status
        self.pid = pid
        self.started = started
        self.exit = exit

    @property
    def alive(self) -> bool:
        return self.status in (STARTING, RUNNING, PAUSED, RESTARTING)


def unfinished(paths: Paths, container_id: str) -> str:
    """The file that the monitor makes at the start and renames to ``exit`` at the end: who has it was not seen to end.

    It has the form of ``exit``, with -1 for the code, and the size that ``exit`` needs: a disk that is full at the end
    does not lose the record.
    """
    return f"{paths.container(container_id)}/exit.new"


def read_exit(paths: Paths, container_id: str) -> Exit | None:
    """The file that the monitor writes: ``code signal oom started finished``; None where there is none or a bad one."""
    return read_exit_file(f"{paths.container(container_id)}/exit")


def read_exit_file(path: str) -> Exit | None:
    """As read_exit, by path."""
    try:
        words = files.read_text(path).split()
        return Exit(int(words[0]), int(words[1]), words[2] == "1", float(words[3]), float(words[4]))
    except (OSError, ValueError, IndexError):
        return None


def _exit_line(exit: Exit) -> bytes:
    return f"{exit.code} {exit.signal} {int(exit.oom)} {exit.started:.9f} {exit.finished:.9f}".encode()


def write_exit(paths: Paths, container_id: str, exit: Exit) -> None:
    """Record an end. Raises OSError."""
    files.replace(f"{paths.container(container_id)}/exit", _exit_line(exit) + b"\n", 0o600)


def overwrite_exit(path: str, exit: Exit) -> None:
    """Put an end into a record that is there, of which the size stays. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.pwrite(fd, _exit_line(exit).ljust(os.fstat(fd).st_size - 1) + b"\n", 0)
    finally:
        os.close(fd)


def alive(paths: Paths, container_id: str) -> bool:
    """Whether somebody holds the container's lock: it is being made or it has a monitor."""
    try:
        fd = os.open(f"{paths.run(container_id)}/lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return lock.is_locked(fd)
    finally:
        os.close(fd)


def read_pid(paths: Paths, container_id: str) -> tuple[int, float]:
    """PID of the container's init and when the file was made; (0, 0.0) where there is none."""
    file = f"{paths.run(container_id)}/pid"
    try:
        return int(files.read_text(file).split()[0]), os.stat(file).st_mtime
    except (OSError, ValueError, IndexError):
        return 0, 0.0


def open_init(paths: Paths, container_id: str) -> tuple[int, int]:
    """PID and pidfd of the container's init, which is proved to be the process that was started. Raises Error."""
    try:
        words = files.read_text(f"{paths.run(container_id)}/pid").split()
        pid, started = int(words[0]), words[1]
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError, IndexError):
        raise Error(f"container {container_id[:12]} is not running") from None
    # with a pidfd in hand the number cannot be given to another process any more, so now is the time to compare
    try:
        stat = files.read_text(f"/proc/{pid}/stat")
    except OSError:
        stat = ""
    if stat.rpartition(")")[2].split()[19:20] != [started]:
        os.close(pidfd)
        raise Error(f"container {container_id[:12]} has ended")
    return pid, pidfd


def end_init(paths: Paths, container_id: str) -> None:
    """Kill what is left of a container without a cgroup, and wait for it: with its init goes its PID namespace."""
    import select
    from _signal import SIGKILL, pidfd_send_signal

    try:
        _, pidfd = open_init(paths, container_id)
    except Error:
        return
    try:
        pidfd_send_signal(pidfd, SIGKILL)
        gone = select.poll()
        gone.register(pidfd, select.POLLIN)
        gone.poll(10_000)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def cgroup_directory(paths: Paths, container_id: str) -> str:
    """The directory of the container's cgroup while it runs, "" where it has none or the file is damaged."""
    try:
        directory = files.read_text(f"{paths.run(container_id)}/cgroup").strip()
    except OSError:
        return ""
    # whoever uses it kills what is in it: nothing but a container's own is believed
    scope = f"/{record.SCOPE_PREFIX}-{container_id}.scope/{record.SCOPE_GROUP}"
    own = os.path.basename(directory) == container_id or directory.endswith(scope)
    return directory if directory.startswith("/") and own else ""


def need_cgroup(paths: Paths, container_id: str, what: str) -> str:
    """cgroup_directory of a container that runs, for what cannot be done without. Raises Error."""
    directory = cgroup_directory(paths, container_id)
    if not directory:
        try:
            without = not record.read(paths, container_id).cgroup
        except (OSError, Error):
            without = False
        if without:
            from pycontain.engine import delegation

            raise Error(f"container {container_id[:12]}: {what} needs a cgroup: {delegation.WHY}")
    return directory


def _frozen(paths: Paths, container_id: str) -> bool:
    directory = cgroup_directory(paths, container_id)
    try:
        return bool(directory) and files.read_bytes(f"{directory}/cgroup.freeze").strip() == b"1"
    except OSError:
        return False


def read(paths: Paths, container_id: str) -> State:
    """The state at this moment. A container whose run state has no living owner is ``dead``: repair.py sees to it."""
    last = read_exit(paths, container_id)
    if not os.path.isdir(paths.run(container_id)):
        return State(EXITED if last else CREATED, exit=last)
    if not alive(paths, container_id):
        return State(DEAD, exit=last)
    pid, started = read_pid(paths, container_id)
    if not pid:
        # its monitor listens since the first start
        return State(RESTARTING if os.path.exists(f"{paths.run(container_id)}/attach") else STARTING, exit=last)
    status = PAUSED if _frozen(paths, container_id) else RUNNING
    return State(status, pid, started, last)
