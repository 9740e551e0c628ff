"""Seccomp rules to BPF: which call gets what answer, and the search for it.

Precedence is libseccomp's, since every OCI runtime before us had it (docs/seccomp.md, "Which rule decides").
"""

from __future__ import annotations

from pycontain.kernel.errors import Error, SpecError
from pycontain.launch import bpf
from pycontain.launch.seccomp_rules import ALLOW, EQ, ERRNO, GE, GT, LE, LOG, LT, MASKED_EQ, NE, TRACE, Filter, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pycontain.launch.seccomp_rules import Condition

_ENOSYS = ERRNO | 38
_KILL_THREAD = 0
_LOW = 0xFFFFFFFF
_X32_BIT = 0x40000000
#: The number of a call that a tracer has cancelled: seccomp(2), "the system call number -1".
_CANCELLED = 0xFFFFFFFF
#: ARM's private calls (cacheflush, set_tls …) begin here; they say nothing about what the table ends with.
_ARM_PRIVATE = 0x0F0000

#: linux/audit.h: AUDIT_ARCH_*, and the bits of an argument that the kernel looks at.
AUDIT = {
    "SCMP_ARCH_X86_64": (0xC000003E, 64, "x86_64"),
    "SCMP_ARCH_X86": (0x40000003, 32, "x86"),
    "SCMP_ARCH_X32": (0xC000003E, 32, "x32"),
    "SCMP_ARCH_AARCH64": (0xC00000B7, 64, "aarch64"),
    "SCMP_ARCH_ARM": (0x40000028, 32, "arm"),
}
#: What a kernel of this machine (uname(2)) can present in seccomp_data.arch, its own first.
MACHINES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

#: i386: calls that are also a sub-call of another, which has its number as argument 0 (linux/net.h, linux/ipc.h).
_MULTIPLEXED = {
    "socket": ("socketcall", 1),
    "bind": ("socketcall", 2),
    "connect": ("socketcall", 3),
    "listen": ("socketcall", 4),
    "accept": ("socketcall", 5),
    "getsockname": ("socketcall", 6),
    "getpeername": ("socketcall", 7),
    "socketpair": ("socketcall", 8),
    "send": ("socketcall", 9),
    "recv": ("socketcall", 10),
    "sendto": ("socketcall", 11),
    "recvfrom": ("socketcall", 12),
    "shutdown": ("socketcall", 13),
    "setsockopt": ("socketcall", 14),
    "getsockopt": ("socketcall", 15),
    "sendmsg": ("socketcall", 16),
    "recvmsg": ("socketcall", 17),
    "accept4": ("socketcall", 18),
    "recvmmsg": ("socketcall", 19),
    "sendmmsg": ("socketcall", 20),
    "semop": ("ipc", 1),
    "semget": ("ipc", 2),
    "semctl": ("ipc", 3),
    "semtimedop": ("ipc", 4),
    "msgsnd": ("ipc", 11),
    "msgrcv": ("ipc", 12),
    "msgget": ("ipc", 13),
    "msgctl": ("ipc", 14),
    "shmat": ("ipc", 21),
    "shmdt": ("ipc", 22),
    "shmget": ("ipc", 23),
    "shmctl": ("ipc", 24),
}

#: Operators that libseccomp tries first, second, third.
_CLASS = {EQ: 0, NE: 0, MASKED_EQ: 0, LT: 1, LE: 1, GE: 2, GT: 2}


class _Call:
    """What the rules say of one system call number."""

    __slots__ = ("action", "conditional")

    def __init__(self) -> None:
        #: The answer whatever the arguments are, None where it depends on them.
        self.action: int | None = None
        #: conditions → (action, JSON path of the rule), in the order of the profile.
        self.conditional: dict[tuple[Condition, ...], tuple[int, str]] = {}

    def add(self, conditions: list[Condition], action: int, where: str, *, strict: bool) -> None:
        """One more rule. strict: the same conditions with another action are an error, else the first one holds."""
        if self.action is not None:
            return
        if not conditions:
            self.action = action
            self.conditional.clear()
            return
        key = tuple(conditions)
        first_action, first_where = self.conditional.setdefault(key, (action, where))
        if strict and first_action != action:
            raise SpecError(where, f"contradicts {first_where}: the same conditions, another action")


def _table(module: str) -> dict[str, int]:
    # Spelled out, so that what copies the package's modules sees them.
    if module == "x86_64":
        from pycontain.kernel.syscalls_x86_64 import NUMBERS
    elif module == "x86":
        from pycontain.kernel.syscalls_x86 import NUMBERS
    elif module == "x32":
        from pycontain.kernel.syscalls_x32 import NUMBERS
    elif module == "aarch64":
        from pycontain.kernel.syscalls_aarch64 import NUMBERS
    else:
        from pycontain.kernel.syscalls_arm import NUMBERS
    return NUMBERS


def _meaningful(conditions: Iterable[Condition]) -> list[Condition]:
    """Without those that libseccomp drops because they hold always (a mask of zero)."""
    return [condition for condition in conditions if condition[1] != MASKED_EQ or condition[2]]


def _calls(rules: list[Rule], default: int, table: dict[str, int], multiplexed: bool) -> dict[int, _Call]:
    """Number → what the rules say of it."""
    calls: dict[int, _Call] = {}

    def add(number: int | None, conditions: list[Condition], rule: Rule, strict: bool) -> None:
        if number is not None:
            calls.setdefault(number, _Call()).add(conditions, rule.action, rule.where, strict=strict)

    for rule in rules:
        if rule.action == default:
            continue
        for alternative in rule.alternatives:
            conditions = _meaningful(alternative)
            for name in rule.names:
                if multiplexed and name in _MULTIPLEXED:
                    of, number = _MULTIPLEXED[name]
                    rest = [condition for condition in conditions if condition[0] != 0]
                    add(table[of], [(0, EQ, number, 0), *rest], rule, False)
                add(table.get(name), conditions, rule, True)
    return calls


def _order(conditions: tuple[Condition, ...]) -> list[tuple[int, int, int]]:
    """Sort key: higher arguments first; EQ, NE and MASKED_EQ, then LT and LE from below, then GE and GT from above."""
    key = []
    for index, operator, value, second in conditions:
        number = second & value if operator == MASKED_EQ else value
        key.append((-index, _CLASS[operator], number if operator in (LT, LE) else -number))
    return key


def _fold(condition: Condition) -> Condition | bool:
    """The same condition on an argument of 32 bits; True or False where no argument can change the result."""
    index, operator, value, second = condition
    if operator == MASKED_EQ:
        return not (value & second) >> 32 and ((value & _LOW) == 0 or (index, operator, value & _LOW, second & _LOW))
    if value <= _LOW:
        return condition
    return operator in (NE, LT, LE)


def _applicable(call: _Call, bits: int) -> list[tuple[list[Condition], int]]:
    """The rules in the order in which they are tried; the first that holds decides."""
    rules = []
    for conditions in sorted(call.conditional, key=_order):
        action = call.conditional[conditions][0]
        folded = [_fold(condition) for condition in conditions] if bits == 32 else list(conditions)
        if False in folded:
            continue
        rules.append(([condition for condition in folded if not isinstance(condition, bool)], action))
        if not rules[-1][0]:
            break
    return rules


def _words(condition: Condition, bits: int) -> list[tuple[int, int, int]]:
    """(offset in seccomp_data, value, mask) of the 32-bit words that the condition looks at, the high one first."""
    index, operator, value, second = condition
    mask = (1 << bits) - 1
    if operator == MASKED_EQ:
        value, mask = second & value, value & mask
    offset = bpf.ARGUMENTS + 8 * index
    both = ((offset + 4, value >> 32, mask >> 32), (offset, value & _LOW, mask & _LOW))
    return [word for word in both if word[2]]


def _leaves(condition: Condition, bits: int) -> set[int | None]:
    """What can be in the accumulator (the offset of a word, None for something else) when the condition fails."""
    words = _words(condition, bits)
    if condition[1] == NE:
        words = words[-1:]
    return {offset if mask == _LOW or value == 0 else None for offset, value, mask in words}


def _equal(program: bpf.Program, word: tuple[int, int, int], true: int, false: int) -> int:
    _, value, mask = word
    if mask != _LOW and value == 0:
        return program.test(bpf.ANY_BIT, mask, false, true)
    return program.mask(mask, program.test(bpf.EQUAL, value, true, false))


def _compare(program: bpf.Program, condition: Condition, bits: int, held: int | None, true: int, false: int) -> int:
    """Nodes that go on with ``true`` where the condition holds; ``held``: the word that the accumulator has."""
    operator = condition[1]
    words = _words(condition, bits)
    if operator in (NE, LT, LE):
        true, false = false, true
    low = words[-1]
    if operator in (EQ, NE, MASKED_EQ):
        node = _equal(program, low, true, false)
    else:
        node = program.test(bpf.GREATER if operator in (GT, LE) else bpf.NOT_LESS, low[1], true, false)
    if len(words) == 2:
        node = program.load(low[0], node)
        high = words[0]
        node = _equal(program, high, node, false)
        if operator not in (EQ, NE, MASKED_EQ):
            node = program.test(bpf.GREATER, high[1], true, node)
    return node if words[0][0] == held else program.load(words[0][0], node)


def _decision(program: bpf.Program, call: _Call, bits: int, default: int) -> int:
    """The node that answers a call: an action, or the tests of its arguments."""
    if call.action is not None:
        return program.ret(call.action)
    rules = _applicable(call, bits)
    # What a rule finds in the accumulator is known where all failures of the rule before leave the same there.
    held: list[int | None] = [None]
    for conditions, _ in rules[:-1]:
        left: set[int | None] = set()
        for condition in conditions:
            left |= _leaves(condition, bits)
        held.append(left.pop() if len(left) == 1 else None)
    node = program.ret(default)
    for (conditions, action), first_held in zip(reversed(rules), reversed(held[: len(rules)]), strict=True):
        true = program.ret(action)
        for at in range(len(conditions) - 1, -1, -1):
            true = _compare(program, conditions[at], bits, first_held if at == 0 else None, true, node)
        node = true
    return node


class _Range:
    """Numbers from ``start`` that have one answer, but for single numbers in between."""

    __slots__ = ("exceptions", "node", "start")

    def __init__(self, start: int, node: int) -> None:
        self.start = start
        self.node = node
        self.exceptions: list[tuple[int, int]] = []


def _ranges(starts: list[tuple[int, int]]) -> list[_Range]:
    """Ranges from sorted (first number, node): equal neighbours joined, a lone number made an exception of both."""
    ranges: list[_Range] = []
    for start, node in starts:
        if ranges and ranges[-1].node == node:
            continue
        ranges.append(_Range(start, node))
        if len(ranges) < 3 or ranges[-3].node != node:
            continue
        before, lone, _ = ranges[-3:]
        if start - lone.start == 1 and not lone.exceptions:
            before.exceptions.append((lone.start, lone.node))
            del ranges[-2:]
    return ranges


def _except(program: bpf.Program, exceptions: list[tuple[int, int]], node: int) -> int:
    if len(exceptions) > 3:
        half = len(exceptions) // 2
        above = _except(program, exceptions[half:], node)
        below = _except(program, exceptions[:half], node)
        return program.test(bpf.NOT_LESS, exceptions[half][0], above, below)
    for number, other in reversed(exceptions):
        node = program.test(bpf.EQUAL, number, other, node)
    return node


def _search(program: bpf.Program, ranges: list[_Range]) -> int:
    """A balanced binary search for the call's number, which is in the accumulator."""
    if len(ranges) == 1:
        return _except(program, ranges[0].exceptions, ranges[0].node)
    half = len(ranges) // 2
    above = _search(program, ranges[half:])
    return program.test(bpf.NOT_LESS, ranges[half].start, above, _search(program, ranges[:half]))


class _Compiler:
    """Compiles one filter for one machine."""

    def __init__(self, rules: Filter) -> None:
        self.filter = rules
        self.program = bpf.Program()
        self.default = self.program.ret(rules.default)

    def _last(self, table: dict[str, int]) -> int:
        """The largest number of a call that the profile names, whatever for; -1 where it names none."""
        numbers = (table.get(name, -1) for rule in self.filter.rules for name in rule.names)
        return max((number for number in numbers if number < _ARM_PRIVATE or number >= _X32_BIT), default=-1)

    def _unknown(self, table: dict[str, int]) -> int:
        """The first number of the calls that the profile's author did not know: they are answered with ENOSYS.

        So that a C library that tries a new call falls back (runc's libcontainer/seccomp/patchbpf). Not where the
        default action lets the call go on; then, and where the profile names no call, no number is that large.
        """
        last = self._last(table)
        if last < 0 or self.filter.default & 0x7FFF0000 in (ALLOW, LOG, TRACE):
            return _CANCELLED
        return last + 1

    def starts(self, architecture: str, first: int, end: int) -> list[tuple[int, int]]:
        """(first number, node) of the answers to the architecture's calls from number ``first`` up to ``end``."""
        _, bits, module = AUDIT[architecture]
        table = _table(module)
        calls = _calls(self.filter.rules, self.filter.default, table, module == "x86")
        unknown, enosys = self._unknown(table), self.program.ret(_ENOSYS)
        starts: list[tuple[int, int]] = []

        def gap(start: int, stop: int) -> None:
            if start < min(stop, unknown):
                starts.append((start, self.default))
            if max(start, unknown) < stop:
                starts.append((max(start, unknown), enosys))

        for number in sorted(calls):
            gap(first, number)
            starts.append((number, _decision(self.program, calls[number], bits, self.filter.default)))
            first = number + 1
        gap(first, end)
        return starts

    def _x86_64(self, listed: set[str]) -> list[tuple[int, int]]:
        """x86_64 and x32 have one AUDIT_ARCH; bit 30 of the number tells them apart."""
        starts = self.starts("SCMP_ARCH_X86_64", 0, _X32_BIT)
        if "SCMP_ARCH_X32" in listed:
            return starts + self.starts("SCMP_ARCH_X32", _X32_BIT, _CANCELLED)
        return starts + [(_X32_BIT, self.program.ret(_KILL_THREAD))]

    def compile(self, machine: str) -> bytes:
        own, *others = MACHINES[machine]
        listed = set(self.filter.architectures)
        search: list[tuple[int, list[tuple[int, int]]]] = []
        if own == "SCMP_ARCH_X86_64":
            search.append((AUDIT[own][0], self._x86_64(listed)))
        else:
            search.append((AUDIT[own][0], self.starts(own, 0, _CANCELLED)))
        for name in others:
            if name in listed and name != "SCMP_ARCH_X32":
                search.append((AUDIT[name][0], self.starts(name, 0, _CANCELLED)))
        node = self.program.ret(_KILL_THREAD)
        for audit, starts in reversed(search):
            starts.append((_CANCELLED, self.default))
            found = self.program.load(bpf.NUMBER, _search(self.program, _ranges(starts)))
            node = self.program.test(bpf.EQUAL, audit, found, node)
        return self.program.assemble(self.program.load(bpf.ARCH, node))


def compile_rules(rules: Filter, machine: str, where: str) -> bytes:
    """The program of a filter. Raises SpecError for a contradiction or a program too long, Error for the machine."""
    if machine not in MACHINES:
        raise Error(f"cannot make a seccomp filter for {machine}: only for {' and '.join(MACHINES)}")
    try:
        return _Compiler(rules).compile(machine)
    except bpf.TooLong as error:
        raise SpecError(
            where,
            f"needs {error.length} BPF instructions, the kernel takes {bpf.MAX_INSTRUCTIONS}: "
            "use fewer conditions on arguments or fewer different actions",
        ) from None
