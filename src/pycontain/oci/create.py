"""create and run: a bundle to a container that waits at its gate, or runs."""

from __future__ import annotations

import os
import sys
import time
from _socket import AF_UNIX, SOCK_STREAM, socket

from pycontain.cgroup import devices, hierarchy, limits, write
from pycontain.kernel import config, files, jsontext
from pycontain.kernel.errors import Error, SpecError, os_text
from pycontain.launch import seccomp
from pycontain.launch import start as helper
from pycontain.launch.compile import Surroundings, compile_spec
from pycontain.launch.ops import (
    AFTER,
    FAIL,
    HOST,
    CgroupRemove,
    DeviceFilter,
    Gate,
    Handover,
    KillProcess,
    Rmtree,
    Seccomp,
    SendTerminal,
    Wait,
    WritePid,
)
from pycontain.launch.plan import encode
from pycontain.oci.report import report
from pycontain.oci.state import CACHE, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from pycontain.cgroup.group import Group
    from pycontain.launch.ops import Op
    from pycontain.oci.arguments import Call

#: Where containers without linux.cgroupsPath live.
DEFAULT_CGROUP_PARENT = "/pycontain-oci"
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def read_bundle(bundle: str) -> dict[str, Any]:
    """config.json of a bundle. Raises Error, SpecError."""
    path = f"{bundle}/config.json"
    try:
        spec = files.read_json(path)
    except OSError as error:
        raise Error(f"cannot read {path}: {os_text(error)}", 1) from None
    if type(spec) is not dict:
        raise SpecError("", f"{path}: expected a JSON object", 1)
    version = spec.get("ociVersion")
    if type(version) is not str or not version.startswith("1."):
        raise SpecError("ociVersion", f"{version!r} is not a version 1.x of the runtime specification", 1)
    if any((spec.get("hooks") or {}).get(name) for name in _HOOKS):
        raise SpecError("hooks", "hooks are not supported yet", 1)
    return spec


def filter_of(spec: dict[str, Any]) -> Seccomp | None:
    """The record of ``linux.seccomp``. Raises SpecError."""
    section = (spec.get("linux") or {}).get("seccomp")
    if not section:
        return None
    if seccomp.uses_notify(section):
        raise SpecError("linux.seccomp.listenerPath", "notification of a listener is not supported yet", 1)
    program = seccomp.cached_filter(section, os.uname().machine, CACHE)
    return Seccomp(seccomp.filter_flags(section), program)


def _cgroup(spec: dict[str, Any], container_id: str, call: Call) -> tuple[Group, list[str]]:
    """The container's cgroup with its limits, and the warnings of those that are left out."""
    settings = config.load(CACHE)
    missing = call.globals.get("missing-controllers") or settings["missing_controllers"]
    linux = spec.get("linux") or {}
    path = linux.get("cgroupsPath") or ""
    writes = limits.compile(linux.get("resources") or {})
    if systemd_wanted(call.globals, settings["cgroup_manager"]):
        from pycontain.cgroup import systemd, unit

        where = unit.parse(path, container_id, "linux.cgroupsPath", user=os.geteuid() != 0)
        return systemd.place(hierarchy.find(), where, writes, missing)
    path = path or f"{DEFAULT_CGROUP_PARENT}/{container_id}"
    if type(path) is not str:
        raise SpecError("linux.cgroupsPath", "expected a string")
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


def _device_filter(spec: dict[str, Any], fd: int) -> DeviceFilter:
    rules = ((spec.get("linux") or {}).get("resources") or {}).get("devices")
    return DeviceFilter(fd, devices.program(devices.compile(rules)) if rules else devices.default_program())


def plan_of(spec: dict[str, Any], bundle: str) -> list[tuple[int, Op]]:
    """The records of a bundle as create makes them, without its cgroup and gate: for ``plan``. Raises SpecError."""
    around = Surroundings(bundle)
    around.seccomp = filter_of(spec)
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
    terminal = (spec.get("process") or {}).get("terminal") is True
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


def explain_argv(plan: int, what: str, given: dict[str, str]) -> list[str]:
    """The command line of the process that explains a failed launch; given: the global options, for the log."""
    packages = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys;sys.path.insert(0,{packages!r});from pycontain.oci.explain import main;main(sys.argv[1:])"
    log = os.path.abspath(given["log"]) if given.get("log") else ""
    form = given.get("log-format", "text")
    return [sys.executable or "/usr/bin/python3", "-I", "-S", "-c", code, str(plan), what, log, form]


def create(root: str, call: Call, *, wait: bool) -> NoReturn:
    """Become the helper that creates the container; ``wait``: also starts it and waits for its end. Raises Error."""
    bundle = os.path.abspath(call.text("bundle", "."))
    spec = read_bundle(bundle)
    container = Container(root, call.id())
    container.make()
    try:
        _launch(container, spec, bundle, call, wait)
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


def _launch(container: Container, spec: dict[str, Any], bundle: str, call: Call, wait: bool) -> NoReturn:
    console = _console(call.text("console-socket"), spec) if not wait else None
    around = Surroundings(bundle)
    around.seccomp = filter_of(spec)
    around.umask = _umask()
    around.new_keyring = not call.flag("no-new-keyring")
    around.chroot = call.flag("no-pivot")
    around.keyring_name = f"_ses.{container.id}"
    if not wait:
        around.gate = Gate(_gate(container))
    group, lacking = _cgroup(spec, container.id, call)
    try:
        for text in lacking:
            report(text, call.globals, "warning")
        around.cgroup = group.inherit()
        around.before = [_device_filter(spec, around.cgroup)]
        around.after_clone = [WritePid(container.path("pid"))]
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
        _write_state(container, spec, bundle, group, lacking)
        plan = helper.plan_fd()
        removal: list[Op] = [CgroupRemove(group.directory), Rmtree(container.directory)]
        records += [(FAIL, op) for op in removal]
        records.append((FAIL, Handover(explain_argv(plan, f"container {container.id}", call.globals))))
        if wait:
            terminal = (spec.get("process") or {}).get("terminal") is True
            records.append((HOST, Wait(terminal and os.isatty(0), b"")))
            records += [(AFTER, op) for op in removal]
        else:
            files.create(container.path("plan"), encode(records), 0o600)
        helper.launch(records, plan)
    except BaseException:
        group.undo()
        raise
    raise AssertionError("execve returned")


def _write_state(container: Container, spec: dict[str, Any], bundle: str, group: Group, lacking: list[str]) -> None:
    facts = {
        "ociVersion": spec["ociVersion"],
        "id": container.id,
        "bundle": bundle,
        "annotations": spec.get("annotations") or {},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cgroup": group.directory,
        "unit": getattr(getattr(group, "unit", None), "name", ""),
        "warnings": lacking,
    }
    files.create(container.path("config.json"), jsontext.dumps(spec).encode(), 0o600)
    files.write_json(container.path("state.json"), facts)
