"""Become the helper with a plan: what waits while a container runs is C."""

from __future__ import annotations

import os
import sys

from pycontain.kernel import files, rootless
from pycontain.kernel.errors import Error, os_text
from pycontain.launch.plan import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pycontain.launch.ops import Op

# linux/memfd.h, fcntl.h
_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_EXEC = 0x1, 0x2, 0x10
_F_ADD_SEALS = 1033
_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # seal, shrink, grow, write

#: Set in a planner: sends the helper's command line and environment to who asked for it, instead of execve(2); and
#: whether the copy of the helper may be one that others have, too.
instead: Callable[[list[str], dict[str, str], bool], None] | None = None
#: A planner's sealed copy of the helper; see shared_helper.
kept = -1


def helper_path() -> str:
    """The helper that was installed with the package."""
    return os.path.join(os.path.dirname(os.path.dirname(__file__)), "pycontain-helper")


def _seal(fd: int) -> None:
    import fcntl

    fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)


def plan_fd() -> int:
    """A memfd for a plan, which the helper inherits."""
    return os.memfd_create("pycontain-plan", _MFD_ALLOW_SEALING)


def _fill(fd: int, records: Iterable[tuple[int, Op]]) -> None:
    files.write_all(fd, encode(records))
    _seal(fd)


def helper_fd() -> int:
    """A sealed copy of the helper: no container can write to the file that is executed (CVE-2019-5736)."""
    try:
        source = os.open(helper_path(), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Error(f"the helper {helper_path()} is missing: {os_text(error)}: install pycontain again") from None
    try:
        size = os.fstat(source).st_size
        try:
            fd = os.memfd_create("pycontain-helper", _MFD_CLOEXEC | _MFD_ALLOW_SEALING | _MFD_EXEC)
        except OSError:  # before Linux 6.3
            fd = os.memfd_create("pycontain-helper", _MFD_CLOEXEC | _MFD_ALLOW_SEALING)
        at = 0
        while at < size:
            sent = os.sendfile(fd, source, at, size - at)
            if not sent:
                raise Error(f"the helper {helper_path()} is shorter than it was: install pycontain again")
            at += sent
        os.fchmod(fd, 0o500)
        _seal(fd)
        return fd
    finally:
        os.close(source)


def become_helper(arguments: list[str], shared: bool = False) -> None:
    """Execute the helper in place of this process. Returns never; raises Error."""
    sys.stdout.flush()
    sys.stderr.flush()
    if instead is not None:
        instead(["pycontain-helper", *arguments], rootless.environment(), shared)
    try:
        # nothing of the caller's environment is the helper's business
        os.execve(helper_fd(), ["pycontain-helper", *arguments], rootless.environment())
    except OSError as error:
        raise Error(f"cannot execute the helper: {os_text(error)}") from None


def shared_helper() -> int:
    """A copy of the helper that several monitors execute: 200 KiB that a guest does not cost.

    Its bytes are sealed; its mode and attributes are its owner's, the host's root, to change. So it is for guests none
    of whose IDs is root's. A planner has it; else it is as helper_fd.
    """
    if kept >= 0 and os.fstat(kept).st_mode & 0o7777 == 0o500:
        return kept
    return helper_fd()


def launch(records: Iterable[tuple[int, Op]], fd: int = -1, shared: bool = False) -> None:
    """Execute a plan in place of this process; ``fd``: of plan_fd(). Returns never; raises Error, PlanError.

    shared: whether the helper's copy may be ``shared_helper``'s.
    """
    fd = plan_fd() if fd < 0 else fd
    _fill(fd, records)
    become_helper(["launch", str(fd)], shared)


def run_helper(arguments: list[str]) -> None:
    """A job of the helper in a process of its own. Raises Error with what it says where it fails."""
    output, complaints = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, complaints, 2)]
        pid = os.posix_spawn(helper_path(), ["pycontain-helper", *arguments], {}, file_actions=actions)
    except OSError as error:
        raise Error(f"cannot execute the helper {helper_path()}: {os_text(error)}: install pycontain again") from None
    finally:
        os.close(complaints)
    try:
        data = b""
        while chunk := os.read(output, 4096):  # it writes a line in pieces
            data += chunk
        said = data.decode("utf-8", "replace").partition("\n")[0].removeprefix("pycontain: ")
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(output)
    if status:
        raise Error(said or f"the helper's job {arguments[0]} failed (status {os.waitstatus_to_exitcode(status)})")
