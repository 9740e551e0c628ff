"""config.json ``linux.namespaces``, id mappings and time offsets (config-linux.md, "Namespaces")."""

from __future__ import annotations

import os

from pycontain.kernel.errors import SpecError, os_text
from pycontain.launch import reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# sched.h
NEWTIME, NEWNS, NEWCGROUP, NEWUTS = 0x80, 0x20000, 0x2000000, 0x4000000
NEWIPC, NEWUSER, NEWPID, NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000

TYPES = {
    "pid": NEWPID,
    "network": NEWNET,
    "mount": NEWNS,
    "ipc": NEWIPC,
    "uts": NEWUTS,
    "user": NEWUSER,
    "cgroup": NEWCGROUP,
    "time": NEWTIME,
}
#: What /proc/PID/ns calls them.
PROC_NAMES = {
    NEWPID: "pid",
    NEWNET: "net",
    NEWNS: "mnt",
    NEWIPC: "ipc",
    NEWUTS: "uts",
    NEWUSER: "user",
    NEWCGROUP: "cgroup",
    NEWTIME: "time",
}


class Namespaces:
    """new: CLONE_NEW* bits of those to make. joined: type bit → path of those to enter.

    nested: the launching process is in a user namespace itself, and so what it makes.
    """

    def __init__(self) -> None:
        self.new = 0
        self.joined: dict[int, str] = {}
        self.uids = ""
        self.gids = ""
        self.time_offsets = ""
        self.nested = False

    @property
    def own_user(self) -> bool:
        """Whether the guest is in a user namespace that is not the host's."""
        return bool(self.new & NEWUSER) or NEWUSER in self.joined

    def owner(self) -> tuple[int, int]:
        """The host's IDs of the container's root, who makes its user namespace; -1 where that is the caller's own."""
        if not self.new & NEWUSER:
            return -1, -1
        uid, gid = outside(self.uids, 0), outside(self.gids, 0)
        return (uid, gid) if uid > 0 and gid >= 0 else (-1, -1)

    @property
    def confined(self) -> bool:
        """Whether the guest is in a user namespace at all: there no device is made, and no file system of the host."""
        return self.nested or self.own_user

    def has(self, bit: int) -> bool:
        return bool(self.new & bit) or bit in self.joined


def outside(text: str, number: int) -> int:
    """What an ID of the inside is outside, by the text of a uid_map; -1 where it is not mapped."""
    for line in text.splitlines():
        inside, host, size = [int(word) for word in line.split()]
        if inside <= number < inside + size:
            return host + number - inside
    return -1


def id_map(section: dict[str, Any], key: str, parent: str) -> str:
    """``uidMappings`` or ``gidMappings`` of an object as the text of /proc/PID/uid_map. Raises SpecError."""
    lines = []
    for index, entry in enumerate(reader.tables(section, key, parent)):
        where = f"{parent}.{key}[{index}]"
        values = [reader.number(entry, name, where, high=(1 << 32) - 2) for name in ("containerID", "hostID")]
        values.append(reader.number(entry, "size", where, high=(1 << 32) - 1))
        if values[2] == 0:
            raise SpecError(f"{where}.size", "is 0: expected at least 1")
        lines.append(" ".join([str(value) for value in values]) + "\n")
    return "".join(lines)


def _time_offsets(linux: dict[str, Any]) -> str:
    offsets = reader.table(linux, "timeOffsets", "linux")
    lines = []
    for clock in offsets:
        where = f"linux.timeOffsets.{clock}"
        if clock not in ("monotonic", "boottime"):
            raise SpecError(where, "is not a clock that a time namespace offsets: expected monotonic or boottime")
        entry = reader.table(offsets, clock, "linux.timeOffsets")
        secs = reader.number(entry, "secs", where, 0, low=-(1 << 62), high=1 << 62)
        nanosecs = reader.number(entry, "nanosecs", where, 0, high=999_999_999)
        lines.append(f"{clock} {secs} {nanosecs}\n")
    return "".join(lines)


def compile_namespaces(linux: dict[str, Any]) -> Namespaces:
    """``linux.namespaces`` with what belongs to them. Raises SpecError."""
    result = Namespaces()
    for index, entry in enumerate(reader.tables(linux, "namespaces", "linux")):
        where = f"linux.namespaces[{index}]"
        bit = reader.choice(entry, "type", where, TYPES)
        if result.has(bit):
            raise SpecError(f"{where}.type", f"a second {entry['type']} namespace")
        path = reader.text(entry, "path", where, "")
        if path:
            result.joined[bit] = reader.absolute(path, f"{where}.path")
        else:
            result.new |= bit
    result.uids, result.gids = id_map(linux, "uidMappings", "linux"), id_map(linux, "gidMappings", "linux")
    if result.new & NEWUSER and not (result.uids and result.gids):
        raise SpecError("linux.uidMappings", "a new user namespace needs uidMappings and gidMappings")
    if not result.new & NEWUSER and (result.uids or result.gids):
        raise SpecError("linux.uidMappings", "without a new user namespace there is nothing to map")
    result.time_offsets = _time_offsets(linux)
    if result.time_offsets and not result.new & NEWTIME:
        raise SpecError("linux.timeOffsets", "without a new time namespace there is nothing to offset")
    return result


def open_namespace(path: str, bit: int, where: str) -> int:
    """A descriptor of a namespace file, its type checked, that the helper inherits. Raises SpecError."""
    name = PROC_NAMES[bit]
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SpecError(where, f"cannot open {path}: {os_text(error)}") from None
    try:
        # nsfs answers with the type and inode of what the descriptor is, whatever the path was
        link = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        link = ""
    # a bind mount shows its path: ask the kernel itself
    if not link.startswith(f"{name}:[") and namespace_type(fd) != bit:
        os.close(fd)
        raise SpecError(where, f"{path} is not a {name} namespace")
    os.set_inheritable(fd, True)  # the helper enters it
    return fd


def namespace_type(fd: int) -> int:
    """The CLONE_NEW* bit of a namespace descriptor (ioctl_ns(2), NS_GET_NSTYPE), 0 when it is none."""
    import fcntl

    try:
        return fcntl.ioctl(fd, 0xB703)
    except OSError:
        return 0
