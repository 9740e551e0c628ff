"""config.json ``mounts`` to records (runtime-spec config.md, "Mounts"; config-linux.md, "Default Filesystems")."""

from __future__ import annotations

from pycontain.kernel.errors import SpecError
from pycontain.launch import reader
from pycontain.launch.ops import (
    BIND_RECURSIVE,
    MOUNT_COPY_UP,
    MOUNT_NO_SYMLINKS,
    Bind,
    Mount,
    Op,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# linux/mount.h: MOUNT_ATTR_*
RDONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8
ATIME, NOATIME, STRICTATIME, NODIRATIME, NOSYMFOLLOW = 0x70, 0x10, 0x20, 0x80, 0x200000
# linux/mount.h: MS_* of propagation
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_REC = 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 14

#: option: (attributes to set, attributes to clear). A choice of atime sets the field, so the whole field is cleared.
ATTRIBUTES = {
    "ro": (RDONLY, 0),
    "rw": (0, RDONLY),
    "nosuid": (NOSUID, 0),
    "suid": (0, NOSUID),
    "nodev": (NODEV, 0),
    "dev": (0, NODEV),
    "noexec": (NOEXEC, 0),
    "exec": (0, NOEXEC),
    "noatime": (NOATIME, ATIME),
    "atime": (0, ATIME),
    "relatime": (0, ATIME),
    "norelatime": (STRICTATIME, ATIME),
    "strictatime": (STRICTATIME, ATIME),
    "nostrictatime": (0, ATIME),
    "nodiratime": (NODIRATIME, 0),
    "diratime": (0, NODIRATIME),
    "nosymfollow": (NOSYMFOLLOW, 0),
    "symfollow": (0, NOSYMFOLLOW),
}

PROPAGATION = {
    "private": (MS_PRIVATE, False),
    "rprivate": (MS_PRIVATE, True),
    "slave": (MS_SLAVE, False),
    "rslave": (MS_SLAVE, True),
    "shared": (MS_SHARED, False),
    "rshared": (MS_SHARED, True),
    "unbindable": (MS_UNBINDABLE, False),
    "runbindable": (MS_UNBINDABLE, True),
}

#: Flags of the super block that fsconfig(2) takes by name; of no meaning for a bind.
SUPER = ("sync", "dirsync", "lazytime", "mand", "iversion")
#: What only asks for the default, or has no meaning on a first mount.
_NOTHING = ("async", "defaults", "nolazytime", "nomand", "noiversion", "loud", "silent", "remount")


class Options:
    """The options of one mount, sorted."""

    __slots__ = ("all_clear", "all_set", "bind", "clear", "copy_up", "data", "propagation", "recursive", "set")

    def __init__(self) -> None:
        self.set = self.clear = self.all_set = self.all_clear = self.propagation = 0
        self.bind = self.recursive = self.copy_up = False
        self.data: list[str] = []


def _recursive(option: str) -> tuple[int, int] | None:
    # rro, rnosuid, …; but "relatime" is itself, and "rw" and "ro" are no recursive "w" and "o"
    if option.startswith("r") and option not in ATTRIBUTES:
        return ATTRIBUTES.get(option[1:])
    return None


def parse_options(options: list[str], where: str) -> Options:
    """Sort the option strings of one mount. Raises SpecError for options that exclude each other."""
    result = Options()
    for index, option in enumerate(options):
        if option in ATTRIBUTES:
            bits, clear = ATTRIBUTES[option]
            result.set = result.set & ~clear | bits
            result.clear = result.clear & ~bits | clear
        elif option in PROPAGATION:
            result.propagation = PROPAGATION[option][0]
        elif option in ("bind", "rbind"):
            result.bind = True
            result.recursive = result.recursive or option == "rbind"
        elif (pair := _recursive(option)) is not None:
            result.all_set = result.all_set & ~pair[1] | pair[0]
            result.all_clear = result.all_clear & ~pair[0] | pair[1]
        elif option == "tmpcopyup":
            result.copy_up = True
        elif option in ("idmap", "ridmap"):
            raise SpecError(f"{where}[{index}]", "id-mapped mounts are not supported yet")
        elif option not in _NOTHING:
            result.data.append(option)
    return result


def bind_op(source: str, target: str, options: Options) -> Bind:
    return Bind(
        source,
        target,
        BIND_RECURSIVE if options.recursive else 0,
        options.set,
        options.clear,
        options.all_set,
        options.all_clear,
        options.propagation,
    )


def _destination(mount: dict[str, Any], where: str) -> str:
    path = reader.text(mount, "destination", where)
    if not path:
        raise SpecError(f"{where}.destination", "is empty")
    # config.md: relative is deprecated and means relative to "/"
    return path if path.startswith("/") else "/" + path


def _is_bind(options: Options, type_: str) -> bool:
    return options.bind or type_ == "bind"


def compile_mount(mount: dict[str, Any], bundle: str, where: str) -> Op:
    """One entry of ``mounts``. A relative source of a bind is relative to the bundle."""
    target = _destination(mount, where)
    type_ = reader.text(mount, "type", where, "")
    source = reader.text(mount, "source", where, "")
    options = parse_options(reader.texts(mount, "options", where), f"{where}.options")
    if mount.get("uidMappings") or mount.get("gidMappings"):
        raise SpecError(f"{where}.uidMappings", "id-mapped mounts are not supported yet")
    if _is_bind(options, type_):
        if not source:
            raise SpecError(f"{where}.source", "is required for a bind mount")
        if options.copy_up:
            raise SpecError(f"{where}.options", "tmpcopyup is for tmpfs, not for a bind mount")
        if not source.startswith("/"):
            source = f"{bundle}/{source}"
        return bind_op(source, target, options)
    if not type_:
        raise SpecError(f"{where}.type", "is required where the options have neither bind nor rbind")
    if options.copy_up and type_ != "tmpfs":
        raise SpecError(f"{where}.options", f"tmpcopyup is for tmpfs, not for {type_}")
    if type_ == "cgroup":
        type_ = "cgroup2"
    flags = MOUNT_COPY_UP if options.copy_up else 0
    # an image whose /proc is a link to somewhere would have us confine the wrong files (CVE-2019-19921)
    if type_ in ("proc", "sysfs") or target.rstrip("/") == "/dev":
        flags |= MOUNT_NO_SYMLINKS
    return Mount(
        type_, source or type_, target, (options.set | options.all_set), options.data, options.propagation, flags
    )


def compile_mounts(spec: dict[str, Any], bundle: str) -> list[Op]:
    """``mounts`` in their order. Raises SpecError."""
    return [
        compile_mount(mount, bundle, f"mounts[{index}]")
        for index, mount in enumerate(reader.tables(spec, "mounts", ""))
    ]


def provides_dev(spec: dict[str, Any]) -> bool:
    """Whether the caller brings a /dev of its own by a bind: then nodes and links in it are the caller's business."""
    for mount in reader.tables(spec, "mounts", ""):
        if str(mount.get("destination", "")).rstrip("/") in ("/dev", "dev"):
            options = mount.get("options") or []
            return mount.get("type") == "bind" or "bind" in options or "rbind" in options
    return False
