"""Which system calls of a guest are supervised, and the beginning of its filter that gives them to the supervisor.

docs/supervised-calls.md says what each does. A switch is written as ``mknod``, ``sysinfo``, ``mount`` or
``mount=TYPE,TYPE``.
"""

from __future__ import annotations

import os
from _struct import pack

from pycontain.kernel.errors import Error, UsageError

#: The switches and the types of file systems; bits as in src/helper/supervise.h.
CALLS = {"mknod": 1, "sysinfo": 2, "mount": 4}
TYPES = {"tmpfs": 1, "overlay": 2, "fuse": 4}

#: uname(2) → AUDIT_ARCH_* (linux/audit.h), and the numbers of the calls. x86-64 alone has mknod(2).
_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBERS = {
    "x86_64": {"mknod": (133, 259), "sysinfo": (99,), "mount": (165, 166)},
    "aarch64": {"mknod": (33,), "sysinfo": (179,), "mount": (40, 39)},
}
#: open_tree, move_mount, fsopen, fspick, mount_setattr, open_tree_attr: programs that find none of them use mount(2).
_NEWER = (428, 429, 430, 433, 442, 467)

#: struct sock_filter (linux/filter.h); offsets in struct seccomp_data.
_LOAD, _EQUAL, _JUMP, _RETURN = 0x20, 0x15, 0x05, 0x06
_NR, _ARCH = 0, 4
_NOTIFY, _ALLOW, _NO_CALL = 0x7FC00000, 0x7FFF0000, 0x00050000 | 38
#: seccomp(2): a signal does not interrupt a call that the supervisor has taken.
_WAIT_KILLABLE, _WAIT_KILLABLE_SINCE = 1 << 5, (5, 19)


def parse(texts: list[str]) -> list[str]:
    """Switches in a fixed order, from ``--supervise``: each may be a list with commas. Raises UsageError.

    A type of file system after ``mount=`` belongs to it: ``mount=tmpfs,overlay``. ``mount`` alone is all types.
    """
    calls: set[str] = set()
    types: set[str] = set()
    for text in texts:
        mounting = False
        for word in text.split(","):
            name, equals, kind = word.partition("=")
            if mounting and word in TYPES:
                types.add(word)
                continue
            mounting = name == "mount" and bool(equals)
            if mounting and kind not in TYPES:
                raise UsageError(f"--supervise {text}: mount can be of {_list(TYPES)}, not {kind!r}")
            if name not in CALLS or (equals and name != "mount"):
                raise UsageError(f"--supervise {text}: {word!r} is unknown: give {_list(CALLS)}, or mount=TYPE,TYPE")
            calls.add(name)
            if name == "mount":
                types.update([kind] if equals else TYPES)
    return [f"mount={','.join(one for one in TYPES if one in types)}" if name == "mount" else name
            for name in CALLS if name in calls]  # fmt: skip


def _list(names: dict[str, int]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


def bits(switches: list[str]) -> tuple[int, int]:
    """The switches of ``parse`` as bits of CALLS and of TYPES."""
    calls = types = 0
    for switch in switches:
        name, _, kinds = switch.partition("=")
        calls |= CALLS[name]
        for kind in kinds.split(",") if kinds else ():
            types |= TYPES[kind]
    return calls, types


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return pack("=HBBI", code, yes, no, value)


def program(base: bytes, calls: int, machine: str, pass_mounts: bool) -> bytes:
    """``base`` (empty: all is allowed), but calls of the machine's own architecture that are supervised are notified.

    pass_mounts: whether ``base`` lets mount(2) through; where it does not, what replaces it "does not exist", so that
    programs use mount(2). Raises Error for a machine whose numbers nobody knows.
    """
    if machine not in _ARCHES:
        raise Error(f"--supervise: there are no supervised calls for {machine}: only for {' and '.join(_ARCHES)}")
    names = _NUMBERS[machine]
    notified = [number for name, bit in CALLS.items() if calls & bit for number in names[name]]
    missing = _NEWER if calls & CALLS["mount"] and not pass_mounts else ()
    # behind the comparisons: over the two answers, NOTIFY, ENOSYS
    count = len(notified) + len(missing)
    lines = [_instruction(_LOAD, _ARCH), _instruction(_EQUAL, _ARCHES[machine], 0, count + 4)]
    lines.append(_instruction(_LOAD, _NR))
    lines += [_instruction(_EQUAL, number, count - at) for at, number in enumerate(notified)]
    lines += [_instruction(_EQUAL, number, count - at + 1) for at, number in enumerate(missing, len(notified))]
    lines += [_instruction(_JUMP, 2), _instruction(_RETURN, _NOTIFY), _instruction(_RETURN, _NO_CALL)]
    return b"".join(lines) + (base or _instruction(_RETURN, _ALLOW))


def flags() -> int:
    """Of seccomp(2), for a filter that is notified of."""
    major, minor = os.uname().release.split("-", 1)[0].split(".")[:2]
    return _WAIT_KILLABLE if (int(major), int(minor)) >= _WAIT_KILLABLE_SINCE else 0
