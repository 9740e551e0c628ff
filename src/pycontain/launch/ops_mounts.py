"""Operations on the guest's mount namespace: its root, file systems, devices, masks, the pivot.

As those of ops.py, which says what the parts of a class are.
"""

from __future__ import annotations

from pycontain.launch.ops import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Propagation(Op):
    """mount(2) with MS_PRIVATE, MS_SLAVE … on "/" of the new mount namespace, recursively.

    shared: 1 when the sources of binds that are to be shared stay peers of the host's mounts.
    """

    code, name = 20, "propagation"
    fields = (("flags", "n"), ("shared", "n"))

    def __init__(self, flags: int, shared: bool = False) -> None:
        self.values = (flags, int(shared))

    def describe(self) -> str:
        return "set the propagation of the mount namespace"


class RootOverlay(Op):
    """Mount an overlay as the root and keep its descriptor. Its paths are relative to ``store``.

    slot: 0, or that of a GiveMount which is mounted on the directory of ``upper`` first.
    """

    code, name = 21, "root_overlay"
    fields = (
        ("store", "s"),
        ("target", "s"),
        ("lower", "s"),
        ("upper", "s"),
        ("work", "s"),
        ("options", "s"),
        ("slot", "n"),
    )

    def __init__(
        self, store: str, target: str, lower: str, upper: str, work: str, options: str = "", slot: int = 0
    ) -> None:
        self.values = (store, target, lower, upper, work, options, slot)

    def describe(self) -> str:
        store, _, _, upper, _, _, _ = self.values
        return f"mount the overlay root with upper directory {store}/{upper}"


class RootBind(Op):
    """Bind a directory of the host onto itself as the root and keep its descriptor (OCI root.path)."""

    code, name = 22, "root_bind"
    fields = (("path", "s"), ("propagation", "n"))

    def __init__(self, path: str, propagation: int = 0) -> None:
        self.values = (path, propagation)

    def describe(self) -> str:
        return f"bind the root directory {self.values[0]}"


class Mount(Op):
    """fsopen(2), fsconfig(2), fsmount(2), move_mount(2): a new file system on a path below the root.

    attrs: MOUNT_ATTR_* bits. options: ``key=value`` or ``flag`` strings for the file system. propagation: MS_SHARED,
    MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, 0 to leave it. The directory is made where it is missing. flags: see MOUNT_*.
    """

    code, name, since = 23, "mount", "5.2"
    fields = (
        ("type", "s"),
        ("source", "s"),
        ("target", "s"),
        ("attrs", "n"),
        ("options", "l"),
        ("propagation", "n"),
        ("flags", "n"),
    )

    def __init__(
        self,
        type: str,
        source: str,
        target: str,
        attrs: int = 0,
        options: Sequence[str] = (),
        propagation: int = 0,
        flags: int = 0,
    ) -> None:
        self.values = (type, source, target, attrs, list(options), propagation, flags)

    def describe(self) -> str:
        return f"mount {self.values[0]} on {self.values[2]}"


#: Flags of Mount: no component of the target may be a symbolic link (proc, sys and dev of a hostile image);
#: copy what the directory has into the new file system (tmpcopyup); the super block is read-only.
MOUNT_NO_SYMLINKS = 1
MOUNT_COPY_UP = 2
MOUNT_SUPER_READ_ONLY = 4


class Bind(Op):
    """open_tree(2) of a host path, mount_setattr(2), move_mount(2) onto a path below the root.

    set, clear: MOUNT_ATTR_* bits for the mount itself; all_set, all_clear: for it and all mounts below it.
    The target is made where it is missing: a directory or an empty file, as the source is. flags: see BIND_*.
    slot: 0, or that of a MapSource whose copy is to be mounted.
    """

    code, name, since = 24, "bind", "5.12"
    fields = (
        ("source", "s"),
        ("target", "s"),
        ("flags", "n"),
        ("set", "n"),
        ("clear", "n"),
        ("all_set", "n"),
        ("all_clear", "n"),
        ("propagation", "n"),
        ("slot", "n"),
    )

    def __init__(
        self,
        source: str,
        target: str,
        flags: int = 0,
        set: int = 0,
        clear: int = 0,
        all_set: int = 0,
        all_clear: int = 0,
        propagation: int = 0,
        slot: int = 0,
    ) -> None:
        self.values = (source, target, flags, set, clear, all_set, all_clear, propagation, slot)

    def describe(self) -> str:
        return f"bind {self.values[0]} on {self.values[1]}"


#: Flags of Bind: with the mounts below the source; the source must be a device node.
BIND_RECURSIVE = 1
BIND_DEVICE = 2


class Device(Op):
    """mknodat(2) below the root: ``mode`` with the type bits, ``rdev`` as makedev(3) encodes it."""

    code, name = 25, "device"
    fields = (("path", "s"), ("mode", "n"), ("rdev", "n"), ("uid", "n"), ("gid", "n"))

    def __init__(self, path: str, mode: int, rdev: int, uid: int = 0, gid: int = 0) -> None:
        self.values = (path, mode, rdev, uid, gid)

    def describe(self) -> str:
        return f"create the device node {self.values[0]}"


class Symlink(Op):
    """symlinkat(2) below the root; a path that is there already stays as it is."""

    code, name = 26, "symlink"
    fields = (("text", "s"), ("path", "s"))

    def __init__(self, text: str, path: str) -> None:
        self.values = (text, path)

    def describe(self) -> str:
        return f"create the symbolic link {self.values[1]} to {self.values[0]}"


class Mkdir(Op):
    """A directory below the root, with its parents; one that is there already stays as it is."""

    code, name = 27, "mkdir"
    fields = (("path", "s"), ("mode", "n"), ("uid", "n"), ("gid", "n"))

    def __init__(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        self.values = (path, mode, uid, gid)

    def describe(self) -> str:
        return f"create the directory {self.values[0]}"


class Mask(Op):
    """Cover a path: a file by the host's /dev/null, a directory by one empty read-only tmpfs; missing is no error."""

    code, name = 28, "mask"
    fields = (("path", "s"),)

    def __init__(self, path: str) -> None:
        self.values = (path,)

    def describe(self) -> str:
        return f"mask {self.values[0]}"


class ReadOnly(Op):
    """Make a path read-only by a bind of itself; missing is no error."""

    code, name, since = 29, "read_only", "5.12"
    fields = (("path", "s"),)

    def __init__(self, path: str) -> None:
        self.values = (path,)

    def describe(self) -> str:
        return f"make {self.values[0]} read-only"


class RootAttributes(Op):
    """mount_setattr(2) on the root mount alone; propagation: MS_* for it, 0 to leave it."""

    code, name, since = 30, "root_attributes", "5.12"
    fields = (("set", "n"), ("propagation", "n"))

    def __init__(self, set: int, propagation: int = 0) -> None:
        self.values = (set, propagation)

    def describe(self) -> str:
        return "set the attributes of the root mount"


class Pivot(Op):
    """pivot_root(2) into the root and detach the old one; with ``chroot`` 1 chroot(2), for a host on an initramfs."""

    code, name = 31, "pivot"
    fields = (("chroot", "n"),)

    def __init__(self, chroot: bool = False) -> None:
        self.values = (int(chroot),)

    def describe(self) -> str:
        return "chroot into the container's root" if self.values[0] else "pivot into the container's root"
