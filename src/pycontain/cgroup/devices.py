"""Which device nodes a container may open and make: rules, and the eBPF program that enforces them.

cgroup v2 has no files for this: a program of type BPF_PROG_TYPE_CGROUP_DEVICE, attached to the cgroup, is asked at each
open(2) and mknod(2) (Documentation/admin-guide/cgroup-v2.rst, "Device controller").
"""

from __future__ import annotations

from pycontain.kernel import ebpf
from pycontain.kernel.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: linux/bpf.h: BPF_DEVCG_DEV_* and BPF_DEVCG_ACC_*.
BLOCK, CHAR = 1, 2
MKNOD, READ, WRITE = 1, 2, 4
ANY = -1
ALL = MKNOD | READ | WRITE

_TYPES = {"a": ANY, "b": BLOCK, "c": CHAR}
_ACCESS = {"m": MKNOD, "r": READ, "w": WRITE}
#: include/linux/kdev_t.h: 12 bits and 20 bits.
_MAJOR_MAX, _MINOR_MAX = 4095, 1048575


class Rule:
    """Allow or deny an access to a device.

    type: BLOCK, CHAR or ANY. major, minor: a number or ANY. access: bits of MKNOD, READ and WRITE.
    """

    __slots__ = ("access", "allow", "major", "minor", "type")

    def __init__(self, allow: bool, type: int = ANY, major: int = ANY, minor: int = ANY, access: int = ALL) -> None:
        self.allow = allow
        self.type = type
        self.major = major
        self.minor = minor
        self.access = access

    def universal(self) -> bool:
        """Whether it decides everything, so that no earlier rule counts."""
        return self.type == self.major == self.minor == ANY and self.access == ALL

    def __str__(self) -> str:
        kind = next(letter for letter, value in _TYPES.items() if value == self.type)
        numbers = ":".join("*" if number == ANY else str(number) for number in (self.major, self.minor))
        access = "".join(letter for letter in "rwm" if self.access & _ACCESS[letter])
        return f"{'allow' if self.allow else 'deny'} {kind} {numbers} {access}"

    def __repr__(self) -> str:
        return f"Rule({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


#: What every container has: null, zero, full, random, urandom, tty, ptmx, and the terminals of devpts, whose numbers
#: are those of the guest's own instance. Not 5:1: that is the host's console; a container's is one of devpts.
_STANDARD = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, ANY))


def standard_rules() -> list[Rule]:
    """The devices that every container may use, whatever its spec says: runc and crun add the same after its rules.

    Any node may be made (it is capability CAP_MKNOD that is asked there); to open it is another matter.
    """
    nodes = [Rule(True, CHAR, access=MKNOD), Rule(True, BLOCK, access=MKNOD)]
    return nodes + [Rule(True, CHAR, major, minor) for major, minor in _STANDARD]


def default_rules() -> list[Rule]:
    """Docker's default: the standard devices, and nothing else."""
    return [Rule(False), *standard_rules()]


def parse(text: str, allow: bool = True, where: str = "--device-cgroup-rule") -> Rule:
    """A rule as people write it: ``c 189:* rwm``. Raises SpecError."""
    words = text.split()
    numbers = words[1].split(":") if len(words) == 3 else []
    if len(numbers) != 2:
        raise SpecError(where, f"must be of the form 'c 189:* rwm', not {text!r}")
    values = []
    for number, limit in zip(numbers, (_MAJOR_MAX, _MINOR_MAX), strict=True):
        if number != "*" and not (number.isascii() and number.isdigit() and int(number) <= limit):
            raise SpecError(where, f"must have device numbers of 0:0 to {_MAJOR_MAX}:{_MINOR_MAX} or *, not {text!r}")
        values.append(ANY if number == "*" else int(number))
    return Rule(allow, _type(words[0], where), values[0], values[1], _access(words[2], where))


def _type(text: object, where: str) -> int:
    if not isinstance(text, str) or text not in _TYPES:
        raise SpecError(where, f"must have a type of a (all), b (block) or c (char), not {text!r}")
    return _TYPES[text]


def _access(text: object, where: str) -> int:
    if not isinstance(text, str) or not text or any(letter not in _ACCESS for letter in text):
        raise SpecError(where, f"must have an access of the letters r, w and m, not {text!r}")
    bits = 0
    for letter in text:
        bits |= _ACCESS[letter]
    return bits


def compile(devices: Any, where: str = "linux.resources.devices") -> list[Rule]:
    """OCI ``linux.resources.devices`` as rules, the standard devices at the end; without any, default_rules.

    What no rule mentions is denied. Raises SpecError with the JSON path.
    """
    if devices is None:
        return default_rules()
    if not isinstance(devices, list):
        raise SpecError(where, "must be an array")
    rules = [_rule(entry, f"{where}[{index}]") for index, entry in enumerate(devices)]
    return [Rule(False), *rules, *standard_rules()]


def _rule(entry: Any, where: str) -> Rule:
    if not isinstance(entry, dict):
        raise SpecError(where, "must be an object")
    allow = entry.get("allow")
    if not isinstance(allow, bool):
        raise SpecError(f"{where}.allow", "must be true or false")
    kind = entry.get("type")
    numbers = []
    for key, limit in (("major", _MAJOR_MAX), ("minor", _MINOR_MAX)):
        number = entry.get(key)
        if number is None:
            number = ANY
        if type(number) is not int or not ANY <= number <= limit:
            raise SpecError(f"{where}.{key}", f"must be a number of 0 to {limit}, or -1 for all, not {number!r}")
        numbers.append(number)
    access = _access(entry.get("access"), f"{where}.access")
    return Rule(allow, ANY if kind is None else _type(kind, f"{where}.type"), numbers[0], numbers[1], access)


def allows_everything(rules: Sequence[Rule]) -> bool:
    """Whether no access is denied, so that no program is needed."""
    base, rest = _effective(rules)
    return base and not rest


def _effective(rules: Sequence[Rule]) -> tuple[bool, list[Rule]]:
    """What happens to a device that no rule mentions, and the rules that can still change it, in order."""
    base, first = False, 0
    for index, rule in enumerate(rules):
        if rule.universal():
            base, first = rule.allow, index + 1
    while first < len(rules) and rules[first].allow == base:
        first += 1
    return base, list(rules[first:])


def program(rules: Sequence[Rule]) -> bytes:
    """The eBPF program of rules in order: the last that mentions a device and an access decides; no rule denies.

    Each access of a request is decided by itself, and all must be allowed: a rule that denies writing denies opening
    for reading and writing. The program walks the rules from the last to the first with the accesses not yet allowed.
    """
    base, rest = _effective(rules)
    code = [
        # struct bpf_cgroup_dev_ctx: u32 access_type (access << 16 | type), u32 major, u32 minor
        ebpf.load(ebpf.R2, ebpf.R1, 0),
        ebpf.copy(ebpf.R3, ebpf.R2),
        ebpf.mask(ebpf.R2, 0xFFFF),
        ebpf.shift_right(ebpf.R3, 16),
        ebpf.load(ebpf.R4, ebpf.R1, 4),
        ebpf.load(ebpf.R5, ebpf.R1, 8),
        ebpf.move(ebpf.R0, 0),
    ]
    for rule in reversed(rest):
        code += _instructions(rule)
    if base:
        code.append(ebpf.move(ebpf.R0, 1))
    code.append(ebpf.leave())
    return b"".join(code)


def _instructions(rule: Rule) -> list[bytes]:
    """One rule: decide, or go on behind it. R2 type, R3 accesses not yet allowed, R4 major, R5 minor, R0 is 0."""
    if rule.allow:
        end = [ebpf.move(ebpf.R0, 1), ebpf.leave()]
        if rule.access != ALL:
            end = [ebpf.mask(ebpf.R3, ALL & ~rule.access), ebpf.jump_unequal(ebpf.R3, 0, len(end)), *end]
    else:
        end = [ebpf.leave()]
        if rule.access != ALL:
            end = [ebpf.jump_any(ebpf.R3, rule.access, 1), ebpf.jump(len(end)), *end]
    tests = [
        (register, value)
        for register, value in ((ebpf.R2, rule.type), (ebpf.R4, rule.major), (ebpf.R5, rule.minor))
        if value != ANY
    ]
    length = len(tests) + len(end)
    heads = [ebpf.jump_unequal(register, value, length - index - 1) for index, (register, value) in enumerate(tests)]
    return heads + end


_default = b""


def default_program() -> bytes:
    """The program of default_rules, made once."""
    global _default
    if not _default:
        _default = program(default_rules())
    return _default
