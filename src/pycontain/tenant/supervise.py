"""What pycontain-tenant@.service runs: the start that becomes the unit's main process, and what goes with it.

Several of them run for each start and stop of a host, so what only one of them needs is imported there.
"""

from __future__ import annotations

import os

from pycontain.cgroup import hierarchy
from pycontain.cgroup.unit import INFINITY as UNSET
from pycontain.engine import repair
from pycontain.engine import state as states
from pycontain.kernel import files, lock
from pycontain.kernel.errors import Error, InUse, NotFound, os_text
from pycontain.tenant import boot, crew, machined, place, service
from pycontain.tenant.hold import hold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pycontain.cgroup.hierarchy import Hierarchy
    from pycontain.tenant.place import Tenants

#: The monitor's cgroup, beside the tenant's: a group with processes divides no controllers among others.
KEEPER = "keeper"
#: Seconds beyond a tenant's own timeout that a stop may take: another verb's work, SIGKILL, hooks, cleaning up.
_ROOM = place.PATIENCE + 60
#: So long, in seconds, the last command of a unit waits for another verb.
_PATIENCE = 5.0


# --- run ----------------------------------------------------------------------------------------------------------


def run(tenants: Tenants, name: str, at_once: int) -> NoReturn:
    """Start a tenant and become its monitor. at_once: how many start at one time, 0: one for each processor.

    Raises Missing; InUse where it runs already; Error.
    """
    from pycontain.engine.start import Attachment
    from pycontain.tenant import life

    tenants.paths.prepare()
    how = Attachment(False)
    how.service = True
    how.notify = _manager()
    how.slot = _slot(tenants, at_once or crew.processors())
    parent = _enter(name)
    with hold(tenants, name) as tenant:
        if tenant.state.container:
            # what a killed monitor has left
            repair.repair(tenants.paths, tenant.state.container)
        if tenant.alive():
            raise InUse(f"tenant {name} runs already, and not by this unit: 'pycontain tenant stop {name}' first")
        # its lock goes with this process's program, and no sooner
        life.start_held(tenant, (), parent, how)
    raise AssertionError("it came back")


def _manager() -> str:
    """The service manager's socket, "" where nobody waits (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    return address if address[:1] in ("/", "@") and len(address) > 1 else ""


def tell_manager(text: str) -> None:
    """One message to the service manager, where there is one."""
    import socket

    address = _manager()
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        try:
            link.sendto(text.encode(), b"\0" + address[1:].encode() if address[0] == "@" else address)
        except OSError:
            pass  # it is on its way to being no more


def _slot(tenants: Tenants, at_once: int) -> int:
    """One of the places of those that start at one time, waited for; given back when it has started, or has not.

    systemd starts all at once that need not wait for others: fifty inits beginning together are slower than one after
    the other. Raises Error.
    """
    directory = f"{tenants.paths.run_root}/starting"
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        fds = [lock.open_lock(f"{directory}/{number}") for number in range(at_once)]
    except OSError as error:
        raise Error(f"cannot take a place among those that start: {os_text(error)}") from None
    chosen = next((fd for fd in fds if lock.try_lock(fd)), -1)
    if chosen < 0:
        chosen = fds[os.getpid() % at_once]
        while not lock.wait_lock(chosen, 60.0):
            pass
    for fd in fds:
        if fd != chosen:
            os.close(fd)
    os.set_inheritable(chosen, True)
    return chosen


def _enter(name: str) -> str:
    """The unit's cgroup, which systemd has delegated, after this process has gone into a group below it; "" where it
    is no unit of systemd's that has started this. Raises Error.
    """
    if "INVOCATION_ID" not in os.environ:
        return ""
    tree = hierarchy.find()
    own = tree.own()
    if os.path.basename(own) != service.unit(name):
        return ""
    directory = f"{tree.directory(own)}/{KEEPER}"
    try:
        os.makedirs(directory, 0o755, exist_ok=True)
        with open(f"{directory}/cgroup.procs", "wb", buffering=0) as procs:
            procs.write(b"0")
    except OSError as error:
        raise Error(f"cgroup {own}: cannot move below it: {os_text(error)}: is Delegate=yes in the unit?") from None
    return own


# --- the others ---------------------------------------------------------------------------------------------------


def onboot(tenants: Tenants, name: str) -> bool:
    """Whether a tenant that starts as before is to start now: with the others where it ran, later by all means; and
    again where systemd says so, whose unit asks each time.
    """
    return service.target_active() or boot.ran(tenants, name) or service.comes_again(name)


def started(tenants: Tenants, name: str) -> list[str]:
    """After the start: systemd learns the weights, machined the guest, and the hooks run. Lines of warning."""
    found = tenants.state(name)
    if found is None or not states.read_pid(tenants.paths, found.container)[0]:
        return []
    problems = []
    for step in (tell_weights, register):
        try:
            problem = step(tenants, name, found.container)
        except (Error, OSError) as error:
            problem = error.message if isinstance(error, Error) else os_text(error)
        if problem:
            problems.append(f"tenant {name}: {problem}")
    _hooks(tenants, name)
    return problems


def _hooks(tenants: Tenants, name: str) -> None:
    """The hooks after a start: most tenants have none, and then nothing more is read."""
    import tomllib

    from pycontain.tenant import hooks

    with open(tenants.settings_path(name), "rb") as file:
        if not (tomllib.load(file).get("hooks") or {}).get(hooks.POST_START):
            return
    with hold(tenants, name) as tenant:
        hooks.run_late(tenant, tenant.settings().hooks, hooks.POST_START)


def tell_weights(tenants: Tenants, name: str, container: str) -> str:
    """Give its unit the weights and the guarantee of the tenant's own group: these count among groups beside each
    other, and beside the other tenants' units is its unit. Limits hold where they are. "" for there being no problem.

    Raises Error.
    """
    tree = hierarchy.find()
    directory = states.cgroup_directory(tenants.paths, container)
    if not in_unit(tree, name, directory):
        return ""
    wanted, now = weights(directory), weights(os.path.dirname(directory))
    changes = [(key, ("t", value)) for key, value in wanted.items() if now[key] != value]
    if not changes:
        return ""
    from pycontain.cgroup.dbus import Manager

    with Manager() as manager:
        manager.set_properties(service.unit(name), changes)
    return ""


def weights(directory: str) -> dict[str, int]:
    """The properties of a unit that has what a group's files say; UNSET where they say what is so by itself."""
    found = {"CPUWeight": UNSET, "IOWeight": UNSET, "MemoryLow": 0}
    cpu, low = _read(f"{directory}/cpu.weight"), _read(f"{directory}/memory.low")
    io = _read(f"{directory}/io.weight").split()
    if cpu.isdigit() and cpu != "100":
        found["CPUWeight"] = int(cpu)
    if io[:1] == ["default"] and io[1:2] not in ([], ["100"]):
        found["IOWeight"] = int(io[1])
    if low:
        found["MemoryLow"] = UNSET if low == "max" else int(low)
    return found


def _read(path: str) -> str:
    try:
        return files.read_text(path).strip()
    except OSError:
        return ""  # not in this kernel, or without its controller


def in_unit(tree: Hierarchy, name: str, directory: str) -> bool:
    """Whether a container's cgroup is in the unit of its tenant."""
    return bool(directory) and os.path.basename(os.path.dirname(directory)) == service.unit(name) and service.booted()


def register(tenants: Tenants, name: str, container: str) -> str:
    """Tell machined of its guest; what it has against it, "" for nothing."""
    pid = states.read_pid(tenants.paths, container)[0]
    return machined.register(name, bytes.fromhex(container[:32]), pid, f"{tenants.paths.container(container)}/root", [])


def stop(tenants: Tenants, name: str) -> list[str]:
    """As the verb; and where it is the host that goes down, that it ran is remembered. Lines of warning."""
    from pycontain.tenant import file, life

    problems = []
    settings = None
    try:
        settings = file.read(tenants.settings_path(name)).boot
    except Error as error:
        problems.append(error.message)
    seconds = settings.stop_timeout if settings is not None else 120
    # systemd has one time for all tenants, each has its own
    tell_manager(f"EXTEND_TIMEOUT_USEC={int((seconds + _ROOM) * 1e6)}")
    down = service.going_down() and boot.running(tenants, name)
    if down:
        boot.remember(tenants, name)
    with hold(tenants, name) as tenant:
        if down:
            problem = life.down_held(tenant)
            problems += [problem] if problem else []
        else:
            life.stop_held(tenant)
    return problems


def stopped(tenants: Tenants, name: str) -> None:
    """After the unit's end, however it came: what is left goes, and a failure is written down."""
    result = os.environ.get("SERVICE_RESULT", "success")
    try:
        with hold(tenants, name, _PATIENCE) as tenant:
            if not tenant.state.container or tenant.alive():
                return
            repair.repair(tenants.paths, tenant.state.container)
            if result not in ("success", "exec-condition"):
                tenant.state.failure = f"{service.unit(name)} has failed: {_reason(result)}"
                tenant.save()
    except (InUse, NotFound):
        pass


def _reason(result: str) -> str:
    code, status = os.environ.get("EXIT_CODE", ""), os.environ.get("EXIT_STATUS", "")
    if code == "exited":
        return f"its init ended with status {status}, or could not be started"
    return f"its monitor was {code} ({status})" if code else result
