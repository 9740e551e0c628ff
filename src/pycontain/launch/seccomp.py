"""Seccomp filters: an OCI ``linux.seccomp`` object as a BPF program, and the cache of what was compiled.

See docs/seccomp.md, seccomp(2), and config-linux.md of the OCI runtime-spec.
"""

from __future__ import annotations

import marshal
import os
from _blake2 import blake2b

from pycontain.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Part of every cache key: a new one with every change of what a section or the default profile compiles to.
COMPILER_VERSION = 1

_MAGIC = b"PYCSECC\1"
_DIGEST = 16
#: Entries that the cache keeps; a program has a few kilobytes.
_MAX_ENTRIES = 256
_TSYNC_ESRCH = 1 << 4


def compile_filter(section: dict[str, Any], machine: str, where: str = "linux.seccomp") -> bytes:
    """The BPF program (an array of struct sock_filter) of an OCI ``linux.seccomp`` object.

    machine: as uname(2) has it; x86_64 or aarch64. where: the object's JSON path, for errors. The program answers
    for the machine's own architecture and for those listed that its kernel can present; other listed ones are
    ignored, calls on any other architecture kill the thread (as libseccomp does). Names that no table has are
    skipped. Raises SpecError; Error for another machine.
    """
    from pycontain.launch.seccomp_compile import compile_rules
    from pycontain.launch.seccomp_rules import parse

    return compile_rules(parse(section, where), machine, where)


def filter_flags(section: dict[str, Any], where: str = "linux.seccomp") -> int:
    """The flags of seccomp(2) that a ``linux.seccomp`` object asks for, SECCOMP_FILTER_FLAG_* bits.

    NEW_LISTENER is the caller's to add where uses_notify; the bits returned can go with it. Raises SpecError.
    """
    listed = section.get("flags")
    if not listed:
        return 0
    from pycontain.kernel.errors import SpecError
    from pycontain.launch.seccomp_rules import FLAGS, choice, texts

    bits = 0
    for at, name in enumerate(texts(listed, f"{where}.flags")):
        place = f"{where}.flags[{at}]"
        bits |= choice(name, FLAGS, place)
        if name.endswith("_WAIT_KILLABLE_RECV") and not uses_notify(section):
            raise SpecError(place, f"{name} is only for filters with SCMP_ACT_NOTIFY, and this one has none")
    if bits & FLAGS["SECCOMP_FILTER_FLAG_TSYNC"] and uses_notify(section):
        # Both flags want the return value; this one gives it to the listener.
        bits |= _TSYNC_ESRCH
    return bits


def uses_notify(section: dict[str, Any]) -> bool:
    """True when the filter needs SECCOMP_FILTER_FLAG_NEW_LISTENER: some action of it is SCMP_ACT_NOTIFY."""
    rules = section.get("syscalls")
    listed = [rule.get("action") for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []
    return "SCMP_ACT_NOTIFY" in [section.get("defaultAction"), *listed]


def cached_filter(section: dict[str, Any], machine: str, cache_dir: str, where: str = "linux.seccomp") -> bytes:
    """As compile_filter, but kept in ``cache_dir``. A cache that cannot be read or written costs time only."""
    # Version 2 of the format depends on the values alone, not on which objects are shared.
    key = marshal.dumps((COMPILER_VERSION, machine, section), 2)
    path = f"{cache_dir}/seccomp-{blake2b(key, digest_size=20).hexdigest()}"
    program = read_entry(path)
    if program is None:
        program = compile_filter(section, machine, where)
        write_entry(path, program)
    return program


def read_entry(path: str) -> bytes | None:
    """The content of a cache entry; None where there is none, or none that we wrote, whole."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        # A regular file (S_IFREG), ours, that nobody else may write.
        if status.st_mode & 0o170022 != 0o100000 or status.st_uid != os.geteuid() or status.st_size > files.LIMIT:
            return None
        data = os.read(fd, status.st_size)
    except OSError:
        return None
    finally:
        os.close(fd)
    head = len(_MAGIC) + _DIGEST
    content = data[head:]
    if not content or data[:head] != _MAGIC + blake2b(content, digest_size=_DIGEST).digest():
        return None
    return content


def write_entry(path: str, content: bytes) -> None:
    """Write a cache entry, if that can be done."""
    try:
        _make_room(os.path.dirname(path))
        files.replace(path, _MAGIC + blake2b(content, digest_size=_DIGEST).digest() + content, 0o600)
    except OSError:
        pass


def _make_room(cache_dir: str) -> None:
    """Remove the older half of the entries when there are too many; make the directory where there is none."""
    try:
        names = [name for name in os.listdir(cache_dir) if name.startswith("seccomp-")]
    except FileNotFoundError:
        os.mkdir(cache_dir, 0o700)
        return
    if len(names) < _MAX_ENTRIES:
        return
    ages = []
    for name in names:
        try:
            ages.append((os.stat(f"{cache_dir}/{name}", follow_symlinks=False).st_mtime_ns, name))
        except FileNotFoundError:
            continue
    for _, name in sorted(ages)[: len(ages) // 2]:
        try:
            os.unlink(f"{cache_dir}/{name}")
        except FileNotFoundError:
            continue
