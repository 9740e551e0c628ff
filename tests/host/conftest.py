"""Fixtures for tests in a disposable host (see machine.py).

``host``: run a script in a host of its own, for what ends or spoils a host. ``bare`` and ``systemd``: a host for the
whole session, without and with systemd as PID 1; much quicker, and scripts leave it as they found it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# ``tests`` has no __init__.py and pytest puts only this directory on the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.host import debian, images, machine


@pytest.fixture(scope="session")
def prepared() -> None:
    """All that hosts are made of; skips where this machine cannot have one, fails where it could not be made."""
    try:
        machine.kernel()
        debian.root()
        images.store()
    except machine.CannotRun as reason:
        pytest.skip(str(reason))
    except machine.NotReady as reason:
        pytest.fail(str(reason), pytrace=False)


@pytest.fixture(scope="session")
def host(prepared: None) -> Callable[..., machine.Result]:
    """machine.run"""
    return machine.run


@pytest.fixture(scope="session")
def bare(prepared: None) -> Iterator[machine.Host]:
    with machine.Host(memory="768M") as host:
        yield host


@pytest.fixture(scope="session")
def systemd(prepared: None) -> Iterator[machine.Host]:
    with machine.Host(memory="768M", systemd=True) as host:
        yield host


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for systemd, name in ((False, "without"), (True, "with")):
        seconds = sorted(took for flavour, took in machine.boots if flavour == systemd)
        if seconds:
            middle = seconds[len(seconds) // 2]
            terminalreporter.write_line(f"hosts {name} systemd: {len(seconds)} booted, in {middle:.1f} s each (median)")
