"""An OCI spec to a launch plan: pure data, no side effect but opening the namespace files that the spec names."""

from __future__ import annotations

from pycontain.kernel.errors import SpecError
from pycontain.launch import mounts, reader
from pycontain.launch import namespaces as ns
from pycontain.launch.hooks import Identity, compile_hooks, hook_ops, identity
from pycontain.launch.mounts import RDONLY, compile_mounts
from pycontain.launch.ops import (
    GUEST,
    HOST,
    BecomeRoot,
    Clone,
    Domainname,
    Hostname,
    IdMap,
    Keyring,
    LoopbackUp,
    OomScoreAdj,
    Op,
    Setns,
    Setsid,
    Stdio,
    Terminal,
    TimeOffsets,
    Unshare,
)
from pycontain.launch.ops_mounts import (
    Mkdir,
    Pivot,
    RootAttributes,
    RootBind,
)
from pycontain.launch.process import Process, compile_process, confinement, personality
from pycontain.launch.rootfs import compile_devices, compile_masks, propagation
from pycontain.launch.sysctl import compile_sysctls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.launch.hooks import Entry
    from pycontain.launch.ops_userns import MapRoot

    Record = tuple[int, Op]

#: Standard descriptors of the guest: its own of the caller's, or the pipes that the monitor has made.
INHERIT = (-1, -1, -1)
PIPES = (-2, -2, -2)


class Surroundings:
    """What the caller puts around a spec: all that config.json does not say.

    before: HOST records before the clone; after_clone: HOST records after it, in this order.
    in_namespaces: records of either side for the new namespaces, before any mount (the network's requests).
    root: the root's record where the caller mounts it (an overlay); else root.path of the bundle is bound.
    map_root: the same for a guest in another user namespace; ``root`` is the record that takes it then.
    stdio: three descriptors for the guest; ignored with a terminal.
    cgroup: descriptor of the cgroup, -1 for none; cgroup_directory: its path, "" where nothing is to be bound of it.
    id: the container's, for the state that its hooks read. die: the guest is killed with the launching process.
    nested: this process is in a user namespace (kernel/rootless.py). groups_denied: and chooses no groups in it.
    """

    def __init__(self, bundle: str = "/") -> None:
        self.bundle = bundle
        self.before: list[Op] = []
        self.after_clone: list[Op] = []
        self.in_namespaces: list[Record] = []
        self.root: Op | None = None
        self.map_root: MapRoot | None = None
        self.stdio = INHERIT
        self.cgroup = -1
        self.cgroup_directory = ""
        self.id = ""
        self.die = False
        self.parent = False
        self.chroot = False
        self.new_keyring = True
        self.nested = self.groups_denied = False
        self.keyring_name = "pycontain"
        self.seccomp: Op | None = None
        self.gate: Op | None = None
        self.init = False
        #: A system boots: its console is not its init's own terminal.
        self.boots = False
        self.umask = 0o022
        self.rows = self.columns = 0


def _join_ops(spaces: ns.Namespaces) -> tuple[int, list[Op], list[Op]]:
    """The user namespace to join, or -1, and records that join the others by path: on the host side (pid), the guest's.

    The user namespace first: the others may be entered only with its capabilities, and new ones are to be its own.
    """
    userns = -1
    host: list[Op] = []
    guest: list[Op] = []
    for bit, path in spaces.joined.items():
        name = ns.PROC_NAMES[bit]
        fd = ns.open_namespace(path, bit, "linux.namespaces")
        if bit == ns.NEWUSER:
            userns = fd
            continue
        op = Setns(fd, bit, f"the {name} namespace {path}")
        (host if bit == ns.NEWPID else guest).append(op)
    return userns, host, guest


def _user_namespace(spaces: ns.Namespaces) -> tuple[list[Op], list[Op]]:
    if not spaces.own_user:
        return [], []
    maps: list[Op] = [IdMap(spaces.uids, spaces.gids)] if spaces.new & ns.NEWUSER else []
    return maps, [BecomeRoot()]


def _names(spec: dict[str, Any], spaces: ns.Namespaces) -> list[Op]:
    ops: list[Op] = []
    hostname = reader.text(spec, "hostname", "", "")
    domainname = reader.text(spec, "domainname", "", "")
    if (hostname or domainname) and not spaces.has(ns.NEWUTS):
        raise SpecError("hostname" if hostname else "domainname", "needs a uts namespace of the container's own")
    for text, where in ((hostname, "hostname"), (domainname, "domainname")):
        if len(text.encode("utf-8", "surrogateescape")) > 64:
            raise SpecError(where, "is longer than the kernel's 64 bytes")
    if hostname:
        ops.append(Hostname(hostname))
    if domainname:
        ops.append(Domainname(domainname))
    return ops


def _standard(process: Process, around: Surroundings, console: bool) -> Op:
    if process.terminal:
        rows, columns = process.rows or around.rows, process.columns or around.columns
        how = console and (Terminal.CONSOLE | Terminal.FREE if around.boots else Terminal.CONSOLE)
        return Terminal(rows, columns, process.uid, how)
    return Stdio(*around.stdio, uid=process.uid)


def _root(spec: dict[str, Any], around: Surroundings) -> tuple[Op, bool]:
    root = spec.get("root")
    if type(root) is not dict:
        raise SpecError("root", "is required: expected an object")
    path = reader.text(root, "path", "root")
    if not path:
        raise SpecError("root.path", "is empty")
    read_only = reader.flag(root, "readonly", "root")
    if around.root is not None:
        return around.root, read_only
    return RootBind(path if path.startswith("/") else f"{around.bundle}/{path}"), read_only


def _filesystem(
    spec: dict[str, Any], linux: dict[str, Any], mounting: mounts.Around, process: Process, around: Surroundings
) -> tuple[list[Op], list[Op]]:
    """The mount namespace as the createRuntime hooks find it, and the rest of it, to the pivot."""
    spaces = mounting.spaces
    if not spaces.new & ns.NEWNS:
        raise SpecError("linux.namespaces", "a mount namespace of the container's own is needed")
    first, final = propagation(linux)
    root, read_only = _root(spec, around)
    ops = [first, root]
    ops += compile_mounts(spec, mounting)
    ops += compile_devices(spec, linux, spaces.confined)
    ops.append(_standard(process, around, True))
    ops.append(Mkdir(process.cwd))
    # a hook may have made the network device that a sysctl is about
    rest: list[Op] = [*compile_sysctls(linux, spaces), *mounting.late, *compile_masks(linux), Pivot(around.chroot)]
    # pivot_root(2) does not take a root that is shared
    if read_only or final:
        rest.append(RootAttributes(RDONLY if read_only else 0, final))
    return ops, rest


def _limits(process: Process, spaces: ns.Namespaces) -> list[Record]:
    """Late, since a small RLIMIT_FSIZE or RLIMIT_NOFILE would hit the set-up itself."""
    side = HOST if spaces.own_user else GUEST  # raising one needs the host's CAP_SYS_RESOURCE
    records: list[Record] = [(side, op) for op in process.rlimits]
    return records + [(HOST, op) for op in process.schedule]


def compile_spec(spec: dict[str, Any], around: Surroundings) -> tuple[list[Record], list[str]]:
    """The HOST and GUEST records that start a container from its spec, and warnings. Raises SpecError."""
    linux = reader.table(spec, "linux", "")
    spaces = ns.compile_namespaces(linux)
    spaces.nested = around.nested
    section = spec.get("process")
    if type(section) is not dict:
        raise SpecError("process", "is required: expected an object")
    process = compile_process(section)
    if process.umask is None:
        process.umask = around.umask
    _groups(process, around)
    mounting = mounts.Around(around.bundle, spaces, around.cgroup_directory, _mount_label(linux))
    mounting.host_opens = around.map_root is not None
    filesystem, rest = _filesystem(spec, linux, mounting, process, around)
    network = _network_devices(linux, spaces)
    hooks, who = compile_hooks(spec), identity(spec, around.id, around.bundle)
    names = _names(spec, spaces)
    userns, host_joins, guest_joins = _join_ops(spaces)
    maps, become_root = _user_namespace(spaces)

    host = [*around.before, *mounting.prepared, *host_joins]
    flags = spaces.new & ~(ns.NEWCGROUP | ns.NEWTIME)
    root = around.map_root
    host.append(
        Clone(flags, around.cgroup, around.die, around.parent, userns, spaces.owner(), root.directory if root else "")
    )
    host += [*maps, *([root] if root else []), *mounting.mapped, *around.after_clone]
    if process.oom_score_adj is not None:
        host.append(OomScoreAdj(process.oom_score_adj))

    guest: list[Op] = [*guest_joins, *become_root, Setsid()]
    if around.new_keyring:
        guest.append(Keyring(around.keyring_name))
    # the root of a new cgroup namespace is the cgroup that its maker is in, so not before the guest is in its own
    if spaces.new & ns.NEWCGROUP:
        guest.append(Unshare(ns.NEWCGROUP))
    if spaces.new & ns.NEWTIME:
        guest.append(TimeOffsets(spaces.time_offsets))
    if spaces.new & ns.NEWNET:
        guest.append(LoopbackUp())

    records: list[Record] = [(HOST, op) for op in host]
    records += [(GUEST, op) for op in guest]
    records += around.in_namespaces
    records += network
    records += [(GUEST, op) for op in [*names, *filesystem]]
    records += _create_hooks(hooks, who)
    records += [(GUEST, op) for op in [*rest, *personality(linux), *_memory_policy(linux)]]
    records += _limits(process, spaces)
    late = hook_ops(hooks, "startContainer", who)
    records += [(GUEST, op) for op in confinement(process, around.seccomp, around.gate, around.init, late)]
    return records, process.warnings


def _groups(process: Process, around: Surroundings) -> None:
    """user_namespaces(7): where a user has mapped itself alone, nobody chooses groups. Raises SpecError."""
    process.keep_groups = around.groups_denied
    if process.groups and around.groups_denied:
        raise SpecError(
            "process.user.additionalGids",
            "this user namespace denies setgroups(2): it needs ranges of /etc/subuid and /etc/subgid, see "
            "'pycontain info'",
        )


def _mount_label(linux: dict[str, Any]) -> str:
    if linux.get("mountLabel") is None:
        return ""
    from pycontain.launch.labels import mount_label

    return mount_label(linux)


def _memory_policy(linux: dict[str, Any]) -> list[Op]:
    if linux.get("memoryPolicy") is None:
        return []
    from pycontain.launch.schedule import memory_policy

    return memory_policy(linux)


def _network_devices(linux: dict[str, Any], spaces: ns.Namespaces) -> list[Record]:
    if linux.get("netDevices") is None:
        return []  # nearly always: the encoder of netlink need not be there
    from pycontain.launch.netdevices import compile_devices as compile_netdevices

    return compile_netdevices(linux, spaces)


def _create_hooks(hooks: dict[str, list[Entry]], who: Identity) -> list[Record]:
    """runtime.md, "Lifecycle", steps 3 to 5: all mounts are there, the old root still is."""
    records: list[Record] = [(HOST, op) for kind in ("prestart", "createRuntime") for op in hook_ops(hooks, kind, who)]
    return records + [(GUEST, op) for op in hook_ops(hooks, "createContainer", who)]


def compile_exec(
    section: dict[str, Any], spec: dict[str, Any], pidfd: int, around: Surroundings
) -> tuple[list[Record], list[str]]:
    """The records that start one more process in a running container, whose init is ``pidfd``. Raises SpecError."""
    spaces = ns.compile_namespaces(reader.table(spec, "linux", ""))
    if section.get("capabilities") is None:
        # as in runc: a process that says nothing has those of the container, and one that is the container none
        section = {**section, "capabilities": reader.table(spec, "process", "").get("capabilities")}
    process = compile_process(section)
    if process.umask is None:
        process.umask = around.umask
    _groups(process, around)
    types = spaces.new
    for bit in spaces.joined:
        types |= bit
    initial, final = process.affinity
    host: list[Op] = [*around.before, *initial]
    if types & ns.NEWPID:
        host.append(Setns(pidfd, ns.NEWPID, "the container's PID namespace"))
    host += [Clone(0, around.cgroup, around.die, around.parent), *around.after_clone, *final]
    if process.oom_score_adj is not None:
        host.append(OomScoreAdj(process.oom_score_adj))
    guest: list[Op] = [Setns(pidfd, types & ~ns.NEWPID, "the container's namespaces")]
    if spaces.own_user:
        guest.append(BecomeRoot())
    guest.append(Setsid())
    if around.new_keyring:
        guest.append(Keyring(around.keyring_name))
    guest.append(_standard(process, around, False))
    records: list[Record] = [(HOST, op) for op in host]
    records += [(GUEST, op) for op in guest]
    records += _limits(process, spaces)
    records += [(GUEST, op) for op in confinement(process, around.seccomp, around.gate, False)]
    return records, process.warnings
