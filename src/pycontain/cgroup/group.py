"""One cgroup: make it, freeze it, kill what is in it, remove it (cgroups(7), Documentation/admin-guide/cgroup-v2.rst).

Waiting is done on cgroup.events, which reports changes of ``populated`` and ``frozen`` as POLLPRI; the kernel sends at
most one notice in 10 ms.
"""

from __future__ import annotations

import errno
import os
import select
import time

from pycontain.cgroup import controllers as control
from pycontain.cgroup import path as paths
from pycontain.cgroup import tree
from pycontain.kernel import files
from pycontain.kernel.errors import Error, InUse, NotFound, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pycontain.cgroup.hierarchy import Hierarchy
    from pycontain.cgroup.placeholder import Placeholder

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_SIGKILL = 9
#: How long create begins again, in seconds, when another container's end takes away the parent that it is about to use.
_PATIENCE = 5.0
#: The kernel's own list of what may be given to another user, and what it was before there was a list (4.15).
_DELEGATE = "/sys/kernel/cgroup/delegate"
_DELEGATE_BEFORE = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


class Group:
    """A cgroup that exists, held by a descriptor.

    path: as in /proc/PID/cgroup. directory: where it is. fd: its directory, for CLONE_INTO_CGROUP. made: the
    directories that create has made for it, the outermost first. missing: the controllers that were wanted and cannot
    be had, each with the sentence that says why. placeholder: a process that keeps the scope around it until the
    container's own is in it; keeper: descriptor of the group beside it, for who keeps it on; -1 for none.
    """

    __slots__ = ("directory", "fd", "hierarchy", "keeper", "made", "missing", "path", "placeholder")

    def __init__(self, hierarchy: Hierarchy, path: str, fd: int, made: list[str]) -> None:
        self.hierarchy = hierarchy
        self.path = path
        self.directory = hierarchy.directory(path)
        self.fd = fd
        self.made = made
        self.missing: dict[str, str] = {}
        self.placeholder: Placeholder | None = None
        self.keeper = -1

    def __repr__(self) -> str:
        return f"Group({self.path})"

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; the group stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def inherit(self) -> int:
        """The descriptor, which from now on outlives execve(2)."""
        os.set_inheritable(self.fd, True)
        return self.fd

    # --- files ------------------------------------------------------------------------------------------------

    def read(self, name: str) -> str:
        """The content of one of its files. Raises OSError."""
        return files.read_bytes(name, dir_fd=self.fd).decode("utf-8", "surrogateescape")

    def write(self, name: str, value: str) -> None:
        """Write one of its files in one write(2), as the kernel wants it. Raises OSError."""
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            os.write(fd, value.encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)

    def controllers(self) -> frozenset[str]:
        """The controllers that work in this group (cgroup.controllers)."""
        return frozenset(self.read("cgroup.controllers").split())

    def enable(self, wanted: Iterable[str]) -> dict[str, str]:
        """Make controllers work in this group; those that cannot be had come back with the sentence that says why."""
        lacking = set(wanted).difference(self.controllers())
        return control.enable(self.hierarchy, self.path, lacking) if lacking else {}

    def events(self) -> dict[str, str]:
        """cgroup.events: ``populated`` and ``frozen``, "0" or "1" each. Raises OSError."""
        return flat(self.read("cgroup.events"))

    # --- processes --------------------------------------------------------------------------------------------

    def processes(self, below: bool = True) -> list[int]:
        """The processes in this group and, with ``below``, in the groups below it; 0 for one of an outer PID namespace.

        A process with threads in several threaded groups is named once for each.
        """
        if not below:
            return list(_pids(self.fd))
        return [pid for fd in tree.each(self.fd) for pid in _pids(fd)]

    def add(self, pid: int) -> None:
        """Move a process here; 0 is the caller. Raises Error. (A start uses CLONE_INTO_CGROUP, which costs less.)"""
        try:
            self.write("cgroup.procs", str(pid))
        except OSError as error:
            raise Error(f"cgroup {self.path}: cannot move process {pid} into it: {os_text(error)}") from None

    def kill(self, timeout: float = 10.0) -> None:
        """SIGKILL to every process in it and below; they are dying, not gone, on return. Raises Error, OSError."""
        try:
            self.write("cgroup.kill", "1")
        except OSError as error:
            if error.errno in tree.GONE and self._gone():
                return
            if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
                raise Error(f"cgroup {self.path}: cannot kill its processes: {os_text(error)}") from None
            self._kill_each(timeout)

    def _kill_each(self, timeout: float) -> None:
        """What cgroup.kill does, for kernels before 5.14 and for threaded groups."""
        deadline = time.monotonic() + timeout
        # Frozen processes can be killed but cannot fork, so one round is enough; where freezing fails, more rounds are.
        try:
            self.write("cgroup.freeze", "1")
            self._wait("frozen", "1", min(1.0, timeout))
        except OSError:
            pass
        try:
            self._kill_rounds(deadline, timeout)
        finally:
            try:
                self.write("cgroup.freeze", "0")
            except OSError:
                pass

    def _kill_rounds(self, deadline: float, timeout: float) -> None:
        while True:
            for pid in self.processes():
                try:
                    if pid:
                        os.kill(pid, _SIGKILL)
                except ProcessLookupError:
                    pass
            if self._wait("populated", "0", min(0.01, deadline - time.monotonic())):
                return
            if time.monotonic() >= deadline:
                raise Error(f"cgroup {self.path}: cannot kill all of it in {timeout:g} s: {self._residents()}")

    def _residents(self) -> str:
        return control.describe_processes(self.processes())

    def _gone(self) -> bool:
        """Whether it was removed; another one may have its path by now."""
        try:
            there = os.stat(self.directory)
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(self.fd))

    # --- freezer ----------------------------------------------------------------------------------------------

    def freeze(self, timeout: float = 10.0) -> None:
        """Stop every process in it and below, and return when they have stopped.

        Raises Error when they have not within ``timeout`` seconds, and lets them run again.
        """
        self._set_frozen("1")
        if not self._wait("frozen", "1", timeout):
            stuck = self._uninterruptible()
            self._set_frozen("0")
            raise Error(
                f"cgroup {self.path}: not frozen after {timeout:g} s, so it runs again: "
                + (f"in the kernel, uninterruptible: {stuck}" if stuck else "its processes are slow to stop; try again")
            )

    def thaw(self, timeout: float = 10.0) -> None:
        """Let its processes run again. Raises Error where a group above it is frozen, or after ``timeout`` seconds."""
        self._set_frozen("0")
        try:
            if self.events().get("frozen") == "0":
                return
        except OSError:
            if self._gone():
                return  # what was frozen had a signal waiting, has ended of it, and the group with it
            raise
        above = self._frozen_above()
        if above:
            raise Error(
                f"cgroup {self.path}: stays frozen, because {above} above it is: echo 0 > {above}/cgroup.freeze"
            )
        if not self._wait("frozen", "0", timeout):
            raise Error(f"cgroup {self.path}: still frozen after {timeout:g} s; try again")

    def _set_frozen(self, value: str) -> None:
        try:
            self.write("cgroup.freeze", value)
        except OSError as error:
            verb = "freeze" if value == "1" else "thaw"
            if error.errno in tree.GONE and self._gone():
                raise NotFound(f"cgroup {self.path}: cannot {verb} it: it does not exist any more") from None
            reason = "this kernel has no cgroup.freeze (5.2)" if error.errno == errno.ENOENT else os_text(error)
            raise Error(f"cgroup {self.path}: cannot {verb} it: {reason}") from None

    def _frozen_above(self) -> str:
        for level in paths.parents(self.path)[1:]:
            try:
                if files.read_text(f"{self.hierarchy.directory(level)}/cgroup.freeze").strip() == "1":
                    return self.hierarchy.directory(level)
            except (OSError, Error):
                continue
        return ""

    def _uninterruptible(self) -> str:
        found = []
        for pid in self.processes():
            try:
                name, _, rest = files.read_text(f"/proc/{pid}/stat").rpartition(")")
            except OSError:
                continue
            if rest[1:2] == "D":
                found.append(f"process {pid} ({name.partition('(')[2]})")
        return ", ".join(found[:3])

    def _wait(self, key: str, value: str, timeout: float) -> bool:
        """Whether cgroup.events says ``key value`` within ``timeout`` seconds; a group that is gone says anything."""
        try:
            fd = os.open("cgroup.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError as error:
            if error.errno in tree.GONE:
                return True
            raise
        try:
            poll = select.poll()
            poll.register(fd, select.POLLPRI)
            deadline = time.monotonic() + timeout
            while flat(os.pread(fd, 4096, 0).decode()).get(key) != value:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                poll.poll(left * 1000)
            return True
        except OSError as error:
            if error.errno in tree.GONE:
                return True
            raise
        finally:
            os.close(fd)

    # --- the end ----------------------------------------------------------------------------------------------

    def remove(self, timeout: float = 5.0) -> None:
        """Remove it and the groups below it, waiting for processes that are dying; one that is gone is no error.

        Raises InUse when processes still live in it after ``timeout`` seconds; Error. It kills nobody (see kill).
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                os.rmdir(self.directory)
                return
            except OSError as error:
                if error.errno in tree.GONE:
                    return
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                    raise Error(f"cgroup {self.path}: cannot remove it: {os_text(error)}") from None
            left = deadline - time.monotonic()
            if left <= 0:
                raise InUse(f"cgroup {self.path}: not removed after {timeout:g} s: {self._residents()}; end them first")
            self._wait("populated", "0", left)
            if not tree.remove_below(self.fd):
                # Nobody lives there and yet it is busy: the kernel is still taking the last process apart, or a new one
                # has come. There is no event for the former, so look again soon.
                self._wait("populated", "1", min(0.01, left))

    def undo(self) -> None:
        """Remove what create has made, as far as nobody else uses it by now, and close."""
        self.close()
        _remove_made(self.made)

    def delegate(self, uid: int, gid: int) -> None:
        """Give the group to a user: its directory and the files that the kernel lists for it, never the limits.

        What the guest may then do: make groups below, move its processes among them, divide its own resources. -1
        leaves a uid or gid. Raises Error.
        """
        try:
            names = files.read_text(_DELEGATE).split()
        except FileNotFoundError:
            names = list(_DELEGATE_BEFORE)
        try:
            for name in names:
                try:
                    os.chown(name, uid, gid, dir_fd=self.fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue  # of a controller that this group does not have
            os.chown(self.fd, uid, gid)
        except OSError as error:
            raise Error(f"cgroup {self.path}: cannot give it to uid {uid}: {os_text(error)}") from None


def flat(text: str) -> dict[str, str]:
    """A flat-keyed file: ``key value`` lines."""
    return dict(pair for pair in (line.split(" ", 1) for line in text.splitlines()) if len(pair) == 2)


def _pids(fd: int) -> Iterator[int]:
    for name in ("cgroup.procs", "cgroup.threads"):
        try:
            data = files.read_bytes(name, dir_fd=fd)
        except OSError as error:
            if error.errno in tree.GONE:
                return
            if error.errno == errno.EOPNOTSUPP:
                continue  # threaded: only cgroup.threads can be read
            raise
        yield from map(int, data.split())
        return


def find(hierarchy: Hierarchy, path: str) -> Group:
    """A group that exists. Raises NotFound; SpecError for a path that cannot be; Error."""
    path = paths.check(path)
    try:
        return Group(hierarchy, path, os.open(hierarchy.directory(path), DIRECTORY), [])
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"cgroup {path}: does not exist in {hierarchy.mount}") from None
    except OSError as error:
        raise Error(f"cgroup {path}: cannot open it: {os_text(error)}") from None


def create(
    hierarchy: Hierarchy,
    path: str,
    controllers: Iterable[str] = (),
    *,
    missing: str = "error",
) -> Group:
    """Make a cgroup for a container, with its parents, in which ``controllers`` work.

    A group that exists is taken when processes can live in it and none does (OCI config-linux, cgroupsPath: "fit for
    the intended purpose"). missing: "error" to raise when a controller cannot be had, "report" to leave it to the
    caller (Group.missing).

    Raises SpecError for a path that cannot be; InUse; Error. On an error nothing that was made is left; controllers
    that were enabled for the children of existing groups stay enabled, since others may use them by then.
    """
    path = paths.resolve(path, "/")
    wanted = frozenset(controllers)
    if missing == "error":
        _refuse(path, control.missing_from_root(hierarchy, wanted - hierarchy.controllers))
    deadline = 0.0
    while True:
        try:
            return _create(hierarchy, path, wanted, missing)
        except FileNotFoundError:
            deadline = deadline or time.monotonic() + _PATIENCE
            if time.monotonic() > deadline:
                raise Error(f"cgroup {path}: its parent vanishes as often as it is made; choose another one") from None


def _refuse(path: str, missing: dict[str, str]) -> None:
    for sentence in missing.values():
        raise Error(f"cgroup {path}: {sentence}")


def _create(hierarchy: Hierarchy, path: str, wanted: frozenset[str], missing: str) -> Group:
    made: list[str] = []
    group = None
    try:
        directory = hierarchy.directory(path)
        _make(hierarchy, path, directory, made)
        group = Group(hierarchy, path, os.open(directory, DIRECTORY), made)
        _check_fit(group)
        group.missing = group.enable(wanted)
        if missing == "error":
            _refuse(path, group.missing)
        return group
    except BaseException as error:
        if group:
            group.close()
        _remove_made(made)
        if not isinstance(error, OSError):
            raise
        if error.errno in tree.GONE:
            raise FileNotFoundError(errno.ENOENT, "it was removed", path) from None
        if error.errno == errno.ENOTDIR:
            raise Error(f"cgroup {path}: {directory} is a control file; choose another name") from None
        raise Error(f"cgroup {path}: cannot set it up: {os_text(error)}") from None


def _make(hierarchy: Hierarchy, path: str, directory: str, made: list[str]) -> None:
    """mkdir(2), of parents only where they are missing; ``made`` grows by each directory that was not there."""
    if _mkdir(hierarchy, path, directory, made):
        return
    parent = paths.parents(path)[-1]
    if len(parent) <= len(hierarchy.root):
        raise Error(f"cgroup {path}: {hierarchy.mount} is gone")
    _make(hierarchy, parent, hierarchy.directory(parent), made)
    if not _mkdir(hierarchy, path, directory, made):
        raise FileNotFoundError(errno.ENOENT, "its parent was removed", directory)


def _mkdir(hierarchy: Hierarchy, path: str, directory: str, made: list[str]) -> bool:
    """Whether the directory is there now; not when its parent is missing. Raises Error."""
    try:
        os.mkdir(directory, 0o755)
        made.append(directory)
    except FileExistsError:
        pass  # of a start before this one, or beside it
    except OSError as error:
        if error.errno in tree.GONE:
            return False
        raise Error(f"cgroup {path}: cannot make it: {_mkdir_reason(hierarchy, path, error)}") from None
    return True


def _mkdir_reason(hierarchy: Hierarchy, path: str, error: OSError) -> str:
    parent = paths.parents(path)[-1]
    if error.errno == errno.EAGAIN:
        return f"a group above it has reached its cgroup.max.descendants or cgroup.max.depth; raise that of {parent}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{os_text(error)} in cgroup {parent}; run as root, or choose a parent that is delegated to you"
    if error.errno == errno.EROFS:
        return f"{hierarchy.mount} is mounted read-only; mount cgroup2 read-write"
    if error.errno == errno.ENOSPC:
        return "the kernel has no number left for another cgroup (65535 with memory); remove groups that are not used"
    if error.errno == errno.ENOTDIR:
        return f"{parent} is no group but a control file of one; choose another name"
    return os_text(error)


def _check_fit(group: Group) -> None:
    """Whether a container's processes can live in a group. Raises InUse, Error."""
    path = group.path
    kind = group.read("cgroup.type").strip()
    if kind not in ("domain", "domain threaded"):
        above = _threaded_above(group)
        raise Error(
            f"cgroup {path}: cannot hold a container: its cgroup.type is {kind!r}, "
            f"because {above or 'a group above it'} is threaded; choose another parent (--cgroup-parent)"
        )
    events = group.events()
    if events.get("populated") == "1":
        raise InUse(f"cgroup {path}: {group._residents()}; choose another path, or end them first")
    if events.get("frozen") == "1":
        frozen = group._frozen_above() or group.directory
        raise InUse(f"cgroup {path}: is frozen, a process in it would never run; echo 0 > {frozen}/cgroup.freeze")
    if group.directory not in group.made and (enabled := group.read("cgroup.subtree_control").strip()):
        raise InUse(
            f"cgroup {path}: divides {enabled} among children, so no process can live in it (cgroups(7), no internal "
            "processes); choose another path, or remove it"
        )


def _threaded_above(group: Group) -> str:
    for level in reversed(paths.parents(group.path)[1:]):
        if "threaded" in control.kind(group.hierarchy.directory(level)):
            return f"cgroup {level}"
    return ""


def _remove_made(made: list[str]) -> None:
    for directory in reversed(made):
        try:
            os.rmdir(directory)
        except OSError:
            pass  # another start uses it by now, or has removed it
