"""Limits in a kernel that has all controllers: guest_limits.py runs in the test host, once for what is selected."""

from __future__ import annotations

import pytest
from tests.host import guest_limits, machine
from tests.host.outcomes import Outcomes, command, selected

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcomes(bare: machine.Host, request: pytest.FixtureRequest) -> Outcomes:
    return Outcomes(bare.run(command("guest_limits.py", *selected(request, test_in_the_host)), timeout=220))


@pytest.mark.parametrize("name", guest_limits.SCENARIOS)
def test_in_the_host(outcomes: Outcomes, name: str) -> None:
    outcomes.check(name)
