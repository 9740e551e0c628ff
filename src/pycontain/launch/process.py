"""config.json ``process`` to records: who the program is, what it may do, what it sees (config.md, "Process")."""

from __future__ import annotations

from _struct import pack

from pycontain.kernel import capability
from pycontain.kernel.errors import SpecError
from pycontain.launch import reader
from pycontain.launch.ops import (
    RLIMITS,
    Bounding,
    Capabilities,
    Cwd,
    Exec,
    Init,
    Lookup,
    NoNewPrivileges,
    Op,
    Personality,
    Rlimit,
    Umask,
    User,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MAX_ID = (1 << 32) - 2
#: What the helper takes.
MAX_GROUPS = 1024
#: execvp's own default, for a program without a slash where the environment has no PATH.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_RLIMIT_NUMBERS = {name: number for number, name in enumerate(RLIMITS)}

PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}


class Process:
    """What compile_process found, to be put in its order by the caller."""

    def __init__(self) -> None:
        self.uid = self.gid = 0
        self.umask: int | None = None
        self.groups = b""
        self.cwd = "/"
        self.argv: list[str] = []
        self.env: list[str] = []
        self.path = DEFAULT_PATH
        self.terminal = False
        self.rows = self.columns = 0
        self.rlimits: list[Rlimit] = []
        self.capabilities: dict[str, int] = {}
        self.no_new_privileges = False
        self.oom_score_adj: int | None = None
        self.labels: list[Op] = []
        self.schedule: list[Op] = []
        self.affinity: tuple[list[Op], list[Op]] = ([], [])
        self.warnings: list[str] = []
        #: setgroups(2) is denied: nothing is asked for, or the compiler has refused it.
        self.keep_groups = False


_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def _capabilities(process: dict[str, Any], where: str, result: Process) -> None:
    sets = reader.table(process, "capabilities", where)
    for name in _SETS:
        bits = 0
        for cap in reader.texts(sets, name, f"{where}.capabilities"):
            number = capability.number(cap)
            if number is None:
                # config.md: what the kernel cannot grant is a warning
                result.warnings.append(f"{where}.capabilities.{name}: {cap!r} is not known to this version")
            else:
                bits |= 1 << number
        result.capabilities[name] = bits


def _rlimits(process: dict[str, Any], where: str, result: Process) -> None:
    seen = set()
    for index, entry in enumerate(reader.tables(process, "rlimits", where)):
        at = f"{where}.rlimits[{index}]"
        number = reader.choice(entry, "type", at, _RLIMIT_NUMBERS)
        if number in seen:
            raise SpecError(f"{at}.type", f"a second {entry['type']}")
        seen.add(number)
        soft = reader.number(entry, "soft", at, high=(1 << 64) - 1)
        hard = reader.number(entry, "hard", at, high=(1 << 64) - 1)
        if soft > hard:
            raise SpecError(f"{at}.soft", f"{soft} is more than the hard limit {hard}")
        result.rlimits.append(Rlimit(number, soft, hard))


def _user(process: dict[str, Any], where: str, result: Process) -> None:
    user = reader.table(process, "user", where)
    at = f"{where}.user"
    result.uid = reader.number(user, "uid", at, 0, high=MAX_ID)
    result.gid = reader.number(user, "gid", at, 0, high=MAX_ID)
    result.umask = reader.optional_number(user, "umask", at, 0, 0o777)
    groups = reader.items(user, "additionalGids", at)
    if len(groups) > MAX_GROUPS:
        raise SpecError(f"{at}.additionalGids", f"more than {MAX_GROUPS} groups")
    for index, gid in enumerate(groups):
        if type(gid) is not int or not 0 <= gid <= MAX_ID:
            raise SpecError(f"{at}.additionalGids[{index}]", f"expected a number from 0 to {MAX_ID}")
    result.groups = pack(f"<{len(groups)}I", *groups)


def _environment(process: dict[str, Any], where: str, result: Process) -> None:
    result.env = reader.environment(process, where)
    for entry in result.env:
        if entry.startswith("PATH="):
            result.path = entry[5:]


def _terminal(process: dict[str, Any], where: str, result: Process) -> None:
    result.terminal = reader.flag(process, "terminal", where)
    size = reader.table(process, "consoleSize", where)
    if size:
        result.rows = reader.number(size, "height", f"{where}.consoleSize", high=65535)
        result.columns = reader.number(size, "width", f"{where}.consoleSize", high=65535)


def compile_process(process: dict[str, Any], where: str = "process") -> Process:
    """The ``process`` object. Raises SpecError with the JSON path of what cannot be."""
    result = Process()
    result.argv = reader.texts(process, "args", where)
    if not result.argv or not result.argv[0]:
        raise SpecError(f"{where}.args", "is required: expected the program and its arguments")
    result.cwd = reader.absolute(reader.text(process, "cwd", where), f"{where}.cwd")
    _terminal(process, where, result)
    _environment(process, where, result)
    _user(process, where, result)
    _capabilities(process, where, result)
    _rlimits(process, where, result)
    result.no_new_privileges = reader.flag(process, "noNewPrivileges", where)
    result.oom_score_adj = reader.optional_number(process, "oomScoreAdj", where, -1000, 1000)
    _rarely(process, where, result)
    return result


def _rarely(process: dict[str, Any], where: str, result: Process) -> None:
    """What few containers have: its modules cost those nothing that do not."""
    if process.get("apparmorProfile") is not None or process.get("selinuxLabel") is not None:
        from pycontain.launch.labels import exec_labels

        result.labels = exec_labels(process, where)
    if any(process.get(key) is not None for key in ("scheduler", "ioPriority", "execCPUAffinity")):
        from pycontain.launch.schedule import cpu_affinity, io_priority, scheduler

        result.schedule = [*scheduler(process, where), *io_priority(process, where)]
        result.affinity = cpu_affinity(process, where)


def personality(linux: dict[str, Any]) -> list[Op]:
    """``linux.personality`` (config-linux.md): before the filter, which may forbid it."""
    section = reader.table(linux, "personality", "linux")
    if not section:
        return []
    if reader.items(section, "flags", "linux.personality"):
        raise SpecError("linux.personality.flags", "no flags are defined")
    return [Personality(reader.choice(section, "domain", "linux.personality", PERSONALITIES))]


def confinement(
    process: Process, seccomp: Op | None, gate: Op | None, init: bool, hooks: Sequence[Op] = ()
) -> list[Op]:
    """From the working directory to exec, in the only order that the kernel's rules allow.

    The bounding set before the ids and capabilities go; the filter last with no_new_privs, but before CAP_SYS_ADMIN
    goes without. Lookup as the user that executes. The gate before the filter, which need not allow accept(2). What the
    image has as a startContainer hook gets no more than the program: after the gate and all that confines, but for a
    filter that comes last.
    """
    ops: list[Op] = [] if process.umask is None else [Umask(process.umask)]
    early = seccomp is not None and not process.no_new_privileges
    lookup = Lookup(process.argv[0], process.path)
    ops.append(Cwd(process.cwd))
    if gate is not None and early:
        ops += [lookup, gate]
    if seccomp is not None and early:
        ops.append(seccomp)
    sets = process.capabilities
    ops.append(Bounding(sets["bounding"]))
    ops.append(User(process.uid, process.gid, process.groups, process.keep_groups))
    ops.append(Capabilities(sets["effective"], sets["permitted"], sets["inheritable"], sets["ambient"]))
    if process.no_new_privileges:
        ops.append(NoNewPrivileges())
    if gate is None or not early:
        ops.append(lookup)
    if gate is not None and not early:
        ops.append(gate)
    ops += hooks
    ops += process.labels
    if seccomp is not None and not early:
        ops.append(seccomp)
    if init:
        ops.append(Init())
    ops.append(Exec(process.argv, process.env))
    return ops
