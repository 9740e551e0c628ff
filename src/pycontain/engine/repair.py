"""Putting right what a killed process of ours has left: every resource is found by the container's ID."""

from __future__ import annotations

import os
import time

from pycontain.engine import access, names, record, state
from pycontain.engine.claim import Claim, claim
from pycontain.kernel.errors import Error, NotFound, os_text
from pycontain.launch.start import run_helper
from pycontain.storage import idpool, volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths


def release_run_state(paths: Paths, container_id: str) -> None:
    """Give back what a running container has: cgroup, addresses, published ports. The lock is the caller's."""
    _remove_cgroup(paths, container_id)
    if os.path.exists(f"{paths.run_root}/network"):
        from pycontain.network import lease, routed, settings

        if settings.exists(paths.root):
            chosen = settings.load(paths.root)
            known = routed.release(paths.run_root, chosen, container_id)
            lease.release(paths.run_root, chosen, container_id, known)


def _remove_cgroup(paths: Paths, container_id: str) -> None:
    directory = state.cgroup_directory(paths, container_id)
    if not directory:
        state.end_init(paths, container_id)
        return
    from pycontain.cgroup import group, hierarchy
    from pycontain.cgroup import path as cgroup_path

    tree = hierarchy.find()
    try:
        path = cgroup_path.check(tree.path(directory))
    except Error:
        return  # damaged: not the path of any cgroup
    try:
        with group.find(tree, path) as found:
            found.kill()
            found.remove()
    except NotFound:
        pass
    if os.path.dirname(path) == record.CGROUP_PARENT:
        try:
            os.rmdir(os.path.dirname(directory))
        except OSError:
            pass  # others live there


def remove_tree(path: str) -> None:
    """Remove a file, or a directory that a guest has filled. Raises Error."""
    remove_trees([path])


def remove_trees(paths: list[str]) -> None:
    """As remove_tree, for several. Raises Error."""
    trees = []
    for path in paths:
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:
            trees.append(path)
    if trees:
        run_helper(["rmtree", *trees])


def discard_run_dir(held: Claim) -> None:
    """The run state of a container that has ended; the lock goes with it, last: who has a new one shares nothing."""
    directory = held.paths.run(held.container_id)
    for name in _listed(directory):
        if name != "lock":
            remove_tree(f"{directory}/{name}")
    unlink(f"{directory}/lock")
    try:
        os.rmdir(directory)
    except OSError:
        pass  # it is somebody else's by now
    os.close(held.fd)


def remove_files(paths: Paths, container_id: str, name: str, image_id: str) -> None:
    """Name, hold on the image, and directory of a container that is nobody's any more."""
    remove_several(paths, [(container_id, name, image_id)])


def remove_several(paths: Paths, containers: list[tuple[str, str, str]]) -> None:
    """As remove_files, for (ID, name, image) triples: the helper is started once for all.

    Raises Error for the first whose directory stays; all others are gone then, with what they held.
    """
    leases = {container_id: _id_leases(paths, container_id) for container_id, _, _ in containers}
    for container_id, name, _ in containers:
        names.drop(paths, name, container_id)
    limited = [one for one, _, _ in containers if os.path.isdir(f"{paths.container(one)}/disk")]
    problems = _forget_disks(paths, limited)
    try:
        remove_trees([paths.container(one) for one, _, _ in containers if one not in problems])
    except Error as error:
        problems[""] = error
    for container_id, _, image_id in containers:
        if problems and os.path.lexists(paths.container(container_id)):
            continue
        if container_id in limited:
            from pycontain.storage import disk

            disk.release(paths.root, container_id)
        if image_id:
            unlink(f"{paths.root}/images/{image_id}/used/{container_id}")
        volume.release(paths.root, container_id)
        idpool.release(paths.root, container_id, leases[container_id])
    for problem in problems.values():
        raise problem


def _forget_disks(paths: Paths, limited: list[str]) -> dict[str, Error]:
    """What is wrong with those whose subvolumes stay."""
    problems: dict[str, Error] = {}
    if limited:
        from pycontain.storage import disk

        for container_id in limited:
            try:
                disk.forget(paths.container(container_id))
            except Error as error:
                problems[container_id] = error
    return problems


def _id_leases(paths: Paths, container_id: str) -> list[str] | None:
    """The links of its range of IDs, None where nobody knows."""
    try:
        return record.read(paths, container_id).id_leases
    except (Error, FileNotFoundError):
        return None


def unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def facts(paths: Paths, container_id: str) -> tuple[str, str]:
    """Name and image of a container: from its record, or, where that is damaged or not there, the other way round."""
    try:
        found = record.read(paths, container_id)
        return found.name, found.image_id
    except (Error, FileNotFoundError):
        pass
    name = next((one for one in names.all_names(paths) if names.owner(paths, one) == container_id), "")
    images = f"{paths.root}/images"
    image = next((one for one in _listed(images) if os.path.exists(f"{images}/{one}/used/{container_id}")), "")
    return name, image


# --- one container ------------------------------------------------------------------------------------------------


def repair(paths: Paths, container_id: str) -> None:
    """If nobody owns this container's run state any more: end what is left of it, and record that. Raises Error."""
    if not _suspicious(paths, container_id):
        return
    held = claim(paths, container_id)
    if held is None:
        return
    # looked at again now that nobody else can change it: who was making it may have come to its end just before
    if _goes(paths, container_id):
        release_run_state(paths, container_id)
        remove_files(paths, container_id, *facts(paths, container_id))
    elif os.path.isdir(paths.container(container_id)):
        release_run_state(paths, container_id)
        _record_end(paths, container_id)
    unlink(paths.pending(container_id))
    discard_run_dir(held)


def _suspicious(paths: Paths, container_id: str) -> bool:
    """Whether something is there that a container at rest does not have."""
    return (
        os.path.isdir(paths.run(container_id))
        or os.path.exists(paths.pending(container_id))
        or os.path.exists(state.unfinished(paths, container_id))
    )


def _goes(paths: Paths, container_id: str) -> bool:
    """Whether it was half-made, or was to be removed at its end and has been started."""
    if os.path.exists(paths.pending(container_id)):
        return True
    try:
        found = record.read(paths, container_id)
    except FileNotFoundError:
        return True
    except Error:
        return False  # damaged: for a person to see and remove
    return found.auto_remove and _was_started(paths, container_id)


def _was_started(paths: Paths, container_id: str) -> bool:
    return (
        state.read_pid(paths, container_id)[0] > 0
        or state.read_exit(paths, container_id) is not None
        or os.path.exists(state.unfinished(paths, container_id))
    )


def _record_end(paths: Paths, container_id: str) -> None:
    """Nobody saw how it ended: say so, unless the monitor had time to write it. Raises Error."""
    file, target = state.unfinished(paths, container_id), f"{paths.container(container_id)}/exit"
    begun = state.read_exit_file(file)
    last = state.read_exit(paths, container_id)
    started = begun.started if begun else state.read_pid(paths, container_id)[1]
    try:
        if os.path.isdir(target):
            remove_tree(target)  # not of our making
        if begun and begun.code < 0:
            # in place: a disk that is full has room for that
            state.overwrite_exit(file, state.Exit(-1, 0, False, started, time.time()))
        if begun:
            os.rename(file, target)
        elif started and (last is None or last.finished < started):
            state.write_exit(paths, container_id, state.Exit(-1, 0, False, started, time.time()))
    except OSError as error:
        raise Error(f"cannot write {target}: {os_text(error)}") from None
    remove_tree(file)


# --- all of them --------------------------------------------------------------------------------------------------


def repair_pending(paths: Paths) -> None:
    """Containers whose making was interrupted. Cheap where there are none."""
    for container_id in _ids(f"{paths.run_root}/pending"):
        if not state.alive(paths, container_id):
            repair(paths, container_id)


def repair_all(paths: Paths) -> None:
    """Everything that has run state, a directory, a name or a hold on an image, and no owner. Raises Error."""
    access.check(paths)
    repair_pending(paths)
    for container_id in _ids(f"{paths.run_root}/containers"):
        if not state.alive(paths, container_id):
            repair(paths, container_id)
    for container_id in names.all_ids(paths):
        _repair_directory(paths, container_id)
    _repair_names(paths)
    _repair_ids(paths)
    _repair_projects(paths)
    images = f"{paths.root}/images"
    for image in _listed(images):
        for container_id in _ids(f"{images}/{image}/used"):
            if _nobody(paths, container_id):
                unlink(f"{images}/{image}/used/{container_id}")


def _repair_ids(paths: Paths) -> None:
    """Ranges of nobody."""
    for lease, container_id in idpool.leases(paths.root).items():
        if _nobody(paths, container_id):
            unlink(idpool.path(paths.root, lease))


def _repair_projects(paths: Paths) -> None:
    """Project numbers of nobody."""
    if not os.path.isdir(f"{paths.root}/projects"):
        return
    from pycontain.storage import projects

    for number, container_id in projects.owners(paths.root).items():
        if _nobody(paths, container_id):
            unlink(projects.path(paths.root, number))


def _nobody(paths: Paths, container_id: str) -> bool:
    """Whether there is no such container and none is being made.

    The directory twice: what is being made has a pending file until its directory is complete.
    """
    return (
        not os.path.isdir(paths.container(container_id))
        and not os.path.exists(paths.pending(container_id))
        and not os.path.isdir(paths.container(container_id))
    )


def _repair_directory(paths: Paths, container_id: str) -> None:
    """A container that was half-made, that was to be removed, or that ran, when the host went down."""
    if os.path.isdir(paths.run(container_id)) or os.path.exists(paths.pending(container_id)):
        return  # somebody is at work on it
    if not _goes(paths, container_id) and not os.path.exists(state.unfinished(paths, container_id)):
        return
    held = claim(paths, container_id)
    if held is None:
        return
    if _goes(paths, container_id):
        remove_files(paths, container_id, *facts(paths, container_id))
    else:
        _record_end(paths, container_id)
    discard_run_dir(held)


def _repair_names(paths: Paths) -> None:
    """Names of nobody, and second names that an interrupted rename has left."""
    taken: dict[str, list[str]] = {}
    for name in names.all_names(paths):
        owner = names.owner(paths, name)
        if owner and _nobody(paths, owner):
            names.drop(paths, name, owner)
        elif owner:
            taken.setdefault(owner, []).append(name)
    for owner, several in taken.items():
        if len(several) > 1:
            _drop_others(paths, owner)


def _drop_others(paths: Paths, container_id: str) -> None:
    """Leave a container the one name that its record has."""
    try:
        with record.Lock(paths, container_id):
            kept = record.read(paths, container_id).name
            several = [name for name in names.all_names(paths) if names.owner(paths, name) == container_id]
            for name in several if kept in several else ():
                if name != kept:
                    names.drop(paths, name, container_id)
    except (OSError, Error):
        pass  # removed meanwhile, or damaged


def _ids(directory: str) -> list[str]:
    return [name for name in _listed(directory) if names.is_id(name)]


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
