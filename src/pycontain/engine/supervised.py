"""``--supervise``: system calls of a container's that a process of the host's makes in its place."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_STREAM, socketpair

from pycontain.engine import control
from pycontain.kernel import rootless
from pycontain.kernel.errors import Error, UsageError, os_text
from pycontain.launch import seccomp, supervise
from pycontain.launch.ops import Seccomp
from pycontain.launch.ops_rootless import CompanionsEnd
from pycontain.launch.ops_spec import SeccompListener
from pycontain.launch.ops_supervise import Supervise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record
    from pycontain.launch.compile import Surroundings
    from pycontain.launch.ops import Op

#: The kernel's own file systems: what masks hide there cannot be moved elsewhere.
_KERNELS = ("/proc/", "/sys/")
#: What goes with the listener: a message has to have something in it.
_STATE = "listener"


def check(record: Record, spec: dict[str, Any]) -> None:
    """Refuse switches that a container cannot have. Raises UsageError."""
    calls, types = supervise.bits(record.supervise)
    own = bool(record.uid_map) or rootless.inside()
    for name in ("mknod", "mount"):
        if calls & supervise.CALLS[name] and not own:
            raise UsageError(
                f"--supervise {name}: only for a container in a user namespace of its own, and this one is in the"
                " host's: give --userns auto, or leave it out"
            )
    if calls & supervise.CALLS["mknod"] and rootless.inside():
        raise UsageError("--supervise mknod: devices can be made by root only, and no user namespace has that root")
    if types & supervise.TYPES["fuse"] and rootless.inside():
        raise UsageError(
            "--supervise mount=fuse: for root's containers only: into such a mount the kernel lets all processes of its"
            " user namespace, which are those of all of a user's containers: give mount=tmpfs,overlay"
        )
    section = spec["linux"].get("seccomp")
    if section and seccomp.uses_notify(section):
        raise UsageError(
            "--supervise: the profile of --security-opt seccomp=FILE has SCMP_ACT_NOTIFY, and the kernel gives calls to"
            " one listener only: leave one of them out"
        )
    hidden = [path for path in spec["linux"].get("maskedPaths", ()) if not path.startswith(_KERNELS)]
    if types & supervise.TYPES["overlay"] and hidden:
        raise UsageError(
            f"--supervise mount=overlay: an overlay shows what --security-opt mask={hidden[0]} hides: leave one of them"
            " out"
        )


def _passes_mounts(record: Record) -> bool:
    """Whether the filter without us lets mount(2) through. Of a profile of the caller's it is not asked."""
    if record.seccomp == "unconfined":
        return True
    return record.seccomp == "default" and "CAP_SYS_ADMIN" in record.capabilities


def _filter(record: Record, base: bytes) -> bytes:
    calls, _ = supervise.bits(record.supervise)
    return supervise.program(base, calls, os.uname().machine, _passes_mounts(record))


def begin(paths: Paths, record: Record, base: bytes, around: Surroundings) -> None:
    """Put the supervisor and the filter that asks it into a start; ``base``: the filter without. Raises Error."""
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    for end in (ours, theirs):
        os.set_inheritable(end.fileno(), True)
    calls, types = supervise.bits(record.supervise)
    ends = ours.detach(), theirs.detach()
    around.after_clone.append(
        Supervise(
            calls, types, _passes_mounts(record), around.nested, paths.run(record.id), around.cgroup, ends[0], ends[1]
        )
    )
    around.seccomp = SeccompListener(supervise.flags(), _filter(record, base), ends[1], _STATE)


def end() -> list[Op]:
    """What the monitor does about it when the container has ended."""
    return [CompanionsEnd()]


def join(paths: Paths, record: Record, base: bytes) -> Op:
    """The filter of one more process; its calls go to the container's supervisor.

    Where that has been killed they are answered as the container's own are: there is no such call (ENOSYS).
    Raises Error.
    """
    program = _filter(record, base)
    try:
        link = control.dial(paths, record.id, "supervise", SOCK_STREAM)
    except OSError as error:
        raise Error(f"container {record.id[:12]}: cannot reach its supervisor: {os_text(error)}") from None
    if link is None:
        return Seccomp(0, program)
    os.set_inheritable(link.fileno(), True)
    return SeccompListener(supervise.flags(), program, link.detach(), _STATE)
