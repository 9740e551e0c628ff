"""To whom a container's cgroup is given (runtime-spec config-linux.md, "Cgroup ownership")."""

from __future__ import annotations

from pycontain.launch import mounts, reader
from pycontain.launch.namespaces import NEWCGROUP, NEWUSER, compile_namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MOUNT = "/sys/fs/cgroup"


def owner(spec: dict[str, Any]) -> tuple[int, int] | None:
    """The host's uid and gid of the container's root, where the group is its own to divide; else None.

    That is where a new cgroup namespace and a new user namespace are asked for and the cgroup file system is mounted
    for writing on /sys/fs/cgroup. Raises SpecError.
    """
    spaces = compile_namespaces(reader.table(spec, "linux", ""))
    if not spaces.new & NEWCGROUP or not spaces.new & NEWUSER or not _writable(spec):
        return None
    uid, gid = _mapped(spaces.uids), _mapped(spaces.gids)
    return None if uid is None or gid is None else (uid, gid)


def _mapped(lines: str) -> int | None:
    """What id 0 of the namespace is outside."""
    for line in lines.splitlines():
        inside, outside, size = (int(word) for word in line.split())
        if inside == 0 and size:
            return outside
    return None


def _writable(spec: dict[str, Any]) -> bool:
    for index, mount in enumerate(reader.tables(spec, "mounts", "")):
        if mount.get("destination") == _MOUNT and mount.get("type") in ("cgroup", "cgroup2"):
            options = mounts.parse_options(reader.texts(mount, "options", f"mounts[{index}]"))
            return not (options.set | options.all_set) & mounts.RDONLY
    return False
