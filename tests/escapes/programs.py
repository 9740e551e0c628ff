"""The attackers' programs: a C source of this directory, as a static program that runs in every root."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def build(name: str, place: Path) -> Path:
    """The program of ``name``.c, in the directory ``place``."""
    program = place / name
    if not program.exists():
        compiler = shutil.which("musl-gcc")
        assert compiler, "musl-gcc is missing: scripts/need-packages build"
        source = Path(__file__).parent / f"{name}.c"
        flags = ["-D_GNU_SOURCE", "-static", "-O2", "-Wall", "-Wextra", "-Werror"]
        headers = ["-idirafter", "/usr/include", "-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu"]
        subprocess.run([compiler, *flags, *headers, "-o", str(program), str(source)], check=True, timeout=120)
    return program
