"""python -m tests.host run [--memory 512M] [--timeout 120] [--bind HOST:GUEST] [--systemd] SCRIPT"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.host import machine


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.host", description=machine.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run a shell script in a host of its own; its exit status, 125 if the host died")
    run.add_argument("--memory", default="512M", help="of the guest (default: %(default)s)")
    run.add_argument("--timeout", type=float, default=120, help="seconds to its death (default: %(default)s)")
    run.add_argument(
        "--bind", action="append", default=[], metavar="HOST:GUEST", help="a directory the guest may write"
    )
    run.add_argument("--systemd", action="store_true", help="boot systemd first")
    run.add_argument("--lower", default="/", help="the directory that becomes / (default: %(default)s)")
    run.add_argument("script", type=Path)
    options = parser.parse_args()
    try:
        result = machine.run(
            options.script.read_text(),
            memory=options.memory,
            timeout=options.timeout,
            binds=options.bind,
            systemd=options.systemd,
            lower=options.lower,
            echo=True,
        )
    except machine.CannotRun as reason:
        print(f"tests.host: {reason}", file=sys.stderr)
        return machine.DIED
    if result.status == machine.DIED:
        print(result.console, end="", file=sys.stderr)
    return result.status


if __name__ == "__main__":
    sys.exit(main())
