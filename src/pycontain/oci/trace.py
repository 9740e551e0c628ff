"""--trace: the launch plan with the time that each operation took."""

from __future__ import annotations

import os

from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.launch.compile import Record
    from pycontain.launch.ops_trace import Trace
    from pycontain.oci.arguments import Call


def begin(records: list[Record], call: Call) -> Trace | None:
    """A record in front of all others, where it is asked for; to be filled when the plan is complete. Raises Error."""
    path = call.globals.get("trace", "")
    if not path:
        return None
    from pycontain.launch.ops_trace import Trace

    try:
        fd = 2 if path == "-" else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Error(f"--trace: cannot write {path}: {os_text(error)}", 1) from None
    os.set_inheritable(fd, True)
    trace = Trace(fd)
    records.insert(0, (trace.side, trace))
    return trace


def complete(trace: Trace | None, records: list[Record]) -> None:
    """The plan has all its records."""
    if trace is not None:
        trace.fill(records)
