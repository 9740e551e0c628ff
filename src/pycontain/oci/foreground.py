"""The end of a restored container whose restore does not detach: signals and its terminal go through us."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
import tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_FORWARDED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGWINCH")


def hold() -> None:
    """From now on signals wait until there is somebody whom they can be sent to."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {getattr(signal, name) for name in _FORWARDED})


def wait(pid: int, terminal: int) -> int:
    """The status of our child, 128 and the signal's number where that has ended it.

    terminal: the master of its terminal, which is connected with ours; -1 where it has none.
    """

    def forward(number: int, _frame: FrameType | None) -> None:
        if terminal >= 0 and number == signal.SIGWINCH:
            _copy_size(terminal)
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    for name in _FORWARDED:
        signal.signal(getattr(signal, name), forward)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if terminal >= 0:
        _connect(pid, terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def _copy_size(terminal: int) -> None:
    try:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
    except OSError:
        pass  # ours is no terminal


def _connect(pid: int, terminal: int) -> None:
    """Copy between our standard descriptors and a terminal, until the process has ended."""
    saved = termios.tcgetattr(0) if os.isatty(0) else None
    init = os.pidfd_open(pid)
    try:
        if saved is not None:
            tty.setraw(0, termios.TCSADRAIN)  # what was typed meanwhile is not lost
            _copy_size(terminal)
        poll = select.poll()
        for fd in (0, terminal, init):
            poll.register(fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if terminal in ready and not _copy(terminal, 1):
                poll.unregister(terminal)
            if 0 in ready and not _copy(0, terminal):
                poll.unregister(0)
            if init in ready and terminal not in ready:
                return
            if init in ready:
                poll.unregister(init)
                os.set_blocking(terminal, False)
                while _copy(terminal, 1):
                    pass
                return
    finally:
        os.close(init)
        if saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)


def _copy(source: int, target: int) -> bool:
    """Whether there was something."""
    try:
        data = os.read(source, 65536)
    except OSError:
        return False  # EIO: nobody has the other end any more; EAGAIN: all is read
    while data:
        data = data[os.write(target, data) :]
        if not data:
            return True
    return False
