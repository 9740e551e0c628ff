"""How C comes back to Python: command lines for the helper to execute."""

from __future__ import annotations

import os
import sys


def argv(module: str, *arguments: str) -> list[str]:
    """The command line that runs ``main(arguments)`` of a module of this package, as the commands themselves start."""
    packages = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys;sys.path.insert(0,{packages!r});from {module} import main;main(sys.argv[1:])"
    return [sys.executable or "/usr/bin/python3", "-I", "-S", "-c", code, *arguments]
