"""Errors and warnings: a line on stderr, and one in the log that the caller reads (runc's --log, --log-format)."""

from __future__ import annotations

import os

from pycontain.kernel.errors import printable


def report(message: str, globals_: dict[str, str], level: str = "error") -> None:
    """One line. level: error or warning."""
    message = printable(message)
    head = "" if level == "error" else f"{level}: "
    os.write(2, f"pycontain-oci: {head}{message}\n".encode("utf-8", "backslashreplace"))
    if not globals_.get("log"):
        return
    import time

    from pycontain.kernel import jsontext

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if globals_.get("log-format") == "json":
        line = jsontext.dumps({"level": level, "msg": message, "time": now})
    else:
        line = f"time={jsontext.dumps(now)} level={level} msg={jsontext.dumps(message)}"
    try:
        with open(globals_["log"], "a", encoding="utf-8") as log:
            log.write(line + "\n")
    except OSError:
        pass  # it stands on stderr
