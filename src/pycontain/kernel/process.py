"""What /proc says of a process (proc_pid_stat(5)). Reads nothing through the process's own root."""

from __future__ import annotations

import os

from pycontain.kernel import files

#: Longer command lines are cut: a process may have 2 MiB of arguments.
_ARGUMENTS = 64 << 10
_TICKS = os.sysconf("SC_CLK_TCK")
_ZOMBIE = "Z"
#: linux/major.h: console and serial lines; pseudo-terminals' slaves, eight majors of 256 (1048576 in all, since 2.6).
_TTY_MAJOR, _SERIAL = 4, 64
_PTS_MAJORS = range(136, 144)


class Process:
    """One process. uid: effective, on the host. cpu: seconds of processor time. started: seconds since the boot.

    terminal: device number of its controlling terminal, 0 for none. arguments: may be empty (kernel threads, zombies).
    """

    __slots__ = ("arguments", "cpu", "name", "pid", "ppid", "started", "state", "terminal", "threads", "uid")

    def __init__(self, pid: int, stat: str, uid: int, arguments: list[str]) -> None:
        """stat: the file's text. Raises ValueError, IndexError for what is none."""
        head, _, tail = stat.rpartition(")")
        fields = tail.split()
        self.pid = pid
        self.name = head.partition("(")[2]
        self.state = fields[0]
        self.ppid = int(fields[1])
        self.terminal = int(fields[4])
        self.cpu = (int(fields[11]) + int(fields[12])) / _TICKS
        self.threads = int(fields[17])
        self.started = int(fields[19]) / _TICKS
        self.uid = uid
        self.arguments = arguments

    @property
    def command(self) -> str:
        """The command line in words; the name in brackets where there is none, as ps(1)."""
        if self.arguments:
            return " ".join(self.arguments)
        return f"[{self.name}]" + (" <defunct>" if self.state == _ZOMBIE else "")

    @property
    def terminal_name(self) -> str:
        """``pts/3``, ``tty1``, ``?`` for none."""
        major, minor = os.major(self.terminal), os.minor(self.terminal)
        if not self.terminal:
            return "?"
        if major in _PTS_MAJORS:
            return f"pts/{(major - _PTS_MAJORS.start) * 256 + minor}"
        if major == _TTY_MAJOR:
            return f"tty{minor}" if minor < _SERIAL else f"ttyS{minor - _SERIAL}"
        return f"{major}:{minor}"


def read(pid: int) -> Process | None:
    """One process, None where it is gone."""
    try:
        stat = files.read_text(f"/proc/{pid}/stat")
        status = files.read_text(f"/proc/{pid}/status")
        return Process(pid, stat, effective_uid(status), _arguments(pid))
    except (OSError, ValueError, IndexError):
        return None


def effective_uid(status: str) -> int:
    """The second number of the line ``Uid:`` of /proc/PID/status. Raises IndexError."""
    return int(status.partition("\nUid:")[2].split()[1])


def _arguments(pid: int) -> list[str]:
    try:
        fd = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        data = os.read(fd, _ARGUMENTS)
    except OSError:
        return []
    finally:
        os.close(fd)
    return split_arguments(data)


def split_arguments(data: bytes) -> list[str]:
    """The words of /proc/PID/cmdline; a process that writes a title there leaves NULs at its end."""
    text = os.fsdecode(data.rstrip(b"\0"))
    return text.split("\0") if text else []
