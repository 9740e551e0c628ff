"""create and run: a bundle to a container that waits at its gate, or runs."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_STREAM, socket

from pycontain.cgroup import devices, hierarchy, limits, write
from pycontain.kernel import config, files, jsontext, rootless
from pycontain.kernel.errors import Error, SpecError, os_text
from pycontain.launch import reader
from pycontain.launch import start as helper
from pycontain.launch.compile import Surroundings, compile_spec
from pycontain.launch.hooks import compile_hooks, hook_ops, identity
from pycontain.launch.ops import (
    AFTER,
    FAIL,
    HOST,
    CgroupRemove,
    DeviceFilter,
    Gate,
    Handover,
    KillProcess,
    Rmdir,
    Rmtree,
    SendPidfd,
    SendTerminal,
    Wait,
    WritePid,
)
from pycontain.launch.plan import encode
from pycontain.oci import delegation, descriptors, explain, home, listener, notify, sockets, state
from pycontain.oci.report import report
from pycontain.oci.state import CACHE, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from pycontain.cgroup.group import Group
    from pycontain.launch.compile import Record
    from pycontain.launch.ops import Op
    from pycontain.launch.ops_trace import Trace
    from pycontain.oci import resctrl
    from pycontain.oci.arguments import Call
    from pycontain.oci.resctrl import Wanted

#: Where containers without linux.cgroupsPath live.
DEFAULT_CGROUP_PARENT = "/pycontain-oci"


def read_bundle(bundle: str, path: str = "") -> dict[str, Any]:
    """config.json of a bundle, or another file in its place. Raises Error, SpecError."""
    path = path or f"{bundle}/config.json"
    try:
        spec = files.read_json(path, regular=True)
    except OSError as error:
        raise Error(f"cannot read {path}: {os_text(error)}", 1) from None
    if type(spec) is not dict:
        raise SpecError("", f"{path}: expected a JSON object", 1)
    return spec


class Settings:
    """What create does besides the plan of launch/compile.py, checked: cgroup, device filter, hooks, resctrl."""

    def __init__(self, spec: dict[str, Any], container_id: str, bundle: str) -> None:
        """Raises SpecError. Nothing is touched."""
        self.who = identity(spec, container_id, bundle)
        self.hooks = compile_hooks(spec)
        linux = reader.table(spec, "linux", "")
        resources = reader.table(linux, "resources", "linux")
        self.cgroups_path = reader.text(linux, "cgroupsPath", "linux", "")
        self.writes = limits.compile(resources)
        rules = resources.get("devices")
        self.devices = devices.program(devices.compile(rules)) if rules else devices.default_program()
        self.intel_rdt = _intel_rdt(linux, container_id)
        self.delegated = delegation.owner(spec)
        self.terminal = reader.flag(reader.table(spec, "process", ""), "terminal", "process")


def _intel_rdt(linux: dict[str, Any], container_id: str) -> Wanted | None:
    if linux.get("intelRdt") is None:
        return None
    from pycontain.oci import resctrl

    return resctrl.compile(linux, container_id)


def place_cgroup(wanted: Settings, container: Container, call: Call) -> tuple[Group | None, list[str]]:
    """The container's cgroup with its limits, and the warnings of those that are left out."""
    settings = config.load(CACHE)
    missing = call.globals.get("missing-controllers") or settings["missing_controllers"]
    path, writes = wanted.cgroups_path, wanted.writes
    if systemd_wanted(call.globals, settings["cgroup_manager"]):
        from pycontain.oci import scope

        return scope.place(path, container.id, writes, missing, groupless_allowed(call))
    path = path or f"{DEFAULT_CGROUP_PARENT}/{container.id}"
    if ":" in path:
        raise SpecError("linux.cgroupsPath", f"{path!r} is a scope of systemd: give --systemd-cgroup before the verb")
    path = path if path.startswith("/") else f"/{path}"
    if groupless_allowed(call):
        from pycontain.oci import groupless

        if lacking := groupless.check(path, writes, missing):
            return None, lacking.warnings
    return write.place(hierarchy.find(), path, writes, missing)


def groupless_allowed(call: Call) -> bool:
    """Whether a container may be without a cgroup where none can be made (--rootless)."""
    return rootless.inside() and call.globals.get("rootless", "auto") not in ("false", "0")


def systemd_wanted(given: dict[str, str], configured: str) -> bool:
    """Whether scopes are asked for: runc's --systemd-cgroup, crun's --cgroup-manager, the configuration file."""
    if given.get("systemd-cgroup", "false") in ("", "true"):
        return True
    manager = given.get("cgroup-manager") or configured
    if manager not in (config.CGROUPFS, config.SYSTEMD):
        raise Error(f"--cgroup-manager: {manager!r} is neither cgroupfs nor systemd", 1)
    return manager == config.SYSTEMD


def plan_of(spec: dict[str, Any], bundle: str) -> list[tuple[int, Op]]:
    """The records of a bundle as create makes them, without its cgroup and gate: for ``plan``. Raises SpecError."""
    wanted = Settings(spec, "", bundle)
    around = Surroundings(bundle)
    around.seccomp = listener.compile_filter(spec, wanted.who, "creating", CACHE, connected=False)
    around.umask = umask()
    records, _ = compile_spec(spec, around)
    return records


def umask() -> int:
    """config.md, user.umask: the caller's where the spec has none."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _gate(container: Container) -> int:
    """A descriptor of the socket at which init waits for start."""
    gate = socket(AF_UNIX, SOCK_STREAM)
    directory = os.open(container.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        gate.bind(f"/proc/self/fd/{directory}/start")
    finally:
        os.close(directory)
    os.chmod(container.path("start"), 0o600)
    gate.listen(1)
    os.set_inheritable(gate.fileno(), True)
    return gate.detach()


class Request:
    """What the command line asks for. stays: nobody waits for the end; gate: init waits for start."""

    __slots__ = ("bundle", "call", "descriptors", "gate", "keep", "stays")

    def __init__(self, call: Call) -> None:
        """Raises Error. To be made before anything is opened: see descriptors.check."""
        listening = descriptors.listening(dict(os.environ))
        self.descriptors = descriptors.check(listening + call.number("preserve-fds"))
        self.call = call
        self.bundle = os.path.abspath(call.text("bundle", "."))
        self.gate = call.verb == "create"
        self.stays = self.gate or call.flag("detach")
        self.keep = call.flag("keep")


def create(root: str, call: Call) -> NoReturn:
    """Become the helper that creates the container; ``run`` also starts it and waits for its end. Raises Error."""
    request = Request(call)
    spec = read_bundle(request.bundle, call.text("config"))
    container = Container(root, call.id())
    wanted = Settings(spec, container.id, request.bundle)
    container.make()
    try:
        _launch(container, spec, wanted, request)
    except BaseException:
        discard(container)
        raise


def discard(container: Container) -> None:
    notify.discard(container)
    for name in ("state.json", "config.json", "cgroup", "python", "shared", "head", "tail", "pid", "start", "plan"):
        try:
            os.unlink(container.path(name))
        except OSError:
            pass
    try:
        os.rmdir(container.directory)
    except OSError:
        pass


def _surroundings(container: Container, spec: dict[str, Any], wanted: Settings, request: Request) -> Surroundings:
    around = Surroundings(request.bundle)
    around.id = container.id
    around.seccomp = listener.compile_filter(spec, wanted.who, "created" if request.gate else "creating", CACHE)
    around.umask = umask()
    around.new_keyring = not request.call.flag("no-new-keyring")
    around.chroot = request.call.flag("no-pivot")
    around.keyring_name = f"_ses.{container.id}"
    around.after_clone = [WritePid(container.path("pid"))]
    if request.gate:
        around.gate = Gate(_gate(container))
    return around


def _complete(process: dict[str, Any], root: str) -> None:
    """What the program finds in its environment besides what the spec has: HOME, and the sockets of a service manager,
    said to it as to us. Their descriptors are kept with the others.
    """
    count = descriptors.listening(dict(os.environ))
    if count and type(process.get("env") or []) is list:
        process["env"] = [*(process.get("env") or []), f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    home.set_home(process, root)


def _launch(container: Container, spec: dict[str, Any], wanted: Settings, request: Request) -> NoReturn:
    call = request.call
    files.create(container.path("config.json"), jsontext.dumps(spec).encode(), 0o600)
    _complete(reader.table(spec, "process", ""), state.root_path(spec, request.bundle))
    if notify.manager():
        notify.offer(container, spec)
    console = sockets.console(call.text("console-socket"), terminal=wanted.terminal, detached=request.stays)
    pidfd_socket = sockets.connect(call.text("pidfd-socket"), "pidfd-socket") if call.text("pidfd-socket") else -1
    around = _surroundings(container, spec, wanted, request)
    group, lacking = place_cgroup(wanted, container, call)
    rdt = None
    try:
        # not before it is known to be ours: whoever cleans up after us kills what is in it
        line = group.directory if group is not None else state.NO_CGROUP
        files.replace(container.path("cgroup"), f"{line}\n".encode(), 0o600)
        if wanted.delegated is not None and group is not None:
            group.delegate(*wanted.delegated)
        if wanted.intel_rdt is not None:
            from pycontain.oci import resctrl

            rdt = resctrl.place(wanted.intel_rdt, resctrl.mount_point(), container.id)
        _enter(around, group, rdt, wanted)
        if pidfd_socket >= 0:
            around.after_clone.append(SendPidfd(pidfd_socket, "standard"))
        records, warnings = compile_spec(spec, around)
        descriptors.keep(records, request.descriptors)
        for text in [*lacking, *warnings]:
            report(text, call.globals, "warning")
        if console >= 0:
            records.append((HOST, SendTerminal(console)))
        if call.text("pid-file"):
            records.append((HOST, WritePid(os.path.abspath(call.text("pid-file")), plain=True)))
        made = rdt.made if rdt is not None else []
        unit = getattr(getattr(group, "unit", None), "name", "")
        keyring = around.new_keyring
        container.write(spec, request.bundle, unit=unit, warnings=lacking, resctrl=made, keyring=keyring)
        _finish(container, records, group.directory if group is not None else "", made, wanted, request)
    except BaseException:
        if group is not None:
            group.undo()
        if rdt is not None:
            rdt.undo()
        raise


def _enter(around: Surroundings, group: Group | None, rdt: resctrl.Group | None, wanted: Settings) -> None:
    """The groups that init is to be in."""
    around.nested, around.groups_denied = rootless.surroundings()
    if group is not None:
        around.cgroup = group.inherit()
        around.cgroup_directory = group.directory
        if not around.nested:
            around.before = [DeviceFilter(around.cgroup, wanted.devices)]
    if rdt is not None:
        from pycontain.launch.ops_spec import JoinTasks

        around.after_clone += [JoinTasks(path) for path in (rdt.directory, rdt.monitor) if path]
    placeholder = getattr(group, "placeholder", None)
    if placeholder is not None:
        around.after_clone.append(KillProcess(placeholder.inherit()))


def begin_trace(records: list[Record], call: Call) -> Trace | None:
    """The record in front of all others that --trace asks for, to be filled when the plan is complete. Raises Error."""
    if not call.globals.get("trace"):
        return None
    from pycontain.oci import trace

    return trace.begin(records, call.globals["trace"])


def _finish(
    container: Container, records: list[Record], cgroup: str, made: list[str], wanted: Settings, request: Request
) -> NoReturn:
    """What becomes of it when the launch fails and when it ends; then become the helper."""
    trace = begin_trace(records, request.call)
    plan = helper.plan_fd()
    removal: list[Op] = [CgroupRemove(cgroup)] if cgroup else []
    removal += [*[Rmdir(path) for path in made], Rmtree(container.directory)]
    # runtime.md, "Lifecycle": they are executed after a failed create as after delete
    removal += hook_ops(wanted.hooks, "poststop", wanted.who, warn=True)
    records += [(FAIL, op) for op in removal]
    records.append((FAIL, Handover(explain.argv(plan, request.call, 1, f"container {container.id}"))))
    if request.gate:
        files.create(container.path("plan"), encode(records), 0o600)
    else:
        records += [(HOST, op) for op in hook_ops(wanted.hooks, "poststart", wanted.who)]
        if notify.manager():
            from pycontain.launch.ops_service import Notify

            records.append((HOST, Notify(notify.listen(container), notify.manager(), request.stays)))
    if not request.stays:
        records.append((HOST, Wait(wanted.terminal and os.isatty(0), b"")))
        if not request.keep:
            records += [(AFTER, op) for op in removal]
    if trace is not None:
        trace.fill(records)
    helper.launch(records, plan)
    raise AssertionError("execve returned")
