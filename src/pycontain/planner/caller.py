"""Whether a client's process could be this one: else Python beside the client would find other things than here."""

from __future__ import annotations

import os

from pycontain.kernel import files

#: namespaces(7)
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
#: proc_pid_status(5): who it is, and what it may do.
_LINES = (b"Uid", b"Gid", b"Groups", b"CapInh", b"CapPrm", b"CapEff", b"CapBnd", b"CapAmb", b"NoNewPrivs", b"Seccomp")
_BEGINNINGS = frozenset([name[:3] for name in _LINES])


def surroundings(process: str = "/proc/self", like: tuple[object, ...] = ()) -> tuple[object, ...]:
    """Of a process, by its directory below /proc: two that are equal see the same host and may do the same.

    like: those that it is compared with: where they have no label of a security module, there is none that gives any.
    Raises OSError.
    """
    label = b""
    if not like or like[0]:
        try:
            label = files.read_bytes(f"{process}/attr/current")
        except OSError:
            pass
    facts: list[object] = [label]
    for name in _NAMESPACES:
        try:
            facts.append(os.stat(f"{process}/ns/{name}").st_ino)
        except FileNotFoundError:
            facts.append(0)  # a kernel without it
    root = os.stat(f"{process}/root/")
    facts += [root.st_dev, root.st_ino]
    lines = files.read_bytes(f"{process}/status").splitlines()
    return *facts, *[line for line in lines if line[:3] in _BEGINNINGS and line.partition(b":")[0] in _LINES]


def is_utf8(environ: dict[bytes, bytes]) -> bool:
    """Whether an interpreter there would read file names as here: in UTF-8 (PEP 538, PEP 540)."""
    for name in (b"LC_ALL", b"LC_CTYPE", b"LANG"):
        value = environ.get(name, b"")
        if value:
            charset = value.partition(b"@")[0].partition(b".")[2].lower()
            return value in (b"C", b"POSIX") or charset in (b"utf-8", b"utf8")
    return True
