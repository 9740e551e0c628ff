"""What a ``linux.seccomp`` object says, checked: OCI runtime-spec, config-linux.md, "Seccomp"."""

from __future__ import annotations

from pycontain.kernel.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    #: (argument's index, operator, value, valueTwo); the values of MASKED_EQ are the mask and what must be left.
    Condition = tuple[int, int, int, int]

#: linux/seccomp.h, SECCOMP_RET_*
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
ERRNO, NOTIFY, TRACE, LOG, ALLOW = 0x00050000, 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000

NE, LT, LE, EQ, GE, GT, MASKED_EQ = range(7)
OPERATORS = {
    "SCMP_CMP_NE": NE,
    "SCMP_CMP_LT": LT,
    "SCMP_CMP_LE": LE,
    "SCMP_CMP_EQ": EQ,
    "SCMP_CMP_GE": GE,
    "SCMP_CMP_GT": GT,
    "SCMP_CMP_MASKED_EQ": MASKED_EQ,
}

#: Every architecture that the specification names.
ARCHITECTURES = frozenset(
    (
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X32",
        "SCMP_ARCH_ARM",
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_MIPS",
        "SCMP_ARCH_MIPS64",
        "SCMP_ARCH_MIPS64N32",
        "SCMP_ARCH_MIPSEL",
        "SCMP_ARCH_MIPSEL64",
        "SCMP_ARCH_MIPSEL64N32",
        "SCMP_ARCH_PPC",
        "SCMP_ARCH_PPC64",
        "SCMP_ARCH_PPC64LE",
        "SCMP_ARCH_S390",
        "SCMP_ARCH_S390X",
        "SCMP_ARCH_PARISC",
        "SCMP_ARCH_PARISC64",
        "SCMP_ARCH_RISCV64",
        "SCMP_ARCH_LOONGARCH64",
        "SCMP_ARCH_M68K",
        "SCMP_ARCH_SH",
        "SCMP_ARCH_SHEB",
    )
)

#: linux/seccomp.h, SECCOMP_FILTER_FLAG_*
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 << 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}

_EPERM = 1
#: The kernel answers no larger errno (MAX_ERRNO in linux/err.h); TRACE passes 16 bits to the tracer.
_MAX_DATA = {ERRNO: 4095, TRACE: 0xFFFF}
_MAX_ARGUMENTS = 6
_MAX_VALUE = (1 << 64) - 1


class Rule:
    """An entry of ``syscalls``. ``alternatives``: conditions that hold together; one of the lists is enough."""

    __slots__ = ("action", "alternatives", "names", "where")

    def __init__(self, where: str, names: list[str], action: int, alternatives: list[list[Condition]]) -> None:
        self.where = where
        self.names = names
        self.action = action
        self.alternatives = alternatives


class Filter:
    """A checked ``linux.seccomp``: actions are return values of a BPF program."""

    __slots__ = ("architectures", "default", "rules")

    def __init__(self, default: int, architectures: list[str], rules: list[Rule]) -> None:
        self.default = default
        self.architectures = architectures
        self.rules = rules


def text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise SpecError(where, f"must be a string, not {_kind(value)}")
    return value


def texts(value: Any, where: str) -> list[str]:
    """An array of strings; null and what is not there are empty."""
    return [text(item, f"{where}[{at}]") for at, item in enumerate(_array(value, where))]


def choice(value: Any, table: Mapping[str, int], where: str) -> int:
    """What ``table`` has for a name."""
    name = text(value, where)
    if name not in table:
        raise SpecError(where, f"{name!r} is none of {', '.join(table)}")
    return table[name]


def _kind(value: Any) -> str:
    for cls, name in ((bool, "a boolean"), (dict, "an object"), (list, "an array"), (str, "a string")):
        if isinstance(value, cls):
            return name
    return "null" if value is None else "a number"


def _array(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise SpecError(where, f"must be an array, not {_kind(value)}")
    return value


def object_of(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(where, f"must be an object, not {_kind(value)}")
    return value


def _uint(value: Any, largest: int, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
        shown = value if isinstance(value, int) and not isinstance(value, bool) else _kind(value)
        raise SpecError(where, f"must be an integer from 0 to {largest}, not {shown}")
    return value


def _required(entry: dict[str, Any], key: str, where: str) -> Any:
    if entry.get(key) is None:
        raise SpecError(f"{where}.{key}", "is required")
    return entry[key]


def _action(entry: dict[str, Any], key: str, errno_key: str, where: str) -> int:
    """The return value of an action and its errno (EPERM where none is given)."""
    name = text(_required(entry, key, where), f"{where}.{key}")
    action = choice(name, ACTIONS, f"{where}.{key}")
    errno = entry.get(errno_key)
    if errno is not None and action not in _MAX_DATA:
        raise SpecError(f"{where}.{errno_key}", f"{name} takes no errno; only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do")
    if action not in _MAX_DATA:
        return action
    return action | (_EPERM if errno is None else _uint(errno, _MAX_DATA[action], f"{where}.{errno_key}"))


def _condition(value: Any, where: str) -> Condition:
    entry = object_of(value, where)
    index = _uint(_required(entry, "index", where), _MAX_ARGUMENTS - 1, f"{where}.index")
    operator = choice(_required(entry, "op", where), OPERATORS, f"{where}.op")
    first = _uint(_required(entry, "value", where), _MAX_VALUE, f"{where}.value")
    second = entry.get("valueTwo")
    return index, operator, first, 0 if second is None else _uint(second, _MAX_VALUE, f"{where}.valueTwo")


def _alternatives(value: Any, where: str) -> list[list[Condition]]:
    """All conditions together; but where two of them are about one argument, each alone, as runc and crun have it."""
    conditions = [_condition(item, f"{where}[{at}]") for at, item in enumerate(_array(value, where))]
    if len({condition[0] for condition in conditions}) < len(conditions):
        return [[condition] for condition in conditions]
    return [sorted(conditions)]


def _rule(value: Any, where: str) -> Rule:
    entry = object_of(value, where)
    names = texts(entry.get("names"), f"{where}.names")
    if not names:
        raise SpecError(f"{where}.names", "must have at least one system call")
    action = _action(entry, "action", "errnoRet", where)
    return Rule(where, names, action, _alternatives(entry.get("args"), f"{where}.args"))


def _architectures(value: Any, where: str) -> list[str]:
    names = texts(value, where)
    for at, name in enumerate(names):
        if name not in ARCHITECTURES:
            raise SpecError(f"{where}[{at}]", f"{name!r} is no architecture of libseccomp (SCMP_ARCH_X86_64 is one)")
    return names


def _check_listener(section: dict[str, Any], result: Filter, where: str) -> None:
    path, metadata = section.get("listenerPath"), section.get("listenerMetadata")
    if path is not None:
        text(path, f"{where}.listenerPath")
    if metadata is not None and text(metadata, f"{where}.listenerMetadata") and not path:
        raise SpecError(f"{where}.listenerMetadata", "is of no use without listenerPath")
    if path:
        return
    places = [(result.default, f"{where}.defaultAction")] + [
        (rule.action, f"{rule.where}.action") for rule in result.rules
    ]
    for action, place in places:
        if action == NOTIFY:
            raise SpecError(place, f"SCMP_ACT_NOTIFY needs somebody to notify: set {where}.listenerPath")


def parse(section: Any, where: str) -> Filter:
    """Check a ``linux.seccomp`` object; ``where`` is its JSON path. Raises SpecError."""
    entry = object_of(section, where)
    default = _action(entry, "defaultAction", "defaultErrnoRet", where)
    architectures = _architectures(entry.get("architectures"), f"{where}.architectures")
    listed = _array(entry.get("syscalls"), f"{where}.syscalls")
    rules = [_rule(value, f"{where}.syscalls[{at}]") for at, value in enumerate(listed)]
    result = Filter(default, architectures, rules)
    _check_listener(entry, result, where)
    return result
