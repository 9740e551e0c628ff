"""What pycontain-tenant@.service runs: the start that becomes the unit's main process, and what goes with it."""

from __future__ import annotations

import os

from pycontain.cgroup import hierarchy
from pycontain.engine import repair
from pycontain.engine import state as states
from pycontain.engine.start import Attachment
from pycontain.engine.start import start as become
from pycontain.kernel import files, lock
from pycontain.kernel.errors import Error, InUse, NotFound, os_text
from pycontain.tenant import boot, crew, hooks, life, machined, place, service
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
        life.start_held(tenant, (), parent, lambda made: become(tenants.paths, made, how, fresh=False))
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
    """Whether a tenant that starts as before is to start now: at boot where it ran, at any other time by all means."""
    if not service.coming_up():
        return True
    found, _ = boot.turns(tenants, [name])
    return any(boot.wanted(tenants, one) for one in found)


def started(tenants: Tenants, name: str) -> list[str]:
    """After the start: systemd learns the limits, machined the guest, and the hooks run. Lines of warning."""
    found = tenants.state(name)
    if found is None or not states.read_pid(tenants.paths, found.container)[0]:
        return []
    problems = []
    for step in (tell_limits, register):
        try:
            problem = step(tenants, name, found.container)
        except (Error, OSError) as error:
            problem = error.message if isinstance(error, Error) else os_text(error)
        if problem:
            problems.append(f"tenant {name}: {problem}")
    with hold(tenants, name) as tenant:
        hooks.run_late(tenant, tenant.settings().hooks, hooks.POST_START)
    return problems


def tell_limits(tenants: Tenants, name: str, container: str) -> str:
    """What its own group has, as properties of its unit: else its weight would count beside its monitor alone, and what
    is guaranteed to it would end at the unit. "" where the unit has nothing to do with it. Raises Error.
    """
    from pycontain.cgroup import group, limits, systemd

    tree = hierarchy.find()
    directory = states.cgroup_directory(tenants.paths, container)
    if not in_unit(tree, name, directory):
        return ""
    spec = files.read_json(f"{tenants.paths.container(container)}/config.json")
    resources = dict(spec["linux"].get("resources") or {})
    resources.pop("devices", None)
    try:
        with group.find(tree, tree.path(directory)) as found:
            systemd.tell(found, service.unit(name), limits.compile(resources))
    except NotFound:
        pass  # it has ended already
    return ""


def in_unit(tree: Hierarchy, name: str, directory: str) -> bool:
    """Whether a container's cgroup is in the unit of its tenant."""
    return bool(directory) and os.path.basename(os.path.dirname(directory)) == service.unit(name) and service.booted()


def register(tenants: Tenants, name: str, container: str) -> str:
    """Tell machined of its guest; what it has against it, "" for nothing."""
    pid = states.read_pid(tenants.paths, container)[0]
    return machined.register(name, bytes.fromhex(container[:32]), pid, f"{tenants.paths.container(container)}/root", [])


def stop(tenants: Tenants, name: str) -> list[str]:
    """As the verb; and where it is the host that goes down, that it ran is remembered. Lines of warning."""
    problems = []
    settings = None
    try:
        from pycontain.tenant import file

        settings = file.read(tenants.settings_path(name)).boot
    except Error as error:
        problems.append(error.message)
    seconds = settings.stop_timeout if settings is not None else 120
    # systemd has one time for all tenants, each has its own
    tell_manager(f"EXTEND_TIMEOUT_USEC={int((seconds + _ROOM) * 1e6)}")
    if service.going_down() and boot.running(tenants, name):
        boot.remember(tenants, name)
        if settings is not None and settings.shutdown == "suspend":
            problems.append(f"tenant {name}: boot.shutdown: nothing outlives the host frozen, so it is stopped")
    with hold(tenants, name) as tenant:
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
