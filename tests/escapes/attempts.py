"""What root in a container tries. Runs inside, with the standard library of the image; prints a JSON object.

Every attempt is one function: it returns what it got, or raises OSError with the kernel's answer. It is to be harmless
where it succeeds: a setting is written back as it was, a clock is set to what it shows, a signal is signal 0.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
#: x86_64, then aarch64
NUMBERS = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "lsm_set_self_attr": (460, 460),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "sched_setattr": (314, 274),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
MACHINE = {"x86_64": 0, "aarch64": 1}[os.uname().machine]

Attempt = Callable[[], object]
ATTEMPTS: dict[str, Attempt] = {}


class Nothing(Exception):
    """The attempt ended without an error and without anything of the host's."""


def call(name: str, *arguments: Any) -> int:
    """A system call by its number. Raises OSError."""
    number = NUMBERS[name][MACHINE]
    if number is None:
        raise OSError(errno.ENOSYS, "not on this machine")
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    words += [ctypes.c_long(0)] * (6 - len(words))
    result: int = LIBC.syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def attempt(name: str) -> Callable[[Attempt], Attempt]:
    def add(function: Attempt) -> Attempt:
        assert name not in ATTEMPTS, name
        ATTEMPTS[name] = function
        return function

    return add


def add(name: str, function: Attempt) -> None:
    attempt(name)(function)


# --- files and devices of the host ---------------------------------------------------------------------------------

CANARY = sys.argv[1] if len(sys.argv) > 1 else "/nothing"
HOST_PID = int(sys.argv[2]) if len(sys.argv) > 2 else 1


def read(path: str) -> Attempt:
    def function() -> object:
        with open(path, "rb") as file:
            found = file.read(64)
        if not found:
            raise Nothing("is empty")
        return found.hex()

    return function


def write_back(path: str) -> Attempt:
    """Open for writing, and write what was read; what cannot be read gets nothing written."""

    def function() -> object:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            # the opening alone is what was wanted: an empty write changes nothing anywhere
            os.write(fd, b"")
        finally:
            os.close(fd)
        return "open for writing"

    return function


def node(kind: int, major: int, minor: int) -> Attempt:
    def function() -> object:
        path = f"/tmp/node-{major}-{minor}"
        os.mknod(path, kind | 0o600, os.makedev(major, minor))
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        finally:
            os.unlink(path)
        return "open"

    return function


BLOCK, CHARACTER = 0o60000, 0o20000
add("read a file of the host by its path", read(CANARY))
add("read a file of the host through /proc/1/root", read(f"/proc/1/root{CANARY}"))
add("read a file of the host by going up", read("../" * 40 + CANARY.lstrip("/")))
add("read a file of the host through a leaked descriptor", lambda: leaked())
add("open the first SCSI disk", node(BLOCK, 8, 0))
add("open the first virtio disk", node(BLOCK, 253, 0))
add("open the first NVMe disk", node(BLOCK, 259, 0))
add("open the first loop device", node(BLOCK, 7, 0))
add("open /dev/mem", node(CHARACTER, 1, 1))
add("open /dev/port", node(CHARACTER, 1, 4))
add("open /dev/kmsg", node(CHARACTER, 1, 11))
add("open /dev/loop-control", node(CHARACTER, 10, 237))
add("open /dev/kvm", node(CHARACTER, 10, 232))
add("open /dev/fuse", node(CHARACTER, 10, 229))
add("open /dev/net/tun without --device", node(CHARACTER, 10, 200))
add("open the host's console", node(CHARACTER, 5, 1))
add("open the host's first pseudo-terminal by its number", node(CHARACTER, 136, 0))
add("open a virtual terminal", node(CHARACTER, 4, 1))
add("open a real time clock", node(CHARACTER, 254, 0))


def leaked() -> object:
    """Every descriptor but 0, 1, 2, and every way through them, of this process and of PID 1."""
    own = {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2}
    found = []
    for place in [f"/proc/self/fd/{fd}" for fd in own] + [f"/proc/1/fd/{fd}" for fd in range(3, 64)]:
        try:
            target = os.readlink(place)
            if target.startswith("/") and not target.startswith("/proc"):
                found.append(target)
            os.stat(f"{place}/../../../../../../../..{CANARY}")
            found.append(place)
        except OSError:
            continue
    if not found:
        raise Nothing("no descriptor leads anywhere")
    return found


@attempt("open_by_handle_at: the root of the host by its inode")
def handle() -> object:
    """As the program shocker did in 2014."""
    mount = os.open("/etc/hosts", os.O_RDONLY)
    data = struct.pack("=IiQ", 8, 1, 2)
    buffer = ctypes.create_string_buffer(data, len(data))
    return call("open_by_handle_at", mount, buffer, os.O_RDONLY)


@attempt("change the hosts file of the host through the bind mount's parent")
def bind_parent() -> object:
    with open("/proc/self/mountinfo") as file:
        source = next(line.split()[3] for line in file if line.split()[4] == "/etc/hosts")
    return os.listdir(os.path.dirname(source))


# --- settings of the kernel ----------------------------------------------------------------------------------------

for _path in (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/proc/sys/kernel/unprivileged_bpf_disabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sys/fs/suid_dumpable",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/proc/bus/pci/devices",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/debug/x",
    "/sys/power/state",
    "/sys/module/loop/parameters/max_loop",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/release_agent",
    "/sys/fs/cgroup/notify_on_release",
    "/sys/block/sda/queue/scheduler",
    "/sys/class/net/lo/ifalias",
):
    add(f"write to {_path}", write_back(_path))
for _path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/sys/firmware/dmi/tables/DMI"):
    add(f"read {_path}", read(_path))
for _path in ("/proc/1/oom_score_adj", "/proc/self/oom_score_adj"):

    def _oom(path: str = _path) -> object:
        """Below the least that it has had: only CAP_SYS_RESOURCE may."""
        with open(path, "r+") as file:
            file.write("-1000")
        return "protected from the OOM killer"

    add(f"write -1000 to {_path}", _oom)


@attempt("read kernel addresses from /proc/kallsyms")
def addresses() -> object:
    with open("/proc/kallsyms") as file:
        first = [file.readline().split() for _ in range(50)]
    if not any(line and int(line[0], 16) for line in first):
        raise Nothing("all addresses are 0")
    return first[:2]


# --- the kernel itself ---------------------------------------------------------------------------------------------

add("init_module", lambda: call("init_module", b"", 0, b""))
add("finit_module", lambda: call("finit_module", 0, b"", 0))
add("delete_module", lambda: call("delete_module", b"nosuchmodule", 0))
add("kexec_load", lambda: call("kexec_load", 0, 0, None, 0))
add("kexec_file_load", lambda: call("kexec_file_load", 0, 0, 0, None, 0))
add("reboot: Ctrl-Alt-Del off", lambda: call("reboot", 0xFEE1DEAD, 672274793, 0))
add("iopl", lambda: call("iopl", 3))
add("ioperm", lambda: call("ioperm", 0x80, 1, 1))
add("syslog: read the kernel's log", lambda: call("syslog", 3, ctypes.create_string_buffer(64), 64))
add("acct", lambda: call("acct", None))
add("swapon", lambda: call("swapon", b"/etc/hosts", 0))
add("swapoff", lambda: call("swapoff", b"/etc/hosts"))
add("quotactl", lambda: call("quotactl", 0x800001, None, 0, None))
add("quotactl_fd", lambda: call("quotactl_fd", 0, 0x800001, 0, None))
add("bpf: a map", lambda: call("bpf", 0, ctypes.create_string_buffer(struct.pack("=IIII", 1, 4, 4, 1), 128), 128))
add("perf_event_open", lambda: perf())
add("userfaultfd", lambda: call("userfaultfd", os.O_CLOEXEC))
add("userfaultfd: user mode only", lambda: call("userfaultfd", os.O_CLOEXEC | 1))
add("io_uring_setup", lambda: call("io_uring_setup", 1, ctypes.create_string_buffer(120)))
add("fanotify_init", lambda: call("fanotify_init", 0, 0))
add("lookup_dcookie", lambda: call("lookup_dcookie", 0, ctypes.create_string_buffer(64), 64))
add("lsm_set_self_attr", lambda: call("lsm_set_self_attr", 100, ctypes.create_string_buffer(32), 32, 0))
add("vhangup", lambda: call("vhangup"))
add("personality: no address randomisation", lambda: call("personality", 0x0040000))
add("mbind", lambda: call("mbind", 0, 0, 0, None, 0, 0))
add("migrate_pages of PID 1", lambda: call("migrate_pages", 1, 0, None, None))
add("move_pages of PID 1", lambda: call("move_pages", 1, 0, None, None, None, 0))
add("a real-time priority", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
add("a negative nice value", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))
add("a higher hard limit", lambda: higher_limit())


def perf() -> object:
    attributes = ctypes.create_string_buffer(struct.pack("=IIQ", 1, 128, 0), 128)
    return call("perf_event_open", attributes, 0, -1, -1, 0)


def higher_limit() -> object:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard + 1))
    except ValueError as error:  # what Python makes of EPERM
        raise OSError(errno.EPERM, str(error)) from None
    return "raised"


# --- clocks --------------------------------------------------------------------------------------------------------


@attempt("clock_settime to what it shows")
def set_clock() -> object:
    import time

    now = time.clock_gettime_ns(time.CLOCK_REALTIME)
    return call("clock_settime", 0, ctypes.create_string_buffer(struct.pack("=qq", now // 10**9, now % 10**9)))


add("settimeofday: the zone", lambda: call("settimeofday", None, ctypes.create_string_buffer(8)))
# ADJ_STATUS without a change: modes 0x10, all else 0 would clear flags; the check of rights comes before
add("adjtimex: slew", lambda: call("adjtimex", ctypes.create_string_buffer(struct.pack("=I", 0x8000 | 1), 208)))

# --- mounts and namespaces -----------------------------------------------------------------------------------------

add("mount a tmpfs", lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None))
add("mount a proc", lambda: call("mount", b"none", b"/mnt", b"proc", 0, None))
add("mount a cgroup v1 with its release_agent", lambda: call("mount", b"none", b"/mnt", b"cgroup", 0, b"rdma"))
add("remount /proc/sys for writing", lambda: call("mount", None, b"/proc/sys", None, 0x1000 | 32, None))
add("remount /sys for writing", lambda: call("mount", None, b"/sys", None, 0x1000 | 32, None))
add("unmount a mask", lambda: call("umount2", b"/proc/keys", 2))
add("unmount /proc", lambda: call("umount2", b"/proc", 2))
add("move_mount", lambda: call("move_mount", AT_FDCWD, b"/proc", AT_FDCWD, b"/mnt", 0))
add("open_tree of the root", lambda: call("open_tree", AT_FDCWD, b"/", 1))
add("fsopen", lambda: call("fsopen", b"ext4", 0))
add("fsconfig", lambda: call("fsconfig", -1, 0, b"a", b"b", 0))
add("mount_setattr: writable", lambda: call("mount_setattr", AT_FDCWD, b"/sys", 0, bytes(32), 32))
add("pivot_root", lambda: call("pivot_root", b"/", b"/mnt"))
add("unshare: a user namespace", lambda: call("unshare", 0x10000000))
add("unshare: a mount namespace", lambda: call("unshare", 0x00020000))
add("unshare: a network namespace", lambda: call("unshare", 0x40000000))
add("unshare: a cgroup namespace", lambda: call("unshare", 0x02000000))
add("unshare: a time namespace", lambda: call("unshare", 0x00000080))
add("setns: the mount namespace of PID 1", lambda: join("/proc/1/ns/mnt"))
add("setns by a pidfd", lambda: call("setns", call("pidfd_open", 1, 0), 0x00020000))
add("clone: a user namespace", lambda: call("clone", 0x10000000 | 17))
add("clone3", lambda: call("clone3", bytes(88), 88))
add("sethostname", lambda: call("sethostname", b"evil", 4))
add("setdomainname", lambda: call("setdomainname", b"evil", 4))


def join(path: str) -> object:
    return call("setns", os.open(path, os.O_RDONLY), 0)


@attempt("chroot out: up from a directory that is left behind")
def chroot_out() -> object:
    os.makedirs("/tmp/jail", exist_ok=True)
    above = os.open("/", os.O_RDONLY)
    os.chroot("/tmp/jail")
    os.fchdir(above)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    os.stat(CANARY)
    return os.listdir("/")


# --- processes of others -------------------------------------------------------------------------------------------

add("signal a process of the host", lambda: os.kill(HOST_PID, 0))
add("ptrace a process of the host", lambda: call("ptrace", 16, HOST_PID, 0, 0))
add("pidfd_open of a process of the host", lambda: call("pidfd_open", HOST_PID, 0))
add("read the environment of a process of the host", read(f"/proc/{HOST_PID}/environ"))
add("process_vm_readv of a process of the host", lambda: memory(HOST_PID))
add("pidfd_getfd from PID 1", lambda: call("pidfd_getfd", call("pidfd_open", 1, 0), 0, 0))
add("kcmp with PID 1", lambda: call("kcmp", os.getpid(), 1, 0, 0, 0))
add("the scheduling of a process of the host", lambda: os.sched_setaffinity(HOST_PID, {0}))


def memory(pid: int) -> object:
    """Its first bytes above 4 MiB: where a program lies that is not moved. No such process comes first."""
    buffer = ctypes.create_string_buffer(8)
    local = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(buffer), 8), 16)
    remote = ctypes.create_string_buffer(struct.pack("=QQ", 0x400000, 8), 16)
    return call("process_vm_readv", pid, local, 1, remote, 1, 0)


@attempt("see a process that is not the container's")
def others() -> object:
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/cgroup") as file:
                if file.read().strip().endswith("::/"):
                    continue
        except OSError:
            continue
        found.append(pid)
    if not found:
        raise Nothing("all are of the own cgroup")
    return found


# --- keys ----------------------------------------------------------------------------------------------------------

add("keyctl: the user's keyring", lambda: call("keyctl", 0, -4, 1))
add("keyctl: the session's keyring", lambda: call("keyctl", 0, -3, 1))
add("add_key", lambda: call("add_key", b"user", b"evil", b"x", 1, -4))
add("request_key: a program of the host is started", lambda: call("request_key", b"user", b"evil", b"x", -4))

# --- sockets -------------------------------------------------------------------------------------------------------


def make_socket(family: int, kind: int, protocol: int = 0) -> Attempt:
    def function() -> object:
        socket.socket(family, kind, protocol).close()
        return "a socket"

    return function


SEQPACKET = int(socket.SOCK_SEQPACKET)
add("socket AF_ALG", make_socket(38, SEQPACKET))
add("socket AF_VSOCK", make_socket(40, 1))
add("socket AF_KEY", make_socket(15, 3, 2))
add("socket AF_BLUETOOTH", make_socket(31, 3, 1))
add("socket AF_CAN", make_socket(29, 3, 1))
add("socket AF_TIPC", make_socket(30, 2))
add("socket AF_XDP", make_socket(44, 3))
add("socket AF_PPPOX", make_socket(24, 1))
add("socket AF_RDS", make_socket(21, SEQPACKET))
add("netlink: the audit log", lambda: netlink(9, 1000))
add("netlink: another address for eth0", lambda: netlink(0, 20))
add("netlink: a new device", lambda: netlink(0, 16))
add("netlink: the firewall", lambda: netlink(12, 0x0A00))


def netlink(protocol: int, kind: int) -> object:
    """One request that asks for a change, and the kernel's answer to it."""
    bodies = {20: struct.pack("=BBBBI", 2, 32, 0, 0, 1), 16: struct.pack("=BxHiII", 0, 0, 0, 0, 0)}
    body = bodies.get(kind, bytes(4))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as link:
        link.settimeout(5)
        link.bind((0, 0))
        link.send(struct.pack("=IHHII", 16 + len(body), kind, 5, 1, 0) + body)
        answer = link.recv(4096)
    code = struct.unpack_from("=i", answer, 16)[0]
    if code < 0:
        raise OSError(-code, os.strerror(-code))
    return "done"


def ask_the_gateway(mac: Callable[[bytes], bytes], address: Callable[[bytes], bytes]) -> object:
    """Ask for the gateway's MAC address in the name of somebody else; an answer means that the lie has arrived."""
    import fcntl

    with open("/proc/net/route") as file:
        gateway = next(bytes.fromhex(words[2])[::-1] for words in map(str.split, file) if words[1] == "00000000")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as link:
        link.bind(("eth0", 0x0806))
        link.settimeout(10)
        request = struct.pack("256s", b"eth0")
        own_mac = fcntl.ioctl(link, 0x8927, request)[18:24]
        own = fcntl.ioctl(link, 0x8915, request)[20:24]

        def ask(mac: bytes, address: bytes) -> bytes:
            head = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1)
            link.send(b"\xff" * 6 + mac + b"\x08\x06" + head + mac + address + bytes(6) + gateway)
            while True:
                answer = link.recv(256)
                if answer[20:22] == b"\0\2" and answer[28:32] == gateway and answer[38:42] == address:
                    return answer

        ask(own_mac, own)  # a question of one's own is answered, or this proves nothing
        link.settimeout(0.5)
        try:
            return ask(mac(own_mac), address(own))
        except TimeoutError:
            raise Nothing("nobody answers") from None


def same(data: bytes) -> bytes:
    return data


def next_to(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 0x40])


add("a packet socket: ARP with another IP address", lambda: ask_the_gateway(same, next_to))
add("a packet socket: ARP with another MAC address", lambda: ask_the_gateway(next_to, same))
add("a packet socket: ARP as another container", lambda: ask_the_gateway(next_to, next_to))


@attempt("an abstract socket of the host")
def abstract() -> object:
    """CVE-2020-15257. Somebody listens at it where the container was started."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect("\0pycontain-escapes")
    return "connected"


@attempt("TIOCSTI: type at the terminal of the caller")
def type_key() -> object:
    import fcntl

    fcntl.ioctl(0, 0x5412, b"x")
    return "typed"


@attempt("TIOCLINUX: paste at the host's console")
def paste() -> object:
    import fcntl

    fcntl.ioctl(0, 0x541C, bytes([3]))
    return "pasted"


def main() -> None:
    chosen = sys.argv[3:] or list(ATTEMPTS)
    answers = {}
    for name in chosen:
        # a process for each: one that changes its root or its namespaces changes nothing for the next
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            try:
                text = f"GOT {ATTEMPTS[name]()}"
            except Nothing as reason:
                text = f"nothing: {reason}"
            except OSError as error:
                text = errno.errorcode.get(error.errno or 0, str(error))
            except BaseException as error:
                text = f"BROKEN {type(error).__name__}: {error}"
            os.write(writer, text.encode()[:4000])
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            text = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        if status:
            text = f"killed by {status & 127}" if status & 127 else f"{text} exit {status >> 8}"
        answers[name] = text
    json.dump(answers, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
