"""The root and what is put into it: devices, links, masks, read-only paths (config-linux.md)."""

from __future__ import annotations

import os

from pycontain.kernel.errors import SpecError
from pycontain.launch import reader
from pycontain.launch.mounts import MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, provides_dev
from pycontain.launch.ops import Op
from pycontain.launch.ops_mounts import (
    BIND_DEVICE,
    Bind,
    Device,
    Mask,
    Propagation,
    ReadOnly,
    Symlink,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_S_IFMT, _S_IFCHR, _S_IFBLK, _S_IFIFO = 0o170000, 0o020000, 0o060000, 0o010000

#: config-linux.md, "Default Devices"; /dev/console comes with a terminal, /dev/ptmx is a link.
DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)

#: config-linux.md, "Dev symbolic links".
LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
)

_DEVICE_TYPES = {"c": _S_IFCHR, "u": _S_IFCHR, "b": _S_IFBLK, "p": _S_IFIFO}

#: linux.rootfsPropagation: flags for the mount namespace while it is made, and for the root when it is done.
_ROOT_PROPAGATION = {
    "private": (MS_PRIVATE | MS_REC, MS_PRIVATE),
    "rprivate": (MS_PRIVATE | MS_REC, MS_PRIVATE),
    "slave": (MS_SLAVE | MS_REC, 0),
    "rslave": (MS_SLAVE | MS_REC, 0),
    "shared": (MS_SLAVE | MS_REC, MS_SHARED),
    "rshared": (MS_SLAVE | MS_REC, MS_SHARED),
    "unbindable": (MS_PRIVATE | MS_REC, MS_UNBINDABLE),
    "runbindable": (MS_PRIVATE | MS_REC, MS_UNBINDABLE),
}


def propagation(linux: dict[str, Any]) -> tuple[Op, int]:
    """The first record of a mount namespace, and the propagation of the root at the end (0: none of its own)."""
    text = reader.text(linux, "rootfsPropagation", "linux", "")
    if text and text not in _ROOT_PROPAGATION:
        raise SpecError(
            "linux.rootfsPropagation", f"{text!r} is unknown: expected one of {', '.join(_ROOT_PROPAGATION)}"
        )
    flags, final = _ROOT_PROPAGATION[text or "rslave"]
    return Propagation(flags, shared=final == MS_SHARED), final


class _Node:
    __slots__ = ("gid", "major", "minor", "mode", "path", "uid")

    def __init__(self, path: str, mode: int, major: int, minor: int, uid: int, gid: int) -> None:
        self.path, self.mode, self.major, self.minor, self.uid, self.gid = path, mode, major, minor, uid, gid


def _device(entry: dict[str, Any], where: str) -> _Node:
    path = reader.absolute(reader.text(entry, "path", where), f"{where}.path")
    type_ = reader.choice(entry, "type", where, _DEVICE_TYPES)
    fifo = type_ == _S_IFIFO
    # major and minor are required unless the type is p; 12 and 20 bits are what the kernel has
    major = reader.number(entry, "major", where, 0 if fifo else reader.REQUIRED, high=(1 << 12) - 1)
    minor = reader.number(entry, "minor", where, 0 if fifo else reader.REQUIRED, high=(1 << 20) - 1)
    mode = reader.number(entry, "fileMode", where, 0o666, high=0o177777) & 0o7777
    uid = reader.number(entry, "uid", where, 0, high=(1 << 32) - 2)
    gid = reader.number(entry, "gid", where, 0, high=(1 << 32) - 2)
    return _Node(path, type_ | mode, major, minor, uid, gid)


def _node_op(node: _Node, own_user: bool) -> Op:
    if own_user and node.mode & _S_IFMT != _S_IFIFO:
        # mknod(2) is refused in a user namespace, but for a FIFO: the host's node serves
        return Bind(node.path, node.path, BIND_DEVICE)
    return Device(node.path, node.mode, os.makedev(node.major, node.minor), node.uid, node.gid)


def _check_hosts_node(node: _Node, where: str) -> None:
    """The node that is bound in the place of one that cannot be made has to be that device. Raises SpecError."""
    try:
        status = os.stat(node.path)
    except OSError:
        return  # the helper names it
    wanted = os.makedev(node.major, node.minor)
    if status.st_mode & _S_IFMT != node.mode & _S_IFMT or status.st_rdev != wanted:
        raise SpecError(where, f"the host's {node.path}, which serves in a user namespace, is another file")


def compile_devices(spec: dict[str, Any], linux: dict[str, Any], own_user: bool) -> list[Op]:
    """Default devices, ``linux.devices`` and the links of /dev. Raises SpecError."""
    wanted = [
        _device(entry, f"linux.devices[{index}]")
        for index, entry in enumerate(reader.tables(linux, "devices", "linux"))
    ]
    if provides_dev(spec):
        return []
    for index, node in enumerate(wanted):
        if own_user and node.mode & _S_IFMT != _S_IFIFO:
            _check_hosts_node(node, f"linux.devices[{index}].path")
    nodes = {path: _Node(path, _S_IFCHR | 0o666, major, minor, 0, 0) for path, major, minor in DEFAULT_DEVICES}
    for node in wanted:
        nodes[node.path] = node
    ops = [_node_op(node, own_user) for node in nodes.values()]
    ops += [Symlink(text, path) for text, path in LINKS]
    return ops


def compile_masks(linux: dict[str, Any]) -> list[Op]:
    """``linux.readonlyPaths`` and ``linux.maskedPaths``. Raises SpecError."""
    ops: list[Op] = []
    for key, cls in (("readonlyPaths", ReadOnly), ("maskedPaths", Mask)):
        for index, path in enumerate(reader.texts(linux, key, "linux")):
            ops.append(cls(reader.absolute(path, f"linux.{key}[{index}]")))
    return ops
