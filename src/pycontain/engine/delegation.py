"""Cgroups of an ordinary user: a scope of the user's own systemd, a group below one that is the user's, or none.

A container without a cgroup has no limits, and can be neither frozen nor measured; its end is that of its PID
namespace. What asks for a limit is refused there, as on a host without the controller.
"""

from __future__ import annotations

import os

from pycontain.cgroup import hierarchy
from pycontain.kernel import config, rootless
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.cgroup.hierarchy import Hierarchy
    from pycontain.engine.record import Record
    from pycontain.engine.request import Request

#: What a container without a cgroup cannot have, as the end of a sentence.
WHY = (
    "this user has no cgroup: one comes with a systemd of the user's own (log in by it, or as root: loginctl "
    "enable-linger USER; Delegate= of user@.service says which controllers)"
)


def manager(request: Request, configured: str) -> str:
    """Who makes a new container's cgroup: systemd, cgroupfs, or "" for nobody. Raises Error."""
    if request.cgroup_manager or configured != config.CGROUPFS:
        return request.cgroup_manager or configured
    if _systemd_delegates():
        return config.SYSTEMD
    try:
        return config.CGROUPFS if base(hierarchy.find()) else ""
    except Error:
        return ""


def parent(given: str) -> str:
    """The cgroup below which this user's are made by pycontain itself. Raises Error."""
    found = base(hierarchy.find())
    if not found:
        raise Error(f"--cgroup-manager=cgroupfs: {WHY}")
    return f"{found}/{given or 'pycontain'}" if not given.startswith("/") else given


def base(tree: Hierarchy) -> str:
    """The group in which this user may make others and move processes from its own there; "" for none.

    That is the one above this process's, since a group with processes in it divides no controllers among others.
    """
    above = os.path.dirname(tree.own())
    if above == "/":
        return ""
    try:
        directory = tree.directory(above)
    except Error:
        return ""
    ours = os.access(directory, os.W_OK) and os.access(f"{directory}/cgroup.procs", os.W_OK)
    return above if ours else ""


def _service() -> str:
    user = rootless.user()
    return f"/user.slice/user-{user}.slice/user@{user}.service"


def _systemd_delegates() -> bool:
    """Whether the user's own systemd is there and has been given cgroup v2."""
    if rootless.user() < 0:
        return False
    directory = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{rootless.user()}"
    if not os.path.exists(f"{directory}/systemd/private") and not os.path.exists(f"{directory}/bus"):
        return False
    try:
        tree = hierarchy.find()
        return os.access(f"{tree.directory(_service())}/cgroup.procs", os.W_OK)
    except Error:
        return False


def place(tree: Hierarchy) -> str:
    """The group below which this user's containers live, as far as that is known."""
    return _service() if _systemd_delegates() else base(tree)


def enter(record: Record) -> None:
    """Before a process is made in a scope: move to where the kernel lets this user do that. Raises Error.

    A session's own scope is the system's: out of it no process gets into a group of the user's (cgroups(7), delegation
    containment) but by systemd's hand.
    """
    if ":" not in record.cgroup or rootless.user() < 0:
        return
    if hierarchy.find().own().startswith(f"{_service()}/"):
        return
    from pycontain.cgroup import systemd

    systemd.move()


def check(spec: dict[str, Any], record: Record) -> list[str]:
    """For a container without a cgroup: warnings about limits that are not kept, where it was made to take that.

    Raises Error.
    """
    resources = spec["linux"].get("resources") or {}
    names = {"memory": "memory", "cpu": "cpu", "pids": "pids", "blockIO": "io"}
    wanted = sorted(names.get(key, key) for key in resources if key != "devices" and resources[key])
    if wanted and record.missing_controllers != "warn":
        raise Error(f"{wanted[0]} limit: the {wanted[0]} controller is not available: {WHY}")
    if not any(space.get("type") == "pid" for space in spec["linux"]["namespaces"]):
        raise Error(f"--pid host: nobody would know when the container has ended: {WHY}")
    return [f"{name} limit: not kept: {WHY}" for name in wanted]
