"""The directory of one container: what belongs to it on the disk."""

from __future__ import annotations

import errno
import os

from pycontain.kernel.errors import Error, InUse, os_text

#: Nobody but root comes below a container's directory (CVE-2024-25621): its upper directory has set-user-ID files.
#: ``upper`` gives the guest's "/" its mode; ``work`` belongs to overlayfs; ``root`` is the mount point; ``etc`` holds
#: hostname, hosts and resolv.conf, which the guest reads through bind mounts.
_MODE = 0o700
_OWN = (("upper", 0o755), ("work", 0o700))
_PARTS = (("root", 0o755), ("etc", 0o755))

_HINTS = {
    errno.ENOSPC: "the file system is full: free space there (pycontain image prune, rm) or give --root elsewhere",
    errno.EDQUOT: "the disk quota is used up: free space there or give --root elsewhere",
    errno.EROFS: "give --root on a file system that is mounted for writing",
    errno.EACCES: "pycontain needs to be root",
    errno.EPERM: "pycontain needs to be root, and the directory must not be immutable (lsattr)",
    errno.ENOTDIR: "something there is not a directory: give --root elsewhere",
}


def path(root: str, container_id: str) -> str:
    """Where the container's directory is, whether it exists or not."""
    return f"{root}/containers/{container_id}"


def make(root: str, container_id: str, own: bool = True) -> str:
    """Make the container's directory with upper, work, root and etc; give its path.

    own: with upper and work, which a container whose disk is limited has elsewhere (storage/disk.py).
    Nothing is left when it fails. Raises InUse where the container exists, Error naming the path and the reason.
    """
    base = path(root, container_id)
    umask = os.umask(0o022)
    try:
        try:
            os.mkdir(base, _MODE)
        except FileNotFoundError:
            _parents(root)
            os.mkdir(base, _MODE)
        try:
            for name, mode in (*_OWN, *_PARTS) if own else _PARTS:
                os.mkdir(f"{base}/{name}", mode)
        except BaseException:
            _undo(base)
            raise
    except FileExistsError:
        raise InUse(f"container {container_id} exists already: {base} is there") from None
    except OSError as error:
        raise problem(error, base) from None
    finally:
        os.umask(umask)
    return base


def problem(error: OSError, base: str) -> Error:
    """One line for a directory or file of a container that cannot be made."""
    hint = _HINTS.get(error.errno or 0)
    return Error(f"cannot create {base}: {os_text(error)}{': ' + hint if hint else ''}")


def _parents(root: str) -> None:
    os.makedirs(root, 0o711, exist_ok=True)
    try:
        os.mkdir(f"{root}/containers", 0o711)
    except FileExistsError:
        pass


def _undo(base: str) -> None:
    """Take back what make() made; the directories are empty."""
    for name, _ in (*_OWN, *_PARTS):
        try:
            os.rmdir(f"{base}/{name}")
        except OSError:
            pass
    try:
        os.rmdir(base)
    except OSError:
        pass
