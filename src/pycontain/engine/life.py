"""stop, kill, wait, pause: what happens to a container that is alive."""

from __future__ import annotations

from pycontain.engine import control, load, names, repair, state
from pycontain.kernel.errors import Error, InUse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.cgroup.group import Group
    from pycontain.engine.paths import Paths

_SIGKILL = 9
#: An init that SIGKILL does not end in this time (seconds) hangs in the kernel.
_KILL_TIME = 10.0


def _monitor(paths: Paths, container_id: str) -> control.Monitor | None:
    """The monitor of a container, None where it does not run; what a killed one left is put right first."""
    repair.repair(paths, container_id)
    return control.connect(paths, container_id)


def _running(paths: Paths, text: str) -> tuple[str, control.Monitor]:
    container_id = names.find(paths, text)
    monitor = _monitor(paths, container_id)
    if monitor is None:
        raise Error(f"container {text} is not running")
    return container_id, monitor


def stop(paths: Paths, text: str, seconds: int | None) -> None:
    """Its stop signal, then SIGKILL after ``seconds`` (None: what it was made with; -1: never).

    A container that does not run is no error. Raises NotFound, Error.
    """
    container_id = names.find(paths, text)
    monitor = _monitor(paths, container_id)
    if monitor is None:
        return
    try:
        record = load.read_record(paths, container_id)
        number, patience = record.stop_signal, record.stop_timeout
    except Error:
        number, patience = 15, 10  # a damaged record is no reason to let it run
    patience = patience if seconds is None else seconds
    try:
        monitor.forbid_restart()
        monitor.send_signal(number)
        if state.read(paths, container_id).status == state.PAUSED:
            _group(paths, container_id).thaw()  # what is frozen hears no signal but SIGKILL
        if monitor.wait(None if patience < 0 else patience) is None:
            _kill(paths, container_id, monitor)
        monitor.wait_gone()
    finally:
        monitor.close()


def _kill(paths: Paths, container_id: str, monitor: control.Monitor) -> None:
    monitor.send_signal(_SIGKILL)
    if monitor.wait(_KILL_TIME) is None and state.alive(paths, container_id):
        raise Error(
            f"container {container_id[:12]} does not end on SIGKILL: a process of it hangs in the kernel "
            "(state D in 'pycontain top'); a disk or network file system may not answer"
        )


def kill(paths: Paths, text: str, number: int) -> None:
    """Send a signal to its init. After one that is to end it, its restart policy is not asked. Raises Error."""
    _, monitor = _running(paths, text)
    try:
        if number in (_SIGKILL, 15, 2, 3):
            monitor.forbid_restart()
        monitor.send_signal(number)
        if number == _SIGKILL:
            monitor.wait(_KILL_TIME)
    finally:
        monitor.close()


def end(paths: Paths, container_id: str) -> None:
    """SIGKILL, and wait until nothing of it runs. Raises Error."""
    monitor = _monitor(paths, container_id)
    if monitor is None:
        return
    try:
        monitor.forbid_restart()
        _kill(paths, container_id, monitor)
        monitor.wait_gone()
    finally:
        monitor.close()


def wait(paths: Paths, text: str) -> int:
    """The exit status: at its end, or of the last one. -1: nobody saw it. Raises NotFound, Error."""
    container_id = names.find(paths, text)
    monitor = _monitor(paths, container_id)
    if monitor is not None:
        try:
            code = monitor.wait(None)
        finally:
            monitor.close()
        if code is not None:
            return code
        repair.repair(paths, container_id)
    last = state.read_exit(paths, container_id)
    if last is None:
        raise Error(f"container {text} was never started: there is no end to wait for")
    return last.code


def _group(paths: Paths, container_id: str) -> Group:
    from pycontain.cgroup import group, hierarchy

    tree = hierarchy.find()
    directory = state.cgroup_directory(paths, container_id)
    return group.find(tree, tree.path(directory))


def pause(paths: Paths, text: str, frozen: bool) -> None:
    """Freeze or thaw a container; returns when all its processes are. Raises Error, InUse where it is so already."""
    container_id, monitor = _running(paths, text)
    monitor.close()
    status = state.read(paths, container_id).status
    if status not in (state.RUNNING, state.PAUSED):
        raise Error(f"container {text} is {status}: only a running one can be paused")
    if (status == state.PAUSED) == frozen:
        raise InUse(f"container {text} is {'paused already' if frozen else 'not paused'}")
    with _group(paths, container_id) as group:
        group.freeze() if frozen else group.thaw()
