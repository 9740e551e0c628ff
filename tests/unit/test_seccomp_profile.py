"""launch/profile.py and default-seccomp.json: the profile of containers that ask for none."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pycontain.kernel.errors import Error
from pycontain.launch import profile, seccomp
from pycontain.launch.profile import PROFILE, PROFILE_DIGEST, default_filter, default_profile
from test_seccomp_bpf import evaluate

ALLOW = 0x7FFF0000
EPERM, ENOSYS, EAFNOSUPPORT = (0x50000 | number for number in (errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT))
AUDIT = {"x86_64": 0xC000003E, "x86": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
ABIS = {"x86_64": ("x86_64", "x86"), "aarch64": ("aarch64", "arm")}
NAMESPACES = 0x7E020000
#: What a container gets that asks for nothing: docs/seccomp.md does not depend on it, the tests want an example.
USUAL = frozenset(
    f"CAP_{name}"
    for name in (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)
#: capabilities(7)
ALL = frozenset(
    f"CAP_{name}"
    for name in (
        *("AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN"),
        *("DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE"),
        *("LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST"),
        *("NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT"),
        *("SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME"),
        *("SYS_TTY_CONFIG", "WAKE_ALARM"),
    )
)
#: Closed without the capability, open with it.
GATED = {
    "CAP_SYS_ADMIN": "mount umount2 pivot_root open_tree open_tree_attr move_mount mount_setattr fsopen fsconfig "
    "fsmount fspick setns listns sethostname setdomainname quotactl quotactl_fd fanotify_init lsm_set_self_attr keyctl "
    "add_key request_key bpf perf_event_open syslog lookup_dcookie",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd userfaultfd",
    "CAP_SYS_NICE": "mbind get_mempolicy set_mempolicy set_mempolicy_home_node migrate_pages move_pages",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_MODULE": "init_module finit_module delete_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}
NEVER = "io_uring_setup io_uring_enter io_uring_register kexec_load kexec_file_load swapon swapoff socketcall vm86"
#: Calls that ordinary software makes or tries, the newest that we know among them.
ORDINARY = """
read openat openat2 close_range copy_file_range ioctl splice vmsplice statx faccessat2 fchmodat2 renameat2 cachestat
name_to_handle_at statmount listmount setxattrat getxattrat listxattrat removexattrat file_getattr file_setattr
epoll_pwait2 eventfd2 signalfd4 inotify_init1 fanotify_mark io_setup io_pgetevents futex futex_waitv futex_wait
futex_wake futex_requeue mmap memfd_create memfd_secret mseal map_shadow_stack membarrier pkey_alloc process_madvise
process_mrelease execveat rseq rseq_slice_yield prctl seccomp landlock_create_ruleset landlock_add_rule
landlock_restrict_self ptrace process_vm_readv pidfd_open pidfd_send_signal sched_setattr ioprio_set setpriority
clock_nanosleep clock_adjtime timer_create timerfd_settime shmget semtimedop msgsnd mq_open setresuid setgroups
capset getrandom sendmmsg recvmmsg accept4 mknodat prlimit64 sysinfo mlock2 readahead sync_file_range umask
"""


def table(abi: str) -> dict[str, int]:
    numbers: dict[str, int] = import_module(f"pycontain.kernel.syscalls_{abi}").NUMBERS
    return numbers


class Program:
    """The default filter for one machine and set of capabilities."""

    def __init__(self, machine: str, *more: str, less: str = "") -> None:
        self.program = seccomp.compile_filter(default_profile(USUAL.union(more).difference([less]), machine), machine)

    def answer(self, abi: str, name: str, *arguments: int) -> int:
        return evaluate(self.program, AUDIT[abi], table(abi)[name], arguments)


def rules() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(Path(PROFILE).read_text())["syscalls"]
    return listed


def test_the_digest_is_that_of_the_file() -> None:
    """Else the cache would go on with filters of the profile before."""
    assert hashlib.blake2b(Path(PROFILE).read_bytes(), digest_size=16).hexdigest() == PROFILE_DIGEST


def test_the_file_has_what_we_read() -> None:
    for rule in rules():
        assert set(rule) <= {"names", "action", "errnoRet", "args", "comment", "includes", "excludes"}
        assert rule["comment"] and rule["names"] and len(set(rule["names"])) == len(rule["names"])
        for when in (rule.get("includes", {}), rule.get("excludes", {})):
            assert set(when) <= {"caps", "arches"}
            assert ALL.issuperset(when.get("caps", ()))
            assert {"amd64", "x86", "arm64", "arm"}.issuperset(when.get("arches", ()))


@pytest.mark.parametrize("machine", ABIS)
def test_every_call_is_decided(machine: str) -> None:
    """A call of a new kernel gets into the profile together with the tables, or this fails."""
    for capabilities in (frozenset(), USUAL, ALL):
        named = [name for rule in default_profile(capabilities, machine)["syscalls"] for name in rule["names"]]
        for abi in ABIS[machine]:
            assert set(table(abi)) - set(named) == set()


def test_every_name_is_a_call() -> None:
    known = set[str]().union(*(table(abi) for abi in ("x86_64", "x86", "aarch64", "arm")))
    assert {name for rule in rules() for name in rule["names"]} == known


@pytest.mark.parametrize("machine", ABIS)
@pytest.mark.parametrize("capability", [None, *sorted(ALL)])
def test_a_name_has_one_answer_or_conditions(machine: str, capability: str | None) -> None:
    """So that the order of the rules means nothing, and joining them is no change."""
    plain: set[str] = set()
    conditional: set[str] = set()
    for rule in default_profile(USUAL.union([capability] if capability else ()), machine)["syscalls"]:
        names = set(rule["names"])
        assert len(names) == len(rule["names"]) and plain.isdisjoint(names)
        if "args" in rule:
            conditional |= names
        else:
            plain |= names
    assert plain.isdisjoint(conditional)


def test_it_is_an_oci_object() -> None:
    of = default_profile(USUAL, "x86_64")
    assert list(of) == ["defaultAction", "defaultErrnoRet", "architectures", "syscalls"]
    assert (of["defaultAction"], of["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", errno.ENOSYS)
    assert of["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert all(set(rule) <= {"names", "action", "errnoRet", "args"} for rule in of["syscalls"])
    assert default_profile(USUAL, "aarch64")["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    with pytest.raises(Error, match="there is no default seccomp profile for s390x: only for x86_64 and aarch64"):
        default_profile(USUAL, "s390x")


@pytest.mark.parametrize("machine", ABIS)
@pytest.mark.parametrize("capability", GATED)
def test_what_opens_with_a_capability(machine: str, capability: str) -> None:
    without, having = Program(machine, less=capability), Program(machine, capability)
    for abi in ABIS[machine]:
        for name in set(GATED[capability].split()).intersection(table(abi)):
            assert (without.answer(abi, name), having.answer(abi, name)) == (EPERM, ALLOW), f"{abi} {name}"


@pytest.mark.parametrize("machine", ABIS)
def test_what_stays_closed_and_what_is_open(machine: str) -> None:
    usual = Program(machine)
    every = Program(machine, *ALL)
    for abi in ABIS[machine]:
        for name in set(NEVER.split()).intersection(table(abi)):
            assert usual.answer(abi, name) == every.answer(abi, name) == EPERM, f"{abi} {name}"
        for name in set(ORDINARY.split()).intersection(table(abi)):
            assert usual.answer(abi, name) == ALLOW, f"{abi} {name}"
    assert set(ORDINARY.split()) <= set(table("x86_64"))


@pytest.mark.parametrize("machine", ABIS)
def test_unknown_calls_are_not_there(machine: str) -> None:
    usual = Program(machine)
    for abi in ABIS[machine]:
        for number in (max(n for n in table(abi).values() if n < 0xF0000) + 1, 600, 0x3FFFFFFF, 0xFFFFFFFF):
            assert evaluate(usual.program, AUDIT[abi], number) == ENOSYS
        for name in {"_sysctl", "uselib", "oldstat", "create_module", "ustat"}.intersection(table(abi)):
            assert usual.answer(abi, name) == ENOSYS


def test_x32_is_no_companion() -> None:
    usual = Program("x86_64")
    assert {evaluate(usual.program, AUDIT["x86_64"], 0x40000000 | number) for number in range(600)} == {0}


@pytest.mark.parametrize("machine", ABIS)
def test_namespaces(machine: str) -> None:
    usual, admin = Program(machine), Program(machine, "CAP_SYS_ADMIN")
    for abi in ABIS[machine]:
        for flags in (0, 17, 0x3D0F00, 0x80 | 17, 0x01200011, 0x80000000, 0xFFFFFFFF & ~NAMESPACES):
            assert usual.answer(abi, "clone", flags) == ALLOW
        for bit in (1 << number for number in range(32)):
            assert usual.answer(abi, "clone", 17 | bit) == (EPERM if bit & NAMESPACES else ALLOW)
            assert usual.answer(abi, "unshare", bit) == (ALLOW if bit & 0x50F00 | bit & 0x10000 else EPERM)
            assert admin.answer(abi, "clone", bit) == admin.answer(abi, "unshare", bit) == ALLOW
        assert (usual.answer(abi, "clone3"), admin.answer(abi, "clone3")) == (ENOSYS, ALLOW)
    assert usual.answer(ABIS[machine][0], "unshare", 1 << 37) == EPERM


@pytest.mark.parametrize("machine", ABIS)
def test_socket_families(machine: str) -> None:
    usual, network = Program(machine), Program(machine, "CAP_NET_ADMIN")
    for abi in ABIS[machine]:
        bits = (0, 1 << 32, 0xFFFFFFFF00000000) if abi in ("x86_64", "aarch64") else (0,)
        for name in ("socket", "socketpair"):
            for family in range(60):
                for high in bits:
                    # The kernel's parameter is an int: it does not see the upper half either.
                    assert usual.answer(abi, name, family | high) == (
                        ALLOW if family in (1, 2, 10, 16, 17) else EAFNOSUPPORT
                    )
                    assert (network.answer(abi, name, family | high) == ALLOW) == (
                        family in (1, 2, 10, 16, 17, 15, 24, 29, 30, 31, 43, 44)
                    )


@pytest.mark.parametrize("machine", ABIS)
def test_personalities(machine: str) -> None:
    usual = Program(machine)
    for abi in ABIS[machine]:
        open_ones = {value for value in range(1 << 20) if value in (0, 8, 0x20000, 0x20008)} | {0xFFFFFFFF}
        for value in {1, 2, 6, 9, 0x40000, 0x0100000, 0x400000, 0x20001, 0x7FFFFFFF, 0x80000000, *open_ones}:
            assert usual.answer(abi, "personality", value) == (ALLOW if value in open_ones else EPERM)


# --- the cache ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", ABIS)
def test_default_filter(machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, program = default_filter(USUAL, machine, str(tmp_path))
    assert json.loads(text) == default_profile(USUAL, machine)
    assert program == seccomp.compile_filter(json.loads(text), machine)
    other = default_filter(USUAL | {"CAP_SYS_ADMIN"}, machine, str(tmp_path))
    assert other[1] != program and len(list(tmp_path.iterdir())) == 2

    def refuse(*_: object) -> dict[str, Any]:
        raise AssertionError("resolved")

    monkeypatch.setattr(profile, "default_profile", refuse)
    assert default_filter(frozenset(sorted(USUAL)), machine, str(tmp_path)) == (text, program)
    for name in ("PROFILE_DIGEST", "COMPILER_VERSION"):
        with monkeypatch.context() as patch, pytest.raises(AssertionError, match="resolved"):
            patch.setattr(profile, name, 99)
            default_filter(USUAL, machine, str(tmp_path))


def test_a_bad_entry_is_made_again(tmp_path: Path) -> None:
    first = default_filter(USUAL, "x86_64", str(tmp_path))
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(entry.read_bytes()[:-8])
    assert default_filter(USUAL, "x86_64", str(tmp_path)) == first
    for content in (b"\0", bytes(4), b"\xff\xff\xff\x7f" + bytes(16), bytes(4) + bytes(7)):
        seccomp.write_entry(str(entry), content)
        assert default_filter(USUAL, "x86_64", str(tmp_path)) == first
    assert default_filter(USUAL, "x86_64", str(tmp_path / "missing")) == first


def test_a_start_loads_little(tmp_path: Path) -> None:
    """With a warm cache neither the profile nor the compiler nor anything slow is loaded."""
    source = Path(profile.__file__).parents[2]
    code = (
        f"import sys; sys.path.insert(0, {str(source)!r}); before = set(sys.modules)\n"
        "from pycontain.launch.profile import default_filter\n"
        f"default_filter(frozenset(['CAP_KILL']), 'x86_64', {str(tmp_path)!r})\n"
        "print(*sorted(set(sys.modules) - before))"
    )

    def loaded() -> set[str]:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE, text=True, check=True)
        return set(done.stdout.split())

    assert "pycontain.launch.seccomp_compile" in loaded()
    os_and_its_own = {"os", "os.path", "posixpath", "genericpath", "stat", "_stat", "_collections_abc", "__future__"}
    others = {name for name in loaded() if not name.startswith("pycontain")}
    assert others - os_and_its_own <= {"_blake2", "_json", "marshal"}
    assert {name for name in loaded() if name.startswith("pycontain.")} == {
        "pycontain.kernel",
        "pycontain.kernel.errors",
        "pycontain.kernel.files",
        "pycontain.kernel.jsontext",
        "pycontain.launch",
        "pycontain.launch.profile",
        "pycontain.launch.seccomp",
    }
