"""The operations of a launch plan: each has one definition here.

A class gives the operation's number, its fields (name and kind, see plan.py), a typed constructor, and what it says of
itself when it is printed or has failed. ``src/helper/gen_ops.py`` makes the C side's tables from these classes; the C
function of an operation is called ``op_`` and its name.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Fields = tuple[tuple[str, str], ...]

#: Sides: who executes a record (docs/design.md, "The launch plan").
HOST, GUEST, AFTER, FAIL, FRONT = 0, 1, 2, 3, 4
SIDES = ("host", "guest", "after", "fail", "front")


class Op:
    """One kernel operation with its arguments; ``values`` has one value a field, in their order."""

    code: int
    name: str
    #: (field name, kind) pairs; kinds are those of plan.py: n, s, b, l.
    fields: Fields
    #: The side that executes it where the plan does not say otherwise.
    side = GUEST
    #: The oldest kernel that has what it calls, for the error text.
    since = ""
    values: tuple[Any, ...]

    def describe(self) -> str:
        """What it does and to what, in the imperative: "mount proc on /proc"."""
        raise NotImplementedError

    def __repr__(self) -> str:
        pairs = (f"{name}={value!r}" for (name, _), value in zip(self.fields, self.values, strict=True))
        return f"{type(self).__name__}({', '.join(pairs)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Op) and self.code == other.code and self.values == other.values

    def __hash__(self) -> int:
        return hash((self.code, repr(self.values)))


# --- processes and namespaces -----------------------------------------------------------------------------------


class Clone(Op):
    """clone3(2): make the guest in new namespaces, straight into a cgroup.

    flags: CLONE_NEW* bits. cgroup: descriptor of the cgroup's directory, -1 for the caller's cgroup.
    die: 1 when the guest is to be killed with the process that launched it (PR_SET_PDEATHSIG).
    parent: 1 when the guest is to be a child of the launching process's parent (CLONE_PARENT).
    userns: descriptor of a user namespace that is joined first, so that it owns the new ones; -1 for none.
    uid, gid: who makes the new user namespace, so that its budgets are counted apart from root's; -1 for root.
    directory: where the guest begins, "" for where the caller is: TakeRoot mounts there.
    """

    code, name, side, since = 1, "clone", HOST, "5.7"
    fields = (
        ("flags", "n"),
        ("cgroup", "n"),
        ("die", "n"),
        ("parent", "n"),
        ("userns", "n"),
        ("uid", "n"),
        ("gid", "n"),
        ("directory", "s"),
    )

    def __init__(
        self,
        flags: int,
        cgroup: int = -1,
        die: bool = False,
        parent: bool = False,
        userns: int = -1,
        owner: tuple[int, int] = (-1, -1),
        directory: str = "",
    ) -> None:
        self.values = (flags, cgroup, int(die), int(parent), userns, *owner, directory)

    def describe(self) -> str:
        flags = self.values[0]
        names = [name for bit, name in NAMESPACE_BITS if flags & bit]
        return f"create the container's process in new namespaces ({', '.join(names) or 'none'})"


#: sched.h
NAMESPACE_BITS = (
    (0x00020000, "mount"),
    (0x20000000, "pid"),
    (0x40000000, "network"),
    (0x04000000, "uts"),
    (0x08000000, "ipc"),
    (0x10000000, "user"),
    (0x02000000, "cgroup"),
    (0x00000080, "time"),
)


class Setns(Op):
    """setns(2): join the namespaces of ``fd`` (a namespace file or a pidfd). On the HOST side for pid only."""

    code, name, since = 2, "setns", "5.8"
    fields = (("fd", "n"), ("types", "n"), ("what", "s"))

    def __init__(self, fd: int, types: int, what: str) -> None:
        self.values = (fd, types, what)

    def describe(self) -> str:
        return f"join {self.values[2]}"


class Unshare(Op):
    """unshare(2): for the cgroup namespace, whose root is the cgroup that the guest is in at this moment."""

    code, name = 3, "unshare"
    fields = (("flags", "n"),)

    def __init__(self, flags: int) -> None:
        self.values = (flags,)

    def describe(self) -> str:
        flags = self.values[0]
        return f"unshare namespaces ({', '.join(name for bit, name in NAMESPACE_BITS if flags & bit)})"


class IdMap(Op):
    """Write the guest's uid_map and gid_map (user_namespaces(7)). deny: write "deny" to setgroups first."""

    code, name, side = 4, "id_map", HOST
    fields = (("uids", "s"), ("gids", "s"), ("deny", "n"))

    def __init__(self, uids: str, gids: str, deny: bool = False) -> None:
        self.values = (uids, gids, int(deny))

    def describe(self) -> str:
        uids, gids, _ = self.values
        return f"write the user namespace's maps (uids {lines(uids)}; gids {lines(gids)})"


def lines(value: str) -> str:
    return ", ".join(value.strip().split("\n"))


class BecomeRoot(Op):
    """Take uid and gid 0 of the new user namespace, and no supplementary groups of the host."""

    code, name = 5, "become_root"
    fields = ()

    def __init__(self) -> None:
        self.values = ()

    def describe(self) -> str:
        return "become root of the user namespace"


class TimeOffsets(Op):
    """A new time namespace with these offsets (time_namespaces(7)), joined by the guest itself."""

    code, name, since = 6, "time_offsets", "5.6"
    fields = (("offsets", "s"),)

    def __init__(self, offsets: str) -> None:
        self.values = (offsets,)

    def describe(self) -> str:
        return f"make a time namespace with offsets {lines(self.values[0])}"


class NetnsFd(Op):
    """Open the guest's network namespace as descriptor ``number``, for messages that carry IFLA_NET_NS_FD."""

    code, name, side = 7, "netns_fd", HOST
    fields = (("number", "n"),)

    def __init__(self, number: int) -> None:
        self.values = (number,)

    def describe(self) -> str:
        return "open the container's network namespace"


class Netlink(Op):
    """Send ready-made requests over one netlink socket and read every acknowledgement.

    protocol: NETLINK_ROUTE 0 or NETLINK_NETFILTER 12. messages: nlmsghdr after nlmsghdr, sent in one datagram.
    what: what they do, for the error text. optional: 1 when a failure is no failure of the plan.
    """

    code, name = 8, "netlink"
    fields = (("protocol", "n"), ("messages", "b"), ("what", "s"), ("optional", "n"))

    def __init__(self, protocol: int, messages: bytes, what: str, optional: bool = False) -> None:
        self.values = (protocol, messages, what, int(optional))

    def describe(self) -> str:
        return f"{self.values[2]}"


class LoopbackUp(Op):
    """Set the loopback device of a new network namespace up (SIOCSIFFLAGS, netdevice(7))."""

    code, name = 18, "loopback_up"
    fields = ()

    def __init__(self) -> None:
        self.values = ()

    def describe(self) -> str:
        return "bring the loopback device up"


class Rlimit(Op):
    """prlimit(2) on the guest. Values are in the resource's own unit; 2**64-1 is unlimited."""

    code, name, side = 9, "rlimit", HOST
    fields = (("resource", "n"), ("soft", "n"), ("hard", "n"))

    def __init__(self, resource: int, soft: int, hard: int) -> None:
        self.values = (resource, soft, hard)

    def describe(self) -> str:
        resource, soft, hard = self.values
        name = RLIMITS[resource] if resource < len(RLIMITS) else str(resource)
        unlimited = (1 << 64) - 1
        # a plan that was read has the larger half of them as negative numbers
        words = ["unlimited" if value & unlimited == unlimited else str(value & unlimited) for value in (soft, hard)]
        return f"set resource limit {name} to {words[0]} (soft) and {words[1]} (hard)"


#: bits/resource.h, by number
RLIMITS = (
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
)


class OomScoreAdj(Op):
    """Write the guest's /proc/PID/oom_score_adj (proc(5), -1000 to 1000)."""

    code, name, side = 10, "oom_score_adj", HOST
    fields = (("value", "n"),)

    def __init__(self, value: int) -> None:
        self.values = (value,)

    def describe(self) -> str:
        return f"set oom_score_adj to {self.values[0]}"


class DeviceFilter(Op):
    """Load an eBPF program of type BPF_PROG_TYPE_CGROUP_DEVICE and attach it to the cgroup of ``cgroup``."""

    code, name, side, since = 11, "device_filter", HOST, "4.15"
    fields = (("cgroup", "n"), ("program", "b"))

    def __init__(self, cgroup: int, program: bytes) -> None:
        self.values = (cgroup, program)

    def describe(self) -> str:
        return "attach the device filter to the container's cgroup"


class WritePid(Op):
    """Write ``PID START-TIME`` of the guest to a file (start time: field 22 of /proc/PID/stat, in clock ticks).

    plain: 1 for the process ID alone, as callers of an OCI runtime want it.
    """

    code, name, side = 12, "write_pid", HOST
    fields = (("path", "s"), ("plain", "n"))

    def __init__(self, path: str, plain: bool = False) -> None:
        self.values = (path, int(plain))

    def describe(self) -> str:
        return f"write the process ID to {self.values[0]}"


class Unlink(Op):
    """unlink(2) on a file of ours; a missing one is no error."""

    code, name, side = 13, "unlink", AFTER
    fields = (("path", "s"),)

    def __init__(self, path: str) -> None:
        self.values = (path,)

    def describe(self) -> str:
        return f"remove {self.values[0]}"


class Rmtree(Op):
    """Remove a directory of ours with all that a guest has put into it, by descriptors; missing is no error."""

    code, name, side = 14, "rmtree", AFTER
    fields = (("path", "s"),)

    def __init__(self, path: str) -> None:
        self.values = (path,)

    def describe(self) -> str:
        return f"remove {self.values[0]} and what is below it"


class Rmdir(Op):
    """rmdir(2) on a directory of ours; one that is missing or not empty is no error."""

    code, name, side = 17, "rmdir", AFTER
    fields = (("path", "s"),)

    def __init__(self, path: str) -> None:
        self.values = (path,)

    def describe(self) -> str:
        return f"remove the directory {self.values[0]}"


class CgroupRemove(Op):
    """Kill what is left in a cgroup (cgroup.kill) and remove it with its children; missing is no error."""

    code, name, side, since = 15, "cgroup_remove", AFTER, "5.14"
    fields = (("path", "s"),)

    def __init__(self, path: str) -> None:
        self.values = (path,)

    def describe(self) -> str:
        return f"remove the cgroup {self.values[0]}"


class Handover(Op):
    """execve(2) a program of ours in place of the process.

    AFTER: the monitor becomes it. FAIL: the launching process becomes it, with the failed record's number, its errno
    and the detail as three more arguments.
    """

    code, name, side = 16, "handover", AFTER
    fields = (("argv", "l"),)

    def __init__(self, argv: Sequence[str]) -> None:
        self.values = (list(argv),)

    def describe(self) -> str:
        return f"become {self.values[0][0]}"


# --- identity and limits of the guest ---------------------------------------------------------------------------


class Hostname(Op):
    """sethostname(2)."""

    code, name = 40, "hostname"
    fields = (("text", "s"),)

    def __init__(self, text: str) -> None:
        self.values = (text,)

    def describe(self) -> str:
        return f"set the hostname to {self.values[0]!r}"


class Domainname(Op):
    """setdomainname(2)."""

    code, name = 41, "domainname"
    fields = (("text", "s"),)

    def __init__(self, text: str) -> None:
        self.values = (text,)

    def describe(self) -> str:
        return f"set the NIS domain name to {self.values[0]!r}"


class Sysctl(Op):
    """Write a file below /proc/sys of a proc instance of ours; ``path`` has slashes."""

    code, name = 42, "sysctl"
    fields = (("path", "s"), ("value", "s"))

    def __init__(self, path: str, value: str) -> None:
        self.values = (path, value)

    def describe(self) -> str:
        return f"set sysctl {str(self.values[0]).replace('/', '.')} to {self.values[1]!r}"


class Setsid(Op):
    """setsid(2): no terminal of the caller can be written to by TIOCSTI."""

    code, name = 43, "setsid"
    fields = ()

    def __init__(self) -> None:
        self.values = ()

    def describe(self) -> str:
        return "start a new session"


class Keyring(Op):
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: a session keyring of the container's own."""

    code, name = 44, "keyring"
    fields = (("text", "s"),)

    def __init__(self, text: str) -> None:
        self.values = (text,)

    def describe(self) -> str:
        return f"join a new session keyring {self.values[0]!r}"


class Terminal(Op):
    """A pty of the root's own devpts as controlling terminal, stdin, stdout, stderr and /dev/console.

    rows, columns: 0 to leave the size. uid: who owns it. console: CONSOLE to bind it on /dev/console, with FREE where
    it is to be nobody's controlling terminal yet. The master goes to the host side.
    """

    CONSOLE, FREE = 1, 2

    code, name = 45, "terminal"
    fields = (("rows", "n"), ("columns", "n"), ("uid", "n"), ("console", "n"))

    def __init__(self, rows: int, columns: int, uid: int, console: int) -> None:
        self.values = (rows, columns, uid, int(console))

    def describe(self) -> str:
        return "open the container's terminal"


class Stdio(Op):
    """dup2(2) these descriptors to 0, 1, 2 (-1 leaves one), give those that are pipes to ``uid`` (-1: nobody).

    -2 takes the guest's end of what Pipes made.
    """

    code, name = 46, "stdio"
    fields = (("stdin", "n"), ("stdout", "n"), ("stderr", "n"), ("uid", "n"))

    def __init__(self, stdin: int, stdout: int, stderr: int, uid: int = -1) -> None:
        self.values = (stdin, stdout, stderr, uid)

    def describe(self) -> str:
        return "connect standard input, output and error"


class Bounding(Op):
    """Drop all capabilities that are not in ``keep`` (a bit mask) from the bounding set."""

    code, name = 47, "bounding"
    fields = (("keep", "n"),)

    def __init__(self, keep: int) -> None:
        self.values = (keep,)

    def describe(self) -> str:
        return "drop capabilities from the bounding set"


class User(Op):
    """setgroups(2), setresgid(2), setresuid(2), with the permitted capabilities kept for Capabilities.

    groups: u32 each, packed; -1 as ``count`` leaves the supplementary groups as they are.
    """

    code, name = 48, "user"
    fields = (("uid", "n"), ("gid", "n"), ("groups", "b"), ("keep_groups", "n"))

    def __init__(self, uid: int, gid: int, groups: bytes, keep_groups: bool = False) -> None:
        self.values = (uid, gid, groups, int(keep_groups))

    def describe(self) -> str:
        return f"become uid {self.values[0]} gid {self.values[1]}"


class Capabilities(Op):
    """capset(2) and PR_CAP_AMBIENT: bit masks. What the caller does not have is left out with a warning."""

    code, name = 49, "capabilities"
    fields = (("effective", "n"), ("permitted", "n"), ("inheritable", "n"), ("ambient", "n"))

    def __init__(self, effective: int, permitted: int, inheritable: int, ambient: int) -> None:
        self.values = (effective, permitted, inheritable, ambient)

    def describe(self) -> str:
        return "set the capabilities"


class NoNewPrivileges(Op):
    """PR_SET_NO_NEW_PRIVS."""

    code, name = 50, "no_new_privileges"
    fields = ()

    def __init__(self) -> None:
        self.values = ()

    def describe(self) -> str:
        return "set no_new_privs"


class Seccomp(Op):
    """seccomp(2) SECCOMP_SET_MODE_FILTER with these flags and a program of struct sock_filter."""

    code, name = 51, "seccomp"
    fields = (("flags", "n"), ("program", "b"))

    def __init__(self, flags: int, program: bytes) -> None:
        self.values = (flags, program)

    def describe(self) -> str:
        program = self.values[1]
        return f"load the seccomp filter ({len(program) // 8} instructions)"


class Umask(Op):
    """umask(2)."""

    code, name = 52, "umask"
    fields = (("mask", "n"),)

    def __init__(self, mask: int) -> None:
        self.values = (mask,)

    def describe(self) -> str:
        return f"set the umask to {self.values[0]:04o}"


class Cwd(Op):
    """chdir(2), and proof that the directory lies inside the root (getcwd(3) does not say "(unreachable)")."""

    code, name = 53, "cwd"
    fields = (("path", "s"),)

    def __init__(self, path: str) -> None:
        self.values = (path,)

    def describe(self) -> str:
        return f"change to the working directory {self.values[0]}"


class Personality(Op):
    """personality(2)."""

    code, name = 54, "personality"
    fields = (("persona", "n"),)

    def __init__(self, persona: int) -> None:
        self.values = (persona,)

    def describe(self) -> str:
        return f"set the execution domain to {self.values[0]:#x}"


# --- the end: what becomes of the two processes -------------------------------------------------------------------


class Lookup(Op):
    """Find the program inside the root: as it is where it has a slash, else in the directories of ``path``."""

    code, name = 60, "lookup"
    fields = (("program", "s"), ("path", "s"))

    def __init__(self, program: str, path: str) -> None:
        self.values = (program, path)

    def describe(self) -> str:
        return f"find {self.values[0]!r}"


class Gate(Op):
    """Wait until somebody connects to this listening unix socket; what fails from here on goes to them."""

    code, name = 61, "gate"
    fields = (("fd", "n"),)

    def __init__(self, fd: int) -> None:
        self.values = (fd,)

    def describe(self) -> str:
        return "wait for start"


class Init(Op):
    """Stay as PID 1 that reaps and forwards signals; a child of it goes on with the plan."""

    code, name = 62, "init"
    fields = ()

    def __init__(self) -> None:
        self.values = ()

    def describe(self) -> str:
        return "start the init process"


class Exec(Op):
    """close_range(2) all but 0, 1, 2 and ``preserve`` more, then execve(2) what Lookup found."""

    code, name = 63, "exec"
    fields = (("argv", "l"), ("env", "l"), ("preserve", "n"))

    def __init__(self, argv: Sequence[str], env: Sequence[str], preserve: int = 0) -> None:
        self.values = (list(argv), list(env), preserve)

    def describe(self) -> str:
        argv = self.values[0]
        return f"execute {argv[0]!r}"


class Monitor(Op):
    """Stay while the container runs: terminal or pipes, log, exit status, attach; then the AFTER records.

    run_dir: where the attach socket is made. directory: where log and exit are written. log_size: bytes after which
    the log is rotated, 0 for no log. log_files: how many are kept. stdin: 0 none, 1 closed with its first client,
    2 open for all clients. terminal: 1 when the guest opens one. lock: descriptor of the container's lock.
    cgroup: descriptor of the container's cgroup, -1 for none: where an OOM kill is read.
    """

    code, name, side = 64, "monitor", HOST
    fields = (
        ("run_dir", "s"),
        ("directory", "s"),
        ("log_size", "n"),
        ("log_files", "n"),
        ("stdin", "n"),
        ("terminal", "n"),
        ("lock", "n"),
        ("cgroup", "n"),
    )

    def __init__(
        self,
        run_dir: str,
        directory: str,
        log_size: int,
        log_files: int,
        stdin: int,
        terminal: bool,
        lock: int,
        cgroup: int = -1,
    ) -> None:
        self.values = (run_dir, directory, log_size, log_files, stdin, int(terminal), lock, cgroup)

    def describe(self) -> str:
        return f"monitor the container in {self.values[0]}"


class Restart(Op):
    """When the container has ended: become ``argv`` (after the AFTER records before this) where the policy says so.

    policy: 0 no, 1 on failure, 2 always. max: how many restarts at the most, 0 for any number. count: how many there
    were. A container that a client asked to stop is not restarted.
    """

    code, name, side = 65, "restart", AFTER
    fields = (("policy", "n"), ("max", "n"), ("count", "n"), ("argv", "l"))

    def __init__(self, policy: int, max: int, count: int, argv: Sequence[str]) -> None:
        self.values = (policy, max, count, list(argv))

    def describe(self) -> str:
        return "restart the container"


class Front(Op):
    """What the process that the caller waits for does while the monitor works.

    attach: 1 to pass the container's output, 0 to leave when it has started. stdin: 1 to pass standard input.
    terminal: 1 to set the caller's terminal to raw mode. keys: the byte sequence that detaches, may be empty.
    signals: 1 to forward signals. announce: printed on standard output when the container has started.
    """

    code, name, side = 66, "front", FRONT
    fields = (
        ("attach", "n"),
        ("stdin", "n"),
        ("terminal", "n"),
        ("keys", "b"),
        ("signals", "n"),
        ("announce", "s"),
    )

    def __init__(
        self, attach: bool, stdin: bool, terminal: bool, keys: bytes, signals: bool, announce: str = ""
    ) -> None:
        self.values = (int(attach), int(stdin), int(terminal), keys, int(signals), announce)

    def describe(self) -> str:
        return "attach to the container"


class Wait(Op):
    """Wait for the guest without a monitor, pass terminal and signals, end with its exit status (exec)."""

    code, name, side = 67, "wait", HOST
    fields = (("terminal", "n"), ("keys", "b"))

    def __init__(self, terminal: bool, keys: bytes) -> None:
        self.values = (int(terminal), keys)

    def describe(self) -> str:
        return "wait for the command"


class KillProcess(Op):
    """Kill the process of a pidfd, which has served: the one that kept a scope of systemd until the guest was in it."""

    code, name, side = 70, "kill_process", HOST
    fields = (("pidfd", "n"),)

    def __init__(self, pidfd: int) -> None:
        self.values = (pidfd,)

    def describe(self) -> str:
        return "end the process that kept the cgroup"


class JoinCgroup(Op):
    """Move the executing process into a cgroup; directory: its descriptor."""

    code, name, side = 82, "join_cgroup", HOST
    fields = (("directory", "n"), ("what", "s"))

    def __init__(self, directory: int, what: str) -> None:
        self.values = (directory, what)

    def describe(self) -> str:
        return f"join {self.values[1]}"


class Pipes(Op):
    """Make the pipes between what waits (Monitor, Wait) and the guest; stdin: 0 when the guest reads /dev/null."""

    code, name, side = 68, "pipes", HOST
    fields = (("stdin", "n"),)

    def __init__(self, stdin: bool) -> None:
        self.values = (int(stdin),)

    def describe(self) -> str:
        return "make the container's pipes"


class SendTerminal(Op):
    """Send the pty's master to the caller's console socket (SCM_RIGHTS), as OCI runtimes do."""

    code, name, side = 69, "send_terminal", HOST
    fields = (("socket", "n"),)

    def __init__(self, socket: int) -> None:
        self.values = (socket,)

    def describe(self) -> str:
        return "send the terminal to the console socket"


class SendPidfd(Op):
    """Send a pidfd of the guest to the caller's socket (SCM_RIGHTS) with ``text`` as the message."""

    code, name, side = 99, "send_pidfd", HOST
    fields = (("socket", "n"), ("text", "s"))

    def __init__(self, socket: int, text: str) -> None:
        self.values = (socket, text)

    def describe(self) -> str:
        return "send the process's pidfd to the pidfd socket"
