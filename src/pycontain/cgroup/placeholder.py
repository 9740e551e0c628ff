"""A process that lives in a scope until the container's own does: systemd wants one, and an empty scope is gone.

With it the helper can make the container's process straight in the scope (CLONE_INTO_CGROUP), under its limits from
the first instruction on, and nobody is moved between cgroups afterwards.
"""

from __future__ import annotations

import os
from _signal import SIGKILL, pidfd_send_signal


class Placeholder:
    """pid: its number. fd: a pidfd of it, by which the helper ends it."""

    __slots__ = ("_pipe", "fd", "pid")

    def __init__(self) -> None:
        """Raises OSError."""
        reader, self._pipe = os.pipe()
        answer, question = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                # a grandchild: whoever adopts orphans reaps it, and the caller has no child that it does not know
                pid = os.fork()
                if pid:
                    os.write(question, b"%d" % pid)
                    os._exit(0)
                _wait(reader)
            finally:
                os._exit(1)
        os.close(reader)
        os.close(question)
        try:
            text = os.read(answer, 32)
            os.waitpid(child, 0)
            if not text:
                raise OSError(11, "Resource temporarily unavailable", "fork")
            self.pid = int(text)
            self.fd = os.pidfd_open(self.pid)
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(answer)

    def inherit(self) -> int:
        """The pidfd, which from now on outlives execve(2); so does the pipe, whose end is the placeholder's."""
        os.set_inheritable(self._pipe, True)
        os.set_inheritable(self.fd, True)
        return self.fd

    def end(self) -> None:
        """Take it away. Idempotent."""
        if self.fd < 0:
            return
        try:
            pidfd_send_signal(self.fd, SIGKILL)
        except ProcessLookupError:
            pass
        os.close(self.fd)
        os.close(self._pipe)
        self.fd = -1


def _wait(pipe: int) -> None:
    """To the end of the pipe: when nobody is there any more who could end it."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.dup2(pipe, 3)
    os.closerange(4, 1 << 20)
    os.setsid()
    os.read(3, 1)
    os._exit(0)
