"""pause and resume: stop all processes of a container, let them go on (cgroup.freeze)."""

from __future__ import annotations

from pycontain.cgroup import group, hierarchy
from pycontain.kernel.errors import Error, NotFound
from pycontain.oci import state
from pycontain.oci.state import CREATED, PAUSED, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.cgroup.group import Group
    from pycontain.oci.arguments import Call
    from pycontain.oci.state import Container


def pause(root: str, call: Call) -> int:
    """Returns when all processes have stopped. Raises Error for a container that is not created or running."""
    container = state.find(root, call.id())
    if container.status() not in (CREATED, RUNNING):
        raise Error(f"cannot pause container {container.id}: container not running", 1)
    with _group(container) as found:
        found.freeze()
    return 0


def resume(root: str, call: Call) -> int:
    """Raises Error for a container that is not paused."""
    container = state.find(root, call.id())
    if container.status() != PAUSED:
        raise Error(f"cannot resume container {container.id}: container not paused", 1)
    with _group(container) as found:
        found.thaw()
    return 0


def _group(container: Container) -> Group:
    tree = hierarchy.find()
    try:
        return group.find(tree, tree.path(container.known_cgroup()))
    except NotFound:
        raise Error(f"container {container.id}: container not running: its cgroup is gone", 1) from None
