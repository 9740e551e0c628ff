"""Starting a container: prepare the host's side, compile the plan, become the helper."""

from __future__ import annotations

import os

from pycontain.cgroup import devices, group, hierarchy
from pycontain.engine import connect, interpreter, repair, userns
from pycontain.engine import record as records
from pycontain.engine.record import CGROUP_PARENT
from pycontain.kernel import files, rootless
from pycontain.kernel.errors import Error, os_text
from pycontain.launch import start as helper
from pycontain.launch.compile import PIPES, Surroundings, compile_spec
from pycontain.launch.ops import (
    AFTER,
    FAIL,
    FRONT,
    HOST,
    CgroupRemove,
    DeviceFilter,
    Front,
    Handover,
    JoinCgroup,
    KillProcess,
    Monitor,
    Pipes,
    Restart,
    Rmdir,
    Rmtree,
    Seccomp,
    Unlink,
    WritePid,
)
from pycontain.launch.ops_mounts import RootOverlay
from pycontain.storage import idpool, overlay, volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from pycontain.cgroup.group import Group
    from pycontain.cgroup.hierarchy import Hierarchy
    from pycontain.engine.connect import Connection
    from pycontain.engine.create import Made
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record
    from pycontain.kernel.idmap import Maps
    from pycontain.launch.ops import Op

    Plan = list[tuple[int, Op]]

#: restart policies as the monitor knows them
POLICIES = {"no": 0, "on-failure": 1, "always": 2, "unless-stopped": 2, "on-reboot": 3}

#: Whatever the kernel's default is: what is written lies whole in the upper directory; copies and archives are of that.
_OWN_FILES = ("redirect_dir=off", "metacopy=off")

#: Controllers that every container gets where the host has them: without them nobody knows what it uses.
_ACCOUNTED = frozenset(("cpu", "io", "memory", "pids"))

#: What there is in a run directory; the lock last.
_RUN_FILES = ("pid", "cgroup", "attach", "ports", "net", "routed", "supervise", "notify", "ready", "lock")

#: What a container's stdin is for the monitor: none, closed with its first client, open for whoever attaches.
_STDIN_NONE, _STDIN_ONCE, _STDIN_OPEN = 0, 1, 2


class Attachment:
    """What the caller's process does while the container runs.

    attach: pass output and wait for the end; else leave when it has started, printing ``announce``.
    service: there is no such process: the caller's own becomes the monitor, as a service's main process. It tells the
    service manager at ``notify`` ("": nobody) when the container has started, and closes ``slot`` (-1: none) then.
    """

    __slots__ = (
        "announce", "attach", "columns", "keys", "notify", "rows", "service", "signals", "slot", "stdin", "terminal",
    )  # fmt: skip

    def __init__(self, attach: bool, announce: str = "") -> None:
        self.attach = attach
        self.announce = announce
        self.stdin = self.terminal = False
        self.signals = True
        self.keys = b""
        self.rows = self.columns = 0
        self.service = False
        self.notify = ""
        self.slot = -1


def _cgroup(paths: Paths, made: Made) -> Group | None:
    """The container's cgroup with its limits; where it is goes to the run directory first."""
    record = made.record
    if not record.cgroup:
        from pycontain.engine import delegation

        _warn(paths, record, delegation.check(made.spec, record))
        return None
    tree = hierarchy.find()
    resources = made.spec["linux"].get("resources") or {}
    if ":" in record.cgroup:
        return _delegated(record, _scope(paths, made, tree, resources))
    files.create(f"{paths.run(record.id)}/cgroup", (tree.directory(record.cgroup) + "\n").encode(), 0o600)
    return _delegated(record, _directory(paths, made, tree, resources))


def _directory(paths: Paths, made: Made, tree: Hierarchy, resources: dict[str, Any]) -> Group:
    record = made.record
    accounted = _ACCOUNTED & tree.controllers
    if resources.keys() <= {"devices"}:
        return group.create(tree, record.cgroup, accounted, missing="report")
    from pycontain.cgroup import limits, write

    found, warnings = write.place(tree, record.cgroup, limits.compile(resources), record.missing_controllers)
    _warn(paths, record, warnings)
    found.enable(accounted)
    return found


def _delegated(record: Record, found: Group) -> Group:
    """A system that boots divides its group itself, as root of its own user namespace; the limits are not its."""
    maps = userns.of_record(record)
    if record.boots and maps is not None:
        found.delegate(*maps.root)
    return found


def _scope(paths: Paths, made: Made, tree: Hierarchy, resources: dict[str, Any]) -> Group:
    """A scope of systemd. Until the run directory says where it is, it lives no longer than this process."""
    from pycontain.cgroup import limits, systemd, unit

    record = made.record
    found, warnings = systemd.place(
        tree,
        unit.parse(record.cgroup, record.id, "the container's cgroup"),
        limits.compile(resources),
        record.missing_controllers,
        description=f"pycontain container {record.name}",
    )
    files.create(f"{paths.run(record.id)}/cgroup", (found.directory + "\n").encode(), 0o600)
    _warn(paths, record, warnings)
    return found


def _warn(paths: Paths, record: Record, warnings: list[str]) -> None:
    """One line for each limit that is not kept, now and for inspect."""
    for text in warnings:
        os.write(2, f"pycontain: warning: {text}\n".encode())
    if warnings != record.warnings:
        record.warnings = warnings
        records.change_warnings(paths, record.id, warnings)


def _device_program(made: Made) -> bytes:
    rules = made.spec["linux"]["resources"].get("devices")
    if len(rules) == 1:
        return devices.default_program()
    return devices.program(devices.compile(rules))


def root_ops(paths: Paths, record: Record, options: list[str]) -> tuple[list[Op], Op]:
    """The record that mounts a container's root, its image's layers and its own upper directory; and what the host side
    does before.
    """
    if rootless.inside():
        from pycontain.engine import userroot

        return userroot.records(paths, record, options)
    base = own = f"containers/{record.id}"
    before: list[Op] = []
    if record.disk:
        from pycontain.engine import disk
        from pycontain.launch.mounts import MAX_SLOTS
        from pycontain.launch.ops_disk import GiveMount

        own = f"{base}/disk"
        mounted = disk.inherit_mount(paths, record)
        before = [GiveMount(MAX_SLOTS, mounted)] if mounted >= 0 else []
    words, slot = ",".join([*_OWN_FILES, *options]), MAX_SLOTS if before else 0
    lower = overlay.lower(record.layers)
    return before, RootOverlay(paths.root, f"{base}/root", lower, f"{own}/upper", f"{own}/work", words, slot)


def _surroundings(paths: Paths, made: Made, cgroup: Group | None, network: Connection, how: Attachment) -> Surroundings:
    record = made.record
    around = Surroundings(paths.container(record.id))
    maps = userns.of_record(record)
    # a container that is removed when it ends need not be on the disk before (fs/overlayfs: volatile)
    before, around.root = root_ops(paths, record, ["volatile"] if record.auto_remove else [])
    around.nested, around.groups_denied = rootless.surroundings()
    if cgroup is not None:
        around.cgroup = cgroup.inherit()
    around.die = True
    around.init = record.init
    around.keyring_name = f"pycontain-{record.id[:12]}"
    if not around.nested:
        around.before = [DeviceFilter(around.cgroup, _device_program(made))]
    if not record.terminal:
        around.before.append(Pipes(record.interactive))
        around.stdio = PIPES
    if record.boots:
        from pycontain.launch.ops_boot import ReadySocket

        around.boots = True
        around.before.append(ReadySocket(paths.run(record.id)))
    if maps is not None:
        _map_root(record, maps, around, before)
    around.before += before
    around.after_clone = [WritePid(f"{paths.run(record.id)}/pid")]
    placeholder = cgroup.placeholder if cgroup is not None else None
    if cgroup is not None and placeholder is not None:
        os.set_inheritable(cgroup.keeper, True)
        around.after_clone += [
            JoinCgroup(cgroup.keeper, "the scope of systemd"),
            KillProcess(placeholder.inherit()),
        ]
    around.in_namespaces = network.records
    around.rows, around.columns = how.rows, how.columns
    if record.supervise:
        from pycontain.engine import supervised

        supervised.begin(paths, record, made.filter, around)
    elif made.filter:
        around.seccomp = Seccomp(0, made.filter)
    if record.network.startswith("container:"):
        joined = {"type": "network", "path": connect.namespace_of(paths, "--network", record.network, "net")}
        made.spec["linux"]["namespaces"].append(joined)
    if record.userns.startswith("container:"):
        joined = {"type": "user", "path": connect.namespace_of(paths, "--userns", record.userns, "user")}
        made.spec["linux"]["namespaces"].append(joined)
    return around


def _map_root(record: Record, maps: Maps, around: Surroundings, before: list[Op]) -> None:
    """The root and the pipes of a container in a user namespace of its own.

    before: what RootOverlay would need, which is taken from it.
    """
    from pycontain.launch.mounts import MAX_SLOTS
    from pycontain.launch.ops_userns import MapRoot, OwnPipes, TakeRoot

    owner = (-1, -1) if maps.identical else maps.root
    assert around.root is not None
    store, target, lower, upper, work, options, _ = around.root.values
    mounted = before.pop().values[1] if before else -1
    around.map_root = MapRoot(MAX_SLOTS, store, target, lower, upper, work, options, owner, mounted)
    around.root = TakeRoot(MAX_SLOTS)
    if not record.terminal:
        around.before.append(OwnPipes(*maps.root))


def _stdin(record: Record, how: Attachment) -> int:
    if not record.interactive:
        return _STDIN_NONE
    return _STDIN_ONCE if how.stdin else _STDIN_OPEN


def _removal(paths: Paths, record: Record) -> list[Op]:
    """What takes a container away for good."""
    return [
        Unlink(paths.name(record.name)),
        Rmtree(paths.container(record.id)),
        Unlink(f"{paths.root}/images/{record.image_id}/used/{record.id}"),
        *[Unlink(volume.hold_path(paths.root, name, record.id)) for name in record.volumes],
        *[Unlink(idpool.path(paths.root, lease)) for lease in record.id_leases],
        *_project_removal(paths, record),
    ]


def _project_removal(paths: Paths, record: Record) -> list[Op]:
    if not record.disk:
        return []
    from pycontain.storage import projects

    return [Unlink(projects.path(paths.root, number)) for number in projects.of_container(paths.root, record.id)]


def _cgroup_removal(cgroup: Group | None, record: Record) -> list[Op]:
    if cgroup is None:
        return []
    ops: list[Op] = [CgroupRemove(cgroup.directory)]
    if cgroup.keeper >= 0:
        # the monitor leaves the scope, which is empty then and goes
        own = os.open(cgroup.hierarchy.directory(cgroup.hierarchy.own()), os.O_RDONLY | os.O_DIRECTORY)
        os.set_inheritable(own, True)
        ops.append(JoinCgroup(own, "the cgroup that pycontain was started in"))
    elif os.path.dirname(cgroup.path) == CGROUP_PARENT:
        ops.append(Rmdir(os.path.dirname(cgroup.directory)))  # another parent is somebody's, with limits of its own
    return ops


def _run_dir_removal(directory: str) -> list[Op]:
    """The lock last: who takes the new one at once must not lose what it writes beside it."""
    return [
        *[Unlink(f"{directory}/{name}") for name in _RUN_FILES],
        Rmdir(directory),
    ]


def _companions_end(paths: Paths, record: Record) -> list[Op]:
    """The programs that work for a container of an ordinary user."""
    if not rootless.inside():
        if record.supervise:
            from pycontain.engine import supervised

            return supervised.end()
        return []
    from pycontain.launch.ops_rootless import CompanionsEnd

    return [CompanionsEnd(f"{paths.container(record.id)}/root")]


def _end(paths: Paths, record: Record, cgroup: Group | None, network: Connection, service: bool) -> Plan:
    """The AFTER records."""
    run_dir = paths.run(record.id)
    up = [Unlink(f"{run_dir}/ready")] if record.boots else []
    ops: list[Op] = [Unlink(f"{run_dir}/pid"), *up, *_companions_end(paths, record)]
    ops += [*_cgroup_removal(cgroup, record), *network.end]
    if not record.auto_remove:
        # also where its policy is "no": update may give it another one while it runs
        module = "pycontain.tenant.again" if record.tenant else "pycontain.engine.again"
        again = interpreter.argv(module, paths.root, paths.run_root, record.id)
        again += ["service"] if service else []
        ops.append(Restart(POLICIES[record.restart], record.restart_max, record.restart_count, again))
    ops += network.leave
    if record.auto_remove:
        ops += _removal(paths, record)
    ops += _run_dir_removal(run_dir)
    if service:
        from pycontain.launch.ops_service import ServiceEnd

        ops.append(ServiceEnd())
    return [(AFTER, op) for op in ops]


def _failure(paths: Paths, made: Made, cgroup: Group | None, network: Connection, fresh: bool) -> Plan:
    """The FAIL records: as if nothing had been, and a sentence."""
    record = made.record
    ops: list[Op] = [*_cgroup_removal(cgroup, record), *network.end, *network.leave]
    if fresh:
        ops += _removal(paths, record)
        ops += [Unlink(made.cidfile)] if made.cidfile else []
    ops += [Unlink(paths.pending(record.id)), *_run_dir_removal(paths.run(record.id))]
    ops.append(
        Handover(interpreter.argv("pycontain.engine.explain", str(made.plan), f"container {record.name}", paths.root))
    )
    return [(FAIL, op) for op in ops]


def _has_ids_of_its_own(record: Record) -> bool:
    """Whether no ID of the container is the host's root's, or the user's whose container it is."""
    return bool(record.uid_map) and not rootless.inside() and all(first > 0 for _, first, _ in record.uid_map)


def start(paths: Paths, made: Made, how: Attachment, fresh: bool) -> NoReturn:
    """Become the helper that starts the container; ``fresh``: it was made for this, and goes when it does not start.

    Raises Error; then cgroup, address and run state are given back, and a fresh container is removed.
    """
    record = made.record
    try:
        records = _plan(paths, made, how, fresh)
        helper.launch(records, made.plan, _has_ids_of_its_own(record))
    except BaseException as error:
        _refuse(paths, made, fresh, error)
        raise
    raise AssertionError("execve returned")


def _plan(paths: Paths, made: Made, how: Attachment, fresh: bool) -> Plan:
    record = made.record
    if rootless.user() >= 0:
        from pycontain.engine import delegation

        delegation.enter(record)
    cgroup = _cgroup(paths, made)
    network = connect.connect(paths, record)
    connect.write_files(paths, record, network)
    around = _surroundings(paths, made, cgroup, network, how)
    made.plan = helper.plan_fd()
    records, warnings = compile_spec(made.spec, around)
    for text in warnings:
        os.write(2, f"pycontain: warning: {text}\n".encode())
    return records + _kept(paths, made, cgroup, network, how, around.cgroup, fresh)


def _kept(
    paths: Paths, made: Made, cgroup: Group | None, network: Connection, how: Attachment, group: int, fresh: bool
) -> Plan:
    """From where the container's program runs: what keeps it, what ends it. group: its cgroup's descriptor."""
    record = made.record
    records: Plan = [(HOST, Unlink(paths.pending(record.id)))]
    if how.service:
        from pycontain.launch.ops_service import ServiceReady

        records.append((HOST, ServiceReady(how.notify, how.slot)))
    records.append(
        (
            HOST,
            Monitor(
                paths.run(record.id),
                paths.container(record.id),
                record.log_size,
                record.log_files,
                _stdin(record, how),
                record.terminal,
                made.claim.inherit(),
                group,
            ),
        )
    )
    records += _end(paths, record, cgroup, network, how.service)
    records += _failure(paths, made, cgroup, network, fresh)
    if not how.service:
        records.append((FRONT, Front(how.attach, how.stdin, how.terminal, how.keys, how.signals, how.announce)))
    return records


def adopt(paths: Paths, made: Made, how: Attachment, make: Callable[[Group | None, Connection], list[Op]]) -> NoReturn:
    """Become the monitor of a container whose processes ``make`` brings: its init is a child of this process's then.

    make: is given the container's cgroup, with its limits, and its network; the HOST records that take the init.
    how: ``service`` is set. Raises Error; then all is given back, but not what ``make`` has made.
    """
    record = made.record
    try:
        cgroup = _cgroup(paths, made)
        network = connect.connect(paths, record)
        taken = make(cgroup, network)
        taken.append(WritePid(f"{paths.run(record.id)}/pid"))
        placeholder = cgroup.placeholder if cgroup is not None else None
        if cgroup is not None and placeholder is not None:
            os.set_inheritable(cgroup.keeper, True)
            taken += [JoinCgroup(cgroup.keeper, "the scope of systemd"), KillProcess(placeholder.inherit())]
        made.plan = helper.plan_fd()
        group = cgroup.inherit() if cgroup is not None else -1
        records = [(HOST, op) for op in taken] + _kept(paths, made, cgroup, network, how, group, False)
        helper.launch(records, made.plan, _has_ids_of_its_own(record))
    except BaseException as error:
        _refuse(paths, made, False, error)
        raise
    raise AssertionError("execve returned")


def _refuse(paths: Paths, made: Made, fresh: bool, error: BaseException) -> None:
    """Take back what the host's side has prepared. Raises Error in the place of an OSError."""
    _give_up(paths, made, fresh)
    if isinstance(error, OSError):
        name = error.filename or paths.run(made.record.id)
        raise Error(f"container {made.record.name}: {name}: {os_text(error)}") from None


def _give_up(paths: Paths, made: Made, fresh: bool) -> None:
    """Take back what the host's side has prepared."""
    record = made.record
    repair.release_run_state(paths, record.id)
    if fresh:
        repair.remove_files(paths, record.id, record.name, record.image_id)
        if made.cidfile:
            repair.unlink(made.cidfile)
    repair.unlink(paths.pending(record.id))
    repair.discard_run_dir(made.claim)
