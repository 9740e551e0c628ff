"""Controllers on their way down the tree: cgroup.subtree_control of every group above the one that wants them.

A controller works in a group when each group above it names it in its cgroup.subtree_control. Adding one is idempotent
and the kernel serialises it, so any number of starts may do it at once; nothing here takes a controller away.
"""

from __future__ import annotations

import errno
import os

from pycontain.cgroup import path as paths
from pycontain.kernel import files
from pycontain.kernel.errors import os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pycontain.cgroup.hierarchy import Hierarchy

_CONTROL = "cgroup.subtree_control"


def missing_from_root(hierarchy: Hierarchy, wanted: Iterable[str]) -> dict[str, str]:
    """For each wanted controller that the root does not have: the sentence that says so, without subject."""
    return {
        name: f"the {name} controller is not available in cgroup v2 on this host: {hierarchy.why_missing(name)}"
        for name in sorted(wanted)
        if name not in hierarchy.controllers
    }


def enable(hierarchy: Hierarchy, path: str, wanted: Iterable[str]) -> dict[str, str]:
    """Enable controllers in every group above ``path``.

    What cannot be enabled comes back with the sentence that says at which level, why, and what to do.
    """
    missing = missing_from_root(hierarchy, wanted)
    left = {name for name in wanted if name not in missing}
    for level in paths.parents(path):
        if not left:
            break
        if len(level) < len(hierarchy.root):
            continue  # above what is mounted here
        refused = _enable_at(hierarchy, level, left)
        missing.update(refused)
        left -= refused.keys()
    return missing


def _enable_at(hierarchy: Hierarchy, level: str, wanted: set[str]) -> dict[str, str]:
    """Enable controllers for the children of one group; the refused ones with their sentences.

    Raises FileNotFoundError where somebody has removed the group meanwhile.
    """
    directory = hierarchy.directory(level)
    lacking = sorted(wanted.difference(files.read_bytes(f"{directory}/{_CONTROL}").decode().split()))
    if not lacking:
        return {}
    try:
        _write(directory, lacking)
        return {}
    except OSError:
        pass
    # One refusal refuses the whole write: find out which it was, and enable the others.
    refused = {}
    for name in lacking:
        try:
            _write(directory, [name])
        except OSError as error:
            if error.errno == errno.ENOENT and not os.path.exists(directory):
                raise
            refused[name] = _sentence(hierarchy, level, name, error)
    return refused


def _write(directory: str, names: list[str]) -> None:
    fd = os.open(f"{directory}/{_CONTROL}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, " ".join(f"+{name}" for name in names).encode())
    finally:
        os.close(fd)


def _sentence(hierarchy: Hierarchy, level: str, name: str, error: OSError) -> str:
    """Why a group cannot pass a controller on to its children."""
    directory = hierarchy.directory(level)
    head = f"the {name} controller cannot be enabled below cgroup {level}: "
    number = error.errno
    if number == errno.EBUSY:
        return (
            head + f"{residents(directory)}, and a cgroup v2 group that holds processes itself cannot divide {name} "
            "among children (cgroups(7), no internal processes); move them into a child group, "
            "or choose another parent (--cgroup-parent)"
        )
    if number == errno.EOPNOTSUPP:
        return head + (
            f"its cgroup.type is {kind(directory)!r}, and a threaded group cannot divide {name}; "
            "choose another parent (--cgroup-parent)"
        )
    if number in (errno.EACCES, errno.EPERM):
        return head + (
            f"{os_text(error)} on its cgroup.subtree_control; have it delegated (for a user session: systemctl edit "
            'user@.service, "[Service]" and "Delegate=cpu cpuset io memory pids"), or run as root'
        )
    if number == errno.EROFS:
        return head + f"{hierarchy.mount} is mounted read-only; mount cgroup2 read-write"
    if number == errno.ENOENT:
        return f"the {name} controller is not delegated to cgroup {level}: it is not in its cgroup.controllers"
    if number == errno.EINVAL and name == "cpu":
        return head + (
            "Invalid argument; a kernel with CONFIG_RT_GROUP_SCHED refuses while realtime processes live outside the "
            "root group"
        )
    return head + os_text(error)


def kind(directory: str) -> str:
    """cgroup.type of a group: ``domain``, ``domain threaded``, ``domain invalid`` or ``threaded``; of the root too."""
    try:
        return files.read_text(f"{directory}/cgroup.type").strip()
    except OSError:
        return "domain"


def residents(directory: str) -> str:
    """The processes that live in a group itself, in words."""
    try:
        pids = files.read_text(f"{directory}/cgroup.procs").split()
    except OSError:
        pids = []
    return describe_processes([int(pid) for pid in pids])


def describe_processes(pids: list[int]) -> str:
    """``processes 12 (bash), 14 (sleep) live in it``: some of them, for an error text."""
    if not pids:
        return "processes live in it"
    words = [f"{pid} ({_command(pid)})" for pid in pids[:3]]
    more = f" and {len(pids) - 3} more" if len(pids) > 3 else ""
    return f"{'process' if len(pids) == 1 else 'processes'} {', '.join(words)}{more} live{'s' * (len(pids) == 1)} in it"


def _command(pid: int) -> str:
    try:
        return files.read_text(f"/proc/{pid}/comm").strip() or "?"
    except OSError:
        return "?"
