"""update, stats, events and OOM kills in a kernel that has the controllers: guest_update.py, in one test host."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.host import guest_update, machine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcome(host: Callable[..., machine.Result], request: pytest.FixtureRequest) -> Callable[[str], dict[str, Any]]:
    selected = [
        item.callspec.params["name"]
        for item in request.session.items
        if getattr(item, "function", None) is test_in_the_host and hasattr(item, "callspec")
    ]
    script = (
        f"cd {machine.CHECKOUT} || exit\n"
        "export PYTHONDONTWRITEBYTECODE=1\n"
        f"exec {sys.executable} {guest_update.__file__} {' '.join(selected)}\n"
    )
    result = host(script, memory="768M", timeout=170)
    lines = [line.removeprefix("RESULT ") for line in result.output.splitlines() if line.startswith("RESULT ")]
    found: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in map(json.loads, lines)}

    def get(name: str) -> dict[str, Any]:
        if name not in found:
            pytest.fail(f"the host ended before it: {result.console}\n{result.output[-3000:]}")
        return found[name]

    return get


@pytest.mark.parametrize("name", guest_update.SCENARIOS)
def test_in_the_host(outcome: Callable[[str], dict[str, Any]], name: str) -> None:
    problem = outcome(name)["problem"]
    if problem:
        pytest.fail(problem, pytrace=False)
