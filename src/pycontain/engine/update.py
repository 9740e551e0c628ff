"""update: other limits, and another restart policy, for a container that exists."""

from __future__ import annotations

import os
import time

from pycontain.cgroup import hierarchy, limits, merge, write
from pycontain.cgroup import update as cgroup_update
from pycontain.engine import claim, control, load, names, record, repair, state
from pycontain.engine.start import POLICIES
from pycontain.kernel import files, jsontext
from pycontain.kernel.errors import Error, InUse, NotFound, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pycontain.engine.claim import Claim
    from pycontain.engine.limits import Limits
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record

#: So long, in seconds, a start may take that has the container's lock already.
_START_TIME = 20.0
#: So long, in seconds, a monitor may have no room for another client.
_PATIENCE = 5.0


class Change:
    """What is to be different. restart: a policy and how often at the most, or None.

    disk: bytes and inodes, None each for what stays, 0 for no limit; or None.
    """

    __slots__ = ("disk", "limits", "restart")

    def __init__(
        self,
        limits: Limits,
        restart: tuple[str, int] | None = None,
        disk: tuple[int | None, int | None] | None = None,
    ) -> None:
        self.limits = limits
        self.restart = restart
        self.disk = disk


def update(paths: Paths, text: str, change: Change) -> list[str]:
    """Change a container: in the kernel at once where it runs, and what its next start will read.

    All of it or nothing. Returns warnings. Raises NotFound, UsageError, SpecError, InUse, Error.
    """
    container_id = names.find(paths, text)
    try:
        with record.Lock(paths, container_id):
            held = _take(paths, container_id, text)
            try:
                return _change(paths, container_id, change, held)
            finally:
                if held is not None:
                    held.release()
    except FileNotFoundError:
        raise NotFound(f"no container {text!r}: it was removed just now") from None
    except OSError as error:
        raise Error(f"container {text}: cannot change it: {error.filename or ''}: {os_text(error)}") from None


def _take(paths: Paths, container_id: str, text: str) -> Claim | None:
    """The lock of a container that does not run, None for one that runs. Raises InUse, Error."""
    deadline = time.monotonic() + _START_TIME
    while True:
        repair.repair(paths, container_id)
        status = state.read(paths, container_id).status
        if status in (state.RUNNING, state.PAUSED):
            return None
        held = claim.claim(paths, container_id, 0.05)
        if held is not None:
            return held
        if status == state.RESTARTING:
            raise InUse(f"container {text} is restarting: it has no processes at this moment, try again")
        if time.monotonic() > deadline:
            raise InUse(f"container {text}: another command works on it: try again")


def _change(paths: Paths, container_id: str, change: Change, held: Claim | None) -> list[str]:
    if change.disk is None:
        return _change_limits(paths, container_id, change, held)
    from pycontain.engine import disk

    found = load.read_record(paths, container_id)
    own = disk.of_record(found)
    disk.change(paths, found, *change.disk, held is None)
    try:
        return _change_limits(paths, container_id, change, held)
    except BaseException:
        assert own is not None
        disk.change(paths, load.read_record(paths, container_id), own.size, own.inodes, held is None)
        raise


def _change_limits(paths: Paths, container_id: str, change: Change, held: Claim | None) -> list[str]:
    found = load.read_record(paths, container_id)
    spec = load.read_spec(paths, container_id)
    if change.restart and found.auto_remove:
        raise Error(f"container {found.name} goes at its end (--rm): it cannot have a restart policy")
    old = spec["linux"].get("resources") or {}
    limits.compile(old)  # somebody may have edited it
    wanted = change.limits.change(old)
    spec["linux"]["resources"] = merged = merge.merge(old, wanted)
    limits.compile(merged)  # all of them together must be what a start takes

    def commit() -> None:
        _write(paths, container_id, spec if wanted else None, change.restart)

    if not wanted:
        commit()
        return []
    if held is not None:
        return _try(paths, found, merged, held, commit)
    directory = state.need_cgroup(paths, container_id, "a limit")
    if not directory:
        raise _ended(found.name)
    tree = hierarchy.find()
    try:
        warnings = cgroup_update.update(
            tree, tree.path(directory), wanted, found.missing_controllers, commit, _unit(found)
        )
        _keep(paths, container_id, warnings)
        return warnings
    except NotFound:
        raise _ended(found.name) from None


def _keep(paths: Paths, container_id: str, warnings: list[str]) -> None:
    """What could not be done is told by inspect as well, beside what the start had to say. The lock is the caller's."""
    found = load.read_record(paths, container_id)
    new = [text for text in warnings if text not in found.warnings]
    if new:
        found.warnings += new
        record.write(paths, found)


def _ended(name: str) -> Error:
    return Error(f"container {name} has just ended: nothing was changed, try again")


def _unit(found: Record) -> str:
    """The scope of systemd that it lives in, "" for a group of ours."""
    if ":" not in found.cgroup:
        return ""
    from pycontain.cgroup import unit

    return unit.parse(found.cgroup, found.id, "the container's cgroup").name


def _try(paths: Paths, found: Record, resources: dict[str, Any], held: Claim, commit: Callable[[], None]) -> list[str]:
    """Whether the kernel takes the limits, in the group that the next start will make; it goes again. Raises Error."""
    tree = hierarchy.find()
    writes = limits.compile(resources)
    if ":" in found.cgroup:
        from pycontain.cgroup import systemd, unit

        where = unit.parse(found.cgroup, found.id, "the container's cgroup")
        scope, warnings = systemd.place(tree, where, writes, found.missing_controllers)
        scope.undo()
        commit()
        return warnings
    path = found.cgroup
    place = f"{paths.run(held.container_id)}/cgroup"
    # so that whoever comes after a crash finds it (repair.py)
    files.create(place, (tree.directory(path) + "\n").encode(), 0o600)
    try:
        group, warnings = write.place(tree, path, writes, found.missing_controllers)
        group.undo()
    finally:
        repair.unlink(place)
    commit()
    return warnings


def _write(paths: Paths, container_id: str, spec: dict[str, Any] | None, restart: tuple[str, int] | None) -> None:
    """config.json, then container.json and the monitor; the first goes back when the second fails. Raises Error."""
    path = f"{paths.container(container_id)}/config.json"
    before = files.read_bytes(path)
    try:
        if spec is not None:
            files.replace(path, jsontext.dumps(spec).encode(), 0o600, sync=True)
        if restart is None:
            return
        try:
            _set_policy(paths, container_id, *restart)
        except BaseException:
            if spec is not None:
                files.replace(path, before, 0o600, sync=True)
            raise
    except OSError as error:
        raise Error(f"cannot write {error.filename or os.path.dirname(path)}: {os_text(error)}") from None


def _set_policy(paths: Paths, container_id: str, policy: str, maximum: int) -> None:
    """Into the record, then to the monitor: one that restarts it meanwhile reads the record. Raises Error, OSError."""
    found = load.read_record(paths, container_id)
    before = found.restart, found.restart_max
    found.restart, found.restart_max = policy, maximum
    record.write(paths, found)
    if not _tell(paths, container_id, policy, maximum):
        found.restart, found.restart_max = before
        record.write(paths, found)
        raise Error(f"container {found.name}: its monitor does not answer: it has too many clients: try again")


def _tell(paths: Paths, container_id: str, policy: str, maximum: int) -> bool:
    """Whether the monitor knows the policy; also where there is none (any more): then the record is what counts."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        monitor = control.connect(paths, container_id)
        if monitor is None:
            return True
        try:
            if monitor.set_policy(POLICIES[policy], maximum):
                return True
        finally:
            monitor.close()
    return False
