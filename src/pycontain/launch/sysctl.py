"""config.json ``linux.sysctl``: only what belongs to a namespace that the container has for itself."""

from __future__ import annotations

from pycontain.kernel.errors import SpecError
from pycontain.launch.namespaces import NEWIPC, NEWNET, NEWUSER, NEWUTS, PROC_NAMES, Namespaces
from pycontain.launch.ops import (
    Op,
    Sysctl,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_IPC = frozenset(
    (
        "kernel/auto_msgmni",
        "kernel/msg_next_id",
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/sem_next_id",
        "kernel/shm_next_id",
        "kernel/shm_rmid_forced",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
    )
)

_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@")


def path_of(key: str) -> str:
    """The path below /proc/sys: as sysctl(8), whichever of "." and "/" comes first separates, the other is swapped."""
    for char in key:
        if char == "/":
            return key
        if char == ".":
            return key.translate({ord("."): "/", ord("/"): "."})
    return key


def _namespace(path: str) -> int | None:
    if path.startswith("net/"):
        return NEWNET
    if path in _IPC or path.startswith("fs/mqueue/"):
        return NEWIPC
    if path == "kernel/domainname":
        return NEWUTS
    if path.startswith("user/"):
        return NEWUSER
    return None


def check(key: str, value: str, where: str) -> str:
    """The path of one setting. Raises SpecError for what could not be a name or value of a sysctl."""
    path = path_of(key)
    if not key or not _ALLOWED.issuperset(key) or any(part in ("", ".", "..") for part in path.split("/")):
        raise SpecError(where, f"{key!r} is not the name of a sysctl")
    if any(not (" " <= char <= "~" or char == "\t") for char in value):
        raise SpecError(where, "control or non-ASCII character in the value")
    return path


def compile_sysctls(linux: dict[str, Any], namespaces: Namespaces) -> list[Op]:
    """Raises SpecError for a setting of the host's, or of a namespace that is shared with the host."""
    section = linux.get("sysctl")
    if section is None:
        return []
    if type(section) is not dict:
        raise SpecError("linux.sysctl", "expected an object")
    ops: list[Op] = []
    for key, value in section.items():
        where = f"linux.sysctl.{key}"
        if type(value) is not str:
            raise SpecError(where, "expected a string")
        path = check(key, value, where)
        if path == "kernel/hostname":
            raise SpecError(where, "is set by hostname")
        bit = _namespace(path)
        if bit is None:
            raise SpecError(where, "is not namespaced: it would change the host")
        if not namespaces.has(bit):
            raise SpecError(where, f"the container has no {PROC_NAMES[bit]} namespace of its own")
        ops.append(Sysctl(path, value))
    return ops
