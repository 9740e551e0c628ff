"""Signals by number and name, as ``kill`` takes them (signal(7))."""

from __future__ import annotations

from pycontain.kernel.errors import Error

#: From number 1 on; the numbers of x86 and arm.
NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
_ALIASES = {"IOT": 6, "CLD": 17, "POLL": 29, "RTMIN": 34, "RTMAX": 64}
_FIRST, _LAST = 34, 64
KILL, TERM = 9, 15


def number(text: str) -> int:
    """``9``, ``KILL``, ``SIGKILL``, ``sigkill``, ``RTMIN+3``. Raises Error."""
    if text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= _LAST:
        return int(text)
    name = text.upper().removeprefix("SIG")
    if name in NAMES:
        return NAMES.index(name) + 1
    if name in _ALIASES:
        return _ALIASES[name]
    found = _real_time(name)
    if not found:
        raise Error(f'unknown signal "{text}"', 1)
    return found


def _real_time(name: str) -> int:
    """RTMIN+n and RTMAX-n, 0 for anything else."""
    base, sign, digits = name[:5], name[5:6], name[6:]
    if base + sign not in ("RTMIN+", "RTMAX-") or not (digits.isascii() and digits.isdigit()) or len(digits) > 2:
        return 0
    found = _FIRST + int(digits) if sign == "+" else _LAST - int(digits)
    return found if _FIRST <= found <= _LAST else 0
