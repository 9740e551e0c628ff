"""Why a launch has failed: the record that failed, the kernel's answer, the likely cause, the next step.

The helper hands over the plan's descriptor, the record's number, errno, and what the operation had to say.
"""

from __future__ import annotations

import errno
import os

from pycontain.kernel.errors import EXIT_CANNOT_INVOKE, EXIT_FAILURE, EXIT_NOT_FOUND
from pycontain.launch import ops
from pycontain.launch.plan import PlanError, decode


def _read_plan(fd: int) -> list[tuple[int, ops.Op]]:
    size = os.fstat(fd).st_size
    return decode(os.pread(fd, size, 0))


def _program(op: ops.Op, code: int) -> tuple[str, int]:
    """The wording that callers of an OCI runtime look for (docker: exit status 126 or 127)."""
    name = str(op.values[0] if isinstance(op, ops.Lookup) else op.values[0][0])
    if code in (errno.ENOENT, errno.ENOTDIR):
        if isinstance(op, ops.Exec):  # it was found before
            return f'exec: "{name}": its interpreter or loader: no such file or directory', EXIT_NOT_FOUND
        if "/" not in name:
            return f'exec: "{name}": executable file not found in $PATH', EXIT_NOT_FOUND
        return f'exec: "{name}": stat {name}: no such file or directory', EXIT_NOT_FOUND
    if code == errno.EISDIR:
        # with execve(2)'s own answer, by which Docker and podman choose the exit status 126
        return f'exec: "{name}": is a directory: permission denied', EXIT_CANNOT_INVOKE
    if code == errno.ENOEXEC:
        return f'exec: "{name}": exec format error', EXIT_CANNOT_INVOKE
    return f'exec: "{name}": {_words(code)}', EXIT_CANNOT_INVOKE


def _words(code: int) -> str:
    text = os.strerror(code)
    return text[:1].lower() + text[1:]


def hint(op: ops.Op, code: int) -> str:
    """The likely cause and the next step, "" where nobody knows."""
    if code == errno.ENOSYS:
        return (
            f"this kernel is older than Linux {op.since}, which has it" if op.since else "this kernel does not have it"
        )
    if code == errno.ENOSPC and isinstance(op, ops.Clone):
        return "a limit of /proc/sys/user/max_*_namespaces is reached"
    if code == errno.EAGAIN and isinstance(op, ops.Clone):
        return "a limit on processes is reached: RLIMIT_NPROC, pids.max of a cgroup, or kernel.pid_max"
    if code == errno.EXFULL and isinstance(op, ops.Netlink):
        return "all 1023 ports of the bridge are taken: use --network routed, which has no such limit"
    if code == errno.ENOBUFS and isinstance(op, ops.Netlink):
        return "the kernel's table of neighbours is full: see 'pycontain system tune --dry-run'"
    if code == errno.ENOSPC:
        return "the file system is full"
    if isinstance(op, ops.Sysctl) and code in (errno.EACCES, errno.EPERM, errno.ENOENT):
        return "this kernel does not have it, or not in a namespace"
    if isinstance(op, ops.Rlimit) and code == errno.EPERM:
        return "the hard limit can be raised with CAP_SYS_RESOURCE only"
    if code in (errno.EPERM, errno.EACCES):
        return "pycontain needs to be root, with all capabilities of the host"
    return ""


def _one_line(text: str) -> str:
    """``text`` with characters that are no text as escapes: paths and programs may be named by an image."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def sentence(what: str, op: ops.Op | None, code: int, detail: str, cause: str = "") -> tuple[str, int]:
    """One line and the exit status. ``cause``: what the caller knows of it."""
    text, status = _sentence(what, op, code, detail, cause)
    return _one_line(text), status


def _sentence(what: str, op: ops.Op | None, code: int, detail: str, cause: str) -> tuple[str, int]:
    if op is None:
        return f"{what}: the launch was interrupted: {detail or _words(code)}", EXIT_FAILURE
    if isinstance(op, (ops.Lookup, ops.Exec)) and code != errno.ECHILD:
        text, status = _program(op, code)
        return f"{what}: {text}", status
    answer = detail if code == errno.ECHILD and detail else _words(code)
    parts = [f"{what}: cannot {op.describe()}: {answer}"]
    if detail and detail != answer:
        parts.append(f" ({detail})")
    cause = cause or hint(op, code)
    if cause:
        parts.append(f": {cause}")
    return "".join(parts), EXIT_FAILURE


def failed_op(plan: int, record: int) -> ops.Op | None:
    """The record of a plan (its descriptor), None where it cannot be read or the launch failed outside of any."""
    try:
        records = _read_plan(plan)
    except (OSError, PlanError):
        return None  # what can be said without the plan is said
    return records[record][1] if record < len(records) else None
