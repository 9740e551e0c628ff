"""A disk in a file: ext4 in a sparse image, mounted for one container alone. Off the start road.

It is mounted nowhere that the host sees: a descriptor of the mount goes to the container's mount namespace, where the
overlay takes it. So it goes with the container, whatever becomes of the monitor, and nothing has to be put right.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess

from pycontain.kernel import newmount
from pycontain.kernel.errors import Error, os_text
from pycontain.storage import loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.storage.loop import Loop

_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
#: linux/ext4: EXT4_IOC_RESIZE_FS, the number of blocks
_RESIZE = 0x40086610
#: Bytes of one block, always: a small image with smaller ones could not be grown far.
_BLOCK = 4096


def program(name: str) -> str:
    """Where a program of e2fsprogs is, "" where it is not."""
    return shutil.which(name, path=_PATH) or ""


def missing() -> str:
    """What the host lacks for images, "" for nothing."""
    if not program("mke2fs"):
        return "for an image mke2fs is missing (install e2fsprogs)"
    if not os.path.exists("/dev/loop-control"):
        return "for an image the kernel's loop devices are missing (modprobe loop)"
    return ""


def _run(name: str, *arguments: str, good: tuple[int, ...] = (0,)) -> None:
    """Run a program of e2fsprogs. Raises Error with its words."""
    found = program(name)
    if not found:
        raise Error(f"{name} is missing: install e2fsprogs")
    done = subprocess.run(
        [found, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": _PATH, "LC_ALL": "C"},
        check=False,
    )
    if done.returncode not in good:
        words = " ".join(done.stdout.decode("utf-8", "replace").split())
        raise Error(f"{name} {arguments[-1]} failed with status {done.returncode}: {words[-300:]}")


def create(path: str, size: int, inodes: int) -> None:
    """A new image; size: bytes, inodes: 0 for as many as mke2fs finds fit. Raises Error, OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)
    # without a share for root: the guest's root is not the host's.
    count = ("-N", str(inodes)) if inodes else ()
    _run("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-b", str(_BLOCK), "-E", "root_owner=0:0", *count, path)


def mount(path: str) -> int:
    """A descriptor of the image's root, mounted for whoever has it, with upper and work directory. Raises Error."""
    device = loop.attach(path)
    try:
        return _mount(device, path)
    finally:
        device.close()


def open_root(path: str) -> int:
    """As mount, but a descriptor that can be read from, and that cannot be mounted anywhere. Raises Error."""
    return _reopen(mount(path))


def _reopen(mounted: int) -> int:
    # what is open keeps the file system, also after its mount has gone
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mounted)
    finally:
        os.close(mounted)


def _mount(device: Loop, path: str) -> int:
    try:
        # what the guest removes is given back to the host's file system
        fd = newmount.mount("ext4", device.path, ("discard",))
    except OSError as error:
        raise Error(f"cannot mount the disk {path}: {error.strerror}: e2fsck -f {path} may help") from None
    try:
        for name, mode in (("upper", 0o755), ("work", 0o700)):
            try:
                os.mkdir(name, mode, dir_fd=fd)
            except FileExistsError:
                continue
            os.chmod(name, mode, dir_fd=fd)
        return fd
    except OSError as error:
        os.close(fd)
        raise Error(f"cannot prepare the disk {path}: {os_text(error)}") from None


def resize(path: str, before: int, size: int, had: int, inodes: int, running: bool) -> None:
    """Another size; running: while it is mounted. Raises Error, OSError."""
    if inodes != had:
        raise Error("the number of inodes of a disk image is that which it was made with: it cannot be changed")
    if not size:
        raise Error("here a disk is an image, which has to have a size: give one that is large enough")
    if size > before:
        _grow(path, size, running)
    elif size < before:
        if running:
            raise Error(
                f"a disk image cannot shrink while it is in use: it has {before} bytes: stop the container first, or"
                " put the store on ext4 or XFS with project quotas"
            )
        _remake(path, size)


def _grow(path: str, size: int, running: bool) -> None:
    """What the file system does not take of its file is a hole, and costs nothing: it stays."""
    os.truncate(path, size)
    device = loop.attach(path)
    try:
        device.grown()
        # where it is mounted already this is the same file system once more
        fd = _reopen(_mount(device, path))
        try:
            fcntl.ioctl(fd, _RESIZE, struct.pack("=Q", size // _BLOCK))
            return
        finally:
            os.close(fd)
    except PermissionError:
        if running:
            raise Error(
                "an image that is in use can only be grown with CAP_SYS_RESOURCE, which this process has not: stop the"
                " container first"
            ) from None
    except OSError as error:
        raise Error(f"cannot grow the disk {path} to {size} bytes: {os_text(error)}") from None
    finally:
        device.close()
    _remake(path, size)


def _remake(path: str, size: int) -> None:
    """On a copy that takes the image's place: resize2fs that is killed leaves a file system that nobody can read."""
    new = f"{path}.new"
    try:
        copy(path, new)
        os.truncate(new, max(size, os.stat(new).st_size))
        _run("e2fsck", "-f", "-y", new, good=(0, 1))
        _run("resize2fs", new, f"{size // _BLOCK}")
        os.truncate(new, size)
        os.rename(new, path)
    except BaseException:
        try:
            os.unlink(new)
        except FileNotFoundError:
            pass
        raise


def copy(source: str, target: str) -> None:
    """A copy of a sparse file: its blocks shared where the file system can, else what is no hole. Raises OSError."""
    from pycontain.storage import treecopy

    origin = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        new = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            treecopy.content(origin, new, os.fstat(origin).st_size)
            os.fsync(new)
        finally:
            os.close(new)
    finally:
        os.close(origin)
