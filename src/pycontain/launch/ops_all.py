"""Every operation that there is: for what reads a plan, and what makes the C side's tables. Not for the start road."""

from __future__ import annotations

from pycontain.launch import (
    ops,
    ops_boot,
    ops_disk,
    ops_mounts,
    ops_rootless,
    ops_service,
    ops_spec,
    ops_supervise,
    ops_trace,
    ops_userns,
)

#: The modules that define operations.
MODULES = (
    ops,
    ops_boot,
    ops_disk,
    ops_mounts,
    ops_rootless,
    ops_service,
    ops_spec,
    ops_supervise,
    ops_trace,
    ops_userns,
)


def classes() -> list[type[ops.Op]]:
    """By number."""
    names = {module.__name__ for module in MODULES}
    return sorted((cls for cls in ops.Op.__subclasses__() if cls.__module__ in names), key=lambda cls: cls.code)
