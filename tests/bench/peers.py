"""Who is measured: our two commands, with and without a planner, and the OCI runtimes that this machine has."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.timing import spawn

BIN = Path(sys.executable).parent
COLD, WARM = "cold", "warm"


def version(command: str) -> str:
    """What a program says of itself, in a line."""
    try:
        done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    text = (done.stdout or done.stderr).strip()
    return text.splitlines()[0].strip() if text else "?"


class Runtime:
    """One with runc's command line. command: its first words."""

    def __init__(self, name: str, program: str, base: Path, env: dict[str, str]) -> None:
        self.name, self.program, self.env = name, program, env
        self.state = base / f"state-{len(list(base.glob('state-*')))}"
        self.state.mkdir()
        self.errors = base / "errors"
        self.version = version(program)

    def __call__(self, *words: str) -> float:
        """Milliseconds. Raises Failed."""
        return spawn([self.program, "--root", str(self.state), *words], self.env, self.errors)


def cold() -> dict[str, str]:
    return {**os.environ, "PYCONTAIN_PLANNER": ""}


def runtimes(base: Path, warm: dict[str, str], arguments: argparse.Namespace) -> list[Runtime]:
    """Ours first. Other builds of ours, and other runtimes, come by ``--other NAME=PATH``."""
    oci = str(BIN / "pycontain-oci")
    found = [Runtime(COLD, oci, base, cold()), Runtime(WARM, oci, base, warm)]
    for name in ("crun", "runc"):
        path = getattr(arguments, name) or shutil.which(name)
        if path:
            found.append(Runtime(name, path, base, dict(os.environ)))
    for word in arguments.other:
        name, _, path = word.partition("=")
        found.append(Runtime(name, path, base, cold()))
    return found
