"""A planner for tests and the bench (docs/planner.md)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Planner:
    """One with a socket below ``base``; ``warm`` and ``cold`` are environments of commands that ask it, or none."""

    def __init__(self, base: Path, *flags: str) -> None:
        self.path = base / "planner" / "socket"
        self.cold = {**os.environ, "PYCONTAIN_PLANNER": ""}
        self.warm = {**os.environ, "PYCONTAIN_PLANNER": str(self.path)}
        program = str(Path(sys.executable).parent / "pycontain")
        command = [program, "planner", "--socket", str(self.path), "--idle-timeout", "0", *flags]
        told = base / "ready"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(told))
            ready.settimeout(20)
            environment = {**self.cold, "NOTIFY_SOCKET": str(told)}
            self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
            try:
                assert ready.recv(64) == b"READY=1"
            except TimeoutError:
                self.process.kill()
                raise AssertionError(self.process.communicate()) from None
        told.unlink()

    def end(self) -> str:
        """What it had to say on standard error."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, errors
        return errors


@contextmanager
def planner(base: Path) -> Iterator[Planner]:
    """One that is there for a while, and has to live as long."""
    found = Planner(base)
    try:
        yield found
        assert found.process.poll() is None, "the planner has ended"
    finally:
        found.process.terminate()
        found.process.wait()
