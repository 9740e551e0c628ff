"""stop, kill, wait, pause: what happens to a container that is alive."""

from __future__ import annotations

import time

from pycontain.engine import control, load, names, repair, state
from pycontain.kernel.errors import Error, InUse, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.cgroup.group import Group
    from pycontain.engine.paths import Paths

_SIGKILL = 9
#: Who sends one of these wants the container to end: SIGINT, SIGQUIT, SIGKILL, SIGTERM.
_ENDING = (2, 3, _SIGKILL, 15)
#: An init that SIGKILL does not end in this time (seconds) hangs in the kernel.
_KILL_TIME = 10.0
#: So long, in seconds, somebody may have a container's lock without a monitor: to make, start or remove it.
_START_TIME = 20.0


def _monitor(paths: Paths, container_id: str) -> control.Monitor | None:
    """The monitor of a container, None where it does not run; what a killed one left is put right first.

    One that is being started, or started again by its restart policy, is waited for. Raises InUse, Error.
    """
    deadline = time.monotonic() + _START_TIME
    while True:
        repair.repair(paths, container_id)
        monitor = control.connect(paths, container_id)
        if monitor is not None or not state.alive(paths, container_id):
            return monitor
        if time.monotonic() > deadline:
            raise InUse(f"container {container_id[:12]}: another command works on it: try again")
        time.sleep(0.005)


def _last_monitor(paths: Paths, container_id: str) -> control.Monitor | None:
    """As _monitor; and its restart policy will not start the container again."""
    deadline = time.monotonic() + _START_TIME
    while True:
        monitor = _monitor(paths, container_id)
        if monitor is None or monitor.forbid_restart():
            return monitor
        # it ended, or became what starts the container again, before it knew
        monitor.close()
        if time.monotonic() > deadline:
            raise Error(
                f"container {container_id[:12]}: its monitor does not answer: it has too many clients: try again"
            )


def stop(paths: Paths, text: str, seconds: int | None) -> None:
    """Its stop signal, then SIGKILL after ``seconds`` (None: what it was made with; -1: never).

    A container that does not run is no error. Raises NotFound, Error.
    """
    container_id = names.find(paths, text)
    monitor = _last_monitor(paths, container_id)
    if monitor is None:
        return
    try:
        record = load.read_record(paths, container_id)
        number, patience = record.stop_signal, record.stop_timeout
    except Error:
        number, patience = 15, 10  # a damaged record is no reason to let it run
    patience = patience if seconds is None else seconds
    try:
        monitor.send_signal(number)
        _thaw(paths, container_id)
        if monitor.wait(None if patience < 0 else patience) is None:
            _kill(paths, container_id, monitor)
        monitor.wait_gone()
    finally:
        monitor.close()


def _thaw(paths: Paths, container_id: str) -> None:
    """What is frozen hears no signal but SIGKILL."""
    if state.read(paths, container_id).status == state.PAUSED:
        try:
            with _group(paths, container_id) as group:
                group.thaw()
        except NotFound:
            pass  # it has ended


def _kill(paths: Paths, container_id: str, monitor: control.Monitor) -> None:
    monitor.send_signal(_SIGKILL)
    if monitor.wait(_KILL_TIME) is None and state.alive(paths, container_id):
        raise Error(
            f"container {container_id[:12]} does not end on SIGKILL: a process of it hangs in the kernel (state D in "
            "'pycontain top': a disk or network file system may not answer), or is not reaped by its parent on the "
            "host (state Z)"
        )


def kill(paths: Paths, text: str, number: int) -> None:
    """Send a signal to its init. After one that is to end it, its restart policy is not asked. Raises Error."""
    container_id = names.find(paths, text)
    monitor = (_last_monitor if number in _ENDING else _monitor)(paths, container_id)
    if monitor is None:
        raise Error(f"container {text} is not running")
    try:
        monitor.send_signal(number)
        if number == _SIGKILL:
            monitor.wait(_KILL_TIME)
    finally:
        monitor.close()


def end(paths: Paths, container_id: str) -> None:
    """SIGKILL, and wait until nothing of it runs. Raises Error."""
    monitor = _last_monitor(paths, container_id)
    if monitor is None:
        return
    try:
        _kill(paths, container_id, monitor)
        monitor.wait_gone()
    finally:
        monitor.close()


def hurry(paths: Paths, container_id: str) -> control.Monitor | None:
    """Have it killed, for somebody who ends it in a moment; the connection, None where it does not run.

    What cannot be done now, ``end`` finds out and says.
    """
    try:
        monitor = control.connect(paths, container_id)
    except Error:
        return None
    if monitor is not None:
        monitor.tell_no_restart()
        monitor.send_signal(_SIGKILL)
    return monitor


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
        names.find(paths, text)  # one that was removed at its end is not one that never was started
        raise Error(f"container {text} was never started: there is no end to wait for")
    return last.code


def _group(paths: Paths, container_id: str) -> Group:
    from pycontain.cgroup import group, hierarchy

    tree = hierarchy.find()
    directory = state.need_cgroup(paths, container_id, "pause")
    return group.find(tree, tree.path(directory))


def pause(paths: Paths, text: str, frozen: bool) -> None:
    """Freeze or thaw a container; returns when all its processes are. Raises Error, InUse where it is so already."""
    container_id = names.find(paths, text)
    pid, _ = state.read_pid(paths, container_id)
    monitor = _monitor(paths, container_id)
    if monitor is None:
        raise Error(f"container {text} is not running")
    monitor.close()
    status = state.read(paths, container_id).status
    if status not in (state.RUNNING, state.PAUSED):
        raise Error(f"container {text} is {status}: only a running one can be paused")
    if (status == state.PAUSED) == frozen:
        raise InUse(f"container {text} is {'paused already' if frozen else 'not paused'}")
    with _group(paths, container_id) as group:
        # whose monitor was there: another life's group has the same name, and its start would never end if it froze
        if not pid or state.read_pid(paths, container_id)[0] != pid:
            raise Error(f"container {text} is not running")
        group.freeze() if frozen else group.thaw()
