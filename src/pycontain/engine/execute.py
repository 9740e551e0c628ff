"""exec: one more process in a running container, as confined as its own."""

from __future__ import annotations

import os

from pycontain.engine import confinement, interpreter, load, names, repair, state, userns
from pycontain.engine.terminal import check_input, size
from pycontain.kernel import files, rootless
from pycontain.kernel.errors import EXIT_NOT_FOUND, Error, os_text
from pycontain.launch import start as helper
from pycontain.launch.compile import PIPES, Surroundings, compile_exec
from pycontain.launch.ops import (
    FAIL,
    HOST,
    Handover,
    Pipes,
    Seccomp,
    Wait,
)
from pycontain.storage import lookup
from pycontain.storage.users import User, resolve_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record

_ACCOUNTS_LIMIT = 1 << 20
#: As the spec and as /proc/PID/ns name them (namespaces(7)).
_NAMESPACES = (
    ("user", "user"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("pid", "pid"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("network", "net"),
)


class ExecRequest:
    """What somebody wants to run in a container. env: None takes nothing; user: "" is the container's own."""

    def __init__(self, container: str, command: list[str]) -> None:
        self.container = container
        self.command = command
        self.terminal = self.interactive = self.detach = self.privileged = False
        self.env: dict[str, str | None] = {}
        self.workdir = ""
        self.user = ""
        self.detach_keys = b""


def _user(request: ExecRequest, pid: int) -> User:
    """Who ``-u`` is, by the container's accounts as they are now: read through its root, following nothing of it."""
    root = f"/proc/{pid}/root/."
    passwd = lookup.find_in([root], "/etc/passwd", _ACCOUNTS_LIMIT)
    group = lookup.find_in([root], "/etc/group", _ACCOUNTS_LIMIT)
    return resolve_user(request.user, passwd, group)


def _process(request: ExecRequest, spec: dict[str, Any], pid: int) -> dict[str, Any]:
    process: dict[str, Any] = dict(spec["process"])
    process["args"] = request.command
    process["terminal"] = request.terminal
    env = dict(entry.split("=", 1) for entry in process["env"])
    if request.terminal:
        env.setdefault("TERM", "xterm")
    if request.user:
        user = _user(request, pid)
        process["user"] = {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}
        env["HOME"] = user.home
    env.pop("NOTIFY_SOCKET", None)  # where init says that it is up, and nobody else
    for name, value in request.env.items():
        if value is not None:
            env[name] = value
    process["env"] = [f"{name}={value}" for name, value in env.items()]
    if request.workdir:
        process["cwd"] = request.workdir
    if request.privileged:
        every = confinement.every_capability()
        process["capabilities"] = {"bounding": every, "effective": every, "permitted": every}
        process.pop("apparmorProfile", None)
        process.pop("selinuxLabel", None)
    return process


def _namespaces(pid: int, container_id: str) -> list[dict[str, str]]:
    """The namespaces of a process that are not our own. Raises Error where it has ended.

    The spec does not know of a network that was joined at the start, nor in which namespaces this process is.
    """
    try:
        return [
            {"type": kind}
            for kind, file in _NAMESPACES
            if os.stat(f"/proc/{pid}/ns/{file}").st_ino != os.stat(f"/proc/self/ns/{file}").st_ino
        ]
    except OSError:
        raise Error(f"container {container_id[:12]} has ended") from None


def execute(paths: Paths, request: ExecRequest) -> NoReturn:
    """Become what starts the command and waits for it. Raises Error."""
    container_id = names.find(paths, request.container)
    repair.repair(paths, container_id)
    found = state.read(paths, container_id)
    if found.status == state.PAUSED:
        raise Error(f"container {request.container} is paused: unpause it first")
    if not found.pid:
        raise Error(f"container {request.container} is not running: start it first")
    if not request.command[0]:
        raise Error('exec: "": the command has no name: give one after the name of the container', EXIT_NOT_FOUND)
    if request.detach:
        request.terminal = False  # nobody would hold its other end
    else:
        check_input(request.terminal, request.interactive)
    made = load.read_spec(paths, container_id)
    record = load.read_record(paths, container_id)
    pid, pidfd = state.open_init(paths, container_id)
    made["linux"]["namespaces"] = _namespaces(pid, container_id)
    maps = userns.of_record(record)
    made["linux"].update(maps.spec() if maps else {})
    os.set_inheritable(pidfd, True)
    around = Surroundings(paths.container(container_id))
    around.nested, around.groups_denied = rootless.surroundings()
    if record.cgroup:
        around.cgroup = _cgroup(paths, record, request.container, pid)
    around.keyring_name = f"pycontain-{container_id[:12]}"
    _streams(request, around)
    if maps and around.before:
        from pycontain.launch.ops_userns import OwnPipes

        around.before.append(OwnPipes(*maps.root))
    around.rows, around.columns = size(0)
    if request.privileged:
        record.capabilities = confinement.every_capability()  # the default filter is one for capabilities
    program = load.filter_of(paths, record, made)
    if record.supervise and not request.privileged:
        from pycontain.engine import supervised

        around.seccomp = supervised.join(paths, record, program)
    elif program:
        around.seccomp = Seccomp(0, program)
    records, _ = compile_exec(_process(request, made, pid), made, pidfd, around)
    plan = helper.plan_fd()
    if not request.detach:
        terminal = request.terminal and os.isatty(0)
        records.append((HOST, Wait(terminal, request.detach_keys)))
    what = f"container {record.name}"
    records.append((FAIL, Handover(interpreter.argv("pycontain.engine.explain", str(plan), what, paths.root))))
    helper.launch(records, plan)
    raise AssertionError("execve returned")


def _cgroup(paths: Paths, record: Record, text: str, pid: int) -> int:
    """A descriptor of the cgroup, which the helper inherits. Raises Error."""
    if rootless.user() >= 0:
        from pycontain.engine import delegation

        delegation.enter(record)
    directory = state.cgroup_directory(paths, record.id)
    if record.boots:
        # its init divides the group among its services, and no process can be in one that is divided (cgroups(7))
        directory = _group_of_init(directory, pid)
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        where = directory or f"{paths.run(record.id)}/cgroup"
        raise Error(f"container {text} is ending, or damaged: {where}: {os_text(error)}") from None
    os.set_inheritable(fd, True)
    return fd


def _group_of_init(directory: str, pid: int) -> str:
    """The group that a container's init has moved to, below the container's own; that itself where it is in none."""
    own = os.path.basename(directory)
    try:
        lines = files.read_text(f"/proc/{pid}/cgroup").splitlines()
    except OSError:
        return directory
    path = next((line[3:] for line in lines if line.startswith("0::")), "")
    _, found, below = f"{path}/".partition(f"/{own}/")
    return f"{directory}/{below}".rstrip("/") if found and ".." not in below.split("/") else directory


def _streams(request: ExecRequest, around: Surroundings) -> None:
    """Pipes to this process, /dev/null where nothing is to be passed; nothing of the caller's own goes in."""
    null = os.open("/dev/null", os.O_RDWR)
    os.set_inheritable(null, True)
    if request.detach:
        around.stdio = (null, null, null)
    elif not request.terminal:
        around.before = [Pipes(request.interactive)]
        around.stdio = PIPES if request.interactive else (null, *PIPES[1:])
