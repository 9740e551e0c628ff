"""The mount table of this mount namespace: /proc/PID/mountinfo, see proc_pid_mountinfo(5).

A host can have ten thousand mounts, so ``of_type`` searches the bytes and parses only the lines that it returns.
"""

from __future__ import annotations

import os

from pycontain.kernel import files

PATH = "/proc/self/mountinfo"
#: An overlay of 500 layers has a line of 100 KB: more than files.LIMIT is needed before it is an attack.
_LIMIT = 256 << 20


class Mount:
    """One line of mountinfo, its escapes undone.

    number, parent: mount IDs. device: st_dev of the file system. root: which directory of the file system is mounted.
    point: where. options: of this mount. propagation: the optional fields, such as ``shared:7``. type, source: of the
    file system. super_options: its own options.
    """

    __slots__ = (
        "device",
        "number",
        "options",
        "parent",
        "point",
        "propagation",
        "root",
        "source",
        "super_options",
        "type",
    )

    def __init__(self, line: bytes) -> None:
        """Parse one line. Raises ValueError."""
        head, separator, tail = line.partition(b" - ")
        fields, after = head.split(b" "), tail.split(b" ", 2)
        if not separator or len(fields) < 6 or len(after) < 2:
            raise ValueError(f"not a line of mountinfo: {line!r}")
        self.number, self.parent = int(fields[0]), int(fields[1])
        major, _, minor = fields[2].partition(b":")
        self.device = os.makedev(int(major), int(minor))
        self.root, self.point = unescape(fields[3]), unescape(fields[4])
        self.options = fields[5].decode().split(",")
        self.propagation = [field.decode() for field in fields[6:]]
        self.type, self.source = unescape(after[0]), unescape(after[1])
        self.super_options = unescape(after[2]).split(",") if len(after) > 2 else []

    @property
    def read_only(self) -> bool:
        """Whether the mount or its file system is read-only."""
        return "ro" in self.options or "ro" in self.super_options

    def reachable(self) -> bool:
        """Whether its mount point leads to it: nothing is mounted over it, and it can be looked up."""
        try:
            return os.stat(self.point).st_dev == self.device
        except OSError:
            return False

    def __repr__(self) -> str:
        return f"Mount({self.type} on {self.point})"


def unescape(field: bytes) -> str:
    """A field of mountinfo as it is: the kernel writes space, tab, newline and backslash as ``\\ooo``."""
    if b"\\" not in field:
        return os.fsdecode(field)
    first, *rest = field.split(b"\\")
    pieces = [first]
    for piece in rest:
        digits = piece[:3]
        if len(digits) == 3 and digits.isdigit():
            pieces.append(bytes([int(digits, 8) & 0xFF]) + piece[3:])
        else:
            pieces.append(b"\\" + piece)
    return os.fsdecode(b"".join(pieces))


def read(path: str = PATH) -> bytes:
    """The mount table as the kernel prints it. Raises OSError."""
    return files.read_bytes(path, limit=_LIMIT)


def of_type(data: bytes, kind: str) -> list[Mount]:
    """The mounts of one file system type, in the order of the table (a later one may cover an earlier one)."""
    needle = b" - " + kind.encode() + b" "
    found = []
    at = data.find(needle)
    while at >= 0:
        start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        line = data[start : end if end >= 0 else len(data)]
        # The first separator of the line is the separator; further ones are text of the source or the options.
        if line.find(b" - ") == at - start:
            found.append(Mount(line))
        at = data.find(needle, at + 1)
    return found


def parse(data: bytes) -> list[Mount]:
    """All mounts, in the order of the table: not for the start road."""
    return [Mount(line) for line in data.split(b"\n") if line]
