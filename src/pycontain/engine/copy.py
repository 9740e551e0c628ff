"""cp: files between a container and the host, whether it runs or not (docker-cp(1)).

A running container is reached by the root of its init, one that does not run by mounting its root in a mount namespace
that nobody else sees; from there on both are a descriptor.
"""

from __future__ import annotations

import os
import sys

from pycontain.engine import holder, load, names, repair, state, userns
from pycontain.engine.transfer import DIRECTORY, TO_HOST, Copier
from pycontain.kernel.errors import Error, UsageError, os_text, printable
from pycontain.storage.tree import openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.engine.paths import Paths
    from pycontain.kernel.idmap import Maps

# linux/openat2.h
_IN_ROOT, _NO_MAGICLINKS = 0x10, 0x02


class Job:
    """One copy. into: from the host to the container. host, inside: the two paths; host may be "-" for tar."""

    __slots__ = ("container", "host", "inside", "into")

    def __init__(self, container: str, inside: str, host: str, into: bool) -> None:
        self.container = container
        self.inside = inside
        self.host = host
        self.into = into


def _warn(text: str) -> None:
    # a guest's names of files are in it
    sys.stderr.write(f"pycontain: warning: {printable(text)}\n")


# --- the container's root -----------------------------------------------------------------------------------------


def copy(paths: Paths, job: Job) -> None:
    """Copy; for a container that does not run the process becomes another one that does it. Raises Error."""
    container_id = names.find(paths, job.container)
    repair.repair(paths, container_id)
    if state.read(paths, container_id).pid:
        root = holder.running_root(paths, container_id)
        try:
            transfer(root, job, userns.of_record(load.read_record(paths, container_id)))
        finally:
            os.close(root)
        return
    _become_holder(paths, container_id, job)


def _become_holder(paths: Paths, container_id: str, job: Job) -> None:
    """Mount the root beside what is bound in it, and come back as main(). Raises Error."""
    arguments = [job.container, job.inside, job.host, str(int(job.into))]
    holder.become(paths, container_id, "copy files of", "pycontain.engine.copy", arguments, binds=True)


def main(arguments: Sequence[str]) -> None:
    """What holder.become() gives: CONTAINER INSIDE HOST INTO between. Returns never."""
    held = holder.Held(arguments)
    container, inside, host, into = held.arguments
    status = 0
    try:
        directory = held.root()
        transfer(directory, Job(container, inside, host, into == "1"))
        sys.stdout.flush()
    except Error as error:
        os.write(2, f"pycontain: {error.message}\n".encode("utf-8", "backslashreplace"))
        status = error.status
    except BrokenPipeError:
        status = 141
    except OSError as error:
        os.write(2, f"pycontain: container {container}: {os_text(error)}\n".encode())
        status = 125
    held.end(status)


# --- the copy -----------------------------------------------------------------------------------------------------


class _Spot:
    """A place on one side: the directory it lies in, its name there ("" for that directory itself), words for it."""

    __slots__ = ("content", "exists", "is_directory", "name", "parent", "path", "shown", "slash")

    def __init__(self, shown: str, path: str, parent: int, name: str, hostile: bool = False) -> None:
        """hostile: a link in the last place is the guest's, and would be followed on the host: it is not."""
        self.shown = shown
        self.path = path
        self.parent = parent
        self.name = name
        self.content = path.endswith("/.") or path in (".", "/")
        self.slash = path.endswith("/")
        try:
            follow = (self.slash or self.content) and not hostile
            info = os.stat(name or ".", dir_fd=parent, follow_symlinks=follow)
            self.exists, self.is_directory = True, (info.st_mode & 0o170000) == 0o040000
        except FileNotFoundError:
            self.exists = self.is_directory = False

    def close(self) -> None:
        os.close(self.parent)


def _inside_spot(root: int, shown: str, path: str, follow: bool) -> _Spot:
    """A place in the container. ``follow``: the last component, too, is resolved inside the root where it is a link."""
    given, path = path, "/" + path
    if follow:
        try:
            fd = openat2(root, path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, _IN_ROOT | _NO_MAGICLINKS)
            return _Spot(shown, given, fd, "", hostile=True)
        except (FileNotFoundError, NotADirectoryError):
            pass
    parent, name = os.path.split(path.rstrip("/"))
    if name in ("", ".", ".."):
        parent, name = path, ""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    return _Spot(shown, given, openat2(root, parent or "/", flags, _IN_ROOT | _NO_MAGICLINKS), name, hostile=True)


def _host_spot(path: str, follow: bool) -> _Spot:
    """A place on the host, as the caller's own paths are meant."""
    if os.path.isdir(path) and (follow or path.endswith(("/", "/.")) or os.path.basename(path) in (".", "..")):
        return _Spot(path, path, os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), "")
    parent, name = os.path.split(path.rstrip("/"))
    return _Spot(path, path, os.open(parent or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), name)


def transfer(root: int, job: Job, maps: Maps | None = None) -> None:
    """Copy between the host and a container's root. maps: of a root as the host sees it, whose owners are mapped.

    Raises Error, UsageError.
    """
    inside = f"{job.container}:{job.inside}"
    owner = (0, 0)
    if job.into and maps:
        owner = maps.root
        holder.lend_ids(*owner)
    try:
        if job.into:
            if job.host == "-":
                return _extract(root, job, inside, owner)
            source, target = _host_spot(job.host, False), _inside_spot(root, inside, job.inside, True)
            copier = Copier(owner, _warn)
        else:
            source = _inside_spot(root, inside, job.inside, job.inside.endswith(("/", "/.")))
            if job.host == "-":
                return _archive(source, job, inside, maps)
            target = _host_spot(job.host, True)
            copier = Copier((os.geteuid(), os.getegid()), _warn, TO_HOST)
    except OSError as error:
        raise Error(f"{error.filename or inside}: {os_text(error)}") from None
    try:
        _place(source, target, copier)
    finally:
        source.close()
        target.close()
    return None


def _base_name(spot: _Spot) -> str:
    name = spot.name or os.path.basename(spot.path.rstrip("/"))
    return "" if name in (".", "..") else name


def _place(source: _Spot, target: _Spot, copier: Copier) -> None:
    """docker-cp(1): a directory that exists takes the source in; else the source becomes what the target names."""
    if not source.exists:
        raise Error(f"{source.shown}: no such file or directory")
    if source.slash and not source.is_directory:
        raise Error(f"{source.shown}: is no directory")
    if source.is_directory and target.exists and not target.is_directory:
        raise Error(f"{target.shown}: is a file, and {source.shown} is a directory")
    if target.slash and not target.is_directory and not source.is_directory:
        raise Error(f"{target.shown}: no such directory")
    try:
        if source.is_directory and (source.content or not target.exists):
            _copy_content(source, target, copier)
        elif target.is_directory:
            into = _open_directory(target)
            _copy_entry(source, into, _base_name(source), copier)
            os.close(into)
        else:
            _copy_entry(source, target.parent, target.name, copier)
    except OSError as error:
        raise Error(f"{target.shown}: {os_text(error)}") from None


def _open_directory(spot: _Spot) -> int:
    return os.open(spot.name or ".", DIRECTORY, dir_fd=spot.parent)


def _copy_content(source: _Spot, target: _Spot, copier: Copier) -> None:
    origin = _open_directory(source)
    try:
        mode = os.fstat(origin).st_mode & 0o7777
        into = _open_directory(target) if target.exists else copier.make_directory(target.parent, target.name, mode)
        copier.content(origin, into, source.shown.removesuffix("/."))
        os.close(into)
    finally:
        os.close(origin)


def _copy_entry(source: _Spot, into: int, name: str, copier: Copier) -> None:
    if source.name:
        copier.entry(source.parent, source.name, into, name, source.shown)
        return
    # the root itself, or a path that ends in "..": a directory without a name in its parent
    made = copier.make_directory(into, name, 0o755) if name else os.dup(into)
    origin = _open_directory(source)
    copier.content(origin, made, source.shown)
    os.close(origin)
    os.close(made)


def _archive(source: _Spot, job: Job, inside: str, maps: Maps | None) -> None:
    from pycontain.engine import archive

    if not source.exists:
        raise Error(f"{inside}: no such file or directory")
    if os.isatty(1):
        raise UsageError("cp: standard output is a terminal: redirect the archive to a file or a pipe")
    sys.stdout.flush()
    name = _base_name(source) or "."
    with os.fdopen(os.dup(1), "wb") as out:
        archive.write(source.parent, source.name or ".", name, out, Copier((0, 0), _warn), maps)


def _extract(root: int, job: Job, inside: str, owner: tuple[int, int]) -> None:
    from pycontain.engine import archive

    target = _inside_spot(root, inside, job.inside, True)
    if not target.is_directory:
        raise Error(f"{inside}: an archive is extracted into a directory that exists")
    into = _open_directory(target)
    with os.fdopen(os.dup(0), "rb") as source:
        archive.extract(source, into, Copier(owner, _warn))
    os.close(into)
