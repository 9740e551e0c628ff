"""attach: become a client of a running container's monitor."""

from __future__ import annotations

import os

from pycontain.engine import control, load, names, repair, state
from pycontain.engine.terminal import check_input
from pycontain.kernel.errors import Error
from pycontain.launch.start import become_helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pycontain.engine.paths import Paths


def attach(paths: Paths, text: str, stdin: bool, keys: bytes, signals: bool) -> NoReturn:
    """Pass the container's output, and input where it takes any, until it ends. Raises NotFound, Error."""
    container_id = names.find(paths, text)
    repair.repair(paths, container_id)
    status = state.read(paths, container_id).status
    if status not in (state.RUNNING, state.PAUSED):
        raise Error(f"container {text} is {status}: only a running one can be attached to")
    record = load.read_record(paths, container_id)
    stdin = stdin and record.interactive
    check_input(record.terminal, stdin)
    terminal = record.terminal and stdin and os.isatty(0)
    flags = ["1" if flag else "0" for flag in (True, stdin, terminal, signals)]
    become_helper(["attach", control.socket_path(paths, container_id), *flags, keys.hex()])
    raise AssertionError("execve returned")
