"""Operations that only a config.json asks for: hooks, listeners, scheduling, changed mounts, labels.

As those of ops.py, which says what the parts of a class are. Making these classes costs half a millisecond: who uses
one imports it where it is used.
"""

from __future__ import annotations

from pycontain.launch.ops import HOST, Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Hook(Op):
    """Execute a program of the spec's with the state on its standard input, and wait for its end.

    kind: the hook's name in the spec. argv: empty for the path alone. env: all of its environment. timeout: seconds
    after which it and its process group are killed, 0 for none. state: JSON, hooks.PID_MARK for the process ID. cwd:
    its working directory. warn: 1 when a failure is a warning. On the GUEST side the process ID is the container's own.
    """

    code, name, side, since = 71, "hook", HOST, "5.3"
    fields = (
        ("kind", "s"),
        ("path", "s"),
        ("argv", "l"),
        ("env", "l"),
        ("timeout", "n"),
        ("state", "s"),
        ("cwd", "s"),
        ("warn", "n"),
    )

    def __init__(
        self,
        kind: str,
        path: str,
        argv: Sequence[str],
        env: Sequence[str],
        timeout: int,
        state: str,
        cwd: str,
        warn: bool = False,
    ) -> None:
        self.values = (kind, path, list(argv), list(env), timeout, state, cwd, int(warn))

    def describe(self) -> str:
        return f"run the {self.values[0]} hook {self.values[1]}"


class SeccompListener(Op):
    """As Seccomp, and send the notification descriptor over ``socket`` (SCM_RIGHTS) with ``state``.

    state: JSON, hooks.PID_MARK for the process ID as the launching process sees it.
    """

    code, name, since = 72, "seccomp_listener", "5.7"
    fields = (("flags", "n"), ("program", "b"), ("socket", "n"), ("state", "s"))

    def __init__(self, flags: int, program: bytes, socket: int, state: str) -> None:
        self.values = (flags, program, socket, state)

    def describe(self) -> str:
        return f"load the seccomp filter ({len(self.values[1]) // 8} instructions) and send its listener"


class Scheduler(Op):
    """sched_setattr(2) on the guest. nice: -20 to 19. runtime, deadline, period: nanoseconds."""

    code, name, side, since = 73, "scheduler", HOST, "3.14"
    fields = (
        ("policy", "n"),
        ("flags", "n"),
        ("nice", "n"),
        ("priority", "n"),
        ("runtime", "n"),
        ("deadline", "n"),
        ("period", "n"),
    )

    def __init__(
        self,
        policy: int,
        flags: int = 0,
        nice: int = 0,
        priority: int = 0,
        runtime: int = 0,
        deadline: int = 0,
        period: int = 0,
    ) -> None:
        self.values = (policy, flags, nice, priority, runtime, deadline, period)

    def describe(self) -> str:
        return f"set the scheduling policy to number {self.values[0]}"


class IoPriority(Op):
    """ioprio_set(2) on the guest: class and priority as IOPRIO_PRIO_VALUE has them."""

    code, name, side = 74, "io_priority", HOST
    fields = (("value", "n"),)

    def __init__(self, value: int) -> None:
        self.values = (value,)

    def describe(self) -> str:
        return f"set the I/O priority to class {self.values[0] >> 13}, priority {self.values[0] & 7}"


class Affinity(Op):
    """sched_setaffinity(2): on the guest where there is one, before that on the launching process.

    mask: bit n of byte n / 8 for CPU n; a multiple of 8 bytes.
    """

    code, name, side = 75, "affinity", HOST
    fields = (("mask", "b"), ("what", "s"))

    def __init__(self, mask: bytes, what: str) -> None:
        self.values = (mask, what)

    def describe(self) -> str:
        return f"set the CPU affinity to {self.values[1]}"


class MemoryPolicy(Op):
    """set_mempolicy(2). mode: MPOL_* with MPOL_F_* bits. nodes: as Affinity's mask; empty for none."""

    code, name = 76, "memory_policy"
    fields = (("mode", "n"), ("nodes", "b"))

    def __init__(self, mode: int, nodes: bytes) -> None:
        self.values = (mode, nodes)

    def describe(self) -> str:
        return f"set the memory policy to mode {self.values[0] & 0xFFF}"


class ExecLabel(Op):
    """Write what a security module is to make of the next exec to /proc/thread-self/attr/``file``."""

    code, name = 77, "exec_label"
    fields = (("file", "s"), ("text", "s"))

    def __init__(self, file: str, text: str) -> None:
        self.values = (file, text)

    def describe(self) -> str:
        return f"set the security label {self.values[1]!r}"


class JoinTasks(Op):
    """Write the guest's process ID to the file ``tasks`` of a resctrl group."""

    code, name, side = 78, "join_tasks", HOST
    fields = (("directory", "s"),)

    def __init__(self, directory: str) -> None:
        self.values = (directory,)

    def describe(self) -> str:
        return f"put the container into the resctrl group {self.values[0]}"


class NameFree(Op):
    """See that no network device of the guest's namespace has this name: a move that fails at it loses the device."""

    code, name = 81, "name_free"
    fields = (("text", "s"),)

    def __init__(self, text: str) -> None:
        self.values = (text,)

    def describe(self) -> str:
        return f"name a network device {self.values[0]} in the container"


class Remount(Op):
    """Change the mount that is on a path below the root: its attributes, and its file system's options.

    set, clear: MOUNT_ATTR_* bits. options: as Mount's; only with ``reconfigure`` 1 (fspick(2)).
    """

    code, name, since = 80, "remount", "5.12"
    fields = (("target", "s"), ("set", "n"), ("clear", "n"), ("options", "l"), ("reconfigure", "n"))

    def __init__(self, target: str, set: int, clear: int, options: Sequence[str], reconfigure: bool) -> None:
        self.values = (target, set, clear, list(options), int(reconfigure))

    def describe(self) -> str:
        return f"remount {self.values[0]}"
