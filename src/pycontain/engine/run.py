"""run and create: from a request to a container."""

from __future__ import annotations

import os
import sys

from pycontain.engine import names, repair, state
from pycontain.engine.create import Made, finish
from pycontain.engine.create import create as make
from pycontain.engine.load import load
from pycontain.engine.start import Attachment, start
from pycontain.engine.terminal import check_input, size
from pycontain.image import find
from pycontain.kernel.errors import EXIT_FAILURE, Error, InUse, NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pycontain.engine.paths import Paths
    from pycontain.engine.request import Request


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def build_shipped(paths: Paths, text: str) -> None:
    """Build the recipe of an image that the store lacks. Raises NotFound where none is shipped."""
    from pycontain.image import build, recipe
    from pycontain.image.reference import parse
    from pycontain.storage import layers

    wanted = parse(text)
    if wanted.path not in recipe.available() or recipe.find(wanted.path).reference != wanted:
        raise find.missing(text)
    _say(f"image {wanted} is not there yet: building it from the recipe that comes with pycontain")
    build.build(paths.root, recipe.find(wanted.path), _say, layers)


def make_container(paths: Paths, request: Request) -> Made:
    """A container, its image built first where a shipped recipe makes it. Raises Error."""
    if os.geteuid() != 0:
        raise Error("pycontain needs to be root to make containers: run it with sudo")
    paths.prepare()
    repair.repair_pending(paths)
    try:
        return make(paths, request)
    except NotFound:
        if find.lookup(paths.root, request.image) is not None:
            raise
    build_shipped(paths, request.image)
    return make(paths, request)


def create(paths: Paths, request: Request) -> str:
    """Make a container that is not started; its ID. Raises Error."""
    made = make_container(paths, request)
    finish(paths, made)
    return made.record.id


def attachment(made: Made, stdin: bool, keys: bytes, signals: bool) -> Attachment:
    """How the caller's process stays connected, from what the container has and the flags say."""
    how = Attachment(True)
    how.stdin = made.record.interactive and stdin
    # without input the caller's terminal stays as it is: its keys are for the caller's own shell, ^C a signal
    how.terminal = made.record.terminal and how.stdin and os.isatty(0)
    how.keys = keys
    how.signals = signals
    how.rows, how.columns = size(0)
    return how


def run(paths: Paths, request: Request, signals: bool) -> NoReturn:
    """Make a container and start it; the process becomes what waits for it. Raises Error."""
    if not request.detach:
        check_input(request.terminal, request.interactive)
    made = make_container(paths, request)
    if request.detach:
        how = Attachment(False, made.record.id)
    else:
        how = attachment(made, True, request.detach_keys, signals)
    start(paths, made, how, fresh=True)


def start_attached(paths: Paths, text: str, stdin: bool, keys: bytes) -> NoReturn:
    """Start a container that exists and become what waits for it. Raises Error."""
    paths.prepare()
    made = load(paths, names.find(paths, text))
    _refuse_tenants(made, text)
    try:
        check_input(made.record.terminal, made.record.interactive and stdin)
    except BaseException:
        made.claim.release()
        raise
    how = attachment(made, stdin, keys, True)
    start(paths, made, how, fresh=False)


def start_detached(paths: Paths, text: str) -> None:
    """Start a container that exists, and come back when it runs. One that runs is no error. Raises Error."""
    paths.prepare()
    container_id = names.find(paths, text)
    try:
        made = load(paths, container_id)
    except InUse:
        if state.alive(paths, container_id):
            return  # somebody was quicker
        raise
    _refuse_tenants(made, text)
    launch(paths, made, f"container {text}")


def _refuse_tenants(made: Made, text: str) -> None:
    """Raises UsageError for the container of a tenant, and gives it back."""
    if made.record.tenant:
        made.claim.release()
        name = made.record.tenant
        raise UsageError(f"container {text} is tenant {name}'s: 'pycontain tenant start {name}'")


def launch(paths: Paths, made: Made, what: str) -> None:
    """Start a container that was taken for it, and come back when it runs. Raises Error, naming ``what``."""
    sys.stdout.flush()
    output, complaints = os.pipe()
    # what starts it becomes the helper, so it has to be another process
    pid = os.fork()
    if pid == 0:
        _become(paths, made, complaints)
    os.close(made.claim.fd)
    os.close(complaints)
    lines = _read_lines(output)
    _, status = os.waitpid(pid, 0)
    failure = lines.pop() if status and lines else ""
    for line in lines:
        _say(line)
    if status:
        message = failure.removeprefix("pycontain: ") or f"{what} could not be started"
        raise Error(message, max(os.waitstatus_to_exitcode(status), 0) or EXIT_FAILURE)


def _read_lines(fd: int) -> list[str]:
    """All that is written to a pipe."""
    data = b""
    while chunk := os.read(fd, 65536):
        data += chunk
    os.close(fd)
    return data.decode("utf-8", "replace").splitlines()


def _become(paths: Paths, made: Made, complaints: int) -> NoReturn:
    os.dup2(complaints, 2)
    try:
        start(paths, made, Attachment(False), fresh=False)
    except Error as error:
        os.write(2, f"pycontain: {error.message}\n".encode("utf-8", "backslashreplace"))
        os._exit(error.status)
    finally:
        os._exit(125)
