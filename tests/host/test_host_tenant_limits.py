"""Tenants' limits in a kernel that has the controllers: guest_tenants.py, in one test host."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.host import guest_tenants, machine
from tests.host.outcomes import Outcomes, command, selected

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcomes(host: Callable[..., machine.Result], request: pytest.FixtureRequest) -> Outcomes:
    script = command("guest_tenants.py", *selected(request, test_in_the_host))
    return Outcomes(host(script, memory="768M", timeout=270))


@pytest.mark.parametrize("name", guest_tenants.SCENARIOS)
def test_in_the_host(outcomes: Outcomes, name: str) -> None:
    outcomes.check(name)
