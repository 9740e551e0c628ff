"""The caller's descriptors that a program keeps: --preserve-fds and socket activation (sd_listen_fds(3))."""

from __future__ import annotations

import os

from pycontain.kernel.errors import Error
from pycontain.launch.ops import Exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.launch.ops import Op

_FIRST = 3
_MOST = 4096


def check(count: int) -> int:
    """How many from 3 on are kept. To be called before anything is opened: a number that the caller did not open would
    be one of ours, and the container would get it. Raises Error.
    """
    if count > _MOST:
        raise Error(f"--preserve-fds {count}: at most {_MOST} descriptors can be kept", 1)
    for fd in range(_FIRST, _FIRST + count):
        try:
            os.set_inheritable(fd, True)
        except OSError:
            raise Error(f"unable to stat preserved-fd {fd} (of {count}): it is not open", 1) from None
    return count


def listening(environment: dict[str, str]) -> int:
    """How many sockets the service manager has given to this process."""
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return 0
    return int(count) if len(count) < 5 else 0


def keep(records: list[tuple[int, Op]], count: int) -> None:
    """Let the program of a plan have so many descriptors besides the standard ones."""
    for at, (side, op) in enumerate(records):
        if isinstance(op, Exec):
            argv, env, _ = op.values
            records[at] = (side, Exec(argv, env, count))
