"""Why a file system cannot hold the upper directory of an overlay: for error texts, off the start road."""

from __future__ import annotations

import errno
import os

from pycontain.kernel import rootless
from pycontain.kernel.errors import os_text

_REMEDY = "give --root on ext4, xfs, btrfs or tmpfs"

#: What overlayfs refuses or cannot work with as upper (Documentation/filesystems/overlayfs.rst, "Upper and lower
#: filesystem"; fs/overlayfs/super.c: ovl_make_workdir). Others are asked for what overlayfs needs.
_NEVER = {
    "overlay": "overlayfs cannot use an overlay as upper directory",
    "aufs": "overlayfs cannot use aufs as upper directory",
    "nfs": "overlayfs cannot use nfs as upper directory (no trusted extended attributes)",
    "nfs4": "overlayfs cannot use nfs as upper directory (no trusted extended attributes)",
    "cifs": "overlayfs cannot use cifs as upper directory",
    "smb3": "overlayfs cannot use smb3 as upper directory",
    "vfat": "overlayfs cannot use vfat as upper directory (names without case, no extended attributes)",
    "msdos": "overlayfs cannot use msdos as upper directory (names without case, no extended attributes)",
    "exfat": "overlayfs cannot use exfat as upper directory (names without case, no extended attributes)",
    "ntfs3": "overlayfs cannot use ntfs3 as upper directory",
    "ecryptfs": "overlayfs cannot use ecryptfs as upper directory",
    "squashfs": "squashfs is read-only",
    "erofs": "erofs is read-only",
    "iso9660": "iso9660 is read-only",
    "proc": "proc holds no files",
    "sysfs": "sysfs holds no files",
}

_DT_UNKNOWN = 0


def upper_problem(path: str) -> str | None:
    """Why ``path`` (a directory) cannot hold upper directories, with what to do, None where it can.

    A probe directory is made in it and removed again.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return f"{path} cannot be opened: {os_text(error)}"
    try:
        kind, options = _mount(fd)
        reason = _NEVER.get(kind)
        if reason is None and "ro" in options:
            reason = f"{kind} is mounted read-only there"
        if reason is None:
            reason = _probe(fd)
    finally:
        os.close(fd)
    return f"{path} is on {kind}: {reason}: {_REMEDY}" if reason else None


def _mount(fd: int) -> tuple[str, list[str]]:
    """File system type and mount options of where ``fd`` is, by mount ID.

    Not by st_dev: a btrfs subvolume has another one than its mount (proc_pid_mountinfo(5)).
    """
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        number = next(line.split()[1] for line in file if line.startswith("mnt_id:"))
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.startswith(f"{number} "):
                left, _, right = line.partition(" - ")
                return right.split()[0], left.split()[5].split(",") + right.split()[-1].split(",")
    return "an unknown file system", []


def _probe(fd: int) -> str | None:
    """What overlayfs needs and this file system does not give, found out in a directory made for that."""
    name = f".pycontain-probe-{os.getpid()}"
    try:
        os.mkdir(name, 0o700, dir_fd=fd)
    except OSError as error:
        return f"it takes no new directory ({os_text(error)})"
    try:
        probe = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            return _attributes(probe) or _types(probe)
        finally:
            os.close(probe)
    finally:
        os.rmdir(name, dir_fd=fd)


def _attributes(fd: int) -> str | None:
    space = "user" if rootless.inside() else "trusted"
    try:
        os.setxattr(fd, f"{space}.overlay.opaque", b"y")
    except OSError as error:
        if error.errno == errno.EPERM:
            return f"{space} extended attributes are refused: pycontain needs to be root"
        return f"it has no {space} extended attributes ({os_text(error)}), in which overlayfs keeps opaque directories"
    return None


def _types(fd: int) -> str | None:
    """Whether readdir(3) tells the type of an entry: XFS made with ftype=0 does not, nor does it know whiteouts."""
    # "." and ".." always have a type, so it takes a directory with an entry.
    os.mkdir("entry", 0o700, dir_fd=fd)
    try:
        kind = _entry_type(fd, b"entry")
    finally:
        os.rmdir("entry", dir_fd=fd)
    return "it does not tell the type of directory entries (d_type)" if kind == _DT_UNKNOWN else None


def _entry_type(fd: int, name: bytes) -> int | None:
    """d_type of an entry of a directory, which os.scandir() does not show."""
    import ctypes

    libc = ctypes.CDLL(None)
    libc.fdopendir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fdopendir(os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)))
    try:
        # struct dirent with 64-bit offsets, glibc and musl: d_ino 8, d_off 8, d_reclen 2, d_type 1, d_name.
        while entry := libc.readdir(stream):
            if ctypes.string_at(entry + 19) == name:
                return ctypes.string_at(entry + 18, 1)[0]
    finally:
        libc.closedir(stream)
    return None
