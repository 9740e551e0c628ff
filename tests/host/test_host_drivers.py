"""Both cgroup drivers, with a whole pycontain on a host with cgroup v2 alone: guest_drivers.py and guest_systemd.py run
in the test host, once for what is selected."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.host import guest_drivers, guest_systemd, machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PYCONTAIN = Path(machine.PYTHON).with_name("pycontain")
Outcome = Callable[[str], dict[str, Any]]


def outcome(host: machine.Host, program: str, names: list[str]) -> Outcome:
    command = f"{machine.PYTHON} {machine.HERE}/{program} {' '.join(names)}"
    script = f"export PYTHONPATH={machine.CHECKOUT}\ncd /tmp\nexec {command}\n"
    result = host.run(script, timeout=200)
    lines = [line.removeprefix("RESULT ") for line in result.output.splitlines() if line.startswith("RESULT ")]
    found: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in map(json.loads, lines)}

    def get(name: str) -> dict[str, Any]:
        if name not in found:
            pytest.fail(f"the host ended before it: {result.console}\n{result.output[-3000:]}")
        return found[name]

    return get


def selected(request: pytest.FixtureRequest, function: object) -> list[str]:
    """The scenarios of a test function that are going to be run."""
    return [
        str(item.callspec.params["name"])
        for item in request.session.items
        if getattr(item, "function", None) is function and hasattr(item, "callspec")
    ]


@pytest.fixture(scope="module")
def on_cgroupfs(bare: machine.Host, request: pytest.FixtureRequest) -> Outcome:
    return outcome(bare, f"guest_drivers.py cgroupfs {PYCONTAIN}", selected(request, test_cgroupfs))


@pytest.fixture(scope="module")
def on_systemd(systemd: machine.Host, request: pytest.FixtureRequest) -> Outcome:
    return outcome(systemd, f"guest_drivers.py systemd {PYCONTAIN}", selected(request, test_systemd))


@pytest.fixture(scope="module")
def driver(systemd: machine.Host, request: pytest.FixtureRequest) -> Outcome:
    return outcome(systemd, f"guest_systemd.py {PYCONTAIN}", selected(request, test_the_systemd_driver))


def check(problem: str) -> None:
    if problem:
        pytest.fail(problem, pytrace=False)


@pytest.mark.parametrize("name", guest_drivers.SCENARIOS)
def test_cgroupfs(on_cgroupfs: Outcome, name: str) -> None:
    check(on_cgroupfs(name)["problem"])


@pytest.mark.parametrize("name", guest_drivers.SCENARIOS)
def test_systemd(on_systemd: Outcome, name: str) -> None:
    check(on_systemd(name)["problem"])


@pytest.mark.parametrize("name", guest_systemd.SCENARIOS)
def test_the_systemd_driver(driver: Outcome, name: str) -> None:
    check(driver(name)["problem"])
