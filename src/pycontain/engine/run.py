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
from pycontain.image import store
from pycontain.kernel.errors import Error, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pycontain.engine.paths import Paths
    from pycontain.engine.request import Request


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _build_shipped(paths: Paths, text: str) -> None:
    """Build the recipe of an image that the store lacks. Raises NotFound where none is shipped."""
    from pycontain.image import build, recipe
    from pycontain.image.reference import parse
    from pycontain.storage import layers

    wanted = parse(text)
    if wanted.path not in recipe.available() or recipe.find(wanted.path).reference != wanted:
        raise store.missing(text)
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
        if store.lookup(paths.root, request.image) is not None:
            raise
    _build_shipped(paths, request.image)
    return make(paths, request)


def create(paths: Paths, request: Request) -> str:
    """Make a container that is not started; its ID. Raises Error."""
    made = make_container(paths, request)
    finish(paths, made)
    return made.record.id


def attachment(made: Made, detach: bool, keys: bytes, signals: bool, announce: str) -> Attachment:
    """What the caller's process does, from what the container has and the flags say."""
    how = Attachment(not detach, announce if detach else "")
    how.stdin = made.record.interactive and not detach
    how.terminal = made.record.terminal and not detach and os.isatty(0)
    how.keys = keys
    how.signals = signals
    how.rows, how.columns = size(0)
    return how


def run(paths: Paths, request: Request, signals: bool) -> NoReturn:
    """Make a container and start it; the process becomes what waits for it. Raises Error."""
    if not request.detach:
        check_input(request.terminal, request.interactive)
    made = make_container(paths, request)
    how = attachment(made, request.detach, request.detach_keys, signals, made.record.id)
    start(paths, made, how, fresh=True)


def start_attached(paths: Paths, text: str, stdin: bool, keys: bytes) -> NoReturn:
    """Start a container that exists and become what waits for it. Raises Error."""
    paths.prepare()
    made = load(paths, names.find(paths, text))
    try:
        check_input(made.record.terminal, made.record.interactive and stdin)
    except BaseException:
        made.claim.release()
        raise
    how = attachment(made, False, keys, True, "")
    how.stdin = how.stdin and stdin
    start(paths, made, how, fresh=False)


def start_detached(paths: Paths, text: str) -> None:
    """Start a container that exists, and come back when it runs. One that runs is no error. Raises Error."""
    paths.prepare()
    container_id = names.find(paths, text)
    repair.repair(paths, container_id)
    if state.read(paths, container_id).alive:
        return
    made = load(paths, container_id)
    # what starts it becomes the helper, so it has to be another process
    pid = os.fork()
    if pid == 0:
        _become(paths, made)
    os.close(made.claim.fd)
    _, status = os.waitpid(pid, 0)
    if status:
        raise Error(f"container {text} could not be started", os.waitstatus_to_exitcode(status))


def _become(paths: Paths, made: Made) -> NoReturn:
    try:
        start(paths, made, Attachment(False), fresh=False)
    except Error as error:
        os.write(2, f"pycontain: {error.message}\n".encode("utf-8", "backslashreplace"))
        os._exit(error.status)
    finally:
        os._exit(125)
