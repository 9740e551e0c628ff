"""The fixture ``host``: run a script in a disposable host of its own (see machine.py)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# ``tests`` has no __init__.py and pytest puts only this directory on the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.host import machine


@pytest.fixture(scope="session")
def host() -> Callable[..., machine.Result]:
    """machine.run; skips where this machine cannot have such a host."""
    try:
        machine.kernel()
    except machine.CannotRun as reason:
        pytest.skip(str(reason))
    return machine.run
