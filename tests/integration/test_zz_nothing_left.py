"""The last of the integration tests: nothing of all that they have made is left."""

from __future__ import annotations

import subprocess

from world import World, cgroups, eventually, reap


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
    command = ["pgrep", "-x", "pycontain-(mon|io)"]
    monitors = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for pid in monitors.split():
        # another run's live in a network namespace of their own, or have just ended
        done = subprocess.run(["readlink", f"/proc/{pid}/ns/net", "/proc/self/ns/net"], capture_output=True, text=True)
        assert done.returncode or len(set(done.stdout.split())) == 2, f"monitor {pid} lives"
