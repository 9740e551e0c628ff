"""Changing the limits and the device rules of a group in which a container runs, all or nothing."""

from __future__ import annotations

import os

from pycontain.cgroup import devices, limits, write
from pycontain.cgroup import group as groups
from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pycontain.cgroup.group import Group
    from pycontain.cgroup.hierarchy import Hierarchy
    from pycontain.cgroup.write import Write


def update(
    hierarchy: Hierarchy,
    path: str,
    resources: dict[str, Any],
    missing: str = "error",
    commit: Callable[[], None] | None = None,
    unit: str = "",
) -> list[str]:
    """Give a group the limits that ``resources`` (OCI linux.resources) names, and leave the others.

    ``devices``, where it is there, replaces the whole list of device rules: at no moment is the group without a filter.
    missing: as in write.apply, whose warnings come back. commit: called when everything is done in the kernel; where it
    raises, that is taken back. unit: the scope of systemd whose group it is, and who is to know of the limits.

    Raises SpecError with the JSON path; NotFound where the group is gone; Error. Then nothing has changed.
    """
    writes = limits.compile(resources)
    rules = resources.get("devices")
    program = None if rules is None else devices.program(devices.compile(rules))
    with groups.find(hierarchy, path) as group:
        filter = None if program is None else _Filter(group, program)
        scope = _Scope(group, unit, writes) if unit and writes else None
        try:
            return write.apply(group, writes, missing=missing, then=lambda: _finish(filter, scope, commit))
        except BaseException:
            if scope is not None and scope.told:
                scope.exchange()  # the files are what they were
            raise
        finally:
            if filter is not None:
                filter.close()


def _finish(filter: _Filter | None, scope: _Scope | None, commit: Callable[[], None] | None) -> None:
    """The device program, systemd, and what the caller writes down; the program goes back when a later one fails."""
    if filter is not None:
        filter.exchange()
    try:
        if scope is not None:
            scope.exchange()
        if commit is not None:
            commit()
    except BaseException:
        if filter is not None:
            filter.take_back()
        raise


class _Scope:
    """What systemd knows of the limits."""

    __slots__ = ("group", "told", "unit", "writes")

    def __init__(self, group: Group, unit: str, writes: Sequence[Write]) -> None:
        self.group = group
        self.unit = unit
        self.writes = writes
        self.told = False

    def exchange(self) -> None:
        """Tell systemd what the files say. Raises Error."""
        from pycontain.cgroup import systemd

        self.told = True
        systemd.tell(self.group, self.unit, self.writes)


class _Filter:
    """A new device program for a group, loaded, and the one that it is to replace.

    Only a program of ours is replaced: systemd attaches its own for DeviceAllow=, and then all of them must allow.
    """

    __slots__ = ("group", "new", "old")

    def __init__(self, group: Group, program: bytes) -> None:
        """Raises Error."""
        from pycontain.kernel import bpf

        self.group = group
        self.old: list[int] = []
        self.new = bpf.load_device_program(program)
        try:
            for number in bpf.attached(group.fd):
                fd = bpf.open_program(number)
                self.old.append(fd)
                if bpf.name_of(fd) != bpf.NAME:
                    os.close(self.old.pop())
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise self._error(error) from None
            raise

    def close(self) -> None:
        for fd in (self.new, *self.old):
            os.close(fd)
        self.old = []

    def _error(self, error: OSError) -> Error:
        return Error(f"cgroup {self.group.path}: cannot replace its device filter: {os_text(error)}")

    def exchange(self) -> None:
        """The new one in the place of the old ones. Raises Error."""
        from pycontain.kernel import bpf

        try:
            if not self.old:
                bpf.attach_device(self.group.fd, self.new)
                return
            bpf.exchange_device(self.group.fd, self.old[0], self.new)
            for other in self.old[1:]:
                bpf.detach_device(self.group.fd, other)
        except OSError as error:
            raise self._error(error) from None

    def take_back(self) -> None:
        """The old ones again. Raises Error."""
        from pycontain.kernel import bpf

        try:
            if not self.old:
                bpf.detach_device(self.group.fd, self.new)
                return
            for other in self.old[1:]:
                bpf.attach_device(self.group.fd, other)
            bpf.exchange_device(self.group.fd, self.new, self.old[0])
        except OSError as error:
            raise self._error(error) from None
