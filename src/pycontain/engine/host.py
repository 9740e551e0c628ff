"""What this host and its kernel offer to containers, found out without changing anything."""

from __future__ import annotations

import errno
import os

from pycontain.cgroup import hierarchy
from pycontain.engine.capacity import BRIDGE_PORTS
from pycontain.engine.facts import Fact, Section
from pycontain.kernel import capability, nfnl, probe, rootless
from pycontain.kernel.errors import Error

#: name in /proc/PID/ns → the kernel option, the sysctl below user/ that limits it
_NAMESPACES = {
    "mnt": ("", "max_mnt_namespaces"),
    "uts": ("CONFIG_UTS_NS", "max_uts_namespaces"),
    "ipc": ("CONFIG_IPC_NS", "max_ipc_namespaces"),
    "pid": ("CONFIG_PID_NS", "max_pid_namespaces"),
    "net": ("CONFIG_NET_NS", "max_net_namespaces"),
    "user": ("CONFIG_USER_NS", "max_user_namespaces"),
    "cgroup": ("CONFIG_CGROUPS", "max_cgroup_namespaces"),
    "time": ("CONFIG_TIME_NS", "max_time_namespaces"),
}
#: Without these a container still runs.
_OPTIONAL_NAMESPACES = ("user", "time")

#: The limits that the controllers stand for, for the error text.
_CONTROLLERS = {
    "cpu": "--cpus and --cpu-shares cannot be enforced",
    "memory": "--memory cannot be enforced, and stats shows no memory",
    "pids": "--pids-limit cannot be enforced",
    "io": "stats shows no block I/O",
}

#: What the helper cannot do without, and which Linux brought it.
_CALLS = {
    "clone3": "5.3",
    "openat2": "5.6",
    "open_tree": "5.2",
    "move_mount": "5.2",
    "fsopen": "5.2",
    "fsconfig": "5.2",
    "fsmount": "5.2",
    "mount_setattr": "5.12",
    "pidfd_open": "5.3",
    "pidfd_send_signal": "5.1",
    "close_range": "5.9",
    "memfd_create": "3.17",
    "seccomp": "3.17",
    "bpf": "4.15",
}

#: What root needs to make containers; and what becomes impossible without it.
_NEEDED = (
    "CAP_SYS_ADMIN",
    "CAP_NET_ADMIN",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SYS_CHROOT",
)
_MISSED = {"CAP_SYS_RESOURCE": "hard limits cannot be raised (--ulimit) nor --oom-score-adj be below what it is"}

_PROC_NETFILTER = "net/netfilter/nf_conntrack_max"


def sections() -> list[Section]:
    """All that is the host's."""
    return [
        Section("Kernel", _kernel()),
        Section("Namespaces", _namespaces()),
        Section("Cgroups", _cgroups()),
        Section("System calls", _calls()),
        Section("Security", _security()),
        Section("Network", _network()),
        Section("Limits", _limits()),
    ]


def _kernel() -> list[Fact]:
    uname = os.uname()
    return [Fact("Release", uname.release), Fact("Machine", uname.machine), Fact("Processors", os.cpu_count())]


def _namespaces() -> list[Fact]:
    facts = []
    for name, (option, limit) in _NAMESPACES.items():
        there = os.path.exists(f"/proc/self/ns/{name}")
        most = probe.sysctl(f"user/{limit}")
        problem = ""
        if not there and name not in _OPTIONAL_NAMESPACES:
            problem = f"the kernel is built without {name} namespaces, which containers need: rebuild it with {option}"
        elif there and most == "0":
            problem = f"none can be made: raise sysctl user.{limit}"
        facts.append(Fact(name, there and most != "0", problem, f"yes (at most {most})" if there and most else ""))
    return facts


# --- cgroups ------------------------------------------------------------------------------------------------------


def _cgroups() -> list[Fact]:
    try:
        tree = hierarchy.find()
    except Error as error:
        return [Fact("Layout", None, error.message, "none that pycontain can use")]
    bound = tree.bound()
    facts = [
        Fact("Layout", "hybrid" if bound else "unified"),
        Fact("Mount", tree.mount),
        Fact("Controllers", sorted(tree.controllers)),
        Fact("Bound to v1", bound),
    ]
    for name, loss in _CONTROLLERS.items():
        there = name in tree.controllers
        facts.append(Fact(name, there, "" if there else f"{loss}: {tree.why_missing(name)}"))
    return facts + _cgroup_files(tree)


def _cgroup_files(tree: hierarchy.Hierarchy) -> list[Fact]:
    """Core files, which the root of the hierarchy does not have: looked for in this process's group."""
    pressure = Fact("Pressure", os.path.exists("/proc/pressure/cpu"))
    try:
        directory = tree.directory(tree.own())
    except (Error, OSError):
        return [pressure]
    if directory == tree.mount:
        directory = next((entry.path for entry in _directories(tree.mount)), directory)
    if directory == tree.mount:
        return [pressure]  # there is no other group to look at
    facts = [
        Fact(name, there, "" if there else f"the kernel is older than {since}: {loss}")
        for name, since, loss in (
            ("cgroup.freeze", "5.2", "pause does not work"),
            ("cgroup.kill", "5.14", "a container's processes are killed one by one"),
        )
        for there in [os.path.exists(f"{directory}/{name}")]
    ]
    return [*facts, pressure]


def _directories(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


# --- system calls and security ------------------------------------------------------------------------------------


def _calls() -> list[Fact]:
    facts = []
    for name, since in _CALLS.items():
        there = probe.has_call(name)
        problem = ""
        if there is False:
            problem = (
                f"containers need it: Linux {since} has it, or a seccomp filter that pycontain runs under hides it"
            )
        facts.append(Fact(name, there, problem))
    return facts


def _security() -> list[Fact]:
    return [*_capabilities(), *_seccomp(), _device_filter(), *_modules()]


def bounding_set() -> list[str]:
    """The capabilities that this process and its children can ever have (capabilities(7))."""
    try:
        import prctl
    except ImportError:
        return capability.names(int(probe.status("CapBnd") or "0", 16))
    found = []
    for number, name in enumerate(capability.NAMES):
        try:
            if prctl.capbset_read(number):
                found.append(name)
        except (OSError, ValueError):
            continue  # newer than this kernel
    return found


def _known_capabilities() -> list[str]:
    last = probe.sysctl("kernel/cap_last_cap")
    return list(capability.NAMES[: int(last) + 1]) if last.isdigit() else list(capability.NAMES)


def _capabilities() -> list[Fact]:
    lacking = sorted(set(_known_capabilities()).difference(bounding_set()))
    effective = capability.names(int(probe.status("CapEff") or "0", 16))
    needed = [name for name in _NEEDED if name not in effective]
    problems = [f"without {name}: {loss}" for name, loss in _MISSED.items() if name in lacking]
    if needed and os.geteuid() == 0:
        problems.insert(0, f"root has no {', '.join(needed)} here: run pycontain outside of this container or unit")
    return [Fact("Capabilities missing", lacking, "; ".join(problems))]


def _seccomp() -> list[Fact]:
    actions = probe.sysctl("kernel/seccomp/actions_avail").split()
    problem = (
        "" if "errno" in actions else "the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER): no container starts"
    )
    mode = probe.status("Seccomp")
    under = mode == "2"
    return [
        Fact("Seccomp actions", actions, problem),
        Fact("Under a filter", under, "what it forbids no container can do: run pycontain outside of it" * under),
    ]


def _device_filter() -> Fact:
    if rootless.inside():
        return Fact("Device filter", None, text="not needed: no device is made in a user namespace")
    code = probe.device_filter()
    if code in (errno.EPERM, errno.EACCES) and os.geteuid() != 0:
        return Fact("Device filter", None, text="unknown: only root can load one")
    problem = ""
    if code:
        problem = (
            f"the kernel does not load a cgroup device program ({os.strerror(code)}), without which no container "
            "starts: it needs CONFIG_CGROUP_BPF and CAP_BPF"
        )
    return Fact("Device filter", not code, problem)


def _modules() -> list[Fact]:
    modules = [name for name in _text("/sys/kernel/security/lsm").split(",") if name]
    enforcing = _text("/sys/fs/selinux/enforce") == "1"
    return [
        Fact("Security modules", modules or None, text="" if modules else "unknown: securityfs is not mounted"),
        Fact("AppArmor", _text("/sys/module/apparmor/parameters/enabled") == "Y"),
        Fact(
            "SELinux enforcing",
            enforcing,
            "pycontain sets no labels: containers run under the label of who starts them" * enforcing,
        ),
        _landlock(),
    ]


def _landlock() -> Fact:
    """Containers do without it; the processes of ours that stay have one wall less then (docs/monitor-sandbox.md)."""
    abi = probe.landlock_abi()
    problem = ""
    if not abi:
        problem = (
            "the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, and landlock in lsm= at boot): what reads a "
            "container's output has its system call filter alone"
        )
    lacking = [what for since, what in ((4, "TCP"), (6, "signals and abstract sockets")) if abi < since]
    text = f"{abi} ({', '.join(lacking)} are not held back by it)" if abi and lacking else str(abi)
    return Fact("Landlock ABI", abi, problem, text)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


# --- network ------------------------------------------------------------------------------------------------------


def _network() -> list[Fact]:
    from shutil import which

    nft = which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")
    return [
        Fact(
            "nft",
            nft,
            "" if nft or rootless.user() >= 0 else "the bridge needs the program nft: install the package nftables",
        ),
        _tables(),
        _forwarding("IPv4 forwarding", "net/ipv4/ip_forward"),
        _forwarding("IPv6 forwarding", "net/ipv6/conf/all/forwarding"),
    ]


def _tables() -> Fact:
    try:
        with nfnl.open_socket() as link:
            nfnl.generation(link)
        return Fact("nf_tables", True)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            return Fact("nf_tables", None, text="unknown: only root is told")
        return Fact(
            "nf_tables", False, f"the kernel has no nf_tables ({error.strerror}): the bridge needs CONFIG_NF_TABLES"
        )


def _forwarding(name: str, path: str) -> Fact:
    value = probe.sysctl(path)
    if not value:
        return Fact(name, None, text="not in this kernel")
    return Fact(name, value != "0", text="on" if value != "0" else "off: the bridge switches it on")


# --- limits -------------------------------------------------------------------------------------------------------


def _limits() -> list[Fact]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        _limit("kernel/pid_max", 32768, "processes and threads on the whole host", "4194304"),
        _limit("kernel/threads-max", 4096, "threads on the whole host", "a larger number"),
        _limit(
            "fs/inotify/max_user_instances",
            128,
            "inotify instances a user: root of all containers and 'logs -f' share them",
            "1024",
        ),
        _limit("fs/inotify/max_user_watches", 8192, "inotify watches a user", "524288"),
        _limit("kernel/pty/max", 256, "pseudo-terminals: each container with a terminal takes one", "4096"),
        _limit("kernel/keys/root_maxkeys", 10000, "keys of root: each container takes one", "1000000"),
        _limit(
            "net/ipv4/neigh/default/gc_thresh3", 1024, "neighbours: containers with an address take one each", "8192"
        ),
        _limit(_PROC_NETFILTER, 4096, "connections that are tracked", "262144"),
        _limit("fs/mount-max", 1000, "mounts in a mount namespace", "100000"),
        Fact("Bridge ports", BRIDGE_PORTS, text=f"{BRIDGE_PORTS} containers on one bridge (fixed in the kernel)"),
        Fact("nofile", [soft, hard], text=f"{soft} soft, {hard} hard: each published port takes a descriptor"),
    ]


def _limit(path: str, low: int, what: str, better: str) -> Fact:
    """A sysctl that limits how many containers there can be; a problem where it is ``low`` or lower."""
    text = probe.sysctl(path)
    name = path.replace("/", ".")
    if not text.isdigit():
        return Fact(name, None)
    problem = f"{text} {what}: for many containers set sysctl {name}={better}" if int(text) <= low else ""
    return Fact(name, int(text), problem, f"{text} {what}")
