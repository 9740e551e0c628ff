"""Fields of linux.resources whose controllers User-mode Linux lacks, in an emulated machine: guest_fields.py."""

from __future__ import annotations

import pytest
from tests.host import emulated, guest_fields, machine
from tests.host.outcomes import Outcomes, selected

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Outcomes:
    try:
        machine.check()
    except machine.CannotRun as reason:
        pytest.skip(str(reason))
    names = selected(request, test_in_the_emulated_machine)
    script = f"python3 /guest/tests/host/guest_fields.py {' '.join(names)}\n"
    result = emulated.run(script, timeout=90)
    if result.status == machine.DIED:  # emulation hangs now and then; a second machine is another throw
        result = emulated.run(script, timeout=90)
    return Outcomes(result)


@pytest.mark.parametrize("name", guest_fields.SCENARIOS)
def test_in_the_emulated_machine(outcomes: Outcomes, name: str) -> None:
    outcomes.check(name)
