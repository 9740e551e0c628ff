"""Property tests: chance looks for new cases at a developer's, and tries the same ones each time in CI."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")

# A shell starts its background jobs with SIGINT ignored, and what is ignored stays so across exec: the programs under
# test, which are interrupted to see what they do, would not be.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--planner", action="store_true", help="all commands ask a planner that is there for the session")


@pytest.fixture(scope="session", autouse=True)
def session_planner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """With --planner: one, and the environment that leads to it."""
    if not request.config.getoption("--planner"):
        yield
        return
    path = tmp_path_factory.mktemp("planner", numbered=False) / "private" / "socket"
    command = [str(Path(sys.executable).parent / "pycontain"), "planner", "--socket", str(path), "--idle-timeout", "0"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.settimeout(20)
        ready.bind(str(path.parents[1] / "ready"))
        process = subprocess.Popen(command, env={**os.environ, "NOTIFY_SOCKET": ready.getsockname()})
        ready.recv(64)
    with process:
        os.environ["PYCONTAIN_PLANNER"] = str(path)
        yield
        assert process.poll() is None, "the planner has ended"
        process.terminate()
