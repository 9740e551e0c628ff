"""Capabilities by name (capabilities(7)) and as bit masks."""

from __future__ import annotations

from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: By number, linux/capability.h.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)

#: What Docker's users know as the default set.
DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SYS_CHROOT",
    "CAP_MKNOD",
    "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
)

_NUMBERS = {name: number for number, name in enumerate(NAMES)}


def number(name: str) -> int | None:
    """The number of a capability, or None for a name that Linux does not have."""
    return _NUMBERS.get(name)


def mask(names: Iterable[str]) -> int:
    """A bit mask of known names. Raises KeyError."""
    bits = 0
    for name in names:
        bits |= 1 << _NUMBERS[name]
    return bits


def names(bits: int) -> list[str]:
    """The names of a bit mask, by number; what has no name is left out."""
    return [name for number, name in enumerate(NAMES) if bits >> number & 1]


def canonical(text: str, flag: str) -> str:
    """``net_admin``, ``NET_ADMIN`` and ``CAP_NET_ADMIN`` are one. Raises UsageError naming the flag."""
    name = text.upper()
    if not name.startswith("CAP_"):
        name = "CAP_" + name
    if name not in _NUMBERS:
        raise UsageError(f"{flag}: {text!r} is not a capability: see capabilities(7), or give ALL")
    return name


def adjusted(add: Iterable[str], drop: Iterable[str]) -> list[str]:
    """The default set with ``--cap-add`` and ``--cap-drop`` applied, by number; ALL is known to both.

    As Docker: with ``--cap-add ALL`` everything but what is dropped; with ``--cap-drop ALL`` only what is added.
    """
    added, dropped = list(add), list(drop)
    add_all = any(name.upper() == "ALL" for name in added)
    drop_all = any(name.upper() == "ALL" for name in dropped)
    plus = {canonical(name, "--cap-add") for name in added if name.upper() != "ALL"}
    minus = {canonical(name, "--cap-drop") for name in dropped if name.upper() != "ALL"}
    if add_all:
        chosen = set(NAMES) - minus
    elif drop_all:
        chosen = plus
    else:
        chosen = (set(DEFAULT) - minus) | plus
    return [name for name in NAMES if name in chosen]
