"""delete: remove what create has made, whatever is left of it."""

from __future__ import annotations

import os

from pycontain.kernel import files
from pycontain.kernel.errors import Error, NotFound, UsageError
from pycontain.launch.start import run_helper
from pycontain.oci import chosen, create, hooks, kill, signals, state
from pycontain.oci.report import report
from pycontain.oci.state import STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.cgroup.hierarchy import Hierarchy
    from pycontain.oci.arguments import Call
    from pycontain.oci.state import Container


def delete(root: str, call: Call) -> int:
    """Remove a container that has stopped, with --force one in any state. Raises Error."""
    if call.flag("regex"):
        if len(call.words) != 1:
            raise UsageError("delete: exactly one regular expression is needed", 1)
        return chosen.each(root, call.words[0], lambda name: _delete(root, name, call))
    _delete(root, call.id(), call)
    return 0


def _delete(root: str, name: str, call: Call) -> None:
    if call.flag("force"):
        container = state.Container(root, name)
        if os.path.lexists(container.directory):
            _find_again(container)
            _kill_init(container)
            remove(container, call)
        return
    container = state.find(root, name)
    status = container.status()
    if status != STOPPED:
        raise Error(f"cannot delete container {container.id} that is not stopped: {status}", 1)
    remove(container, call)


def _find_again(container: Container) -> None:
    """The facts, as far as they can be read."""
    try:
        container.facts = state.find(os.path.dirname(container.directory), container.id).facts
    except Error:
        pass  # damaged: what is left goes


def _kill_init(container: Container) -> None:
    fd = container.pidfd()
    if fd >= 0:
        kill.send(fd, signals.KILL)
        os.close(fd)


def remove(container: Container, call: Call) -> None:
    """Remove what is left of a container, then execute its poststop hooks. Raises Error."""
    from pycontain.cgroup import group, hierarchy

    poststop, who = hooks.load(container, "poststop")
    directory = container.cgroup() or str(container.facts.get("cgroup") or "")
    if container.without_cgroup():
        tree = None
    else:
        tree = hierarchy.find()
    if tree is None:
        _wait_end(container)
    elif directory and directory != tree.mount:
        try:
            with group.find(tree, tree.path(directory)) as found:
                found.kill()
                found.remove()
        except NotFound:
            pass
    elif not directory:
        _remove_unrecorded(container, tree)
    for path in container.facts.get("resctrl") or []:
        try:
            os.rmdir(path)
        except OSError:
            continue  # others are in the group
    run_helper(["rmtree", container.directory])
    for text in hooks.warn_all(poststop, "poststop", who):
        report(text, call.globals, "warning")


def _wait_end(container: Container) -> None:
    """Kill what is left of a container without a cgroup: its PID namespace goes with its init."""
    import select

    fd = container.pidfd()
    if fd < 0:
        return
    kill.send(fd, signals.KILL)
    gone = select.poll()
    gone.register(fd, select.POLLIN)
    gone.poll(10_000)
    os.close(fd)


def _remove_unrecorded(container: Container, tree: Hierarchy) -> None:
    """The cgroup of a container that does not say where it is: where create puts it, by what is left of config.json.

    A create that was killed before it had written where the group is has no process in it: one that has processes is
    somebody else's, and stays. A file that is there and says nothing was damaged later: they are the container's own.
    """
    from pycontain.cgroup import group

    try:
        linux = files.read_json(container.path("config.json"))["linux"]
        path = linux.get("cgroupsPath") or ""
    except (OSError, Error, LookupError, TypeError, AttributeError):
        path = ""
    if type(path) is not str or ":" in path:
        return  # systemd removes a scope that is empty
    path = path or f"{create.DEFAULT_CGROUP_PARENT}/{container.id}"
    damaged = os.path.exists(container.path("cgroup"))
    try:
        with group.find(tree, path if path.startswith("/") else f"/{path}") as found:
            if found.path == tree.root:
                return
            if damaged:
                found.kill()
            found.remove(timeout=5.0 if damaged else 0)
    except Error:
        pass  # it is not there, or not empty
