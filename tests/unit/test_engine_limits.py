"""The flags of limits as linux.resources, of a new container and as a change."""

from __future__ import annotations

from typing import Any

import pytest

from pycontain.cli import verbs
from pycontain.cli.args import parse
from pycontain.cli.verbs import limits as flags
from pycontain.engine.limits import Limits
from pycontain.kernel.errors import UsageError

MIB = 1 << 20


def asked(words: str) -> Limits:
    return flags.read(parse(verbs.load("update"), [*words.split(), "c"]))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--restart no", {}),
        ("-m 64m", {"memory": {"limit": 64 * MIB, "swap": 128 * MIB}}),
        ("-m 64m --memory-swap 64m", {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}),
        ("-m 64m --memory-swap -1", {"memory": {"limit": 64 * MIB, "swap": -1}}),
        ("-m -1", {"memory": {"limit": -1, "swap": -1}}),
        ("--memory-swap -1", {"memory": {"swap": -1}}),
        ("--memory-reservation 1m", {"memory": {"reservation": MIB}}),
        ("--cpus 0.5", {"cpu": {"quota": 50000, "period": 100000}}),
        ("--cpus 0", {"cpu": {"quota": -1, "period": 100000}}),
        ("--cpu-quota 20000", {"cpu": {"quota": 20000}}),
        ("--cpu-period 20000", {"cpu": {"period": 20000}}),
        ("--cpu-shares 0", {"cpu": {"shares": 1024}}),
        ("--cpuset-cpus 0-1 --cpuset-mems 0", {"cpu": {"cpus": "0-1", "mems": "0"}}),
        ("--pids-limit 0", {"pids": {"limit": -1}}),
        ("--blkio-weight 10", {"blockIO": {"weight": 10}}),
    ],
)
def test_of_a_new_container(words: str, expected: dict[str, Any]) -> None:
    assert asked(words).resources() == expected


@pytest.mark.parametrize(
    ("old", "words", "expected"),
    [
        # memory and swap together stay as they are
        ({"limit": 64, "swap": 128 * MIB}, "-m 1m", {"limit": MIB, "swap": 128 * MIB}),
        ({"limit": 64, "swap": -1}, "-m 1m", {"limit": MIB, "swap": -1}),
        # there was no limit: as for a new container
        ({}, "-m 1m", {"limit": MIB, "swap": 2 * MIB}),
        ({"limit": -1, "swap": -1}, "-m 1m", {"limit": MIB, "swap": 2 * MIB}),
        ({"swap": -1}, "-m 1m --memory-swap -1", {"limit": MIB, "swap": -1}),
        ({"limit": MIB, "swap": MIB}, "--memory-swap 2m", {"limit": MIB, "swap": 2 * MIB}),
        ({"limit": MIB, "swap": MIB}, "--memory-swap -1", {"limit": MIB, "swap": -1}),
        ({}, "--memory-swap -1", {"swap": -1}),
        ({"limit": MIB, "swap": MIB}, "-m -1", {"limit": -1, "swap": -1}),
        ({"limit": MIB, "swap": MIB}, "-m 0", {"limit": -1, "swap": -1}),
        ({"limit": MIB, "swap": MIB}, "--memory-reservation 1k", {"reservation": 1024}),
        ({"limit": MIB, "reservation": 5}, "--memory-reservation -1", {"reservation": -1}),
        ({"limit": MIB, "reservation": 5}, "--memory-reservation 0", {"reservation": -1}),
    ],
)
def test_a_change_of_memory(old: dict[str, int], words: str, expected: dict[str, int]) -> None:
    assert asked(words).change({"memory": old}) == {"memory": expected}


@pytest.mark.parametrize(
    ("old", "words", "error"),
    [
        ({"limit": MIB, "swap": 2 * MIB}, "-m 3m", "2097152 bytes: give --memory-swap as well"),
        ({"limit": MIB, "swap": 2 * MIB}, "--memory-swap 1k", "--memory-swap is smaller than --memory"),
        ({}, "--memory-swap 1m", "give --memory as well"),
        ({"limit": -1, "swap": -1}, "--memory-swap 1m", "give --memory as well"),
        ({"limit": MIB}, "-m -1 --memory-swap 1m", "cannot be without --memory"),
        ({"limit": MIB}, "--memory-reservation 2m", "--memory-reservation 2097152 is above --memory"),
        ({"reservation": MIB}, "-m 1k", "is above --memory"),
    ],
)
def test_a_change_of_memory_that_cannot_be(old: dict[str, int], words: str, error: str) -> None:
    with pytest.raises(UsageError, match=error.replace("(", r"\(")):
        asked(words).change({"memory": old})


def test_what_is_not_asked_for_does_not_change() -> None:
    old = {"memory": {"limit": 5}, "pids": {"limit": 5}, "cpu": {"shares": 5, "quota": 5000}}
    assert asked("--cpu-shares 7").change(old) == {"cpu": {"shares": 7}}


def test_one_definition_of_each_flag() -> None:
    for command in ("run", "create", "update"):
        assert set(flags.FLAGS) <= set(verbs.load(command).flags)
