"""Every operation that there is: for what reads a plan, and what makes the C side's tables. Not for the start road."""

from __future__ import annotations

from importlib import import_module

from pycontain.launch.ops import Op

#: The modules that define operations, by what stands behind ``ops``.
_NAMES = (
    "",
    "_boot",
    "_disk",
    "_lease",
    "_mounts",
    "_restore",
    "_rootless",
    "_service",
    "_spec",
    "_supervise",
    "_trace",
    "_userns",
)
MODULES = tuple([import_module(f"pycontain.launch.ops{name}") for name in _NAMES])


def classes() -> list[type[Op]]:
    """By number."""
    names = {module.__name__ for module in MODULES}
    return sorted((cls for cls in Op.__subclasses__() if cls.__module__ in names), key=lambda cls: cls.code)
