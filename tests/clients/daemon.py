"""A daemon in a view: started by hand, stopped by its process."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.view import View

from world import eventually

_PATIENCE = 60.0


@contextmanager
def daemon(view: View, command: list[str], answers: Callable[[], bool]) -> Iterator[None]:
    """Run a daemon until the block ends. answers: whether it can be talked to."""
    path = Path(view.state.parent / "daemon.log")
    with path.open("w") as log:
        process = view.start(*command, stdout=log, stderr=log)
    try:
        assert eventually(lambda: process.poll() is not None or answers(), _PATIENCE), path.read_text()
        assert process.poll() is None, path.read_text()
        yield
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
