"""Fields of linux.resources whose controllers User-mode Linux lacks, in an emulated machine: guest_fields.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.host import emulated, guest_fields, machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    try:
        machine.check()
    except machine.CannotRun as reason:
        pytest.skip(str(reason))
    names = [item.callspec.params["name"] for item in request.session.items if hasattr(item, "callspec")
             and getattr(item, "function", None) is test_in_the_emulated_machine]  # fmt: skip
    # emulation hangs now and then; a second machine is another throw
    for _ in range(2):
        result = emulated.run(f"python3 /guest/tests/host/guest_fields.py {' '.join(names)}\n", timeout=90)
        lines = [line.removeprefix("RESULT ") for line in result.output.splitlines() if line.startswith("RESULT ")]
        found: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in map(json.loads, lines)}
        if result.status != machine.DIED:
            break
    if len(found) != len(names):
        pytest.fail(f"the machine ended before all was tried: {result.console[-2000:]}\n{result.output[-3000:]}")
    return found


@pytest.mark.parametrize("name", guest_fields.SCENARIOS)
def test_in_the_emulated_machine(outcome: dict[str, dict[str, Any]], name: str) -> None:
    problem = outcome[name]["problem"]
    if problem:
        pytest.fail(problem, pytrace=False)
