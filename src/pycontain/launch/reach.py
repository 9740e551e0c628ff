"""Sources of binds that the root of a new user namespace cannot come to by their paths (below a directory of 0700)."""

from __future__ import annotations

import os

from pycontain.kernel import mountinfo
from pycontain.launch.namespaces import outside

#: What the kernel locks where a guest copies a mount of the host by its path; a copy that is handed to it has no lock.
_LOCKED = os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC


def hidden(source: str, uids: str, gids: str, recursive: bool) -> bool:
    """Whether the host is to open ``source``. uids, gids: as /proc/PID/uid_map.

    False too where a guest with CAP_SYS_ADMIN could then take attributes away that the host's mount has, or that one
    below it may have: there the guest's own attempt fails.
    """
    try:
        path = os.path.realpath(source, strict=True)
        above = path
        entered = True
        while entered and above != "/":
            above = os.path.dirname(above)
            entered = _enters(os.stat(above), uids, gids)
        if entered or os.statvfs(path).f_flag & _LOCKED:
            return False
        below = f"{path}/"
        return not (recursive and any(mount.point.startswith(below) for mount in mountinfo.parse(mountinfo.read())))
    except OSError:
        return False  # whoever opens it says why


def _enters(directory: os.stat_result, uids: str, gids: str) -> bool:
    if _mapped(uids, directory.st_uid) and _mapped(gids, directory.st_gid):
        return True  # capabilities(7): CAP_DAC_READ_SEARCH holds for files whose owner and group are mapped
    if directory.st_uid == outside(uids, 0):
        return bool(directory.st_mode & 0o100)
    return bool(directory.st_mode & (0o010 if directory.st_gid == outside(gids, 0) else 0o001))


def _mapped(text: str, number: int) -> bool:
    for line in text.splitlines():
        _, host, size = [int(word) for word in line.split()]
        if host <= number < host + size:
            return True
    return False
