"""From a tenant's container to its root: what is wanted is written by a process of its own, whether the guest runs."""

from __future__ import annotations

import json
import os
import sys

from pycontain.engine import holder, load, repair, state, userns
from pycontain.kernel.errors import EXIT_FAILURE, Error, os_text
from pycontain.tenant.setup import family
from pycontain.tenant.setup.root import Root
from pycontain.tenant.setup.wanted import Wanted, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from pycontain.engine.paths import Paths

_WARNING = "warning: "


def apply(paths: Paths, container_id: str, wanted: Wanted, locked: bool = False) -> list[str]:
    """Write what is wanted into the root of a container, which nobody starts or stops meanwhile; warnings.

    locked: it does not run, and the caller has its lock. Raises Error, InUse.
    """
    if not locked:
        repair.repair(paths, container_id)
    sys.stdout.flush()
    output, complaints = os.pipe()
    # who holds the root becomes the helper, and who writes into one that runs another user
    pid = os.fork()
    if pid == 0:
        _work(paths, container_id, wanted, complaints, locked)
    os.close(complaints)
    with os.fdopen(output, "rb") as file:
        lines = file.read().decode("utf-8", "replace").splitlines()
    _, status = os.waitpid(pid, 0)
    lines = [line.removeprefix("pycontain: ") for line in lines]
    warnings = [line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING)]
    if status:
        failures = [line for line in lines if not line.startswith(_WARNING)]
        message = failures[-1] if failures else "its root could not be set up"
        raise Error(message, max(os.waitstatus_to_exitcode(status), 0) or EXIT_FAILURE)
    return warnings


def _work(paths: Paths, container_id: str, wanted: Wanted, complaints: int, locked: bool) -> NoReturn:
    """Write into the root and end."""
    os.dup2(complaints, 2)
    status = EXIT_FAILURE
    try:
        if not locked and state.read(paths, container_id).pid:
            status = _in_running(paths, container_id, wanted)
        else:
            data = os.memfd_create("wanted", 0)  # inherited
            os.write(data, json.dumps(wanted.plain()).encode())
            main_ = "pycontain.tenant.setup.carry"
            holder.become(paths, container_id, "set up", main_, [str(data)], locked=locked)
    except Error as error:
        _say(error.message)
        status = error.status
    except OSError as error:
        _say(f"{error.filename or paths.root}: {os_text(error)}")
    finally:
        os._exit(status)


def _in_running(paths: Paths, container_id: str, wanted: Wanted) -> int:
    root = holder.running_root(paths, container_id)
    maps = userns.of_record(load.read_record(paths, container_id))
    owner = maps.root if maps else (0, 0)
    if maps:
        holder.lend_ids(*owner)
    return _write(Root(root, owner), wanted)


def _write(root: Root, wanted: Wanted) -> int:
    """The exit status."""
    try:
        for line in family.apply(root, wanted):
            _say(_WARNING + line)
    except Error as error:
        _say(error.message)
        return error.status
    except OSError as error:
        _say(f"{error.filename or 'its root'}: {os_text(error)}")
        return EXIT_FAILURE
    return 0


def _say(text: str) -> None:
    os.write(2, f"pycontain: {text}\n".encode("utf-8", "backslashreplace"))


def main(arguments: Sequence[str]) -> None:
    """What holder.become() gives, with the descriptor of what is wanted. Returns never."""
    held = holder.Held(arguments)
    status = EXIT_FAILURE
    try:
        data = int(held.arguments[0])
        wanted = parse(json.loads(os.pread(data, os.fstat(data).st_size, 0)))
        os.close(data)
        status = _write(Root(held.root()), wanted)
    except OSError as error:
        _say(os_text(error))
    finally:
        held.end(status)
