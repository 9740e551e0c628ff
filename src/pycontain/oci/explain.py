"""What the helper becomes when create, run or exec has failed."""

from __future__ import annotations

import os
import sys

from pycontain.launch import explain
from pycontain.oci.report import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.oci.arguments import Call


def main(arguments: Sequence[str]) -> None:
    """PLAN-FD STATUS LOG LOG-FORMAT WHAT RECORD ERRNO DETAIL. Returns never; the status is STATUS."""
    plan, status, log, log_format, what, record, code, detail = arguments
    text, _ = explain.sentence(what, explain.failed_op(int(plan), int(record)), int(code), detail)
    report(text, {"log": log, "log-format": log_format})
    os._exit(int(status))


def argv(plan: int, call: Call, status: int, what: str) -> list[str]:
    """The command line of the process that explains a failed launch, for Handover; plan: its descriptor."""
    packages = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys;sys.path.insert(0,{packages!r});from pycontain.oci.explain import main;main(sys.argv[1:])"
    log = call.globals.get("log", "")
    facts = [str(plan), str(status), log and os.path.abspath(log), call.globals.get("log-format", ""), what]
    return [sys.executable or "/usr/bin/python3", "-I", "-S", "-c", code, *facts]
