"""What a failed record becomes: one line with the object, the kernel's answer, the cause, the next step."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from pycontain.launch import explain, ops, ops_all, ops_mounts
from pycontain.launch.plan import encode


@pytest.mark.parametrize(
    ("op", "code", "detail", "line"),
    [
        (
            ops_mounts.Bind("/a", "/b"),
            errno.ENOENT,
            "/a",
            "c: cannot bind /a on /b: no such file or directory (/a)",
        ),
        (
            ops_mounts.Mount("overlay", "overlay", "/x"),
            errno.EINVAL,
            "overlay: bad thing",
            "c: cannot mount overlay on /x: invalid argument (overlay: bad thing)",
        ),
        (
            ops.Clone(0x20000),
            errno.ENOSPC,
            "",
            "c: cannot create the container's process in new namespaces (mount): no space left on device:"
            " a limit of /proc/sys/user/max_*_namespaces is reached",
        ),
        (
            ops.Clone(0),
            errno.EAGAIN,
            "",
            "c: cannot create the container's process in new namespaces (none): resource temporarily unavailable:"
            " a limit on processes is reached: RLIMIT_NPROC, pids.max of a cgroup, or kernel.pid_max",
        ),
        (
            ops_mounts.Mkdir("/x"),
            errno.ENOSPC,
            "",
            "c: cannot create the directory /x: no space left on device: the file system is full",
        ),
        (
            ops_mounts.Mount("proc", "proc", "/proc"),
            errno.ENOSYS,
            "",
            "c: cannot mount proc on /proc: function not implemented:"
            " this kernel is older than Linux 5.2, which has it",
        ),
        (
            ops.Setsid(),
            errno.ENOSYS,
            "",
            "c: cannot start a new session: function not implemented: this kernel does not have it",
        ),
        (
            ops.Sysctl("net/x", "1"),
            errno.ENOENT,
            "",
            "c: cannot set sysctl net.x to '1': no such file or directory:"
            " this kernel does not have it, or not in a namespace",
        ),
        (
            ops.Rlimit(7, 1, 2),
            errno.EPERM,
            "",
            "c: cannot set resource limit RLIMIT_NOFILE to 1 (soft) and 2 (hard): operation not permitted:"
            " the hard limit can be raised with CAP_SYS_RESOURCE only",
        ),
        (
            ops_mounts.Pivot(),
            errno.EPERM,
            "",
            "c: cannot pivot into the container's root: operation not permitted:"
            " pycontain needs to be root, with all capabilities of the host",
        ),
        (
            ops.Init(),
            errno.ECHILD,
            "its process was killed by signal 9",
            "c: cannot start the init process: its process was killed by signal 9",
        ),
        (None, errno.ECHILD, "", "c: the launch was interrupted: no child processes"),
        (None, errno.EIO, "detail", "c: the launch was interrupted: detail"),
    ],
)
def test_a_failed_record(op: ops.Op | None, code: int, detail: str, line: str) -> None:
    assert explain.sentence("c", op, code, detail) == (line, 125)


@pytest.mark.parametrize(
    ("op", "code", "line", "status"),
    [
        (ops.Lookup("nope", "/bin"), errno.ENOENT, 'exec: "nope": executable file not found in $PATH', 127),
        (ops.Lookup("/nope", "/bin"), errno.ENOENT, 'exec: "/nope": stat /nope: no such file or directory', 127),
        (ops.Lookup("/a/b", ""), errno.ENOTDIR, 'exec: "/a/b": stat /a/b: no such file or directory', 127),
        (ops.Lookup("/etc", "/bin"), errno.EISDIR, 'exec: "/etc": is a directory: permission denied', 126),
        (ops.Lookup("/etc/hosts", ""), errno.EACCES, 'exec: "/etc/hosts": permission denied', 126),
        (ops.Exec(["/x"], []), errno.ENOEXEC, 'exec: "/x": exec format error', 126),
        (
            ops.Exec(["/x"], []),
            errno.ENOENT,
            'exec: "/x": its interpreter or loader: no such file or directory',
            127,
        ),
        (ops.Lookup("/loop", ""), errno.ELOOP, f'exec: "/loop": {os.strerror(errno.ELOOP).lower()}', 126),
    ],
)
def test_a_program_that_cannot_be_run(op: ops.Op, code: int, line: str, status: int) -> None:
    assert explain.sentence("c", op, code, "") == (f"c: {line}", status)


def test_the_guest_that_dies_while_it_looks_for_its_program_is_no_missing_program() -> None:
    line, status = explain.sentence("c", ops.Exec(["sh"], []), errno.ECHILD, "its process was killed by signal 9")
    assert (line, status) == ("c: cannot execute 'sh': its process was killed by signal 9", 125)


def test_what_the_caller_knows_takes_the_place_of_the_guess() -> None:
    line, _ = explain.sentence("c", ops_mounts.Pivot(), errno.EPERM, "", "because")
    assert line == "c: cannot pivot into the container's root: operation not permitted: because"


@pytest.mark.parametrize("cls", ops_all.classes(), ids=lambda cls: str(cls.name))
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOENT, errno.ENOSYS, errno.ENOSPC, errno.EAGAIN, errno.ECHILD])
def test_any_record_and_any_answer_make_one_line(cls: type[ops.Op], code: int) -> None:
    examples = {"n": 1, "s": "text", "b": b"x", "l": ["a"]}
    op = object.__new__(cls)
    op.values = tuple(examples[kind] for _, kind in cls.fields)
    line, status = explain.sentence("container c", op, code, "")
    assert line.startswith("container c: ")
    assert "\n" not in line and not line.endswith(".")
    assert status in (125, 126, 127)


@pytest.fixture
def plan() -> Iterator[int]:
    fd = os.memfd_create("plan")
    os.write(fd, encode([(ops.HOST, ops.Setsid()), (ops.GUEST, ops.Hostname("h"))]))
    yield fd
    os.close(fd)


def test_the_failed_record_is_found_in_the_plan(plan: int) -> None:
    assert explain.failed_op(plan, 1) == ops.Hostname("h")


def test_a_failure_outside_any_record_has_none(plan: int) -> None:
    assert explain.failed_op(plan, (1 << 32) - 1) is None


def test_a_plan_that_cannot_be_read_does_not_hide_the_failure(plan: int) -> None:
    os.pwrite(plan, b"x", 0)
    assert explain.failed_op(plan, 1) is None
    assert explain.failed_op(999, 1) is None


@pytest.mark.parametrize("name", ["/a\nb", "\x1b[2J", "/\udc80", "\u202e"])
def test_a_name_from_an_image_cannot_move_the_cursor_or_make_a_second_line(name: str) -> None:
    line, _ = explain.sentence("c", ops.Lookup(name, ""), errno.ENOENT, "")
    assert line.isprintable() and 'exec: "' in line
    assert explain.sentence("c", ops_mounts.Mkdir("/x"), errno.EIO, name)[0].isprintable()


@pytest.mark.parametrize(
    ("code", "said"),
    [(errno.EXFULL, "all 1023 ports of the bridge are taken: use --network routed"), (errno.ENOBUFS, "system tune")],
)
def test_limits_of_the_network_name_the_way_around(code: int, said: str) -> None:
    op = ops.Netlink(0, b"", "connect the container to pycontain0")
    text, status = explain.sentence("container a", op, code, "request 1")
    assert said in text and status == 125
