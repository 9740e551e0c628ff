"""A tenant with several network devices: routed ones and one on the bridge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenant_world import SHELL_INIT, TenantWorld

BUSYBOX = ("--template", "busybox", "--init", f'sh -c "{SHELL_INIT}"', "--network", "none")
#: Documentation's (RFC 5737): they lead to nobody else.
PUBLIC, SECOND, OTHER = "198.51.100.10", "198.51.100.20", "198.51.100.30"


def configure(tenants: TenantWorld, name: str, *devices: dict[str, Any]) -> None:
    """Give a tenant that does not run these devices."""
    tenants.does("tenant", "set", name, f"network={_toml(devices)}")


def _toml(devices: tuple[dict[str, Any], ...]) -> str:
    tables = [", ".join(f"{key} = {json.dumps(value)}" for key, value in one.items()) for one in devices]
    return "[" + ", ".join(f"{{ {table} }}" for table in tables) + "]"


def addresses(tenants: TenantWorld, name: str) -> dict[str, list[str]]:
    """IPv4 addresses by device, as the guest sees them."""
    found: dict[str, list[str]] = {}
    for line in tenants.inside(name, "ip -o -4 addr show").splitlines():
        words = line.split()
        found.setdefault(words[1], []).append(words[3])
    del found["lo"]
    return found


@pytest.fixture
def both(tenants: TenantWorld) -> TenantWorld:
    """web1 with a public address and one on the bridge, and runs."""
    tenants.create("web1", *BUSYBOX)
    configure(tenants, "web1", {"addresses": [PUBLIC]}, {"type": "bridge", "addresses": ["10.222.7.7"]})
    tenants.start("web1")
    return tenants


def test_a_public_and_a_private_device(both: TenantWorld) -> None:
    assert addresses(both, "web1") == {"eth0": [f"{PUBLIC}/32"], "eth1": ["10.222.7.7/16"]}
    assert "dev eth0" in both.inside("web1", "ip route show default")
    both.inside("web1", "ping -c1 -W2 10.222.0.1")
