"""exec: one more process in a container, as confined as its own."""

from __future__ import annotations

import os

from pycontain.kernel import files, rootless
from pycontain.kernel.errors import Error, SpecError, UsageError, os_text
from pycontain.launch import start as helper
from pycontain.launch.compile import PIPES, Surroundings, compile_exec
from pycontain.launch.hooks import identity
from pycontain.launch.namespaces import PROC_NAMES, TYPES
from pycontain.launch.ops import (
    FAIL,
    HOST,
    Handover,
    Pipes,
    SendPidfd,
    SendTerminal,
    Wait,
    WritePid,
)
from pycontain.oci import create, descriptors, exec_process, explain, home, listener, sockets, state, subgroup
from pycontain.oci.report import report
from pycontain.oci.state import CACHE, CREATING, PAUSED, STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from pycontain.launch.compile import Record
    from pycontain.oci.arguments import Call
    from pycontain.oci.state import Container

#: runc's, for every error of its own.
STATUS = 255
#: See own_namespaces.
_own: dict[str, int] = {}


def execute(root: str, call: Call) -> NoReturn:
    """Become what starts the command and, unless --detach, waits for it. Raises Error with STATUS."""
    try:
        _execute(root, call)
    except Error as error:
        error.message = f"exec failed: {error.message}"
        error.status = STATUS
        raise
    raise AssertionError("execve returned")


def _execute(root: str, call: Call) -> None:
    kept = descriptors.check(call.number("preserve-fds"))
    if not call.words:
        raise UsageError("exec: a container ID is needed")
    container = state.find(root, call.words[0])
    pid, pidfd = container.living()
    _check(container, pidfd, call)
    spec = _spec(container)
    process = exec_process.process(spec, call)
    os.set_inheritable(pidfd, True)
    bundle = str(container.facts.get("bundle") or "/")
    around = Surroundings(bundle)
    around.id = container.id
    around.seccomp = listener.compile_filter(spec, identity(spec, container.id, bundle), state.RUNNING, CACHE)
    # where a process is now counts, not what the spec has asked for: namespaces may have been joined
    spec["linux"] = {"namespaces": _namespaces(pid, container)}
    around.nested, around.groups_denied = rootless.surroundings()
    if container.facts.get("unit"):
        _reach(container)
    if not container.without_cgroup():
        around.cgroup = subgroup.open_group(container.known_cgroup(), pid, call.every("cgroup"))
    around.new_keyring = container.facts.get("keyring") is not False
    around.keyring_name = f"_ses.{container.id}"
    around.umask = create.umask()
    home.set_home(process, f"/proc/{pid}/root/.")
    detached, terminal = call.flag("detach"), process.get("terminal") is True
    console = sockets.console(call.text("console-socket"), terminal=terminal, detached=detached)
    link = sockets.connect(call.text("pidfd-socket"), "pidfd-socket") if call.text("pidfd-socket") else -1
    if link >= 0:
        around.after_clone.append(SendPidfd(link, "setns"))
    if not detached and not terminal:
        around.before = [Pipes(True)]
        around.stdio = PIPES
    records, warnings = compile_exec(process, spec, pidfd, around)
    for text in warnings:
        report(text, call.globals, "warning")
    descriptors.keep(records, kept)
    _finish(container, records, call, console, terminal)


def _reach(container: Container) -> None:
    if rootless.inside():
        from pycontain.oci import scope

        scope.reach(container.known_cgroup())


def _finish(container: Container, records: list[Record], call: Call, console: int, terminal: bool) -> None:
    trace = create.begin_trace(records, call)
    plan = helper.plan_fd()
    if console >= 0:
        records.append((HOST, SendTerminal(console)))
    if call.text("pid-file"):
        records.append((HOST, WritePid(os.path.abspath(call.text("pid-file")), plain=True)))
    if not call.flag("detach"):
        records.append((HOST, Wait(terminal and os.isatty(0), b"")))
    what = f"exec failed: container {container.id}"
    records.append((FAIL, Handover(explain.argv(plan, call, STATUS, what))))
    if trace is not None:
        trace.fill(records)
    helper.launch(records, plan)


def _check(container: Container, pidfd: int, call: Call) -> None:
    """The words are runc's. Raises Error."""
    status = container.status_of(pidfd)
    if status == PAUSED and not call.flag("ignore-paused"):
        raise Error("cannot exec in a paused container (use --ignore-paused to override)")
    if status in (STOPPED, CREATING):
        raise Error("cannot exec in a stopped container" if status == STOPPED else "the container is being created")


def _spec(container: Container) -> dict[str, Any]:
    path = container.path("config.json")
    try:
        spec = files.read_json(path)
    except OSError as error:
        raise Error(f"cannot read {path}: {os_text(error)}") from None
    if type(spec) is not dict:
        raise SpecError("", f"{path}: expected a JSON object")
    return spec


def own_namespaces() -> dict[str, int]:
    """Name and number of each that this process is in; those that this kernel has."""
    if not _own:
        for name in PROC_NAMES.values():
            try:
                _own[name] = os.stat(f"/proc/self/ns/{name}").st_ino
            except FileNotFoundError:
                continue  # a kernel without them
    return _own


def _namespaces(pid: int, container: Container) -> list[dict[str, str]]:
    """The namespaces of a process that are not our own. Raises Error where it has ended."""
    found = []
    ours = own_namespaces()
    for kind, bit in TYPES.items():
        name = PROC_NAMES[bit]
        if name not in ours:
            continue
        path = f"/proc/{pid}/ns/{name}"
        try:
            if os.stat(path).st_ino != ours[name]:
                found.append({"type": kind, "path": path})
        except PermissionError:
            raise Error(f"container {container.id} is in another user namespace than this command") from None
        except OSError:
            raise Error(f"container {container.id} has ended") from None
    return found
