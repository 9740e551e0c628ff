"""config.json ``mounts`` to records (runtime-spec config.md, "Mounts"; config-linux.md, "Default Filesystems")."""

from __future__ import annotations

import os

from pycontain.kernel.errors import SpecError
from pycontain.launch import namespaces as ns
from pycontain.launch import reader
from pycontain.launch.ops import Op
from pycontain.launch.ops_mounts import (
    BIND_RECURSIVE,
    MOUNT_COPY_UP,
    MOUNT_NO_SYMLINKS,
    Bind,
    Mount,
    Symlink,
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

#: What only asks for the default, or what no file system takes through fsconfig(2): iversion is each one's own
#: business since Linux 4.16, loud and silent are about messages. sync, dirsync, lazytime and mand go to it by name.
_NOTHING = ("async", "defaults", "nolazytime", "nomand", "iversion", "noiversion", "loud", "silent")
#: MapSource's slots end here; see launch.h.
MAX_SLOTS = 256
_MAPPED = {"idmap": False, "ridmap": True}
#: crun's own, about symbolic links at the ends of a bind. A bind has no file system that would refuse them.
_CRUNS = ("src-nofollow", "dest-nofollow")


class Options:
    """The options of one mount, sorted."""

    __slots__ = (
        "all_clear",
        "all_set",
        "bind",
        "clear",
        "copy_link",
        "copy_up",
        "data",
        "mapped",
        "propagation",
        "recursive",
        "remount",
        "set",
    )

    def __init__(self) -> None:
        self.set = self.clear = self.all_set = self.all_clear = self.propagation = 0
        self.bind = self.recursive = self.copy_up = self.copy_link = self.remount = False
        self.mapped: bool | None = None
        self.data: list[str] = []


def _recursive(option: str) -> tuple[int, int] | None:
    # rro, rnosuid, …; but "relatime" is itself, and "rw" and "ro" are no recursive "w" and "o"
    if option.startswith("r") and option not in ATTRIBUTES:
        return ATTRIBUTES.get(option[1:])
    return None


def parse_options(options: list[str]) -> Options:
    """Sort the option strings of one mount. What is unknown is the file system's business."""
    result = Options()
    for option in options:
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
        elif option == "copy-symlink":
            result.copy_link = True
        elif option == "remount":
            result.remount = True
        elif option in _MAPPED:
            result.mapped = _MAPPED[option]
        elif option not in _NOTHING:
            result.data.append(option)
    return result


class Around:
    """What a mount depends on besides its entry.

    prepared: HOST records before the guest is made, to which are added what binds with mapped owners need; mapped: the
    same for those that are mapped by the guest's user namespace, when it is there. cgroup: the container's directory in
    the host's cgroup tree, "" where it is not known. label: SELinux context of new file systems. late: what is to be
    done when all that the container has is made. host_opens: the sources of binds are opened by the host's side, since
    the guest has not the host's root's rights any more.
    """

    def __init__(self, bundle: str, spaces: ns.Namespaces, cgroup: str = "", label: str = "") -> None:
        self.bundle = bundle
        self.spaces = spaces
        self.cgroup = cgroup
        self.label = label
        self.prepared: list[Op] = []
        self.mapped: list[Op] = []
        self.late: list[Op] = []
        self.host_opens = False


def bind_op(source: str, target: str, options: Options, slot: int = 0) -> Bind:
    return Bind(
        source,
        target,
        BIND_RECURSIVE if options.recursive else 0,
        options.set,
        options.clear,
        options.all_set,
        options.all_clear,
        options.propagation,
        slot,
    )


def _destination(mount: dict[str, Any], where: str) -> str:
    path = reader.text(mount, "destination", where)
    if not path:
        raise SpecError(f"{where}.destination", "is empty")
    # config.md: relative is deprecated and means relative to "/"
    return path if path.startswith("/") else "/" + path


def _is_bind(options: Options, type_: str) -> bool:
    return options.bind or type_ == "bind"


def _host_opens(source: str, options: Options, around: Around) -> bool:
    """Whether the source of a plain bind is opened by the host's side."""
    if options.propagation & MS_SHARED:
        return False
    spaces = around.spaces
    if around.host_opens or not spaces.new & ns.NEWUSER or spaces.nested:
        return around.host_opens
    from pycontain.launch import reach

    if not reach.hidden(source, spaces.uids, spaces.gids, options.recursive):
        return False
    # a copy that the host makes is its source's peer, not yet a slave as all that the guest copies
    options.propagation = options.propagation or MS_PRIVATE
    return True


def _map_source(mount: dict[str, Any], where: str, source: str, options: Options, around: Around) -> int:
    """config.md: with mappings of its own, or with idmap or ridmap by those of the container's user namespace.

    The slot that Bind takes it from, 0 where owners are not to be mapped. Raises SpecError.
    """
    uids, gids = (ns.id_map(mount, key, where) for key in ("uidMappings", "gidMappings"))
    if bool(uids) != bool(gids):
        missing = "gidMappings" if uids else "uidMappings"
        raise SpecError(f"{where}.{missing}", "uidMappings and gidMappings need each other")
    if options.mapped is None and not uids and not _host_opens(source, options, around):
        return 0
    from pycontain.launch.ops_userns import GUEST_USERNS, NO_USERNS, MapSource

    userns = -1
    if options.mapped is None and not uids:
        userns = NO_USERNS
    elif not uids:
        if not around.spaces.own_user:
            problem = "idmap needs uidMappings and gidMappings, or a user namespace of the container's own"
            raise SpecError(f"{where}.options", problem)
        userns = GUEST_USERNS
    slot = len(around.prepared) + len(around.mapped) + 1
    if slot >= MAX_SLOTS:  # the last one is the root's
        raise SpecError(where, f"more than {MAX_SLOTS - 1} mounts with mapped owners")
    op = MapSource(slot, source, uids, gids, userns, options.recursive, bool(options.mapped))
    (around.mapped if userns == GUEST_USERNS else around.prepared).append(op)
    return slot


def _host_link(source: str) -> str:
    """Where a symbolic link of the host leads, "" where it is none."""
    try:
        return os.readlink(source)
    except OSError:
        return ""


def _bind(mount: dict[str, Any], where: str, source: str, target: str, options: Options, around: Around) -> Op:
    if not source:
        raise SpecError(f"{where}.source", "is required for a bind mount")
    if options.copy_up:
        raise SpecError(f"{where}.options", "tmpcopyup is for tmpfs, not for a bind mount")
    for option in _CRUNS:
        if option in options.data:
            raise SpecError(f"{where}.options", f"{option!r} is not supported: a bind follows links")
    if not source.startswith("/"):
        source = f"{around.bundle}/{source}"
    if options.copy_link and (text := _host_link(source)):
        return Symlink(text, target)
    return bind_op(source, target, options, _map_source(mount, where, source, options, around))


def _instead(type_: str, around: Around) -> tuple[str, bool]:
    """What is bound where the kernel does not give a new file system: its path and whether with what is below; or "".

    A user namespace gets proc, sysfs and mqueue only with the namespace that they show; a cgroup file system shows
    the container's group alone only with a cgroup namespace.
    """
    spaces = around.spaces
    if type_ in ("cgroup", "cgroup2") and not spaces.has(ns.NEWCGROUP) and around.cgroup:
        return around.cgroup, False
    if type_ in ("cgroup", "cgroup2") and spaces.nested and not spaces.has(ns.NEWCGROUP):
        return "/sys/fs/cgroup", True
    needed = {"sysfs": (ns.NEWNET, "/sys"), "proc": (ns.NEWPID, "/proc"), "mqueue": (ns.NEWIPC, "/dev/mqueue")}
    if spaces.confined and type_ in needed and not spaces.has(needed[type_][0]):
        return needed[type_][1], True
    return "", False


def compile_mount(mount: dict[str, Any], around: Around, where: str) -> Op:
    """One entry of ``mounts``. A relative source of a bind is relative to the bundle. Raises SpecError."""
    target = _destination(mount, where)
    type_ = reader.text(mount, "type", where, "")
    source = reader.text(mount, "source", where, "")
    options = parse_options(reader.texts(mount, "options", where))
    if options.remount:
        from pycontain.launch.ops_spec import Remount

        wanted, cleared = options.set | options.all_set, options.clear | options.all_clear
        return Remount(target, wanted, cleared, options.data, not _is_bind(options, type_))
    if _is_bind(options, type_):
        return _bind(mount, where, source, target, options, around)
    if not type_:
        raise SpecError(f"{where}.type", "is required where the options have neither bind nor rbind")
    if options.mapped is not None or mount.get("uidMappings") or mount.get("gidMappings"):
        raise SpecError(f"{where}.uidMappings", f"owners are mapped for bind mounts, not for {type_}")
    if options.copy_up and type_ != "tmpfs":
        raise SpecError(f"{where}.options", f"tmpcopyup is for tmpfs, not for {type_}")
    instead, options.recursive = _instead(type_, around)
    if instead:
        return bind_op(instead, target, options)
    return _new_mount(type_, source, target, options, around)


def _new_mount(type_: str, source: str, target: str, options: Options, around: Around) -> Mount:
    if type_ == "cgroup":
        type_ = "cgroup2"
    flags = MOUNT_COPY_UP if options.copy_up else 0
    # an image whose /proc is a link to somewhere would have us confine the wrong files (CVE-2019-19921)
    if type_ in ("proc", "sysfs") or target.rstrip("/") == "/dev":
        flags |= MOUNT_NO_SYMLINKS
    data = options.data
    if around.label:
        from pycontain.launch.labels import with_context

        data = with_context(type_, data, around.label)
    attributes = options.set | options.all_set
    if target.rstrip("/") == "/dev" and attributes & RDONLY:
        # nodes, links and what is mounted below it come after it, and a hook may add some
        from pycontain.launch.ops_spec import Remount

        attributes &= ~RDONLY
        around.late.append(Remount(target, RDONLY, 0, [], False))
    return Mount(type_, source or type_, target, attributes, data, options.propagation, flags)


def compile_mounts(spec: dict[str, Any], around: Around) -> list[Op]:
    """``mounts`` in their order; what goes before and after is in around.prepared and late. Raises SpecError."""
    return [
        compile_mount(mount, around, f"mounts[{index}]")
        for index, mount in enumerate(reader.tables(spec, "mounts", ""))
    ]


def provides_dev(spec: dict[str, Any]) -> bool:
    """Whether the caller brings a /dev of its own by a bind: then nodes and links in it are the caller's business."""
    for mount in reader.tables(spec, "mounts", ""):
        if str(mount.get("destination", "")).rstrip("/") in ("/dev", "dev"):
            options = mount.get("options") or []
            return mount.get("type") == "bind" or "bind" in options or "rbind" in options
    return False
