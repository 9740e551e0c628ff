"""What the helper becomes when a launch has failed: a sentence on standard error, and the exit status."""

from __future__ import annotations

import errno
import os

from pycontain.launch import explain, ops, ops_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def _cause(op: ops.Op | None, code: int, root: str) -> str:
    """What this room knows of it: a store that cannot hold upper directories shows only when it is mounted."""
    if not isinstance(op, ops_mounts.RootOverlay) or code not in (errno.EINVAL, errno.EOPNOTSUPP):
        return ""
    from pycontain.storage.filesystem import upper_problem

    return upper_problem(root) or "the kernel's log (dmesg) says more"


def main(arguments: Sequence[str]) -> None:
    """PLAN-FD WHAT ROOT RECORD ERRNO DETAIL. Returns never."""
    plan, what, root, record, code, detail = arguments
    op = explain.failed_op(int(plan), int(record))
    text, status = explain.sentence(what, op, int(code), detail, _cause(op, int(code), root))
    os.write(2, f"pycontain: {text}\n".encode("utf-8", "backslashreplace"))
    os._exit(status)
