"""What --security-opt and --privileged change in a spec: labels, masked paths, devices, what may be written."""

from __future__ import annotations

import os
from _stat import S_ISBLK, S_ISCHR

from pycontain.kernel import capability, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pycontain.engine.request import Request

MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

#: Mounts of the container's own, or what belongs to a terminal that is not its.
_NOT_DEVICES = frozenset(("pts", "shm", "mqueue", "fd", "console", "tty", "ptmx"))
#: SELinux's label of a container where only parts of it are given (container_selinux(8)).
_LABEL = ("system_u", "system_r", "container_t", "s0")
_PARTS = ("user", "role", "type", "level")


def capabilities(request: Request) -> list[str]:
    """Those of the container, by number. Raises UsageError."""
    if not request.privileged:
        return capability.adjusted(request.cap_add, request.cap_drop)
    wanted = capability.adjusted(["ALL", *request.cap_add], request.cap_drop)
    return [name for name in every_capability() if name in wanted]


def every_capability() -> list[str]:
    """All that this process can give, by number: its bounding set (capabilities(7))."""
    for line in files.read_text("/proc/self/status").splitlines():
        if line.startswith("CapBnd:"):
            return capability.names(int(line[7:], 16))
    return list(capability.NAMES)


def paths(request: Request) -> tuple[list[str], list[str]]:
    """``maskedPaths`` and ``readonlyPaths``. An unmask pattern is one of fnmatch(3), as podman has it."""
    masked, read_only = list(MASKED), list(READ_ONLY)
    if request.unmask:
        if "ALL" in [one.upper() for one in request.unmask]:
            masked, read_only = [], []
        else:
            masked, read_only = (_without(listed, request.unmask) for listed in (masked, read_only))
    return list(dict.fromkeys([*masked, *request.mask])), read_only


def _without(listed: list[str], patterns: list[str]) -> list[str]:
    from fnmatch import fnmatchcase

    wanted = [pattern.rstrip("/") for pattern in patterns]
    return [path for path in listed if not any(fnmatchcase(path, pattern) for pattern in wanted)]


def label_process(request: Request, process: dict[str, Any]) -> None:
    """The labels of the security modules; whether they are there is found where the spec is compiled."""
    if request.apparmor:
        process["apparmorProfile"] = request.apparmor
    if request.label_parts:
        given = dict(part.split(":", 1) for part in request.label_parts)
        process["selinuxLabel"] = ":".join(given.get(name, usual) for name, usual in zip(_PARTS, _LABEL, strict=True))


def privileged_mounts(mounts: list[dict[str, Any]]) -> None:
    """/sys and the cgroup can be written by a privileged container."""
    for mount in mounts:
        if mount["type"] in ("sysfs", "cgroup") and "ro" in mount["options"]:
            mount["options"] = ["rw" if option == "ro" else option for option in mount["options"]]


def host_devices() -> list[tuple[str, str, str]]:
    """Every device of the host's /dev as --device has it: where it is, where it is to be, all access."""
    return [(path, path, "rwm") for path in _nodes("/dev", _NOT_DEVICES)]


def _nodes(directory: str, skipped: frozenset[str]) -> Iterator[str]:
    with os.scandir(directory) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name in skipped or entry.is_symlink():
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _nodes(entry.path, frozenset())
            continue
        mode = entry.stat(follow_symlinks=False).st_mode
        if S_ISCHR(mode) or S_ISBLK(mode):
            yield entry.path
