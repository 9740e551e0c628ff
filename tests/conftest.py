"""Property tests: chance looks for new cases at a developer's, and tries the same ones each time in CI."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests import warm

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
    with warm.planner(tmp_path_factory.mktemp("planner", numbered=False)) as found:
        os.environ["PYCONTAIN_PLANNER"] = str(found.path)
        yield
