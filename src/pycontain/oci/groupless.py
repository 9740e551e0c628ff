"""create without a cgroup: where this user namespace may make none (--rootless auto or true), as runc and crun do."""

from __future__ import annotations

import os

from pycontain.cgroup import hierarchy
from pycontain.cgroup.write import needed
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.cgroup.write import Write


class Lacking:
    """warnings: one for each controller whose limits are left out."""

    __slots__ = ("warnings",)

    def __init__(self, warnings: list[str]) -> None:
        self.warnings = warnings


def check(path: str, writes: Sequence[Write], missing: str) -> Lacking | None:
    """None where the group can be made. Raises Error for limits that cannot be kept then, or with "warn" says so."""
    reason = _reason(path)
    return without(reason, writes, missing) if reason else None


def without(reason: str, writes: Sequence[Write], missing: str) -> Lacking:
    """No group, for that reason. Raises Error for limits, or with "warn" says so."""
    names = sorted(needed(writes))
    if names and missing != "warn":
        raise Error(f"{names[0]} limit: the {names[0]} controller is not available: {reason}", 1)
    return Lacking([f"{name} limit: not kept: {reason}" for name in names])


def _reason(path: str) -> str:
    """Why a group cannot be made, "" where it can."""
    try:
        directory = hierarchy.find().directory(path)
    except Error as error:
        return error.message
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    for place in (directory, f"{directory}/cgroup.procs"):
        if not os.access(place, os.W_OK):
            return f"this user namespace may not write {place}: have it delegated (systemd-run --user -p Delegate=yes)"
    return ""
