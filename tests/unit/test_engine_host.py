"""What info says of this host, where a decision is made of what the kernel answers."""

from __future__ import annotations

import pytest

from pycontain.engine import host
from pycontain.kernel import probe


@pytest.mark.parametrize(
    ("abi", "text", "problem"),
    [
        (0, "0", True),
        (1, "1 (TCP, signals and abstract sockets are not held back by it)", False),
        (5, "5 (signals and abstract sockets are not held back by it)", False),
        (6, "6", False),
    ],
)
def test_a_kernel_with_less_landlock(abi: int, text: str, problem: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "landlock_abi", lambda: abi)
    fact = host._landlock()
    assert (fact.value, fact.text) == (abi, text)
    assert ("CONFIG_SECURITY_LANDLOCK" in fact.problem) == problem
