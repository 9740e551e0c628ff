"""Both cgroup drivers, with a whole pycontain on a host with cgroup v2 alone: guest_drivers.py and guest_systemd.py run
in the test host, once for what is selected."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.host import guest_drivers, guest_systemd, machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PYCONTAIN = Path(sys.executable).parent / "pycontain"
Outcome = Callable[[str], dict[str, Any]]


def outcome(host: Callable[..., machine.Result], program: str, names: list[str], boot: bool) -> Outcome:
    script = (
        f"cd {machine.CHECKOUT} || exit\n"
        "mount -t tmpfs tmpfs /mnt\n"
        f"export PYTHONPATH={machine.CHECKOUT}/src:{machine.CHECKOUT} PYTHONDONTWRITEBYTECODE=1\n"
        f"{PYCONTAIN} --root /mnt/root --run-root /mnt/run image build -q busybox >/dev/null 2>&1\n"
        f"exec {sys.executable} tests/host/{program} {' '.join(names)}\n"
    )
    result = host(script, memory="768M", timeout=200, systemd=boot)
    lines = [line.removeprefix("RESULT ") for line in result.output.splitlines() if line.startswith("RESULT ")]
    found: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in map(json.loads, lines)}

    def get(name: str) -> dict[str, Any]:
        if name not in found:
            pytest.fail(f"the host ended before it: {result.console}\n{result.output[-3000:]}")
        return found[name]

    return get


def selected(request: pytest.FixtureRequest, function: object, **values: str) -> list[str]:
    """The scenarios of a test function that are going to be run."""
    calls = [
        item.callspec.params
        for item in request.session.items
        if getattr(item, "function", None) is function and hasattr(item, "callspec")
    ]
    return [str(call["name"]) for call in calls if all(call.get(key) == value for key, value in values.items())]


@pytest.fixture(scope="module")
def drivers(host: Callable[..., machine.Result], request: pytest.FixtureRequest) -> Callable[[str], Outcome]:
    known: dict[str, Outcome] = {}

    def get(manager: str) -> Outcome:
        if manager not in known:
            names = selected(request, test_a_whole_pycontain, manager=manager)
            known[manager] = outcome(host, f"guest_drivers.py {manager} {PYCONTAIN}", names, boot=manager == "systemd")
        return known[manager]

    return get


@pytest.mark.parametrize("name", guest_drivers.SCENARIOS)
@pytest.mark.parametrize("manager", ["cgroupfs", "systemd"])
def test_a_whole_pycontain(drivers: Callable[[str], Outcome], manager: str, name: str) -> None:
    problem = drivers(manager)(name)["problem"]
    if problem:
        pytest.fail(problem, pytrace=False)


@pytest.fixture(scope="module")
def driver(host: Callable[..., machine.Result], request: pytest.FixtureRequest) -> Outcome:
    return outcome(host, f"guest_systemd.py {PYCONTAIN}", selected(request, test_the_systemd_driver), boot=True)


@pytest.mark.parametrize("name", guest_systemd.SCENARIOS)
def test_the_systemd_driver(driver: Outcome, name: str) -> None:
    problem = driver(name)["problem"]
    if problem:
        pytest.fail(problem, pytrace=False)
