"""Attacks that come through a bundle: what an image, a volume or a config.json can do to the runtime that starts it.

Every one can be pointed at another runtime: pytest tests/escapes --runtime PATH. An attack has failed when the host
is as it was (the fixture canary) and what runs is confined; a refusal in place of a start is as good.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.escapes.peer import Peer


def links_to(canary: Path) -> list[str]:
    """Texts of links that leave a root: absolute, up and out, and through /proc."""
    return [str(canary), "../" * 20 + str(canary).lstrip("/"), f"/proc/1/root{canary}"]


# --- the root's own /dev, /proc and /sys ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
def test_dev_is_a_link(peer: Peer, canary: Path, number: int) -> None:
    """CVE-2026-41579, CVE-2026-47766: devices and links are made in what /dev of the root leads to."""
    (peer.rootfs / "dev").rmdir()
    (peer.rootfs / "dev").symlink_to(links_to(canary)[number])
    peer.without_mount("/dev")
    peer.sh("true")


@pytest.mark.parametrize("place", ["proc", "sys"])
@pytest.mark.parametrize("number", range(3))
def test_proc_or_sys_is_a_link(peer: Peer, canary: Path, place: str, number: int) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867: masks and labels then go to other files."""
    target = peer.rootfs / place
    if target.is_dir():
        target.rmdir()
    target.symlink_to(links_to(canary)[number])
    peer.spec["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]})
    peer.spec["linux"]["maskedPaths"] = ["/proc/kcore", "/sys/firmware"]
    done = peer.sh(f"grep ' /{place} ' /proc/self/mountinfo")
    assert done.returncode != 0, "it starts, and what was to be confined lies elsewhere"


def test_proc_is_a_directory_of_the_image(peer: Peer, canary: Path) -> None:
    """CVE-2019-16884, CVE-2025-52881: settings of the kernel, written to files that the image has in their place."""
    place = peer.rootfs / "proc/sys/net/ipv4"
    place.mkdir(parents=True, exist_ok=True)
    (place / "ip_forward").symlink_to("/canary/file")
    peer.without_mount("/proc")
    peer.mount(canary, "/canary", "rw")
    peer.spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    peer.sh("true")


def test_a_volume_in_the_place_of_proc(peer: Peer, canary: Path, tmp_path: Path) -> None:
    """CVE-2019-16884: a volume on /proc takes what the runtime writes about the process (labels, the OOM score)."""
    fake = tmp_path / "fake"
    for place in ("self/attr/exec", "self/attr/apparmor/exec", "self/oom_score_adj", "thread-self/attr/exec"):
        (fake / place).parent.mkdir(parents=True, exist_ok=True)
        (fake / place).write_text("")
    peer.mount(fake, "/proc")
    peer.spec["process"]["oomScoreAdj"] = 500
    peer.sh("true")
    assert [path for path in fake.rglob("*") if path.is_file() and path.read_text()] == []
