"""kill: a signal to a container's init, or to all of its processes."""

from __future__ import annotations

import os

from pycontain.kernel.errors import Error, NotFound, UsageError
from pycontain.oci import signals, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.oci.arguments import Call
    from pycontain.oci.state import Container


def kill(root: str, call: Call) -> int:
    """Send a signal, TERM where none is given; with --all also to a container whose init has ended. Raises Error."""
    if not 1 <= len(call.words) <= 2:
        raise UsageError("kill: a container ID is needed, and at most one signal", 1)
    container = state.find(root, call.words[0])
    number = signals.number(call.words[1] if len(call.words) > 1 else "TERM")
    if call.flag("all"):
        everybody(container, number)
        return 0
    fd = container.pidfd()
    if fd < 0 or not send(fd, number):
        raise Error(f"cannot kill container {container.id}: container not running", 1)
    return 0


def send(pidfd: int, number: int) -> bool:
    """Whether the process was still there."""
    import _signal

    try:
        _signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def everybody(container: Container, number: int) -> None:
    """A signal to every process; none is left where its cgroup is gone. Raises Error."""
    from pycontain.cgroup import group, hierarchy

    if container.without_cgroup():
        fd = container.pidfd()
        if fd >= 0:
            send(fd, number)  # with init goes its PID namespace
            os.close(fd)
        return
    directory = container.known_cgroup()
    tree = hierarchy.find()
    try:
        with group.find(tree, tree.path(directory)) as found:
            if number == signals.KILL:
                found.kill()
                return
            for pid in found.processes():
                if not pid:
                    continue  # of an outer PID namespace; to kill(2) it would be our own process group
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
    except NotFound:
        pass  # nobody is left: callers send --all to containers that have ended
