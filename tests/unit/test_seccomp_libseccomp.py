"""Property: what we compile, what libseccomp compiles, and what the rules say are the same for every call.

``Reference`` says what the rules mean (docs/seccomp.md) without compiling them; every answer is compared with it, and
with libseccomp's program where that is right. What is known to be different there:

- runc answers ENOSYS, in front of libseccomp's program, to numbers above the largest one that the profile names, where
  the default action is not ALLOW, LOG or TRACE. So do we; libseccomp alone gives the default action.
- On ABIs of 32 bits libseccomp cuts values to 32 bits, so that "less than 1 << 32" never holds there. We compare with
  the value as it is.
- Where several rules look at different words of the arguments of one call, libseccomp's program can compare the word
  that the rule before has loaded (2.5.4 and 2.6.1: with LT 0 and LT 1 << 32 on one argument, neither holds for 1).
  ``simple`` tells which calls cannot be concerned.
- libseccomp refuses two rules with equal conditions and different actions, as we do, and some that only overlap.
- Without its binary tree (runc asks for it from 32 rules on) libseccomp can leave out the load of the call's number
  where a rule is for a call that the ABI lacks, or where a rule is there twice (gen_bpf.c, acc_reset). It is asked for
  the tree, and not given rules for what the ABI lacks, since the tree of no rule at all is broken in 2.5.4.
- libseccomp before 2.6 does not know recvmmsg and sendmmsg as sub-calls of socketcall.
"""

from __future__ import annotations

import errno
import itertools
import tempfile
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pycontain.kernel import files
from pycontain.kernel.errors import SpecError
from pycontain.launch.profile import PROFILE, default_profile
from pycontain.launch.seccomp import compile_filter
from pycontain.launch.seccomp_rules import ACTIONS
from test_seccomp_bpf import evaluate

pyseccomp = pytest.importorskip("pyseccomp")

X86_64, X86, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
X32_BIT = 0x40000000
#: SCMP_ARCH_* → (AUDIT_ARCH_*, libseccomp's token, bits of an argument that are compared)
ABIS = {
    "SCMP_ARCH_X86_64": (X86_64, pyseccomp.Arch.X86_64, 64),
    "SCMP_ARCH_X86": (X86, pyseccomp.Arch.X86, 32),
    "SCMP_ARCH_X32": (X86_64, pyseccomp.Arch.X32, 32),
    "SCMP_ARCH_AARCH64": (AARCH64, pyseccomp.Arch.AARCH64, 64),
    "SCMP_ARCH_ARM": (ARM, pyseccomp.Arch.ARM, 32),
}
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
COMPANIONS = {"x86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"), "aarch64": ("SCMP_ARCH_ARM",)}
OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
ENOSYS = 0x00050000 | errno.ENOSYS

#: Calls that are sub-calls of one another on i386, so that their rules meet.
SOCKETS = ("socket", "connect", "accept", "accept4", "shutdown", "socketcall")
IPC = ("semget", "semop", "msgctl", "shmat", "ipc")
PLAIN = ("read", "write", "openat", "mmap2", "_llseek", "arch_prctl", "clone", "set_tls", "execveat", "statx", "rseq")
DEFAULT_CAPABILITIES = frozenset(
    {
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)


def action_value(name: str, code: int | None) -> int:
    value = ACTIONS[name]
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        value |= errno.EPERM if code is None else code
    return value


def number_of(arch: str, name: str) -> int | None:
    """The call's number: libseccomp gives no direct numbers to calls that i386 has as sub-calls, too."""
    table: dict[str, int] = import_module(f"pycontain.kernel.syscalls_{arch[10:].lower()}").NUMBERS
    return table.get(name)


def architectures(section: dict[str, Any], machine: str) -> list[str]:
    listed = section.get("architectures", [])
    return [NATIVE[machine], *(name for name in COMPANIONS[machine] if name in listed)]


SUBCALLS = {
    "socketcall": {"socket": 1, "connect": 3, "accept": 5, "socketpair": 8, "shutdown": 13, "accept4": 18},
    "ipc": {"semop": 1, "semget": 2, "msgctl": 14, "shmat": 21},
}


def known(name: str) -> bool:
    return bool(pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) != -1)


def is_subcall(arch: str, name: str) -> bool:
    return arch == "SCMP_ARCH_X86" and any(name in calls for calls in SUBCALLS.values())


def libseccomp(section: dict[str, Any], archs: list[str]) -> bytes:
    """The section by libseccomp, called as runc and crun do."""
    default = action_value(section["defaultAction"], section.get("defaultErrnoRet"))
    made = pyseccomp.SyscallFilter(default)
    tokens = [ABIS[name][1] for name in archs]
    for token in tokens:
        if not made.exist_arch(token):
            made.add_arch(token)
    if pyseccomp.system_arch() not in tokens:
        made.remove_arch(pyseccomp.system_arch())
    for rule in section["syscalls"]:
        action = action_value(rule["action"], rule.get("errnoRet"))
        if action == default:
            continue
        conditions = [
            pyseccomp.Arg(arg["index"], OPERATORS.index(arg["op"][9:]) + 1, arg["value"], arg.get("valueTwo", 0))
            for arg in rule.get("args", [])
        ]
        alone = len({arg["index"] for arg in rule.get("args", [])}) < len(conditions)
        for name in rule["names"]:
            if not known(name) or not any(
                number_of(arch, name) is not None or is_subcall(arch, name) for arch in archs
            ):
                continue
            for group in [[condition] for condition in conditions] if alone else [conditions]:
                made.add_rule(action, name, *group)
                made.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, 2)
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


COMPARE: dict[str, Callable[[int, int, int], bool]] = {
    "SCMP_CMP_NE": lambda argument, value, two: argument != value,
    "SCMP_CMP_LT": lambda argument, value, two: argument < value,
    "SCMP_CMP_LE": lambda argument, value, two: argument <= value,
    "SCMP_CMP_EQ": lambda argument, value, two: argument == value,
    "SCMP_CMP_GE": lambda argument, value, two: argument >= value,
    "SCMP_CMP_GT": lambda argument, value, two: argument > value,
    "SCMP_CMP_MASKED_EQ": lambda argument, value, two: argument & value == two & value,
}


def holds(arg: dict[str, Any], argument: int) -> bool:
    return COMPARE[arg["op"]](argument, arg["value"], arg.get("valueTwo", 0))


class Reference:
    """What the rules of a section say, by reading them."""

    def __init__(self, section: dict[str, Any], machine: str) -> None:
        self.default = action_value(section["defaultAction"], section.get("defaultErrnoRet"))
        self.archs = architectures(section, machine)
        self.machine = machine
        #: architecture → number → [(conditions, action)]
        self.rules: dict[str, dict[int, list[tuple[list[dict[str, Any]], int]]]] = {}
        self.last: dict[str, int] = {}
        for arch in self.archs:
            self.rules[arch] = {}
            for rule in section["syscalls"]:
                for name in rule["names"]:
                    self._add(arch, name, rule)
        if section["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"):
            self.last = {}

    def _add(self, arch: str, name: str, rule: dict[str, Any]) -> None:
        number = number_of(arch, name)
        if number is not None and (number < 0xF0000 or number & X32_BIT):
            self.last[arch] = max(number, self.last.get(arch, 0))
        action = action_value(rule["action"], rule.get("errnoRet"))
        if action == self.default:
            return
        args = [arg for arg in rule.get("args", []) if arg["op"] != "SCMP_CMP_MASKED_EQ" or arg["value"]]
        alone = len({arg["index"] for arg in rule.get("args", [])}) < len(rule.get("args", []))
        for group in [[arg] if arg in args else [] for arg in rule["args"]] if alone else [args]:
            group = sorted(group, key=lambda arg: arg["index"])
            if number is not None:
                self.rules[arch].setdefault(number, []).append((group, action))
            if arch == "SCMP_ARCH_X86":
                for of, calls in SUBCALLS.items():
                    if name in calls:
                        first = {"index": 0, "op": "SCMP_CMP_EQ", "value": calls[name], "valueTwo": 0}
                        rest = [first, *(arg for arg in group if arg["index"])]
                        self.rules[arch].setdefault(number_of(arch, of) or 0, []).append((rest, action))

    def arch(self, audit: int, number: int) -> str | None:
        if audit == X86_64 and X32_BIT <= number < 0xFFFFFFFF:
            found = "SCMP_ARCH_X32"
        else:
            found = next(name for name, abi in ABIS.items() if abi[0] == audit)
        return found if found in self.archs else None

    def answer(self, audit: int, number: int, arguments: tuple[int, ...]) -> int:
        arch = self.arch(audit, number)
        if arch is None:
            return 0
        if number != 0xFFFFFFFF and arch in self.last and number > self.last[arch] and number not in self.rules[arch]:
            return ENOSYS
        rules = self.rules[arch].get(number, [])
        for args, action in rules:
            if not args:
                return action
        mask = (1 << ABIS[arch][2]) - 1
        padded = (*arguments, 0, 0, 0, 0, 0, 0)
        holding = [rule for rule in rules if all(holds(arg, padded[arg["index"]] & mask) for arg in rule[0])]
        return min(holding, key=lambda rule: precedence(rule[0]))[1] if holding else self.default

    def simple(self, arch: str, number: int) -> bool:
        """True when all rules of the call look at the same words, one time each, so that libseccomp is right."""
        rules = [args for args, _ in self.rules[arch].get(number, []) if args]
        if ABIS[arch][2] == 32 and any(value >> 32 for args in rules for arg in args for value in numbers_in(arg)):
            return False
        unlike = [args for at, args in enumerate(rules) if args not in rules[:at]]
        if len(unlike) < 2:
            return True
        places = {tuple(arg["index"] for arg in args) for args in rules}
        return ABIS[arch][2] == 32 and len(places) == 1 and len(places.pop()) == 1 and same_mask(rules)


def numbers_in(arg: dict[str, Any]) -> tuple[int, int]:
    return arg["value"], arg.get("valueTwo", 0)


def same_mask(rules: list[list[dict[str, Any]]]) -> bool:
    return all(arg["op"] != "SCMP_CMP_MASKED_EQ" for args in rules for arg in args)


def precedence(args: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    """docs/seccomp.md, "Which rule decides"."""
    order = []
    for arg in args:
        value = arg["value"] & arg.get("valueTwo", 0) if arg["op"] == "SCMP_CMP_MASKED_EQ" else arg["value"]
        below, above = arg["op"][9:] in ("LT", "LE"), arg["op"][9:] in ("GE", "GT")
        order.append((-arg["index"], 1 if below else 2 if above else 0, value if below else -value))
    return order


class Comparison:
    """One section: our program, libseccomp's, and what the rules say."""

    def __init__(self, section: dict[str, Any], machine: str) -> None:
        self.section = section
        self.reference = Reference(section, machine)
        self.ours = compile_filter(section, machine)
        native, *others = architectures(section, machine)
        #: What this libseccomp is too old to know.
        self.unknown = {
            arch: {number_of(arch, name) for rule in section["syscalls"] for name in rule["names"] if not known(name)}
            for arch in (native, *others)
        }
        x32 = [name for name in others if name == "SCMP_ARCH_X32"]
        self.theirs = dict.fromkeys((X86_64, X86, AARCH64, ARM), libseccomp(section, [native, *x32]))
        self.theirs.update({ABIS[name][0]: libseccomp(section, [name]) for name in others if name not in x32})

    def check(self, audit: int, number: int, arguments: tuple[int, ...], *, always: bool = False) -> None:
        """always: libseccomp is right for the profile's calls, also for those that are not ``simple``."""
        ours = evaluate(self.ours, audit, number, arguments)
        expected = self.reference.answer(audit, number, arguments)
        shown = f"{audit:#x} {number:#x} {[hex(argument) for argument in arguments]}"
        assert ours == expected, f"{shown}: {ours:#x}, but the rules say {expected:#x}"
        arch = self.reference.arch(audit, number)
        if arch is not None and (number in self.unknown[arch] or not (always or self.reference.simple(arch, number))):
            return
        theirs = evaluate(self.theirs[audit], audit, number, arguments)
        if arch is not None and number not in self.reference.rules[arch] and theirs == self.reference.default:
            theirs = ENOSYS if self.reference.last.get(arch, 1 << 32) < number < 0xFFFFFFFF else theirs
        assert ours == theirs, f"{shown}: {ours:#x}, but libseccomp has {theirs:#x}"


def around(value: int, bits: int) -> set[int]:
    """Values at which the result of a comparison with ``value`` can change."""
    top = (1 << bits) - 1
    found = {0, top, value, value - 1, value + 1, value ^ 1, value & 0xFFFFFFFF, value ^ (1 << 31)}
    if bits == 64:
        found |= {value ^ (1 << 32), value + (1 << 32), value - (1 << 32), value << 32, value | 0xFFFFFFFF, value ^ top}
    return {item & top for item in found}


def probe(comparison: Comparison) -> None:
    """Compare at every number and argument where an answer can change."""
    section = comparison.section
    for arch, (audit, _, bits) in ABIS.items():
        for number in (0, 1, 0x3FFFFFFF, 0x40000000, 0x40000001, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF):
            comparison.check(audit, number, ())
        for name in sorted({name for rule in section["syscalls"] for name in rule["names"]}):
            number_here = number_of(arch, name)
            if number_here is None:
                continue
            for near in (number_here - 1, number_here + 1):
                comparison.check(audit, near & 0xFFFFFFFF, ())
            for arguments in combinations(section, name, 64 if arch == "SCMP_ARCH_X32" else bits):
                comparison.check(audit, number_here, arguments)


def combinations(section: dict[str, Any], name: str, bits: int) -> list[tuple[int, ...]]:
    """Arguments at and around all values that the rules for this call compare with."""
    values: list[set[int]] = [{0} for _ in range(6)]
    for rule in section["syscalls"]:
        if name not in rule["names"]:
            continue
        for arg in rule.get("args", []):
            values[arg["index"]] |= around(arg["value"], bits) | around(arg.get("valueTwo", 0), bits)
    found = []
    for index, own in enumerate(values):
        for value in own:
            for fill in range(2):
                others = [sorted(item)[-1 if fill else 0] for item in values]
                others[index] = value
                found.append(tuple(others))
    picked = [sorted(item)[:: max(1, len(item) // 3)] for item in values]
    found += itertools.islice(itertools.product(*picked), 100)
    return found


small = st.sampled_from((0, 1, 2, 5, 9, 16, 38, 0xFF, 0x7E020000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF))
large = st.sampled_from((1 << 32, (1 << 32) + 5, (38 << 32) | 38, 1 << 63, (1 << 64) - 2, (1 << 64) - 1))
values = st.one_of(small, large, st.integers(0, (1 << 64) - 1))
args = st.builds(
    lambda index, op, value, two: {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two},
    st.integers(0, 5),
    st.sampled_from(OPERATORS),
    values,
    values,
)
answers = st.sampled_from(
    (
        ("SCMP_ACT_ALLOW", None),
        ("SCMP_ACT_LOG", None),
        ("SCMP_ACT_TRAP", None),
        ("SCMP_ACT_KILL", None),
        ("SCMP_ACT_KILL_THREAD", None),
        ("SCMP_ACT_KILL_PROCESS", None),
        ("SCMP_ACT_NOTIFY", None),
        ("SCMP_ACT_ERRNO", None),
        ("SCMP_ACT_ERRNO", 0),
        ("SCMP_ACT_ERRNO", errno.ENOSYS),
        ("SCMP_ACT_ERRNO", 4094),
        ("SCMP_ACT_TRACE", None),
        ("SCMP_ACT_TRACE", 0xFFFF),
    )
)


def entry(names: list[str], answer: tuple[str, int | None], conditions: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {"names": names, "action": answer[0]}
    if answer[1] is not None:
        made["errnoRet"] = answer[1]
    if conditions:
        made["args"] = conditions
    return made


@st.composite
def sections(draw: st.DrawFn, machine: str) -> dict[str, Any]:
    """Profiles whose rules with conditions do not contradict one another: one answer for each call."""
    conditional = {name: draw(answers) for name in PLAIN}
    for group in (SOCKETS, IPC):
        answer = draw(answers)
        conditional.update(dict.fromkeys(group, answer))
    rules = []
    for _ in range(draw(st.integers(0, 12))):
        names = draw(st.lists(st.sampled_from((*PLAIN, *SOCKETS, *IPC, "no_such_call")), min_size=1, max_size=4))
        conditions = draw(st.lists(args, max_size=3))
        same = draw(st.booleans())
        if conditions or same:
            rules += [entry([name], conditional.get(name, ("SCMP_ACT_LOG", None)), conditions) for name in names]
        else:
            # Without conditions, calls that do not meet others may have any answer: the first one holds.
            names = [name for name in names if name not in SOCKETS + IPC] or ["read"]
            rules.append(entry(names, draw(answers), []))
    default = draw(answers)
    section: dict[str, Any] = {"defaultAction": default[0], "syscalls": rules, "listenerPath": "/run/agent"}
    if default[1] is not None:
        section["defaultErrnoRet"] = default[1]
    if draw(st.booleans()):
        section["architectures"] = draw(st.lists(st.sampled_from((NATIVE[machine], *COMPANIONS[machine])), unique=True))
    return section


COMMON = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.mark.parametrize("arch", ABIS)
def test_tables(arch: str) -> None:
    """Every name that libseccomp can resolve has the number that it has there."""
    table: dict[str, int] = import_module(f"pycontain.kernel.syscalls_{arch[10:].lower()}").NUMBERS
    seen = 0
    for name, number in table.items():
        theirs = pyseccomp.resolve_syscall(ABIS[arch][1], name)
        assert theirs in (number, -1) or theirs <= -100, name
        seen += theirs == number
    assert seen > 250 and len(set(table.values())) >= len(table) - 1


@COMMON
@given(sections("x86_64"))
def test_random_profiles_x86_64(section: dict[str, Any]) -> None:
    probe(Comparison(section, "x86_64"))


@COMMON
@given(sections("aarch64"))
def test_random_profiles_aarch64(section: dict[str, Any]) -> None:
    probe(Comparison(section, "aarch64"))


# --- rules that contradict one another ---------------------------------------------------------------------------

#: One argument, one word: here libseccomp's order of rules is what is documented.
one_word = st.builds(
    lambda op, value: {"index": 0, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": 0},
    st.sampled_from(("LT", "LE", "EQ", "GE", "GT")),
    st.one_of(st.integers(0, 12), small),
)


OPPOSITE = {"LT": ("GE",), "LE": ("GT",)}


@COMMON
@given(st.lists(st.tuples(one_word, answers), min_size=1, max_size=6))
def test_overlapping_rules_on_one_argument(rules: list[tuple[dict[str, Any], tuple[str, int | None]]]) -> None:
    """Which of several rules decides is the same as in libseccomp's tree, where that takes the rules at all.

    Two rules that are each other's opposite (LT and GE, LE and GT of one value) are one node there, in the place of the
    first: left out.
    """
    tests = {(arg["op"][9:], arg["value"]) for arg, _ in rules}
    assume(not any((op, value) in tests for was, value in tests for op in OPPOSITE.get(was, ())))
    section = {
        "defaultAction": "SCMP_ACT_LOG",
        "listenerPath": "/run/agent",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [entry(["read"], answer, [arg]) for arg, answer in rules],
    }
    try:
        theirs = libseccomp(section, ["SCMP_ARCH_X86"])
    except FileExistsError:
        theirs = None
    try:
        ours = compile_filter(section, "x86_64")
    except SpecError as error:
        assert "contradicts" in error.problem and theirs is None
        return
    reference = Reference(section, "x86_64")
    for value in {value for arg, _ in rules for value in around(arg["value"], 32)}:
        answer = evaluate(ours, X86, 3, (value,))
        assert answer == reference.answer(X86, 3, (value,))
        if theirs is not None:
            assert answer == evaluate(theirs, X86, 3, (value,))


@COMMON
@given(st.lists(st.tuples(st.lists(args, max_size=3), answers), max_size=6), st.sampled_from(("x86_64", "aarch64")))
def test_any_rules_for_one_call(rules: list[tuple[list[dict[str, Any]], tuple[str, int | None]]], machine: str) -> None:
    """Any rules at all, however they overlap: what we compile is what the rules say."""
    section = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "listenerPath": "/run/agent",
        "architectures": list(COMPANIONS[machine]),
        "syscalls": [entry(["execveat"], answer, conditions) for conditions, answer in rules],
    }
    try:
        ours = compile_filter(section, machine)
    except SpecError as error:
        assert "contradicts" in error.problem
        return
    reference = Reference(section, machine)
    for arch in architectures(section, machine):
        audit, number = ABIS[arch][0], number_of(arch, "execveat")
        assert number is not None
        for arguments in combinations(section, "execveat", ABIS[arch][2]):
            assert evaluate(ours, audit, number, arguments) == reference.answer(audit, number, arguments)


#: One condition of each kind that looks at other words of the argument, or leaves something else in the accumulator.
KINDS = [
    {"index": 0, "op": "SCMP_CMP_EQ", "value": 5, "valueTwo": 0},
    {"index": 0, "op": "SCMP_CMP_EQ", "value": 9 << 32 | 5, "valueTwo": 0},
    {"index": 0, "op": "SCMP_CMP_NE", "value": 9 << 32 | 9, "valueTwo": 0},
    {"index": 0, "op": "SCMP_CMP_LT", "value": 9 << 32, "valueTwo": 0},
    {"index": 0, "op": "SCMP_CMP_GE", "value": 9 << 32 | 9, "valueTwo": 0},
    {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0xFFFFFFFF, "valueTwo": 9},
    {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0xC, "valueTwo": 4},
    {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0x6, "valueTwo": 0},
    {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0xFFFFFFFF << 32, "valueTwo": 5 << 32},
    {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 4 << 32, "valueTwo": 0},
    {"index": 1, "op": "SCMP_CMP_EQ", "value": 5, "valueTwo": 0},
]


@pytest.mark.parametrize("first", KINDS, ids=lambda arg: f"{arg['op'][9:]}-{arg['index']}-{arg['value']:x}")
def test_three_rules_of_all_kinds(first: dict[str, Any]) -> None:
    """What one rule leaves in the accumulator is not what the next one compares."""
    words = (0, 4, 5, 6, 9)
    arguments = [(high << 32 | low, other) for high in words for low in words for other in (0, 5)]
    for second, third in itertools.product(KINDS, repeat=2):
        if len({repr(arg) for arg in (first, second, third)}) < 3:
            continue
        listed = [entry(["read"], ("SCMP_ACT_ERRNO", at), [arg]) for at, arg in enumerate((first, second, third), 10)]
        if first["index"] == 0:
            listed.append(entry(["read"], ("SCMP_ACT_TRAP", None), [first, KINDS[-1]]))
        section = {"defaultAction": "SCMP_ACT_LOG", "syscalls": listed}
        ours, reference = compile_filter(section, "x86_64"), Reference(section, "x86_64")
        for pair in arguments:
            assert evaluate(ours, X86_64, 0, pair) == reference.answer(X86_64, 0, pair), listed


# --- profiles that are in use ------------------------------------------------------------------------------------


def capability_sets() -> list[frozenset[str]]:
    profile = files.read_json(PROFILE)
    named = {
        cap
        for rule in profile["syscalls"]
        for key in ("includes", "excludes")
        for cap in rule.get(key, {}).get("caps", ())
    }
    assert len(named) > 10
    sets = [frozenset(), DEFAULT_CAPABILITIES, DEFAULT_CAPABILITIES | {"CAP_SYS_ADMIN"}, frozenset(named)]
    return sets + [DEFAULT_CAPABILITIES | {cap} for cap in sorted(named)]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("capabilities", capability_sets(), ids=lambda caps: f"{len(caps)}-{sorted(caps)[-1:]}")
def test_default_profile(capabilities: frozenset[str], machine: str) -> None:
    """Every number of every table, and around every argument that a rule compares."""
    section = default_profile(capabilities, machine)
    section["syscalls"] = [
        {**rule, "names": [name for name in rule["names"] if name != "recvmmsg" and name != "sendmmsg"]}
        for rule in section["syscalls"]
    ]
    comparison = Comparison(section, machine)
    conditional = {name for rule in section["syscalls"] if "args" in rule for name in rule["names"]}
    for arch in architectures(section, machine):
        audit, _, bits = ABIS[arch]
        for number in [*range(600), 0x3FFFFFFF, 0x40000000, *range(0xEFFFF, 0xF0010), 0xFFFFFFFE, 0xFFFFFFFF]:
            comparison.check(audit, number, ())
            comparison.check(audit, number, (7, 1 << 32, 3, 4, 5, 6))
        for name in conditional:
            number_here = number_of(arch, name)
            if number_here is not None:
                for arguments in combinations(section, name, bits):
                    comparison.check(audit, number_here, arguments, always=True)


def moby_socket_rules() -> list[dict[str, Any]]:
    """The shape of Docker's rules for socket in 2026: one bound, then single families."""
    rules = [{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [condition(0, "LT", 12)]}]
    for family in (13, 14, 15, 16, 17, 18, 21, 39, 41, 42, 45):
        rules.append({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [condition(0, "EQ", family)]})
    return rules


def condition(index: int, op: str, value: int, two: int = 0) -> dict[str, Any]:
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two}


def podman_socket_rules() -> list[dict[str, Any]]:
    """The shape of containers-common's rules against audit sockets."""
    audit = [condition(0, "EQ", 16), condition(2, "EQ", 9)]
    return [
        {"names": ["socketcall"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "args": audit},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [condition(2, "NE", 9)]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [condition(0, "NE", 16)]},
    ]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("rules", [moby_socket_rules(), podman_socket_rules()], ids=["docker", "podman"])
def test_profiles_of_others(rules: list[dict[str, Any]], machine: str) -> None:
    """Several rules on several words, where libseccomp does get them right: what containers run with today."""
    personalities = [
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [condition(0, "EQ", value)]}
        for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
    ]
    clone = {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [condition(0, "MASKED_EQ", 0x7E020000)]}
    section = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": [NATIVE[machine], *COMPANIONS[machine]],
        "syscalls": [{"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"}, *rules, *personalities, clone],
    }
    comparison = Comparison(section, machine)
    probe(comparison)
    for arch in architectures(section, machine):
        for name in ("socket", "personality", "clone"):
            number = number_of(arch, name)
            assert number is not None
            for arguments in combinations(section, name, ABIS[arch][2]):
                theirs = evaluate(comparison.theirs[ABIS[arch][0]], ABIS[arch][0], number, arguments)
                assert evaluate(comparison.ours, ABIS[arch][0], number, arguments) == theirs
