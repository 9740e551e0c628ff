"""What the helper becomes when create or run has failed."""

from __future__ import annotations

import errno
import os

from pycontain.launch import explain
from pycontain.oci.report import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> None:
    """PLAN-FD WHAT LOG LOG-FORMAT RECORD ERRNO DETAIL. LOG: "" for none. Returns never; the status is 1, as runc's."""
    plan, what, log, log_format, record, code, detail = arguments
    text, _ = explain.sentence(what, explain.failed_op(int(plan), int(record)), int(code), detail)
    if int(code) == errno.EISDIR:
        text += ": permission denied"  # runc 1.2 says the one, runc 1.1 the other, and callers look for either
    report(text, {"log": log, "log-format": log_format} if log else {})
    os._exit(1)
