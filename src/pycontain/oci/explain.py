"""What the helper becomes when create or run has failed."""

from __future__ import annotations

import os

from pycontain.launch import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> None:
    """PLAN-FD WHAT RECORD ERRNO DETAIL. Returns never; the status is 1, as runc's."""
    plan, what, record, code, detail = arguments
    text, _ = explain.sentence(what, explain.failed_op(int(plan), int(record)), int(code), detail)
    os.write(2, f"pycontain-oci: {text}\n".encode("utf-8", "backslashreplace"))
    os._exit(1)
