"""Both cgroup drivers, with a whole pycontain on a host with cgroup v2 alone: guest_drivers.py and guest_systemd.py run
in the test host, once for what is selected."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.host import guest_drivers, guest_systemd, machine
from tests.host.outcomes import Outcomes, command, selected

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PYCONTAIN = str(Path(machine.PYTHON).with_name("pycontain"))


def ask(host: machine.Host, request: pytest.FixtureRequest, function: object, program: str, *words: str) -> Outcomes:
    return Outcomes(host.run(command(program, *words, PYCONTAIN, *selected(request, function)), timeout=200))


@pytest.fixture(scope="module")
def on_cgroupfs(bare: machine.Host, request: pytest.FixtureRequest) -> Outcomes:
    return ask(bare, request, test_cgroupfs, "guest_drivers.py", "cgroupfs")


@pytest.fixture(scope="module")
def on_systemd(systemd: machine.Host, request: pytest.FixtureRequest) -> Outcomes:
    return ask(systemd, request, test_systemd, "guest_drivers.py", "systemd")


@pytest.fixture(scope="module")
def driver(systemd: machine.Host, request: pytest.FixtureRequest) -> Outcomes:
    return ask(systemd, request, test_the_systemd_driver, "guest_systemd.py")


@pytest.mark.parametrize("name", guest_drivers.SCENARIOS)
def test_cgroupfs(on_cgroupfs: Outcomes, name: str) -> None:
    on_cgroupfs.check(name)


@pytest.mark.parametrize("name", guest_drivers.SCENARIOS)
def test_systemd(on_systemd: Outcomes, name: str) -> None:
    on_systemd.check(name)


@pytest.mark.parametrize("name", guest_systemd.SCENARIOS)
def test_the_systemd_driver(driver: Outcomes, name: str) -> None:
    driver.check(name)
