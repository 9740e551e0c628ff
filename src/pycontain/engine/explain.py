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


def _cause(op: ops.Op | None, code: int, detail: str, root: str) -> str:
    """What this room knows of it: a store that cannot hold upper directories shows only when it is mounted."""
    if isinstance(op, (ops_userns.MapSource, ops_userns.MapRoot)) and code == errno.EINVAL and _UNMAPPED in detail:
        other = "" if isinstance(op, ops_userns.MapRoot) else "give the volume the option noidmap, or "
        return f"ext4, XFS and btrfs do, tmpfs does since Linux 6.3: {other}use --userns host"
    if not isinstance(op, (ops_mounts.RootOverlay, ops_userns.MapRoot)) or code not in (errno.EINVAL, errno.EOPNOTSUPP):
        return ""
    from pycontain.storage.filesystem import upper_problem

    return upper_problem(root) or "the kernel's log (dmesg) says more"


def main(arguments: Sequence[str]) -> None:
    """PLAN-FD WHAT ROOT RECORD ERRNO DETAIL. Returns never."""
    plan, what, root, record, code, detail = arguments
    op = explain.failed_op(int(plan), int(record))
    text, status = explain.sentence(what, op, int(code), detail, _cause(op, int(code), detail, root))
    os.write(2, f"pycontain: {text}\n".encode("utf-8", "backslashreplace"))
    os._exit(status)
