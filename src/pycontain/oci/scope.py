"""A container's scope: of the system's systemd, in a user namespace of the user's own, as runc and crun do.

Not for the start road but systemd's own.
"""

from __future__ import annotations

from pycontain.cgroup import hierarchy, systemd, unit
from pycontain.cgroup.dbus import Unreachable
from pycontain.oci import groupless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.cgroup.group import Group
    from pycontain.cgroup.write import Write


def place(
    path: str, container_id: str, writes: Sequence[Write], missing: str, groupless_allowed: bool
) -> tuple[Group | None, list[str]]:
    """The scope that linux.cgroupsPath names, with these limits, and the warnings of those that are left out.

    groupless_allowed: None for the group where there is no systemd to ask. Raises Error.
    """
    user = systemd.ordinary()
    where = unit.parse(path, container_id, "linux.cgroupsPath", user=user)
    try:
        return systemd.place(hierarchy.find(), where, writes, missing)
    except Unreachable as error:
        if not user or not groupless_allowed:
            raise
        return None, groupless.without(error.message, writes, missing).warnings


def reach(directory: str) -> None:
    """Before exec makes a process in a container's scope: be where this user may do that. Raises Error."""
    if systemd.ordinary():
        tree = hierarchy.find()
        systemd.reach(tree, tree.path(directory))
