"""runscript: a script of the host's, run in a tenant; in one that does not run as well."""

from __future__ import annotations

import errno
import os
import stat

from pycontain.engine.execute import ExecRequest, execute
from pycontain.kernel.cancel import Undone
from pycontain.kernel.errors import EXIT_FAILURE, Error, os_text
from pycontain.tenant import life, show
from pycontain.tenant.place import Tenants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

#: Stands in for the init of a tenant that does not run: it waits until the script is over.
_IDLE = ("/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done")
#: The script becomes a file, so that its first line counts and its own input is empty.
_RUN = (
    'file=$(mktemp) || exit 126; trap \'rm -f "$file"\' EXIT; cat >"$file" && chmod 700 "$file" || exit 126; '
    '"$file" "$@" </dev/null'
)


def run(tenants: Tenants, text: str, path: str, arguments: list[str]) -> int:
    """The script's exit status. path: of the script, "-" is standard input. One that does not run is started for it,
    with a shell in the place of its init, and stopped again. Raises Missing, Error.
    """
    name = tenants.find(text)
    script = _open(path)
    try:
        status = show.status(tenants, name)
        if status.word == show.SUSPENDED:
            raise Error(f"tenant {name} is suspended: 'pycontain tenant resume {name}' lets it go on")
        if status.pid:
            return _execute(tenants, name, script, arguments)
        return _in_stopped(tenants, name, script, arguments)
    finally:
        os.close(script)


def _in_stopped(tenants: Tenants, name: str, script: int, arguments: list[str]) -> int:
    """As _execute. Whoever is asked to end meanwhile (a session that is gone) stops the tenant first."""
    with Undone() as cancellable:
        try:
            with cancellable:
                life.start(tenants, name, _IDLE)
                return _execute(tenants, name, script, arguments)
        finally:
            life.stop(tenants, name, fast=True)


def _open(path: str) -> int:
    if path == "-":
        return os.dup(0)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Error(f"script {path}: {os_text(error)}") from None
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise Error(f"script {path}: {os.strerror(errno.EISDIR)}")
    return fd


def _execute(tenants: Tenants, name: str, script: int, arguments: list[str]) -> int:
    """As exec, in a process of its own."""
    import sys

    known = tenants.state(name)
    if known is None:
        raise Error(f"tenant {name} has just been destroyed")
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _become(tenants, known.container, script, arguments)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(tenants: Tenants, container: str, script: int, arguments: list[str]) -> NoReturn:
    try:
        os.dup2(script, 0)
        request = ExecRequest(container, ["/bin/sh", "-c", _RUN, "runscript", *arguments])
        request.interactive = True
        request.user = "root"
        execute(tenants.paths, request)
    except Error as error:
        os.write(2, f"pycontain: {error.message}\n".encode("utf-8", "backslashreplace"))
        os._exit(error.status)
    finally:
        os._exit(EXIT_FAILURE)
