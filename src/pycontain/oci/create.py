"""create and run: a bundle to a container that waits at its gate, or runs."""

from __future__ import annotations

import os
import sys
import time
from _socket import AF_UNIX, SOCK_STREAM, socket

from pycontain.cgroup import devices, hierarchy, limits, write
from pycontain.kernel import config, files, jsontext
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
    SendTerminal,
    Wait,
    WritePid,
)
from pycontain.launch.plan import encode
from pycontain.oci import delegation, listener
from pycontain.oci.report import report
from pycontain.oci.state import CACHE, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from pycontain.cgroup.group import Group
    from pycontain.launch.ops import Op
    from pycontain.oci.arguments import Call
    from pycontain.oci.resctrl import Wanted

#: Where containers without linux.cgroupsPath live.
DEFAULT_CGROUP_PARENT = "/pycontain-oci"


def read_bundle(bundle: str) -> dict[str, Any]:
    """config.json of a bundle. Raises Error, SpecError."""
    path = f"{bundle}/config.json"
    try:
        spec = files.read_json(path)
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


def _cgroup(wanted: Settings, container_id: str, call: Call) -> tuple[Group, list[str]]:
    """The container's cgroup with its limits, and the warnings of those that are left out."""
    settings = config.load(CACHE)
    missing = call.globals.get("missing-controllers") or settings["missing_controllers"]
    path, writes = wanted.cgroups_path, wanted.writes
    if systemd_wanted(call.globals, settings["cgroup_manager"]):
        from pycontain.cgroup import systemd, unit

        where = unit.parse(path, container_id, "linux.cgroupsPath", user=os.geteuid() != 0)
        return systemd.place(hierarchy.find(), where, writes, missing)
    path = path or f"{DEFAULT_CGROUP_PARENT}/{container_id}"
    if ":" in path:
        raise SpecError("linux.cgroupsPath", f"{path!r} is a scope of systemd: give --systemd-cgroup before the verb")
    return write.place(hierarchy.find(), path if path.startswith("/") else f"/{path}", writes, missing)


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
    around.umask = _umask()
    records, _ = compile_spec(spec, around)
    return records


def _umask() -> int:
    """config.md, user.umask: the caller's where the spec has none."""
    umask = os.umask(0o022)
    os.umask(umask)
    return umask


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


def _console(path: str, spec: dict[str, Any]) -> socket | None:
    """The caller's console socket, connected. Raises Error where it and ``process.terminal`` do not agree."""
    terminal = reader.flag(reader.table(spec, "process", ""), "terminal", "process")
    if terminal and not path:
        raise Error("process.terminal: a terminal needs --console-socket", 1)
    if path and not terminal:
        raise Error("--console-socket is for a container with process.terminal", 1)
    if not path:
        return None
    link = socket(AF_UNIX, SOCK_STREAM)
    try:
        link.connect(path)
    except OSError as error:
        raise Error(f"--console-socket {path}: {os_text(error)}", 1) from None
    os.set_inheritable(link.fileno(), True)
    return link


def explain_argv(plan: int, what: str) -> list[str]:
    """The command line of the process that explains a failed launch."""
    packages = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys;sys.path.insert(0,{packages!r});from pycontain.oci.explain import main;main(sys.argv[1:])"
    return [sys.executable or "/usr/bin/python3", "-I", "-S", "-c", code, str(plan), what]


def create(root: str, call: Call, *, wait: bool) -> NoReturn:
    """Become the helper that creates the container; ``wait``: also starts it and waits for its end. Raises Error."""
    bundle = os.path.abspath(call.text("bundle", "."))
    spec = read_bundle(bundle)
    container = Container(root, call.id())
    wanted = Settings(spec, container.id, bundle)
    container.make()
    try:
        _launch(container, spec, wanted, call, wait)
    except BaseException:
        _discard(container)
        raise


def _discard(container: Container) -> None:
    for name in ("state.json", "config.json", "pid", "start", "plan"):
        try:
            os.unlink(container.path(name))
        except OSError:
            pass
    try:
        os.rmdir(container.directory)
    except OSError:
        pass


def _launch(container: Container, spec: dict[str, Any], wanted: Settings, call: Call, wait: bool) -> NoReturn:
    bundle = wanted.who.bundle
    console = _console(call.text("console-socket"), spec) if not wait else None
    around = Surroundings(bundle)
    around.id = container.id
    around.seccomp = listener.compile_filter(spec, wanted.who, "creating" if wait else "created", CACHE)
    around.umask = _umask()
    around.new_keyring = not call.flag("no-new-keyring")
    around.chroot = call.flag("no-pivot")
    around.keyring_name = f"_ses.{container.id}"
    if not wait:
        around.gate = Gate(_gate(container))
    group, lacking = _cgroup(wanted, container.id, call)
    rdt = None
    try:
        if wanted.delegated is not None:
            group.delegate(*wanted.delegated)
        if wanted.intel_rdt is not None:
            from pycontain.oci import resctrl

            rdt = resctrl.place(wanted.intel_rdt, resctrl.mount_point(), container.id)
        for text in lacking:
            report(text, call.globals, "warning")
        around.cgroup = group.inherit()
        around.cgroup_directory = group.directory
        around.before = [DeviceFilter(around.cgroup, wanted.devices)]
        around.after_clone = [WritePid(container.path("pid"))]
        if rdt is not None:
            from pycontain.launch.ops_spec import JoinTasks

            around.after_clone += [JoinTasks(path) for path in (rdt.directory, rdt.monitor) if path]
        placeholder = getattr(group, "placeholder", None)
        if placeholder is not None:
            around.after_clone.append(KillProcess(placeholder.inherit()))
        if call.text("pid-file"):
            around.after_clone.append(WritePid(os.path.abspath(call.text("pid-file")), plain=True))
        records, warnings = compile_spec(spec, around)
        for text in warnings:
            report(text, call.globals, "warning")
        if console is not None:
            records.append((HOST, SendTerminal(console.fileno())))
        made = rdt.made if rdt is not None else []
        _write_state(container, spec, bundle, group, lacking, made)
        plan = helper.plan_fd()
        removal: list[Op] = [CgroupRemove(group.directory), *[Rmdir(path) for path in made]]
        removal.append(Rmtree(container.directory))
        # runtime.md, "Lifecycle": they are executed after a failed create as after delete
        removal += hook_ops(wanted.hooks, "poststop", wanted.who, warn=True)
        records += [(FAIL, op) for op in removal]
        records.append((FAIL, Handover(explain_argv(plan, f"container {container.id}"))))
        if wait:
            records += [(HOST, op) for op in hook_ops(wanted.hooks, "poststart", wanted.who)]
            records.append((HOST, Wait(wanted.terminal and os.isatty(0), b"")))
            records += [(AFTER, op) for op in removal]
        else:
            files.create(container.path("plan"), encode(records), 0o600)
        helper.launch(records, plan)
    except BaseException:
        group.undo()
        if rdt is not None:
            rdt.undo()
        raise
    raise AssertionError("execve returned")


def _write_state(
    container: Container, spec: dict[str, Any], bundle: str, group: Group, lacking: list[str], made: list[str]
) -> None:
    facts = {
        "ociVersion": spec["ociVersion"],
        "id": container.id,
        "bundle": bundle,
        "annotations": spec.get("annotations") or {},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cgroup": group.directory,
        "unit": getattr(getattr(group, "unit", None), "name", ""),
        "warnings": lacking,
        "resctrl": made,
    }
    files.create(container.path("config.json"), jsontext.dumps(spec).encode(), 0o600)
    files.write_json(container.path("state.json"), facts)
