"""The operations: each has a number, a C function, and something to say of itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pycontain.launch import ops, ops_all
from pycontain.launch.ops import (
    AFTER,
    FRONT,
    GUEST,
    HOST,
    BecomeRoot,
    Bounding,
    Capabilities,
    CgroupRemove,
    Clone,
    Cwd,
    DeviceFilter,
    Domainname,
    Exec,
    Front,
    Gate,
    Handover,
    Hostname,
    IdMap,
    Init,
    JoinCgroup,
    Keyring,
    KillProcess,
    Lookup,
    LoopbackUp,
    Monitor,
    Netlink,
    NetnsFd,
    NoNewPrivileges,
    OomScoreAdj,
    Op,
    Personality,
    Pipes,
    Restart,
    Rlimit,
    Rmdir,
    Rmtree,
    Seccomp,
    SendPidfd,
    SendTerminal,
    Setns,
    Setsid,
    Stdio,
    Sysctl,
    Terminal,
    TimeOffsets,
    Umask,
    Unlink,
    Unshare,
    User,
    Wait,
    WritePid,
)
from pycontain.launch.ops_boot import ReadySocket
from pycontain.launch.ops_disk import GiveMount
from pycontain.launch.ops_lease import Unlease, UnleaseGiven
from pycontain.launch.ops_mounts import (
    Bind,
    Device,
    Mask,
    Mkdir,
    Mount,
    Pivot,
    Propagation,
    ReadOnly,
    RootAttributes,
    RootBind,
    RootOverlay,
    Symlink,
)
from pycontain.launch.ops_restore import Adopt, MapPlace, PlaceRoot
from pycontain.launch.ops_rootless import CompanionsEnd, NetHelper, RootFuse
from pycontain.launch.ops_service import Notify, ServiceEnd, ServiceReady
from pycontain.launch.ops_spec import (
    Affinity,
    ExecLabel,
    Hook,
    IoPriority,
    JoinTasks,
    MemoryPolicy,
    NameFree,
    Remount,
    Scheduler,
    SeccompListener,
)
from pycontain.launch.ops_supervise import Supervise
from pycontain.launch.ops_trace import Trace
from pycontain.launch.ops_userns import GUEST_USERNS, NO_USERNS, MapRoot, MapSource, OwnPipes, TakeRoot

SOURCE = Path(__file__).parents[2] / "src"

#: operation, its words, its side
EXAMPLES: list[tuple[Op, str, int]] = [
    (ReadySocket("/run/x"), "make the socket /run/x/notify", HOST),
    (
        Clone(0x20000 | 0x20000000),
        "create the container's process in new namespaces (mount, pid)",
        HOST,
    ),
    (Clone(0), "create the container's process in new namespaces (none)", HOST),
    (Setns(7, 0x40000000, "the net namespace /x"), "join the net namespace /x", GUEST),
    (Unshare(0x2000000), "unshare namespaces (cgroup)", GUEST),
    (
        IdMap("0 1000 1\n1 2000 5\n", "0 1000 1\n"),
        "write the user namespace's maps (uids 0 1000 1, 1 2000 5; gids 0 1000 1)",
        HOST,
    ),
    (BecomeRoot(), "become root of the user namespace", GUEST),
    (
        TimeOffsets("monotonic 5 0\nboottime 7 1\n"),
        "make a time namespace with offsets monotonic 5 0, boottime 7 1",
        GUEST,
    ),
    (NetnsFd(5), "open the container's network namespace", HOST),
    (LoopbackUp(), "bring the loopback device up", GUEST),
    (Netlink(0, b"", "configure eth0"), "configure eth0", GUEST),
    (
        Rlimit(7, 10, (1 << 64) - 1),
        "set resource limit RLIMIT_NOFILE to 10 (soft) and unlimited (hard)",
        HOST,
    ),
    (Rlimit(99, 1, 2), "set resource limit 99 to 1 (soft) and 2 (hard)", HOST),
    (OomScoreAdj(-5), "set oom_score_adj to -5", HOST),
    (DeviceFilter(3, b""), "attach the device filter to the container's cgroup", HOST),
    (WritePid("/run/pid"), "write the process ID to /run/pid", HOST),
    (Trace(2, ["host  trace             measure all of it"]), "measure all of it", HOST),
    (Notify(9, "/run/systemd/notify", True), "tell /run/systemd/notify when the program is ready", HOST),
    (ServiceReady("/run/systemd/notify", -1), "tell /run/systemd/notify that the service runs", HOST),
    (ServiceReady("", 7), "tell nobody that the service runs", HOST),
    (ServiceEnd(), "end as the container did", AFTER),
    (Unlink("/x"), "remove /x", AFTER),
    (Unlease("/x", "a"), "give back /x", AFTER),
    (UnleaseGiven("/x", "/d", "a"), "give back what /x names", AFTER),
    (Rmtree("/x"), "remove /x and what is below it", AFTER),
    (Rmdir("/x"), "remove the directory /x", AFTER),
    (CgroupRemove("/x"), "remove the cgroup /x", AFTER),
    (Handover(["/bin/x", "y"]), "become /bin/x", AFTER),
    (Propagation(1 << 19), "set the propagation of the mount namespace", GUEST),
    (
        RootOverlay("/s", "c/root", "l", "c/upper", "c/work"),
        "mount the overlay root with upper directory /s/c/upper",
        GUEST,
    ),
    (GiveMount(256, 7), "give the container's disk to its process", HOST),
    (RootBind("/b/rootfs"), "bind the root directory /b/rootfs", GUEST),
    (Mount("proc", "proc", "/proc"), "mount proc on /proc", GUEST),
    (Bind("/a", "/b"), "bind /a on /b", GUEST),
    (Device("/dev/x", 0o20666, 259), "create the device node /dev/x", GUEST),
    (Symlink("text", "/link"), "create the symbolic link /link to text", GUEST),
    (Mkdir("/x"), "create the directory /x", GUEST),
    (Mask("/proc/kcore"), "mask /proc/kcore", GUEST),
    (ReadOnly("/proc/sys"), "make /proc/sys read-only", GUEST),
    (RootAttributes(1), "set the attributes of the root mount", GUEST),
    (Pivot(), "pivot into the container's root", GUEST),
    (Pivot(True), "chroot into the container's root", GUEST),
    (Hostname("h"), "set the hostname to 'h'", GUEST),
    (Domainname("d"), "set the NIS domain name to 'd'", GUEST),
    (Sysctl("net/core/somaxconn", "5"), "set sysctl net.core.somaxconn to '5'", GUEST),
    (Setsid(), "start a new session", GUEST),
    (Keyring("k"), "join a new session keyring 'k'", GUEST),
    (Terminal(0, 0, 0, True), "open the container's terminal", GUEST),
    (Stdio(-1, -1, -1), "connect standard input, output and error", GUEST),
    (Bounding(0), "drop capabilities from the bounding set", GUEST),
    (User(1, 2, b""), "become uid 1 gid 2", GUEST),
    (Capabilities(0, 0, 0, 0), "set the capabilities", GUEST),
    (NoNewPrivileges(), "set no_new_privs", GUEST),
    (Seccomp(0, bytes(24)), "load the seccomp filter (3 instructions)", GUEST),
    (Umask(0o22), "set the umask to 0022", GUEST),
    (Cwd("/x"), "change to the working directory /x", GUEST),
    (Personality(8), "set the execution domain to 0x8", GUEST),
    (Lookup("sh", "/bin"), "find 'sh'", GUEST),
    (Gate(3), "wait for start", GUEST),
    (Init(), "start the init process", GUEST),
    (Exec(["sh", "-c"], []), "execute 'sh'", GUEST),
    (Monitor("/run/c", "/lib/c", 0, 1, 0, False, 3), "monitor the container in /run/c", HOST),
    (Restart(1, 2, 3, ["x"]), "restart the container", AFTER),
    (Front(True, False, False, b"", True), "attach to the container", FRONT),
    (Wait(False, b""), "wait for the command", HOST),
    (JoinCgroup(9, "the scope"), "join the scope", HOST),
    (KillProcess(9), "end the process that kept the cgroup", HOST),
    (Pipes(True), "make the container's pipes", HOST),
    (SendPidfd(3, "standard"), "send the process's pidfd to the pidfd socket", HOST),
    (SendTerminal(3), "send the terminal to the console socket", HOST),
    (Hook("poststop", "/bin/x", ["x"], [], 0, "{}", "/"), "run the poststop hook /bin/x", HOST),
    (SeccompListener(0, bytes(24), 3, "{}"), "load the seccomp filter (3 instructions) and send its listener", GUEST),
    (Scheduler(1, priority=5), "set the scheduling policy to number 1", HOST),
    (IoPriority(2 << 13 | 7), "set the I/O priority to class 2, priority 7", HOST),
    (Affinity(bytes(8), "CPUs 0-1"), "set the CPU affinity to CPUs 0-1", HOST),
    (MemoryPolicy(2 | 1 << 15, bytes(8)), "set the memory policy to mode 2", GUEST),
    (ExecLabel("exec", "label"), "set the security label 'label'", GUEST),
    (JoinTasks("/r/x"), "put the container into the resctrl group /r/x", HOST),
    (
        MapSource(1, "/s", "0 5 1\n", "0 6 1\n", -1, False, False),
        "map the owners of /s (uids 0 5 1; gids 0 6 1)",
        HOST,
    ),
    (
        MapSource(1, "/s", "", "", GUEST_USERNS, False, True),
        "map the owners of /s (by the container's user namespace)",
        HOST,
    ),
    (MapSource(1, "/s", "", "", NO_USERNS, False, False), "open /s", HOST),
    (PlaceRoot(("/s", "t", "l", "u", "w", ""), (5, 6)), "mount the overlay root at /s/t", HOST),
    (MapPlace("/mnt/1"), "map the owners of /mnt/1", HOST),
    (Adopt(7, 3, 4, -1), "take process 7 for the container's init", HOST),
    (MapRoot(1, "/s", "t", "l", "u", "w"), "mount the overlay root with upper directory /s/u", HOST),
    (
        MapRoot(1, "/s", "t", "l", "u", "w", "volatile", (5, 6)),
        "mount the overlay root with upper directory /s/u and the owners of its files mapped",
        HOST,
    ),
    (TakeRoot(1), "mount the container's root", GUEST),
    (OwnPipes(5, 6), "give the container's pipes to its root", HOST),
    (NameFree("eth0"), "name a network device eth0 in the container", GUEST),
    (Remount("/x", 1, 0, [], True), "remount /x", GUEST),
    (NetHelper(["/usr/bin/pasta", "-q"], "/c/root"), "connect the container to the network by /usr/bin/pasta", HOST),
    (CompanionsEnd("/c/root"), "end the programs that work for the container", HOST),
    (Supervise(1, 0, False, False, "/run/c", 3, 4, 5), "supervise the container's system calls", HOST),
    (RootFuse(["/usr/bin/fuse-overlayfs", "-f"], "/c/root"), "mount the root /c/root by /usr/bin/fuse-overlayfs", HOST),
]


@pytest.mark.parametrize(
    ("op", "words", "side"), EXAMPLES, ids=lambda value: value.name if isinstance(value, Op) else ""
)
def test_every_operation_says_what_it_does(op: Op, words: str, side: int) -> None:
    assert op.describe() == words
    assert op.side == side
    assert len(op.values) == len(op.fields)
    assert repr(op).startswith(type(op).__name__ + "(")


def test_there_is_an_example_of_every_operation() -> None:
    assert {type(op) for op, _, _ in EXAMPLES} == set(ops_all.classes())


def test_numbers_and_names_are_unique() -> None:
    classes = ops_all.classes()
    assert len({cls.code for cls in classes}) == len(classes)
    assert len({cls.name for cls in classes}) == len(classes)
    assert all(0 < cls.code < 1 << 16 for cls in classes)


def test_field_kinds_are_those_of_the_format() -> None:
    assert {kind for cls in ops_all.classes() for _, kind in cls.fields} == set("nsbl")


def test_operations_are_equal_by_what_they_do() -> None:
    assert Hostname("a") == Hostname("a")
    assert Hostname("a") != Hostname("b")
    assert Hostname("a") != Domainname("a")
    assert len({Hostname("a"), Hostname("a"), Domainname("a")}) == 2


def test_the_c_side_has_a_function_for_each_and_no_other() -> None:
    text = "".join(path.read_text() for path in sorted((SOURCE / "helper").glob("*.c")))
    defined = set(re.findall(r"^int op_(\w+)\(struct run \*run, const struct op \*op\)$", text, re.MULTILINE))
    assert defined == {cls.name for cls in ops_all.classes()}


def test_the_generated_header_has_every_number_and_kind(tmp_path: Path) -> None:
    header = tmp_path / "ops.gen.h"
    subprocess.run([sys.executable, str(SOURCE / "helper" / "gen_ops.py"), str(SOURCE), str(header)], check=True)
    text = header.read_text()
    for cls in ops_all.classes():
        kinds = "".join(kind for _, kind in cls.fields)
        assert f'X({cls.code}, {cls.name}, "{kinds}")' in text
        assert f"OP_{cls.name.upper()} = {cls.code}," in text
    for number, side in enumerate(ops.SIDES):
        assert f"SIDE_{side.upper()} = {number}," in text
