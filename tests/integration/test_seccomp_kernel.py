"""Filters in the kernel: a forked child loads one, makes calls by number or becomes a program, and tells."""

from __future__ import annotations

import ctypes
import errno
import marshal
import mmap
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pycontain.kernel.syscalls_x86_64 import NUMBERS
from pycontain.launch.profile import default_profile
from pycontain.launch.seccomp import compile_filter, filter_flags, uses_notify

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="calls x86_64 by number")

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, SECCOMP_SET_MODE_FILTER, NEW_LISTENER = 38, 1, 8
USUAL = frozenset(
    f"CAP_{name}"
    for name in (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)
ADMIN = USUAL | {"CAP_SYS_ADMIN"}


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def call(number: int, *arguments: int) -> int:
    """0 or more, or minus the errno: what the kernel returned."""
    ctypes.set_errno(0)
    result = int(LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments)))
    return result if result >= 0 else -ctypes.get_errno()


def load(program: bytes, flags: int = 0) -> int:
    if LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    prog = Program(len(program) // 8, program)
    result = call(NUMBERS["seccomp"], SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(prog))
    if result < 0:
        raise OSError(-result, f"seccomp: {os.strerror(-result)}")
    return result


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a forked child; the signal's number, negated, if one ended it."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.write(writer, marshal.dumps(work()))
            status = 0
        except BaseException as error:
            os.write(writer, marshal.dumps(f"{type(error).__name__}: {error}"))
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return -os.WTERMSIG(status)
    answer = marshal.loads(data)
    assert status == 0, answer
    return answer


def default_program(capabilities: frozenset[str]) -> bytes:
    return compile_filter(default_profile(capabilities, "x86_64"), "x86_64")


def answers(program: bytes | None, calls: Sequence[tuple[int, ...]]) -> list[int]:
    def work() -> list[int]:
        if program is not None:
            load(program)
        return [call(*one) for one in calls]

    result: list[int] = in_child(work)
    return result


CLONE_NEWUTS, CLONE_FILES, SIGCHLD = 0x04000000, 0x400, 17
#: name, arguments, and the answer: to a usual container, to one with CAP_SYS_ADMIN. KERNEL is what the kernel says when
#: there is no filter; the arguments are wrong in a way that only the kernel sees.
KERNEL = "as without a filter"
CALLS: list[tuple[str, tuple[int, ...], str, str]] = [
    ("mount", (0, 0, 0, 0, 0), "EPERM", KERNEL),
    ("umount2", (0, 0), "EPERM", KERNEL),
    ("open_tree", (-1, 0, 0), "EPERM", KERNEL),
    ("move_mount", (-1, 0, -1, 0, 0x8000), "EPERM", KERNEL),
    ("fsopen", (0, 0), "EPERM", KERNEL),
    ("fsmount", (-1, 0, 0), "EPERM", KERNEL),
    ("mount_setattr", (-1, 0, 0, 0, 1), "EPERM", KERNEL),
    ("pivot_root", (0, 0), "EPERM", KERNEL),
    ("setns", (-1, 0), "EPERM", KERNEL),
    ("unshare", (CLONE_NEWUTS,), "EPERM", KERNEL),
    ("unshare", (CLONE_FILES,), KERNEL, KERNEL),
    ("clone", (CLONE_NEWUTS | 0x10000, 0, 0, 0, 0), "EPERM", KERNEL),
    ("clone", (0x10000, 0, 0, 0, 0), KERNEL, KERNEL),
    ("clone3", (0, 0), "ENOSYS", KERNEL),
    ("sethostname", (0, -1), "EPERM", KERNEL),
    ("bpf", (-1, 0, 0), "EPERM", KERNEL),
    ("perf_event_open", (0, 0, 0, 0, 0), "EPERM", KERNEL),
    ("keyctl", (9999, 0, 0, 0, 0), "EPERM", KERNEL),
    ("add_key", (0, 0, 0, 0, 0), "EPERM", KERNEL),
    ("userfaultfd", (1 << 20,), "EPERM", "EPERM"),
    ("open_by_handle_at", (-1, 0, 0), "EPERM", "EPERM"),
    ("mbind", (0, 0, 99, 0, 0, 0), "EPERM", "EPERM"),
    ("kcmp", (0, 0, 99, 0, 0), "EPERM", "EPERM"),
    ("clock_settime", (0, 0), "EPERM", "EPERM"),
    ("io_uring_setup", (1, 0), "EPERM", "EPERM"),
    ("swapoff", (0,), "EPERM", "EPERM"),
    ("chroot", (0,), KERNEL, KERNEL),
    ("personality", (0x0040000,), "EPERM", "EPERM"),
    ("personality", (0xFFFFFFFF,), KERNEL, KERNEL),
    ("socket", (1, 1, 0), KERNEL, KERNEL),
    ("socket", (1 << 32 | 2, 1, 0), KERNEL, KERNEL),
    ("socket", (10, 2, 0), KERNEL, KERNEL),
    ("socket", (16, 3, 0), KERNEL, KERNEL),
    ("socketpair", (2, 1, 0, 0), KERNEL, KERNEL),
    ("openat2", (-1, 0, 0, 0), KERNEL, KERNEL),
    ("statx", (-1, 0, 0, 0, 0), KERNEL, KERNEL),
    ("faccessat2", (-1, 0, 0, 0), KERNEL, KERNEL),
    ("close_range", (1 << 30, 1 << 30, 0), KERNEL, KERNEL),
    ("getpid", (), KERNEL, KERNEL),
    ("landlock_create_ruleset", (0, 1, 0), KERNEL, KERNEL),
    ("pidfd_send_signal", (-1, 0, 0, 0), KERNEL, KERNEL),
]


def shown(results: list[int]) -> list[str]:
    return ["works" if result >= 0 else errno.errorcode[-result] for result in results]


@pytest.mark.parametrize("column, capabilities", [(2, USUAL), (3, ADMIN)], ids=["usual", "admin"])
def test_calls_under_the_default_filter(column: int, capabilities: frozenset[str]) -> None:
    calls = [(NUMBERS[name], *arguments) for name, arguments, *_ in CALLS]
    filtered = shown(answers(default_program(capabilities), calls))
    kernel = shown(answers(None, calls))
    for row, got, without in zip(CALLS, filtered, kernel, strict=True):
        answer = row[column]
        assert got == (without if answer == KERNEL else answer), row
        assert answer == KERNEL or without != answer, f"{row}: it is the kernel that says so"


def test_calls_that_no_kernel_has() -> None:
    numbers = [600, 1000, 512, 0x3FFFFFFF, NUMBERS["_sysctl"], NUMBERS["uselib"]]
    results = answers(default_program(USUAL), [(number, 0, 0, 0) for number in numbers])
    assert set(shown(results)) == {"ENOSYS"}


def test_address_families() -> None:
    """Those that are closed get the answer of a kernel that does not have them, and this kernel does have some."""
    closed = [family for family in range(46) if family not in (1, 2, 10, 16, 17)]
    calls = [(NUMBERS["socket"], family, kind, 0) for family in closed for kind in (2, 5)]
    assert set(shown(answers(default_program(ADMIN), calls))) == {"EAFNOSUPPORT"}
    if set(shown(answers(None, calls))) == {"EAFNOSUPPORT"}:
        pytest.skip("this kernel has none of the closed address families")


def test_x32_kills() -> None:
    def work() -> int:
        load(default_program(USUAL))
        return call(0x40000000 | NUMBERS["getpid"])

    assert in_child(work) == -signal.SIGSYS


#: int i386(number, a, b, c): push rbx; mov eax, edi; mov ebx, esi; xchg ecx, edx; int 0x80; pop rbx; ret
I386 = bytes.fromhex("53 89f8 89f3 87d1 cd80 5b c3")


def i386(program: bytes | None, calls: list[tuple[int, int, int, int]]) -> Any:
    """As answers, through the kernel's 32-bit entry; the signal, negated, where one ended the child."""

    def work() -> list[int]:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(I386)
        enter = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int] * 4)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        if program is not None:
            load(program)
        return [int(enter(*one)) for one in calls]

    return in_child(work)


@pytest.fixture
def has_i386() -> None:
    if isinstance(i386(None, [(20, 0, 0, 0)]), int):
        pytest.skip("this kernel has no 32-bit entry")


@pytest.mark.usefixtures("has_i386")
def test_calls_of_i386() -> None:
    """getpid works; socketcall(SYS_SOCKET) is closed, socket(AF_UNIX) open, socket(AF_ALG) is not."""
    calls = [(20, 0, 0, 0), (102, 1, 0, 0), (359, 1, 1, 0), (359, 38, 5, 0), (310, CLONE_NEWUTS, 0, 0)]
    pid, socketcall, unix, alg, unshare = i386(default_program(USUAL), calls)
    assert pid > 0 and unix > 0
    assert (socketcall, alg, unshare) == (-errno.EPERM, -errno.EAFNOSUPPORT, -errno.EPERM)
    assert i386(None, calls)[1] == -errno.EFAULT, "without a filter the kernel looks for the arguments"


@pytest.mark.usefixtures("has_i386")
def test_without_its_architecture_i386_is_killed() -> None:
    assert i386(compile_filter({"defaultAction": "SCMP_ACT_ALLOW"}, "x86_64"), [(20, 0, 0, 0)]) == -signal.SIGSYS


@pytest.mark.parametrize("capabilities", [USUAL, ADMIN, frozenset[str]()], ids=["usual", "admin", "none"])
@pytest.mark.parametrize(
    "argv, expected",
    [
        (["ls", "-l", "/"], "etc"),
        (
            ["sh", "-c", "x=$(echo sub | cat); (echo $x; exit 3); echo $?; sleep 0 & wait; umask; kill -0 $$"],
            "sub\n3\n",
        ),
        (["sh", "-c", "mount -t tmpfs none /mnt 2>&1 || echo closed; unshare -n true 2>&1 || true"], None),
        (
            [
                sys.executable,
                "-c",
                "import socket, subprocess, tempfile, threading, concurrent.futures as c, asyncio, select, mmap\n"
                "t = threading.Thread(target=lambda: None); t.start(); t.join()\n"
                "print(subprocess.run(['echo', 'child'], capture_output=True, text=True).stdout.strip())\n"
                "a, b = socket.socketpair(); a.send(b'x'); b.recv(1)\n"
                "s = socket.create_server(('127.0.0.1', 0))\n"
                "k = socket.create_connection(s.getsockname()); s.accept()\n"
                "f = tempfile.TemporaryFile(); f.write(b'x'); f.flush(); mmap.mmap(f.fileno(), 1)\n"
                "e = select.epoll(); e.register(a)\n"
                "asyncio.run(asyncio.sleep(0))\n"
                "with c.ThreadPoolExecutor(4) as pool: print(sum(pool.map(len, ['ab'] * 8)))",
            ],
            "child\n16\n",
        ),
    ],
    ids=["ls", "sh", "sh-closed", "python"],
)
def test_programs_work(argv: list[str], expected: str | None, capabilities: frozenset[str]) -> None:
    reader, writer = os.pipe()
    path = shutil.which(argv[0])
    assert path is not None
    child = os.fork()
    if not child:
        try:
            # What the shell mounts must not be seen by anybody.
            os.dup2(writer, 1)
            LIBC.unshare(0x00020000)
            LIBC.mount(b"none", b"/", None, 0x4000 | 0x40000, None)
            load(default_program(capabilities))
            os.execv(path, argv)
        finally:
            os._exit(99)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        output = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, output
    if expected is not None:
        assert expected in output
    else:
        assert ("closed" in output) == ("CAP_SYS_ADMIN" not in capabilities)


def test_the_kernel_takes_long_programs() -> None:
    """Nearly 4096 instructions with jumps that need help; and one answer from the far end."""
    rules = [
        {
            "names": ["getpriority", "sched_getaffinity"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 1 + value,
            "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": value << 32 | value}],
        }
        for value in range(800)
    ]
    of = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
    program = compile_filter(of, "x86_64")
    assert 3900 < len(program) // 8 <= 4096
    values = (0, 1, 2, 500, 799)
    for name in ("getpriority", "sched_getaffinity"):
        results = answers(program, [(NUMBERS[name], value << 32 | value) for value in values])
        assert results == [-1 - value for value in values]


def test_the_kernel_takes_the_flags() -> None:
    names = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    notify = [{"names": ["getpriority"], "action": "SCMP_ACT_NOTIFY"}]
    plain: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "flags": names}
    listening = {**plain, "syscalls": notify, "listenerPath": "/run/agent"}
    listening["flags"] = [*names, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    for of in (plain, listening):
        flags = filter_flags(of) | (NEW_LISTENER if uses_notify(of) else 0)
        result = in_child(lambda of=of, flags=flags: load(compile_filter(of, "x86_64"), flags))  # type: ignore[misc]
        assert isinstance(result, int) and (result > 2) == uses_notify(of)
