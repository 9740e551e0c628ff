"""rm and rename: what a container is called, and that it goes."""

from __future__ import annotations

import os
import time

from pycontain.engine import life, load, names, record, repair, state
from pycontain.engine.claim import Claim, claim
from pycontain.kernel.errors import Error, InUse, NotFound, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record


#: How long, in seconds, to try against commands that start the container again and again.
_PATIENCE = 20.0
#: So many containers are removed together: each has a connection and a lock open.
_TOGETHER = 250


def remove(paths: Paths, container_id: str, force: bool) -> None:
    """Remove a container with all that is its own. Raises InUse where it runs and ``force`` is not given, Error."""
    held = _take(paths, container_id, force)
    if held is None:
        return
    try:
        repair.remove_files(paths, container_id, *repair.facts(paths, container_id))
    finally:
        repair.discard_run_dir(held)


def remove_all(paths: Paths, containers: list[str], force: bool) -> Iterator[tuple[str, Error | None]]:
    """As remove, for many: they end at the same time, and their files go together. Yields each, with what went wrong.

    force: kill those that run.
    """
    for at in range(0, len(containers), _TOGETHER):
        some = containers[at : at + _TOGETHER]
        links = [life.hurry(paths, container_id) for container_id in some] if force else []
        try:
            yield from _remove_some(paths, some, force)
        finally:
            for link in links:
                if link is not None:
                    link.close()


def _remove_some(paths: Paths, containers: list[str], force: bool) -> Iterator[tuple[str, Error | None]]:
    held: dict[str, Claim] = {}
    try:
        for container_id in containers:
            try:
                taken = _take(paths, container_id, force)
                if taken is None:
                    yield container_id, None
                else:
                    held[container_id] = taken
            except Error as error:
                yield container_id, error
        try:
            repair.remove_several(paths, [(one, *repair.facts(paths, one)) for one in held])
        except Error:
            pass  # each by itself says what it was
        for container_id in list(held):
            problem = None
            try:
                if os.path.lexists(paths.container(container_id)):
                    repair.remove_files(paths, container_id, *repair.facts(paths, container_id))
            except Error as error:
                problem = error
            repair.discard_run_dir(held.pop(container_id))
            yield container_id, problem
    finally:
        for left in held.values():
            repair.discard_run_dir(left)


def _take(paths: Paths, container_id: str, force: bool) -> Claim | None:
    """The container for oneself, ended first with ``force``; None where it is gone. Raises InUse, Error."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        repair.repair(paths, container_id)
        status = state.read(paths, container_id).status
        if force:
            life.end(paths, container_id)
        elif status in (state.RUNNING, state.PAUSED, state.RESTARTING):
            raise InUse(f"container {container_id[:12]} is running: stop it first, or use --force")
        if not os.path.isdir(paths.container(container_id)):
            return None  # it was made with --rm, or somebody else has removed it
        # whoever starts or removes it has its lock for a moment only, or it is running soon
        held = claim(paths, container_id, 0.5)
        if held is not None:
            return held
        if time.monotonic() > deadline:
            raise InUse(f"container {container_id[:12]}: another command works on it: try again")


def remove_named(paths: Paths, text: str, force: bool) -> None:
    """As remove, by name or ID; with ``force`` one that does not exist is no error. Raises NotFound, InUse, Error."""
    try:
        container_id = names.find(paths, text)
    except NotFound:
        if force:
            return
        raise
    remove(paths, container_id, force)


def rename(paths: Paths, text: str, name: str) -> None:
    """Give a container another name. Raises NotFound, InUse, Error."""
    container_id = names.find(paths, text)
    try:
        with record.Lock(paths, container_id):
            _rename(paths, container_id, text, name)
    except FileNotFoundError:
        raise NotFound(f"no container {text!r}: it was removed just now") from None
    except OSError as error:
        raise Error(f"cannot write the record of container {text}: {os_text(error)}") from None


def _rename(paths: Paths, container_id: str, text: str, name: str) -> None:
    found = load.read_record(paths, container_id)
    if found.name == name:
        raise InUse(f"container {text} has the name {name!r} already")
    if found.auto_remove and state.alive(paths, container_id):
        # what removes it was told its name when it was started
        raise InUse(f"container {text} runs and goes at its end (--rm): it keeps its name until then")
    names.take(paths, name, container_id)
    before, found.name = found.name, name
    try:
        record.write(paths, found)
    except BaseException:
        names.drop(paths, name, container_id)
        raise
    names.drop(paths, before, container_id)


def all_records(paths: Paths) -> list[tuple[str, Record | None]]:
    """Every container with its record, None where that is damaged; half-made ones are left out. The newest first."""
    found: list[tuple[str, Record | None]] = []
    for container_id in names.all_ids(paths):
        try:
            found.append((container_id, record.read(paths, container_id)))
        except FileNotFoundError:
            continue
        except Error:
            found.append((container_id, None))
    found.sort(key=lambda pair: pair[1].created if pair[1] else "", reverse=True)
    return found
