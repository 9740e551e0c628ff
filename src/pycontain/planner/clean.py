"""A process that has done what one client asked for, made like one that has done nothing: before the next one comes.

What a request changes outside its own frames is little: descriptors, directory, environment, signal handlers, and
attributes of modules and classes of ours, which are looked at one by one. What cannot be set back ends the process.
"""

from __future__ import annotations

import fcntl
import os
import sys
from _signal import NSIG, SIGIO, getsignal, signal

from pycontain import road

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

#: Our own descriptors, and the client's before they have their numbers, are kept above this one.
HIGH = 600
_PREFIX = "pycontain."
#: They are what the planner itself changes from one request to the next.
_OWN = frozenset({"pycontain.planner.clean", "pycontain.planner.serve", "pycontain.planner.server", "pycontain.road"})
#: Nobody rebinds them.
_CODE = frozenset({"function", "module", "type", "staticmethod", "classmethod", "property", "member_descriptor",
                   "getset_descriptor", "builtin_function_or_method", "mappingproxy", "str"})  # fmt: skip
#: Signals whose handlers Python knows.
_SIGNALS = range(1, NSIG)


class _Space:
    """What a module or class has that a request might rebind or fill. owner: has it as attributes."""

    __slots__ = ("copies", "owner", "values")

    def __init__(self, owner: ModuleType | type) -> None:
        self.owner = owner
        self.values = {
            name: value
            for name, value in vars(owner).items()
            if type(value).__name__ not in _CODE and not name.startswith("__")
        }
        self.copies = {name: type(value)(value) for name, value in self.values.items() if _filled(value)}

    def restore(self) -> None:
        now = vars(self.owner)
        for name, value in self.values.items():
            if now.get(name, self) is not value:
                setattr(self.owner, name, value)
        for name, copy in self.copies.items():
            value = self.values[name]
            if len(value) != len(copy):
                value.clear()
                value.extend(copy) if type(value) is list else value.update(copy)


def _filled(value: Any) -> bool:
    return type(value) in (dict, list, set)


def _spaces() -> list[_Space]:
    found = []
    for name, module in list(sys.modules.items()):
        if not name.startswith(_PREFIX) or name in _OWN:
            continue
        found.append(_Space(module))
        found += [_Space(value) for value in vars(module).values() if type(value) is type and value.__module__ == name]
    return [space for space in found if space.values]


class Clean:
    """To be made when all is loaded. ``settle``: then, in each process."""

    def __init__(self) -> None:
        self.spaces = _spaces()
        self.modules = len(sys.modules)
        self.signals: list[Any] = []

    def settle(self) -> None:
        """The signal handlers are those of a process without a client."""
        signal(SIGIO, deaf)
        self.signals = [getsignal(number) for number in _SIGNALS]

    def restore(self) -> bool:
        """Whether the next request finds this process as the first one did. Raises OSError."""
        if len(sys.modules) != self.modules or [getsignal(number) for number in _SIGNALS] != self.signals:
            return False
        for space in self.spaces:
            space.restore()
        os.environ.clear()
        os.chdir("/")
        road.move(HIGH)
        os.closerange(3, HIGH)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.close(null)
        return True


def deaf(*_: object) -> None:
    """The handler of a signal that is too late."""


def move(fd: int) -> int:
    """A copy of a descriptor that is out of a request's way; the old number is free."""
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH)
    os.close(fd)
    return high
