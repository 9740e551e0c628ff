"""A container's disk: how much its own files may take, and which means of the host keeps that. Off the start road.

Where there is a limit, the upper and the work directory lie in ``disk`` below the container's directory, which is

    project     a directory of a project with a quota (ext4, XFS)
    subvolume   a subvolume with a qgroup's limit (btrfs)
    image       the mount point of a file system in the file ``disk.img``, mounted for the container alone

The log and what else pycontain writes for a container do not count: a guest that has filled its disk can be ended.
"""

from __future__ import annotations

import os

from pycontain.kernel import mountinfo, quotactl, rootless
from pycontain.kernel.errors import Error, os_text
from pycontain.storage import disk_image, projects, subvolume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROJECT, SUBVOLUME, IMAGE = "project", "subvolume", "image"
DIRECTORY = "disk"
IMAGE_FILE = "disk.img"
#: What is made to take a disk's place has this behind its name.
NEW = ".new"
#: And what it took the place of, until that is removed.
OLD = ".old"
#: Less than this, in bytes, no file system can be made in, and no guest could live with.
SMALLEST = 8 << 20


class Disk:
    """kind: one of the three. size: bytes, inodes: how many, 0: no limit.

    Which project it is the directory knows by itself: one that takes another's place may be in another.
    """

    __slots__ = ("inodes", "kind", "size")

    def __init__(self, kind: str, size: int, inodes: int) -> None:
        self.kind = kind
        self.size = size
        self.inodes = inodes

    @classmethod
    def of(cls, value: dict[str, Any]) -> Disk | None:
        """As a record has it, None for a container without a limit."""
        return cls(value["kind"], value["size"], value["inodes"]) if value else None

    def to_json(self) -> dict[str, Any]:
        """As ``of`` reads it."""
        return {"kind": self.kind, "size": self.size, "inodes": self.inodes}


class Offer:
    """What a host offers for a store: a kind, and why none that is better. kind "": none, and why."""

    __slots__ = ("kind", "why")

    def __init__(self, kind: str, why: str) -> None:
        self.kind = kind
        self.why = why


class Usage:
    """What is used of a disk: bytes and inodes; 0 as a limit: none, -1 as a figure: not known."""

    __slots__ = ("inodes", "size", "used", "used_inodes")

    def __init__(self, size: int, used: int, inodes: int, used_inodes: int) -> None:
        self.size = size
        self.used = used
        self.inodes = inodes
        self.used_inodes = used_inodes


def offer(directory: str) -> Offer:
    """What a store's directory offers. Raises OSError."""
    if rootless.inside():
        return Offer("", "quotas and loop devices are the superuser's")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kind = _type(fd)
        if kind in ("ext4", "xfs"):
            if quotactl.enforced(fd):
                return Offer(PROJECT, f"{kind} has project quotas there")
            how = "mount it with prjquota" + (", after tune2fs -O project,quota" if kind == "ext4" else "")
            why = f"{kind} has no project quotas there ({how})"
        elif kind == "btrfs":
            if subvolume.quotas(fd):
                return Offer(SUBVOLUME, "btrfs has quota groups there")
            why = "btrfs has no quota groups there (btrfs quota enable)"
        else:
            why = f"{kind} has no quotas that pycontain knows"
    finally:
        os.close(fd)
    missing = disk_image.missing()
    return Offer("", f"{why}, and {missing}") if missing else Offer(IMAGE, why)


def _type(fd: int) -> str:
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        number = next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))
    return next((mount.type for mount in mountinfo.parse(mountinfo.read()) if mount.number == number), "unknown")


def check(size: int, inodes: int) -> None:
    """Raises Error for limits that cannot be."""
    if size and size < SMALLEST:
        raise Error(f"a disk of {size} bytes is too small: give at least {SMALLEST >> 20}m")
    if inodes and not 64 <= inodes < 1 << 32:
        raise Error(f"{inodes} inodes: give at least 64, and less than {1 << 32}")


def make(root: str, base: str, container_id: str, size: int, inodes: int) -> Disk:
    """Make the disk of a new container in its directory ``base``. Raises Error; the caller removes what was made."""
    check(size, inodes)
    try:
        found = offer(base)
        if not found.kind:
            raise Error(f"this host cannot limit a container's disk: {found.why}")
        made = Disk(found.kind, size, inodes)
        fill(root, base, container_id, made, "")
        if made.kind == IMAGE:
            os.mkdir(f"{base}/{DIRECTORY}", 0o755)
        return made
    except OSError as error:
        raise Error(f"cannot make the disk of a container in {base}: {os_text(error)}") from None


def fill(root: str, base: str, container_id: str, made: Disk, suffix: str) -> None:
    """Make a disk's directory or image, empty and with its limits. suffix: of its name, for one that is to take
    another's place. Raises Error, OSError.
    """
    place = f"{base}/{DIRECTORY}{suffix}"
    if made.kind == IMAGE:
        if not made.size:
            raise Error("inodes without a size: here a disk is an image, which has to have a size")
        disk_image.create(f"{base}/{IMAGE_FILE}{suffix}", made.size, made.inodes)
        return
    if made.kind == SUBVOLUME:
        _no_inodes(made)
        subvolume.create(place, 0o755)
        subvolume.limit(place, made.size)
    else:
        os.mkdir(place, 0o755)
        project = projects.acquire(root, base, container_id)
        with _Directory(place) as fd:
            quotactl.assign(fd, project)
            quotactl.write(fd, project, made.size, made.inodes)
    _parts(place)


def _no_inodes(disk: Disk) -> None:
    if disk.inodes:
        raise Error("inodes: btrfs, on which the store is, has no limit of inodes: leave it out")


def _parts(place: str) -> None:
    """As container_dir makes them; in the project or the subvolume, which they have to be in together."""
    for name, mode in (("upper", 0o755), ("work", 0o700)):
        os.mkdir(f"{place}/{name}", mode)
        os.chmod(f"{place}/{name}", mode)


class _Directory:
    """A descriptor of a directory, as a context manager."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def open_top(base: str, disk: Disk | None) -> int:
    """A descriptor of the directory that has ``upper`` and ``work``, for as long as a container does not run.

    Of an image it is the root of a mount that nobody else sees, and that goes with the last descriptor of it. The
    container's lock is the caller's. Raises Error, OSError.
    """
    if disk is not None and disk.kind == IMAGE:
        return disk_image.open_root(f"{base}/{IMAGE_FILE}")
    return os.open(place(base, disk), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)


def mount(base: str, disk: Disk) -> int:
    """An image's mount, for a container that is about to start (kernel/newmount.py). Raises Error, OSError."""
    return disk_image.mount(f"{base}/{IMAGE_FILE}")


def place(base: str, disk: Disk | None) -> str:
    """The directory that open_top opens, where it can be seen by a path: not an image's."""
    return f"{base}/{DIRECTORY}" if disk is not None else base


def resize(base: str, disk: Disk, size: int, inodes: int, running: bool) -> Disk:
    """Other limits, at once. All of them or none. Raises Error.

    running: somebody has the container's lock; else it is the caller's.
    """
    check(size, inodes)
    wanted = Disk(disk.kind, size, inodes)
    try:
        if disk.kind == IMAGE:
            disk_image.resize(f"{base}/{IMAGE_FILE}", disk.size, size, disk.inodes, inodes, running)
            return wanted
        used = usage(base, disk)
        if size and used.used > size:
            raise Error(f"{used.used} bytes of its disk are in use: a limit of {size} is less")
        if inodes and used.used_inodes > inodes:
            raise Error(f"{used.used_inodes} inodes of its disk are in use: a limit of {inodes} is less")
        if disk.kind == SUBVOLUME:
            _no_inodes(wanted)
            subvolume.limit(f"{base}/{DIRECTORY}", size)
        else:
            with _Directory(f"{base}/{DIRECTORY}") as fd:
                quotactl.write(fd, quotactl.project(fd), size, inodes)
    except OSError as error:
        raise Error(f"cannot change the limits of the disk {base}/{DIRECTORY}: {os_text(error)}") from None
    return wanted


def usage(base: str, disk: Disk, root: str = "") -> Usage:
    """What is used. root: of the running container, for an image's figures. Raises Error."""
    try:
        if disk.kind == IMAGE:
            return _image_usage(root)
        with _Directory(f"{base}/{DIRECTORY}") as fd:
            if disk.kind == SUBVOLUME:
                return Usage(disk.size, subvolume.used(fd), 0, -1)
            found = quotactl.read(fd, quotactl.project(fd))
            return Usage(disk.size, found.used, disk.inodes, found.used_inodes)
    except OSError as error:
        raise Error(f"cannot read the use of the disk {base}/{DIRECTORY}: {os_text(error)}") from None


def _image_usage(root: str) -> Usage:
    room = os.statvfs(root)
    used = (room.f_blocks - room.f_bfree) * room.f_frsize
    return Usage(room.f_blocks * room.f_frsize, used, room.f_files, room.f_files - room.f_ffree)


def forget(base: str) -> None:
    """Before a container's directory is removed: what has more than files in it. Raises Error."""
    for name in (DIRECTORY, f"{DIRECTORY}{NEW}", f"{DIRECTORY}{OLD}"):
        try:
            subvolume.forget(f"{base}/{name}")
        except OSError as error:
            raise Error(f"cannot remove the subvolume {base}/{name}: {os_text(error)}") from None


def release(root: str, container_id: str) -> None:
    """After it was removed: give back its projects."""
    projects.release(root, container_id)
