"""The systemd driver: a container's cgroup is a transient scope with Delegate, of the system's manager or a user's own.

A scope goes when nobody is in it, with all files that tell how it ended. So there are two groups in it: ``container``,
with the container's processes and its limits, exact and all of them, in files that systemd never touches; and
``keeper``, where the monitor lives until it has read them. systemd is told the limits as properties of the scope, with
some room for who keeps it, so that ``systemctl show`` tells them, and weights count among the scopes. Not for the start
road but systemd's own: it imports jeepney.
"""

from __future__ import annotations

import os

from pycontain.cgroup import group as groups
from pycontain.cgroup import hierarchy as trees
from pycontain.cgroup import unit as units
from pycontain.cgroup import write as writing
from pycontain.cgroup.dbus import Manager, Refused
from pycontain.cgroup.group import Group
from pycontain.cgroup.placeholder import Placeholder
from pycontain.kernel import files, rootless
from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.cgroup.hierarchy import Hierarchy
    from pycontain.cgroup.unit import Property, Unit
    from pycontain.cgroup.write import Write


#: Of the system's systemd, sd_booted(3).
SYSTEM = "/run/systemd/system"
#: The groups in a scope.
CONTAINER, KEEPER = "container", "keeper"


class Scope(Group):
    """The container's group in a scope, with the process that keeps the scope until the container's own is there."""

    __slots__ = ("unit", "user")

    def __init__(self, hierarchy: Hierarchy, scope: str, unit: Unit, user: bool, placeholder: Placeholder) -> None:
        """Raises OSError."""
        directory = hierarchy.directory(scope)
        for name in (CONTAINER, KEEPER):
            os.mkdir(f"{directory}/{name}", 0o755)
        super().__init__(hierarchy, f"{scope}/{CONTAINER}", os.open(f"{directory}/{CONTAINER}", groups.DIRECTORY), [])
        self.keeper = os.open(f"{directory}/{KEEPER}", groups.DIRECTORY)
        self.unit = unit
        self.user = user
        self.placeholder = placeholder

    def settle(self) -> None:
        """The placeholder into its group, and every controller of the scope for the groups in it. Raises OSError."""
        assert self.placeholder is not None
        scope = f"{self.directory}/.."
        files.create(f"{scope}/{KEEPER}/cgroup.procs", str(self.placeholder.pid).encode())
        for name in files.read_text(f"{scope}/cgroup.controllers").split():
            try:
                files.create(f"{scope}/cgroup.subtree_control", f"+{name}".encode())
            except OSError:
                continue  # a limit of it has a word to say about that

    def undo(self) -> None:
        """Stop the scope and close."""
        if self.placeholder is not None:
            self.placeholder.end()
        if self.keeper >= 0:
            os.close(self.keeper)
            self.keeper = -1
        self.close()
        _abandon(self.unit, self.user)


def ordinary() -> bool:
    """Whether the systemd to ask is the user's own.

    It is for root of a user namespace that others than pycontain have made (podman's), too: but where that is the
    namespace of the system's systemd (a whole system in a container), whose directory is root's then.
    """
    if os.geteuid() != 0 or rootless.user() >= 0:
        return True
    if not rootless.inside():
        return False
    try:
        return os.stat(SYSTEM).st_uid != 0
    except OSError:
        return True


def move() -> None:
    """Put this process, or the one that is to launch what a planner plans, into a new scope of its own, which goes with
    it. Raises Error.
    """
    name = trees.PROCESS.rpartition("/")[2]
    pid = os.getpid() if name == "self" else int(name)
    with Manager(ordinary()) as manager:
        manager.start(
            f"pycontain-{pid}.scope",
            [
                ("Description", ("s", "pycontain command")),
                ("PIDs", ("au", [pid])),
                ("CollectMode", ("s", "inactive-or-failed")),
            ],
            lambda _: False,
        )


def reach(hierarchy: Hierarchy, path: str) -> None:
    """Be where the kernel lets this user make a process in a scope of the user's own systemd. Raises Error.

    A session's own scope is the system's: out of it no process gets into a group of the user's (cgroups(7), delegation
    containment) but by systemd's hand.
    """
    if not _may_enter(hierarchy, path):
        move()


def _may_enter(hierarchy: Hierarchy, path: str) -> bool:
    """Whether this process's group and that one have a group above both whose processes this user may move."""
    try:
        above = os.path.commonpath([hierarchy.own(), path])
        return os.access(f"{hierarchy.directory(above)}/cgroup.procs", os.W_OK)
    except (Error, ValueError):
        return False


def place(
    hierarchy: Hierarchy, unit: Unit, writes: Sequence[Write], missing: str = "error", *, description: str = ""
) -> tuple[Scope, list[str]]:
    """Start a scope with a group for a container that has these limits; nothing is left of it when something fails.

    missing: as in write.apply. Returns the group and the warnings. Raises InUse for a unit that is there and active,
    Unreachable where there is no systemd to ask, Error.
    """
    user = ordinary()
    placeholder = _placeholder()
    try:
        with Manager(user) as manager:
            manager.start(
                unit.name, _identity(unit, placeholder.pid, description), lambda path: _empty(hierarchy, path)
            )
            path = _path(manager, unit)
        _verify(unit, path, placeholder.pid)
        if user:
            reach(hierarchy, path)
        try:
            return _fill(Scope(hierarchy, path, unit, user, placeholder), writes, missing)
        except OSError as error:
            raise Error(f"cgroup {path}: cannot set it up: {os_text(error)}") from None
    except BaseException:
        placeholder.end()
        raise


def _fill(scope: Scope, writes: Sequence[Write], missing: str) -> tuple[Scope, list[str]]:
    try:
        scope.settle()
        absent = _absent(scope, writes)
        return scope, writing.execute(scope, writes, {}, missing, absent, lambda: tell(scope, scope.unit.name, writes))
    except BaseException:
        scope.undo()
        raise


def _empty(hierarchy: Hierarchy, path: str) -> bool:
    """Whether nobody is in a scope that systemd has not cleared away yet."""
    try:
        return "populated 0" in files.read_text(f"{hierarchy.directory(path)}/cgroup.events")
    except FileNotFoundError:
        return True


def _placeholder() -> Placeholder:
    try:
        return Placeholder()
    except OSError as error:
        raise Error(f"cannot make the process that a scope begins with: {os_text(error)}") from None


def _identity(unit: Unit, pid: int, description: str) -> list[Property]:
    return [
        ("Description", ("s", description or f"pycontain container {unit.name.removesuffix('.scope')}")),
        ("Slice", ("s", unit.slice)),
        ("PIDs", ("au", [pid])),
        ("Delegate", ("b", True)),
        # figures without limits, too
        ("CPUAccounting", ("b", True)),
        ("IOAccounting", ("b", True)),
        ("MemoryAccounting", ("b", True)),
        ("TasksAccounting", ("b", True)),
        # systemd's own default is 15 % of what the host can have
        ("TasksMax", ("t", units.INFINITY)),
        # what has failed (an OOM kill) is forgotten as well: pycontain has its own record of it
        ("CollectMode", ("s", "inactive-or-failed")),
        # sysinit.target and shutdown.target are of the host's services, a container may be started before and after
        ("DefaultDependencies", ("b", False)),
    ]


def _path(manager: Manager, unit: Unit) -> str:
    """Where systemd has put the scope."""
    try:
        path = manager.unit_property(unit.name, "Scope", "ControlGroup")
    except Refused as refused:
        raise Error(f"systemd unit {unit.name}: {refused.text}: it has ended at once") from None
    if not isinstance(path, str) or not path.endswith(f"/{unit.name}"):
        raise Error(f"systemd unit {unit.name}: has no cgroup of its own, but {path!r}")
    return path


def _verify(unit: Unit, path: str, pid: int) -> None:
    """The kernel's word on where the scope's process is: systemd's has been wrong (runc#2614)."""
    found = ""
    try:
        for line in files.read_text(f"/proc/{pid}/cgroup").splitlines():
            if line.startswith("0::"):
                found = line[3:]
    except OSError:
        pass
    if found != path:
        raise Error(
            f"systemd unit {unit.name}: its process is in cgroup {found or '(none)'}, not in {path}: "
            "systemd and the kernel do not agree; is this a container in which systemd is not PID 1?"
        )


def _absent(scope: Scope, writes: Sequence[Write]) -> dict[str, str]:
    """The controllers that the container's group does not have, with the sentence that says why.

    Nothing is enabled above the scope: those groups are systemd's, which enables all it has for a scope with Delegate.
    """
    tree = scope.hierarchy
    found = {}
    for name in sorted(writing.needed(writes) - scope.controllers()):
        if name not in tree.controllers:
            reason = f"the {name} controller is not available in cgroup v2 on this host: {tree.why_missing(name)}"
        elif scope.user:
            reason = (
                f"the {name} controller is not delegated to the user's own systemd: as root 'systemctl edit "
                'user@.service\', with the lines "[Service]" and "Delegate=cpu cpuset io memory pids", and log in again'
            )
        else:
            reason = f"systemd does not pass the {name} controller on to {scope.unit.slice}"
        found[name] = reason
    return found


def _abandon(unit: Unit, user: bool) -> None:
    try:
        with Manager(user) as manager:
            manager.stop(unit.name)
            manager.reset_failed(unit.name)
    except Error:
        pass  # it is empty, so systemd removes it by itself


def tell(group: Group, unit: str, writes: Sequence[Write]) -> None:
    """Make a scope's properties what the container's files say by now, as far as ``writes`` has changed them.

    The kernel has taken the values and made one form of all that it takes, so the files are asked, not the writes.
    Raises Error.
    """

    def read(file: str) -> str:
        try:
            return group.read(file).strip()
        except OSError:
            return ""  # not in this kernel, or without its controller

    values = units.properties(writes, read)
    if values:
        with Manager(ordinary()) as manager:
            manager.set_properties(unit, values)
