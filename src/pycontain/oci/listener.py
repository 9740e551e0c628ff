"""``linux.seccomp`` of a spec: its filter as a record, and the socket that a listener wants (config-linux.md)."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_STREAM, socket

from pycontain.kernel import jsontext
from pycontain.kernel.errors import SpecError, os_text
from pycontain.launch import reader, seccomp
from pycontain.launch.hooks import PID_MARK, state_text
from pycontain.launch.ops import Seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.launch.hooks import Identity
    from pycontain.launch.ops import Op

#: sun_path in linux/un.h, with its NUL
_PATH_SIZE = 108
#: No socket: a plan that is only printed.
NOT_CONNECTED = -1


def compile_filter(spec: dict[str, Any], who: Identity, status: str, cache: str, connected: bool = True) -> Op | None:
    """The record of ``linux.seccomp``; a listener's socket is connected, unless told otherwise. Raises SpecError."""
    section = reader.table(reader.table(spec, "linux", ""), "seccomp", "linux")
    if not section:
        return None
    flags = seccomp.filter_flags(section)
    program = seccomp.cached_filter(section, os.uname().machine, cache)
    if not seccomp.uses_notify(section):
        return Seccomp(flags, program)
    from pycontain.launch.ops_spec import SeccompListener

    path = reader.text(section, "listenerPath", "linux.seccomp")
    link = connect(path) if connected else NOT_CONNECTED
    return SeccompListener(flags, program, link, process_state(section, who, status))


def connect(path: str) -> int:
    """A connection to the listener that the helper inherits. Raises SpecError."""
    where = "linux.seccomp.listenerPath"
    if len(path.encode("utf-8", "surrogateescape")) >= _PATH_SIZE:
        raise SpecError(where, f"is longer than a socket's {_PATH_SIZE - 1} bytes")
    link = socket(AF_UNIX, SOCK_STREAM)
    try:
        link.connect(path)
    except OSError as error:
        link.close()
        raise SpecError(where, f"cannot connect to {path}: {os_text(error)}") from None
    os.set_inheritable(link.fileno(), True)
    return link.detach()


def process_state(section: dict[str, Any], who: Identity, status: str) -> str:
    """config-linux.md, "The Container Process State", PID_MARK for the process ID."""
    metadata = jsontext.dumps(reader.text(section, "listenerMetadata", "linux.seccomp", ""))
    version = jsontext.dumps(who.version)
    return (
        f'{{"ociVersion": {version}, "fds": ["seccompFd"], "pid": {PID_MARK}, "metadata": {metadata}, '
        f'"state": {state_text(who, status)}}}'
    )
