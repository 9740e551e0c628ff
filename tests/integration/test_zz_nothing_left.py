"""The last of the integration tests: nothing of all that they have made is left."""

from __future__ import annotations

import subprocess

from world import World, cgroups, eventually, named, reap


def test_nothing_is_left(images: World) -> None:
    def clean() -> bool:
        reap()
        return not images.leftovers() and not cgroups()

    assert eventually(clean), (images.leftovers(), cgroups())
    images("network", "prune", "-f")
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[1] for line in links.splitlines() if "veth" in line or "pycontain" in line] == []
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert "pycontain" not in tables
    assert eventually(lambda: not named("pycontain-mon", "pycontain-io", "pycontain-sup"))
