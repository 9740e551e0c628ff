"""docs/seccomp.md says of every call that Docker and podman treat otherwise why ours is as it is."""

from __future__ import annotations

import re
from pathlib import Path

from pycontain.kernel import capability
from pycontain.launch.profile import default_profile
from seccomp_upstream import DOCKER_CAPS, DOCKER_OPEN, DOCKER_PART, PODMAN_CAPS, PODMAN_OPEN, PODMAN_PART

PAGE = Path(__file__).parents[2] / "docs" / "seccomp.md"
HEADING = "### What Docker and podman have otherwise"
MACHINES = ("x86_64", "aarch64")


def ours_open(capabilities: frozenset[str]) -> tuple[set[str], set[str]]:
    """Names that are allowed, and those of them that are so for some arguments only."""
    whole: set[str] = set()
    part: set[str] = set()
    for machine in MACHINES:
        for rule in default_profile(capabilities, machine)["syscalls"]:
            if rule["action"] == "SCMP_ACT_ALLOW":
                (part if rule.get("args") else whole).update(rule["names"])
    return whole, part - whole


def ours() -> dict[str, str]:
    """Call → "open", "in part", or the capabilities that open it."""
    whole, part = ours_open(frozenset())
    found = dict.fromkeys(whole, "open") | dict.fromkeys(part, "in part")
    keys: dict[str, list[str]] = {}
    for name in capability.NAMES:
        for call in ours_open(frozenset([name]))[0] - found.keys():
            keys.setdefault(call, []).append(name)
    return found | {call: ", ".join(sorted(names)) for call, names in keys.items()}


def upstream(opened: frozenset[str], part: frozenset[str], caps: dict[str, str]) -> dict[str, str]:
    keys: dict[str, list[str]] = {}
    for name, calls in caps.items():
        for call in calls.split():
            keys.setdefault(call, []).append(name)
    found = {call: ", ".join(sorted(names)) for call, names in keys.items()}
    return found | dict.fromkeys(part, "in part") | dict.fromkeys(opened, "open")


def differences() -> dict[str, tuple[str, str, str]]:
    mine = ours()
    docker = upstream(DOCKER_OPEN, DOCKER_PART, DOCKER_CAPS)
    podman = upstream(PODMAN_OPEN, PODMAN_PART, PODMAN_CAPS)
    found = {}
    for call in sorted({*mine, *docker, *podman}):
        answers = tuple(one.get(call, "closed") for one in (mine, docker, podman))
        if len(set(answers)) > 1:
            found[call] = (answers[0], answers[1], answers[2])
    return found


def rows() -> dict[str, tuple[str, str, str]]:
    """The page's table: call → answers of ours, Docker's, podman's; every row gives a reason."""
    section = PAGE.read_text().split(HEADING, 1)[1].split("\n#", 1)[0]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 5 or not cells[0].startswith("`"):
            continue
        assert len(cells[4]) > 10, line
        for call in re.findall(r"`(\w+)`", cells[0]):
            assert call not in found, call
            found[call] = (cells[1], cells[2], cells[3])
    return found


def test_the_table_has_every_difference_and_no_other() -> None:
    assert rows() == differences()
