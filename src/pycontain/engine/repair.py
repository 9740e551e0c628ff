"""Putting right what a killed process of ours has left: every resource is found by the container's ID."""

from __future__ import annotations

import os
import time

from pycontain.engine import names, record, state
from pycontain.engine.claim import Claim, claim
from pycontain.kernel import files
from pycontain.kernel.errors import Error, NotFound
from pycontain.launch.start import run_helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths


def release_run_state(paths: Paths, container_id: str) -> None:
    """Give back what a running container has: cgroup, addresses, published ports. The lock is the caller's."""
    directory = state.cgroup_directory(paths, container_id)
    if directory:
        _remove_cgroup(directory)
    if os.path.exists(f"{paths.run_root}/network"):
        from pycontain.network import lease, settings

        if settings.exists(paths.root):
            lease.release(paths.run_root, settings.load(paths.root), container_id)


def _remove_cgroup(directory: str) -> None:
    from pycontain.cgroup import group, hierarchy

    tree = hierarchy.find()
    try:
        with group.find(tree, tree.path(directory)) as found:
            found.kill()
            found.remove()
    except NotFound:
        pass
    try:
        os.rmdir(os.path.dirname(directory))
    except OSError:
        pass


def remove_tree(path: str) -> None:
    """Remove a directory that a guest has filled. Raises Error."""
    if os.path.lexists(path):
        run_helper(["rmtree", path])


def discard_run_dir(held: Claim) -> None:
    """The run state of a container that has ended; the lock goes with it."""
    remove_tree(held.paths.run(held.container_id))
    os.close(held.fd)


def remove_files(paths: Paths, container_id: str, name: str, image_id: str) -> None:
    """Name, hold on the image, and directory of a container that is nobody's any more."""
    names.drop(paths, name, container_id)
    remove_tree(paths.container(container_id))
    if image_id:
        unlink(f"{paths.root}/images/{image_id}/used/{container_id}")


def unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _pending(paths: Paths, container_id: str) -> tuple[str, str]:
    """Name and image of a container that was being made."""
    try:
        lines = files.read_text(paths.pending(container_id)).split("\n")
        return lines[0], lines[1]
    except (OSError, IndexError):
        return "", ""


def repair(paths: Paths, container_id: str) -> None:
    """If nobody owns this container's run state any more: end what is left of it, and record that. Raises Error."""
    half_made = os.path.exists(paths.pending(container_id))
    if not half_made and not os.path.isdir(paths.run(container_id)):
        return
    held = claim(paths, container_id)
    if held is None:
        return
    release_run_state(paths, container_id)
    try:
        found: record.Record | None = record.read(paths, container_id)
    except (FileNotFoundError, Error) as error:
        found = None
        damaged = isinstance(error, Error)
    if found is not None and not found.auto_remove and not half_made:
        _record_end(paths, container_id)
    elif found is not None and (found.auto_remove or half_made):
        remove_files(paths, container_id, found.name, found.image_id)
    elif not damaged:
        remove_files(paths, container_id, *_pending(paths, container_id))
    unlink(paths.pending(container_id))
    discard_run_dir(held)


def _record_end(paths: Paths, container_id: str) -> None:
    """Nobody saw how it ended: say so, unless the monitor had time to write it."""
    _, started = state.read_pid(paths, container_id)
    last = state.read_exit(paths, container_id)
    if started and (last is None or last.finished < started):
        state.write_exit(paths, container_id, state.Exit(-1, 0, False, started, time.time()))


def repair_pending(paths: Paths) -> None:
    """Containers whose making was interrupted. Cheap where there are none."""
    try:
        pending = os.listdir(f"{paths.run_root}/pending")
    except FileNotFoundError:
        return
    for container_id in pending:
        if not state.alive(paths, container_id):
            repair(paths, container_id)


def repair_all(paths: Paths) -> None:
    """Everything that has run state or a directory and no owner."""
    repair_pending(paths)
    for container_id in _listed(f"{paths.run_root}/containers"):
        if not state.alive(paths, container_id):
            repair(paths, container_id)
    for container_id in names.all_ids(paths):
        _repair_directory(paths, container_id)
    for name in _listed(f"{paths.root}/names"):
        owner = names.owner(paths, name)
        if owner and not os.path.isdir(paths.container(owner)) and not os.path.exists(paths.pending(owner)):
            names.drop(paths, name, owner)


def _repair_directory(paths: Paths, container_id: str) -> None:
    """A container that was half-made or was to be removed when the host went down."""
    if os.path.exists(paths.pending(container_id)) or os.path.isdir(paths.run(container_id)):
        return
    try:
        found = record.read(paths, container_id)
    except FileNotFoundError:
        remove_files(paths, container_id, "", "")
        return
    except Error:
        return  # damaged: for the user to see and remove
    if found.auto_remove and state.read_exit(paths, container_id) is not None:
        remove_files(paths, container_id, found.name, found.image_id)


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
