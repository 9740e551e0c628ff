"""What /proc says of memory, processors and time, of the container itself: by lxcfs(1), where the host runs it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIRECTORY = "/var/lib/lxcfs"
FILES = ("cpuinfo", "diskstats", "loadavg", "meminfo", "stat", "swaps", "uptime")


def available(directory: str = DIRECTORY) -> list[str]:
    """The files that it has; none where it is not mounted, or its process has died."""
    try:
        if os.stat(directory).st_dev == os.stat(os.path.dirname(directory)).st_dev:
            return []
        there = os.listdir(f"{directory}/proc")
    except OSError:
        return []
    return [name for name in FILES if name in there]


def mounts(directory: str = DIRECTORY) -> list[dict[str, Any]]:
    """Entries of a spec's ``mounts`` that put them in the place of the kernel's. They have no owners to map."""
    options = ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"]
    return [
        {"destination": f"/proc/{name}", "type": "bind", "source": f"{directory}/proc/{name}", "options": options}
        for name in available(directory)
    ]


def problem(directory: str = DIRECTORY) -> tuple[str, str]:
    """Why a guest sees the host's figures in /proc, and what would change it; two empty texts where it sees its own."""
    if available(directory):
        return "", ""
    what = "free, uptime and top inside show the host's figures, not a tenant's own"
    try:
        os.listdir(f"{directory}/proc")
    except FileNotFoundError:
        return f"lxcfs does not run: {what}", "install lxcfs, start its service and restart the tenants"
    except OSError:
        # its mount is there, and nobody answers
        return "lxcfs has died: what it showed in /proc cannot be read inside", "restart its service, then the tenants"
    return f"{directory} is no mount of lxcfs: {what}", "start its service and restart the tenants"
