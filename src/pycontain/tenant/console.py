"""A tenant's console: what it has shown, then the terminal itself; before it starts and after it has ended, too."""

from __future__ import annotations

import os
import sys

from pycontain.engine import attach, control, logs, state
from pycontain.kernel import inotify
from pycontain.kernel.errors import EXIT_FAILURE, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pycontain.engine.paths import Paths

_EVENTS = inotify.CREATE | inotify.MOVED_TO | inotify.DELETE_SELF


def describe_keys(keys: bytes) -> str:
    """Keys as a person types them: ^P^Q."""
    return "".join(f"^{chr(key + 64)}" if key < 32 else chr(key) for key in keys)


def show(paths: Paths, container_id: str, name: str, keys: bytes, lines: int, wait: bool) -> int:
    """Show the last lines, then connect this terminal until somebody types the keys; 0.

    lines: of what it has shown before. wait: where it does not run, and when it has ended, for its next start; else
    that is the end. Raises Error.
    """
    _history(paths, container_id, lines)
    interactive = os.isatty(0)
    if interactive and keys:
        _say(f"console of {name}: {describe_keys(keys)} leaves it")
    while True:
        if not state.alive(paths, container_id) or not _listens(paths, container_id):
            if not wait:
                return 0
            _say(f"{name} does not run: waiting for its start, ^C leaves")
            try:
                _wait_for_start(paths, container_id)
            except KeyboardInterrupt:
                return 0
        began = state.read_pid(paths, container_id)
        status = _connect(paths, container_id, keys, interactive)
        if _same(paths, container_id, began):
            return status  # it goes on without us


def _say(text: str) -> None:
    sys.stdout.flush()
    os.write(2, f"[{text}]\n".encode())


def _history(paths: Paths, container_id: str, lines: int) -> None:
    if lines:
        logs.show(paths, container_id, logs.Wanted(tail=lines), False)


def _listens(paths: Paths, container_id: str) -> bool:
    return os.path.exists(control.socket_path(paths, container_id))


def _wait_for_start(paths: Paths, container_id: str) -> None:
    """Until its monitor listens. Raises Error, KeyboardInterrupt."""
    import select

    directory = paths.run(container_id)
    while True:
        with inotify.Inotify() as watch:
            watch.add(os.path.dirname(directory), _EVENTS)
            watch.add(directory, _EVENTS)
            if state.alive(paths, container_id) and _listens(paths, container_id):
                return
            poll = select.poll()
            poll.register(watch.fd, select.POLLIN)
            poll.poll()


def _same(paths: Paths, container_id: str, began: tuple[int, float]) -> bool:
    """Whether the life that we were connected to goes on."""
    return bool(began[0]) and state.alive(paths, container_id) and state.read_pid(paths, container_id) == began


def _connect(paths: Paths, container_id: str, keys: bytes, interactive: bool) -> int:
    """Be connected until it ends or the keys are typed. The status is 0, or that of what could not be done."""
    pid = os.fork()
    if pid == 0:
        _become(paths, container_id, keys, interactive)
    while True:
        try:
            _, status = os.waitpid(pid, 0)
            break
        except KeyboardInterrupt:
            continue  # the terminal's ^C is the client's
    return 0 if os.WIFEXITED(status) and os.WEXITSTATUS(status) != EXIT_FAILURE else EXIT_FAILURE


def _become(paths: Paths, container_id: str, keys: bytes, interactive: bool) -> NoReturn:
    try:
        # signals of ours are not the guest's init's
        attach.attach(paths, container_id, interactive, keys, False)
    except Error as error:
        # it has ended meanwhile
        os.write(2, f"pycontain: {error.message}\n".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(EXIT_FAILURE)
