"""The system call filter of a container: that it is there, for every process, and what it answers."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from world import World, eventually

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")

MOUNT, UNSHARE, KEYCTL, CLONE3, BPF, IO_URING_SETUP, SOCKET, PERSONALITY, SETNS = (
    165,
    272,
    250,
    435,
    321,
    425,
    41,
    135,
    308,
)
OPEN_BY_HANDLE, ADD_KEY, PTRACE, FSOPEN, USERFAULTFD, MKDIR = 304, 248, 101, 430, 323, 83
CLONE_NEWUSER, AF_ALG, AF_VSOCK = 0x10000000, 38, 40

#: Calls one number with arguments, and prints the name of errno.
CALL = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
result = libc.syscall(*[ctypes.c_long(int(word)) for word in sys.argv[1:]])
print('done' if result >= 0 else errno.errorcode[ctypes.get_errno()])
"""


def call(world: World, *numbers: int, flags: tuple[str, ...] = ()) -> str:
    words = [str(number) for number in numbers]
    command = ("sparse", "/usr/bin/python3", "-I", "-S", "-c", CALL, *words)
    return world.ok("run", "--rm", "--network", "none", *flags, *command)


def mode(text: str) -> tuple[str, str]:
    found = {line.split(":")[0]: line.split()[1] for line in text.splitlines() if line.startswith("Seccomp")}
    return found["Seccomp"], found["Seccomp_filters"]


def profile(directory: Path, **section: Any) -> str:
    path = directory / "profile.json"
    path.write_text(json.dumps(section))
    return f"seccomp={path}"


# --- it is there --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags", [(), ("-u", "1000"), ("--init",), ("-t",), ("--security-opt", "no-new-privileges")], ids=str
)
def test_every_process_has_one_filter(world: World, flags: tuple[str, ...]) -> None:
    identity = world.background("--network", "none", *flags, "busybox", "sleep", "1000")
    pid = world.pid(identity)
    # PID 1 of ours has one more, its own; it takes it when its command has begun
    expected = ("2", "2" if "--init" in flags else "1")
    assert eventually(lambda: mode(Path(f"/proc/{pid}/status").read_text()) == expected)
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        assert mode(Path(f"/proc/{child}/status").read_text()) == ("2", "1")
    assert mode(world.ok("exec", identity, "cat", "/proc/self/status")) == ("2", "1")


def test_after_a_restart_too(world: World) -> None:
    identity = world.ok("create", "--network", "none", "busybox", "cat", "/proc/self/status")
    for _ in range(2):
        assert mode(world.ok("start", "-a", identity)) == ("2", "1")


def test_the_monitor_has_none(world: World) -> None:
    """It executes an interpreter for a restart; what reads the container's bytes is its relay (test_sandbox.py)."""
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    assert mode(Path(f"/proc/{world.monitor_pid(identity)}/status").read_text())[0] == "0"


# --- what it answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "answer"),
    [
        ((MOUNT,), "EPERM"),
        ((UNSHARE, CLONE_NEWUSER), "EPERM"),
        ((SETNS, 0, 0), "EPERM"),
        ((KEYCTL, 0, -3, 0), "EPERM"),
        ((ADD_KEY,), "EPERM"),
        ((BPF,), "EPERM"),
        ((IO_URING_SETUP,), "EPERM"),
        ((FSOPEN,), "EPERM"),
        ((USERFAULTFD,), "EPERM"),
        ((OPEN_BY_HANDLE,), "EPERM"),
        ((PERSONALITY, 0x12345), "EPERM"),
        # what a C library falls back from
        ((CLONE3,), "ENOSYS"),
        ((9999,), "ENOSYS"),
        # CVE of May 2026: sockets of the kernel's cipher interface
        ((SOCKET, AF_ALG, 5, 0), "EAFNOSUPPORT"),
        ((SOCKET, AF_VSOCK, 1, 0), "EAFNOSUPPORT"),
    ],
)
def test_a_call_that_is_not_allowed(world: World, numbers: tuple[int, ...], answer: str) -> None:
    assert call(world, *numbers) == answer


def test_the_filter_and_not_a_missing_capability_says_so(world: World) -> None:
    """With the capability and without a filter the kernel looks at the arguments."""
    flags = ("--security-opt", "seccomp=unconfined")
    assert call(world, KEYCTL, 0, -3, 0, flags=flags) == "done"
    assert call(world, CLONE3, 0, 0, flags=flags) == "EINVAL"
    assert call(world, 9999, flags=flags) == "ENOSYS"


@pytest.mark.parametrize(("name", "numbers"), [("SYS_ADMIN", (MOUNT, 0, 0, 0, 0)), ("SYS_ADMIN", (FSOPEN, 0, 0))])
def test_a_capability_opens_the_calls_that_it_is_for(world: World, name: str, numbers: tuple[int, ...]) -> None:
    assert call(world, *numbers) == "EPERM"
    assert call(world, *numbers, flags=("--cap-add", name)) == "EFAULT"


def test_a_user_has_the_same_filter_as_root(world: World) -> None:
    assert call(world, UNSHARE, CLONE_NEWUSER, flags=("-u", "1000")) == "EPERM"


# --- another one --------------------------------------------------------------------------------------------------


def test_unconfined_is_without(world: World) -> None:
    assert mode(world.inside("cat /proc/self/status", "--security-opt", "seccomp=unconfined")) == ("0", "0")


def test_a_profile_from_a_file(world: World, workdir: Path) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}
    option = profile(workdir, defaultAction="SCMP_ACT_ALLOW", syscalls=[rule])
    answer = world.inside("mkdir /x 2>&1; grep Seccomp: /proc/self/status", "--security-opt", option).splitlines()
    assert answer[0].endswith("Invalid cross-device link")
    assert answer[1].split()[1] == "2"
    # kept with the container, also when the file is gone
    identity = world.ok("create", "--network", "none", "--security-opt", option, "busybox", "mkdir", "/x")
    (workdir / "profile.json").unlink()
    assert world("start", "-a", identity).stderr.strip().endswith("Invalid cross-device link")


def test_a_profile_that_forbids_what_the_helper_uses_last(world: World, workdir: Path) -> None:
    """It need not allow how descriptors are closed and how the start is announced."""
    rule = {"names": ["close_range", "sendmsg", "sendto"], "action": "SCMP_ACT_ERRNO"}
    option = profile(workdir, defaultAction="SCMP_ACT_ALLOW", syscalls=[rule])
    for flags in ((), ("--security-opt", "no-new-privileges"), ("-u", "1000")):
        assert world.inside("ls /proc/self/fd", "--security-opt", option, *flags).split() == ["0", "1", "2", "3"]


def test_a_profile_that_kills(world: World, workdir: Path) -> None:
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}
    option = profile(workdir, defaultAction="SCMP_ACT_ALLOW", syscalls=[rule])
    done = world("run", "--rm", "--network", "none", "--security-opt", option, "busybox", "mkdir", "/x")
    assert done.returncode == 128 + 31  # SIGSYS


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "not JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "defaultAction"),
        ('{"defaultAction": "SCMP_ACT_WHAT"}', "defaultAction"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": "x"}]}', "syscalls[0]"),
    ],
)
def test_a_profile_that_is_none_is_refused_in_one_line(world: World, workdir: Path, text: str, part: str) -> None:
    (workdir / "profile.json").write_text(text)
    path = workdir / "profile.json"
    line = world.refused("run", "--rm", "--network", "none", "--security-opt", f"seccomp={path}", "busybox", "true")
    assert str(path) in line and part in line


def test_a_profile_that_is_not_there_is_refused_in_one_line(world: World, workdir: Path) -> None:
    option = f"seccomp={workdir}/none"
    line = world.refused("run", "--rm", "--network", "none", "--security-opt", option, "busybox", "true")
    assert line == f"--security-opt: {option}: No such file or directory"
