"""An ordinary user with a systemd of their own: guest_rootless.py and guest_oci_rootless.py run in a test host, each
once for what is selected."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.host import guest_oci_rootless, guest_rootless, machine
from tests.host.outcomes import Outcomes, command, selected

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PYCONTAIN = str(Path(machine.PYTHON).with_name("pycontain"))


@pytest.fixture(scope="module")
def outcomes(systemd: machine.Host, request: pytest.FixtureRequest) -> Outcomes:
    names = selected(request, test_without_root)
    return Outcomes(systemd.run(command("guest_rootless.py", PYCONTAIN, *names), timeout=200))


@pytest.mark.parametrize("name", guest_rootless.SCENARIOS)
def test_without_root(outcomes: Outcomes, name: str) -> None:
    outcomes.check(name)


@pytest.fixture(scope="module")
def oci(systemd: machine.Host, request: pytest.FixtureRequest) -> Outcomes:
    names = selected(request, test_the_oci_runtime)
    return Outcomes(systemd.run(command("guest_oci_rootless.py", f"{PYCONTAIN}-oci", *names), timeout=200))


@pytest.mark.parametrize("name", guest_oci_rootless.SCENARIOS)
def test_the_oci_runtime(oci: Outcomes, name: str) -> None:
    oci.check(name)
