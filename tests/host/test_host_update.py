"""update, stats, events and OOM kills in a kernel that has the controllers: guest_update.py, in one test host."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.host import guest_update, machine
from tests.host.outcomes import Outcomes, command, selected

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcomes(host: Callable[..., machine.Result], request: pytest.FixtureRequest) -> Outcomes:
    script = command("guest_update.py", *selected(request, test_in_the_host))
    return Outcomes(host(script, memory="768M", timeout=250))


@pytest.mark.parametrize("name", guest_update.SCENARIOS)
def test_in_the_host(outcomes: Outcomes, name: str) -> None:
    outcomes.check(name)
