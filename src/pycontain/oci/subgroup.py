"""Where exec's process lives: the container's cgroup, one below it, or where its init has gone."""

from __future__ import annotations

import os

from pycontain.cgroup import hierarchy
from pycontain.kernel import files
from pycontain.kernel.errors import Error, UsageError, os_text

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def wanted(given: list[str]) -> str:
    """The path of --cgroup below the container's, "" where it is not given. Raises UsageError, in runc's words."""
    for text in given:
        controller, colon, _ = text.partition(":")
        if text.count(":") > 1:
            raise UsageError(f"invalid --cgroup argument: {text}")
        if colon and not controller:
            raise UsageError(f"invalid --cgroup argument: {text} (empty <controller> prefix)")
        if colon:
            raise UsageError(f"unknown controller {controller} in --cgroup: cgroup v2 has one path for all controllers")
    if len(given) > 1:
        raise UsageError(f"invalid --cgroup argument: {given[0]} (missing <controller>: prefix)")
    path = given[0] if given else ""
    if ".." in path.split("/"):
        raise UsageError(f"{path} is not a sub cgroup path")
    return path.strip("/")


def open_group(directory: str, init: int, given: list[str]) -> int:
    """A descriptor, which the helper inherits, of the group for exec's process. Raises Error.

    A container that divides its resources (systemd as its init) has processes only in groups below its own; there the
    process goes to where its init is.
    """
    below = wanted(given)
    path = f"{directory}/{below}" if below else directory
    fd = _open(path)
    if not given and files.read_bytes("cgroup.subtree_control", dir_fd=fd).split():
        os.close(fd)
        fd = _open(_of(init) or path)
    os.set_inheritable(fd, True)
    return fd


def _open(path: str) -> int:
    try:
        return os.open(path, _DIRECTORY)
    except OSError as error:
        raise Error(f"cannot join the cgroup {path}: {os_text(error).lower()}") from None


def _of(pid: int) -> str:
    """The directory of a process's cgroup, "" where it has ended."""
    try:
        lines = files.read_text(f"/proc/{pid}/cgroup").splitlines()
    except OSError:
        return ""
    for line in lines:
        if line.startswith("0::"):
            return hierarchy.find().directory(line[3:])
    return ""
