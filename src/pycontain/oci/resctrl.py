"""``linux.intelRdt``: a group of the resctrl file system (runtime-spec config-linux.md, "IntelRdt")."""

from __future__ import annotations

import os

from pycontain.kernel import files, mountinfo
from pycontain.kernel.errors import Error, SpecError, os_text
from pycontain.launch import reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WHERE = "linux.intelRdt"
_MONITORING = ("enableCMT", "enableMBM", "enableMonitoring")


class Wanted:
    """A checked ``linux.intelRdt``. group: its name, "" for the root. lines: of the file schemata, in their order."""

    __slots__ = ("group", "lines", "monitoring", "named")

    def __init__(self, group: str, named: bool, lines: list[str], monitoring: bool) -> None:
        self.group = group
        self.named = named
        self.lines = lines
        self.monitoring = monitoring


def compile(linux: dict[str, Any], container_id: str) -> Wanted | None:
    """What the section asks for, None where it is absent. Raises SpecError."""
    if linux.get("intelRdt") is None:
        return None
    section = reader.table(linux, "intelRdt", "linux")
    group = reader.text(section, "closID", _WHERE, "")
    if group in (".", "..") or "\n" in group or ("/" in group and group != "/"):
        raise SpecError(f"{_WHERE}.closID", f"{group!r} is not the name of a group")
    lines: list[str] = []
    for key, prefix in (("l3CacheSchema", "L3"), ("memBwSchema", "MB:")):
        text = reader.text(section, key, _WHERE, "")
        for line in text.splitlines():
            # config-linux.md: of the older property the lines of the other resource are left out
            if key == "memBwSchema" and not line.startswith(prefix):
                raise SpecError(f"{_WHERE}.{key}", f"{line!r} does not begin with {prefix}")
            if key == "memBwSchema" or not line.startswith("MB:"):
                lines.append(line)
    for index, line in enumerate(reader.texts(section, "schemata", _WHERE)):
        if "\n" in line.rstrip("\n") or ":" not in line:
            raise SpecError(f"{_WHERE}.schemata[{index}]", f"{line!r} is not one line such as L3:0=f")
        lines.append(line.rstrip("\n"))
    monitoring = [reader.flag(section, key, _WHERE) for key in _MONITORING]
    return Wanted("" if group == "/" else group or container_id, bool(group), lines, any(monitoring))


def mount_point() -> str:
    """Where resctrl is mounted. Raises SpecError."""
    for mount in mountinfo.of_type(mountinfo.read(), "resctrl"):
        return mount.point
    raise SpecError(_WHERE, "this host has no resctrl file system mounted: mount -t resctrl resctrl /sys/fs/resctrl")


class Group:
    """A group that a container is to be in. made: the directories of ours, the innermost first."""

    __slots__ = ("directory", "made", "monitor")

    def __init__(self, directory: str, monitor: str, made: list[str]) -> None:
        self.directory = directory
        self.monitor = monitor
        self.made = made

    def undo(self) -> None:
        """Remove what was made; a group that is in use by then stays."""
        for path in self.made:
            try:
                os.rmdir(path)
            except OSError:
                continue


def place(wanted: Wanted, root: str, container_id: str) -> Group:
    """Make the group and write its schemata. Raises SpecError, Error; nothing is left behind then."""
    directory = f"{root}/{wanted.group}" if wanted.group else root
    group = Group(directory, "", [])
    try:
        _make(group, directory, wanted)
        _write(directory, wanted.lines)
        if wanted.monitoring and wanted.named:
            group.monitor = f"{directory}/mon_groups/{container_id}"
            os.mkdir(group.monitor)
            group.made.insert(0, group.monitor)
    except OSError as error:
        group.undo()
        raise Error(f"{_WHERE}: {error.filename or directory}: {os_text(error)}: {_why(root)}", 1) from None
    except Error:
        group.undo()
        raise
    return group


def _make(group: Group, directory: str, wanted: Wanted) -> None:
    if not wanted.group:
        return
    try:
        os.mkdir(directory)
    except FileExistsError:
        return
    # a group that is shared by its name stays when a container of it goes
    group.made.append(directory)


def _write(directory: str, lines: list[str]) -> None:
    if lines:
        with open(f"{directory}/schemata", "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


def _why(root: str) -> str:
    """What the kernel says of the last refusal."""
    try:
        return files.read_text(f"{root}/info/last_cmd_status").strip()
    except OSError:
        return "see resctrl in the kernel's documentation"
