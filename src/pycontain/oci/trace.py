"""--trace: the launch plan with the time that each operation took. Not for the start road but then."""

from __future__ import annotations

import os

from pycontain.kernel.errors import Error, os_text
from pycontain.launch.ops_trace import Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.launch.compile import Record


def begin(records: list[Record], path: str) -> Trace:
    """A record in front of all others. path: where the helper is to print, - for standard error. Raises Error."""
    try:
        fd = 2 if path == "-" else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Error(f"--trace: cannot write {path}: {os_text(error)}", 1) from None
    os.set_inheritable(fd, True)
    trace = Trace(fd)
    records.insert(0, (trace.side, trace))
    return trace
