"""kill: a signal to a container's init, or to all of its processes."""

from __future__ import annotations

import os

from pycontain.kernel.errors import Error, NotFound, UsageError
from pycontain.oci import chosen, signals, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.oci.arguments import Call
    from pycontain.oci.state import Container


def kill(root: str, call: Call) -> int:
    """Send a signal, TERM where none is given; with --all also to a container whose init has ended. Raises Error."""
    if not 1 <= len(call.words) <= 2:
        raise UsageError("kill: a container ID is needed, and at most one signal", 1)
    number = signals.number(call.words[1] if len(call.words) > 1 else "TERM")
    if call.flag("regex"):
        return chosen.each(root, call.words[0], lambda name: _kill(state.find(root, name), call, number))
    _kill(state.find(root, call.words[0]), call, number)
    return 0


def _kill(container: Container, call: Call, number: int) -> None:
    if call.flag("all"):
        everybody(container, number)
        return
    # as runc has it: with a PID namespace of its own, its init's death is everybody's; without, KILL means all
    if number == signals.KILL and os.path.exists(container.path("shared")) and everybody(container, number):
        return
    fd = container.pidfd()
    if fd < 0 or not send(fd, number):
        raise Error(f"cannot kill container {container.id}: container not running", 1)


def send(pidfd: int, number: int) -> bool:
    """Whether the process was still there."""
    import _signal

    try:
        _signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def everybody(container: Container, number: int) -> bool:
    """A signal to every process; whether there was one: none is left where its cgroup is gone. Raises Error."""
    from pycontain.cgroup import group, hierarchy

    if container.without_cgroup():
        fd = container.pidfd()
        if fd < 0:
            return False
        there = send(fd, number)  # with init goes its PID namespace
        os.close(fd)
        return there
    directory = container.known_cgroup()
    tree = hierarchy.find()
    try:
        with group.find(tree, tree.path(directory)) as found:
            pids = found.processes()
            if number == signals.KILL:
                found.kill()
                return bool(pids)
            for pid in pids:
                if not pid:
                    continue  # of an outer PID namespace; to kill(2) it would be our own process group
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            return bool(pids)
    except NotFound:
        return False  # callers send --all to containers that have ended
