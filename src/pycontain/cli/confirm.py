"""Asking before something is removed that nobody named."""

from __future__ import annotations

import sys

from pycontain.cli.args import Options
from pycontain.kernel.errors import UsageError


def confirmed(options: Options, what: str) -> bool:
    """Whether to do it: --force, or the answer to a question. Raises UsageError where nobody can be asked."""
    if options.flag("force"):
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"{options.verb.name} asks before it removes: give --force where nobody can answer")
    sys.stdout.flush()
    sys.stderr.write(f"This removes {what}. Go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
