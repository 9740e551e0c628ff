"""What the helper becomes when a launch has failed: a sentence on standard error, and the exit status."""

from __future__ import annotations

import errno
import os

from pycontain.launch import explain, ops, ops_mounts, ops_userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


#: What the helper says of it (idmap.c).
_UNMAPPED = "does not support mapped owners"
_MAPPING = "ext4, XFS and btrfs do, tmpfs does since Linux 6.3"


def _cause(op: ops.Op | None, code: int, detail: str, root: str) -> str:
    """What this room knows of it: a store that cannot hold upper directories shows only when it is mounted."""
    if code == errno.EPERM and "Mount too revealing" in detail:
        return "pycontain sees a part of /proc or /sys only, in a container itself: use --userns host"
    mapping = code == errno.EINVAL and _UNMAPPED in detail
    if mapping and isinstance(op, ops_userns.MapSource):
        return f"{_MAPPING}: give the volume the option noidmap, or use --userns host"
    if not isinstance(op, (ops_mounts.RootOverlay, ops_userns.MapRoot)) or code not in (errno.EINVAL, errno.EOPNOTSUPP):
        return ""
    from pycontain.storage.filesystem import upper_problem

    mapped = f"{_MAPPING}: give --root on one of these, or use --userns host"
    return upper_problem(root) or (mapped if mapping else "the kernel's log (dmesg) says more")


def main(arguments: Sequence[str]) -> None:
    """PLAN-FD WHAT ROOT RECORD ERRNO DETAIL. Returns never."""
    plan, what, root, record, code, detail = arguments
    op = explain.failed_op(int(plan), int(record))
    text, status = explain.sentence(what, op, int(code), detail, _cause(op, int(code), detail, root))
    os.write(2, f"pycontain: {text}\n".encode("utf-8", "backslashreplace"))
    os._exit(status)
