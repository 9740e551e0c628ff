"""What the scenarios of a guest's program have come to, seen from the tests outside (see scenarios.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.host import machine


def selected(request: pytest.FixtureRequest, function: object) -> list[str]:
    """The scenarios of a test function, parametrized by ``name``, that are going to be run."""
    return [
        str(item.callspec.params["name"])
        for item in request.session.items
        if getattr(item, "function", None) is function and hasattr(item, "callspec")
    ]


def command(program: str, *words: str) -> str:
    """The script that runs a program of this directory in a test host."""
    line = " ".join((str(machine.PYTHON), f"{machine.HERE}/{program}", *words))
    return f"export PYTHONPATH={machine.CHECKOUT} PYTHONDONTWRITEBYTECODE=1\ncd /tmp\nexec {line}\n"


class Outcomes:
    """The lines that a program of scenarios has printed."""

    def __init__(self, result: machine.Result) -> None:
        self.result = result
        lines = [line.removeprefix("RESULT ") for line in result.output.splitlines() if line.startswith("RESULT ")]
        self.found: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in map(json.loads, lines)}

    def check(self, name: str) -> None:
        """Fail where a scenario has failed, or was never reached."""
        if name not in self.found:
            pytest.fail(f"the host ended before it: {self.result.console}\n{self.result.output[-3000:]}", pytrace=False)
        if self.found[name]["problem"]:
            pytest.fail(self.found[name]["problem"], pytrace=False)
