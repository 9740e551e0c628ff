"""A tenant with several network devices: routed ones and one on the bridge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tenant_world import SHELL_INIT, TenantWorld
from world import eventually

BUSYBOX = ("--template", "busybox", "--init", f'sh -c "{SHELL_INIT}"')
#: Documentation's (RFC 5737, RFC 3849): they lead to nobody else.
PUBLIC, SECOND, THIRD, OTHER = "198.51.100.10", "198.51.100.20", "198.51.100.21", "198.51.100.30"
PUBLIC6 = "2001:db8:88::10"
#: Of the bridge's subnet.
PRIVATE, NEIGHBOUR = "10.222.7.7", "10.222.7.8"


def addresses(tenants: TenantWorld, name: str) -> dict[str, list[str]]:
    """IPv4 addresses by device, as the guest sees them."""
    found: dict[str, list[str]] = {}
    for line in tenants.inside(name, "ip -o -4 addr show").splitlines():
        words = line.split()
        found.setdefault(words[1], []).append(words[3])
    del found["lo"]
    return found


def reaches(tenants: TenantWorld, name: str, address: str, source: str = "", patience: int = 20) -> bool:
    """Whether a tenant gets an answer from an address, asking from one of its own. patience: seconds, many where an
    answer comes in any case; the machine may be doing other things.
    """
    flags = f"-I {source}" if source else ""
    ping = f"ping -c 2 -W {patience} {flags} {address}"
    return bool(tenants("tenant", "exec", name, "sh", "-c", ping).returncode == 0)


def leases(tenants: TenantWorld) -> set[str]:
    directory = tenants.run_root / "network" / "leases"
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


def inspected(tenants: TenantWorld, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tenants.ok("inspect", tenants.container(name)))[0]["NetworkSettings"]
    return found


def reboot(tenants: TenantWorld, name: str) -> None:
    """From inside: it starts again in place."""
    container = tenants.container(name)
    first = tenants.pid(container)
    tenants("tenant", "exec", name, "sh", "-c", "busybox reboot -f")

    def again() -> bool:
        try:
            return tenants.pid(container) != first and tenants.word(name) == "running"
        except (OSError, IndexError):
            return False

    assert eventually(again)


@pytest.fixture
def both(tenants: TenantWorld) -> TenantWorld:
    """web1 with a public address on eth0 and a private one on eth1, which runs."""
    tenants.create("web1", *BUSYBOX, "--ip", PUBLIC, "--ip", PUBLIC6)
    tenants.does("tenant", "set", "web1", "--netif-add", "eth1", "--network", "bridge", "--ip", PRIVATE)
    tenants.start("web1")
    return tenants


def neighbour(tenants: TenantWorld) -> None:
    """db1, on the bridge alone."""
    tenants.create("db1", *BUSYBOX, "--network", "bridge", "--ip", NEIGHBOUR)
    tenants.start("db1")


def test_a_public_and_a_private_device(both: TenantWorld) -> None:
    assert addresses(both, "web1") == {"eth0": [f"{PUBLIC}/32"], "eth1": [f"{PRIVATE}/16"]}
    assert "dev eth0" in both.inside("web1", "ip route show default")
    main6 = [line for line in both.inside("web1", "ip -6 route show default").splitlines() if "onlink" not in line]
    assert len(main6) == 1 and "fe80::1 dev eth0" in main6[0]
    assert both.field("web1", "ip")[:3] == [PUBLIC, PUBLIC6, PRIVATE]
    networks = inspected(both, "web1")["Networks"]
    assert {key: (one["InterfaceName"], one["IPAddress"]) for key, one in networks.items()} == {
        "routed": ("eth0", PUBLIC),
        "bridge": ("eth1", PRIVATE),
    }
    assert inspected(both, "web1")["IPAddress"] == PUBLIC
    assert leases(both) == {PUBLIC, PUBLIC6, PRIVATE}


def test_each_address_is_reached_by_its_device(both: TenantWorld) -> None:
    """Also a neighbour's question to the public address, whose answer must not go by the device that they share."""
    neighbour(both)
    assert reaches(both, "db1", PRIVATE)
    assert reaches(both, "db1", PUBLIC)
    assert reaches(both, "web1", NEIGHBOUR)
    for source in (PUBLIC, PRIVATE):
        assert reaches(both, "web1", NEIGHBOUR, source)
        assert reaches(both, "web1", "10.222.0.1", source)


def test_it_speaks_by_a_device_for_that_device_alone(both: TenantWorld) -> None:
    """Without the rules what is sent from an address goes by the other device, and is not heard."""
    neighbour(both)
    both.inside("web1", "ip rule del table 100; ip rule del table 101")
    assert not reaches(both, "db1", PUBLIC, patience=4)
    assert not reaches(both, "web1", NEIGHBOUR, PUBLIC, 4)
    assert reaches(both, "web1", NEIGHBOUR)


def test_what_somebody_has_removed_comes_back_with_the_next_start(both: TenantWorld) -> None:
    """The bridge with the device's port, who may send what: of a guest whose other address is none of the bridge."""
    for command in (["ip", "link", "del", "pycontain0"], ["nft", "flush", "ruleset"]):
        subprocess.run(command, check=True)
    neighbour(both)
    assert reaches(both, "db1", PRIVATE)
    assert reaches(both, "db1", PUBLIC)
    both.does("tenant", "stop", "--fast", "db1")
    both.ok("network", "prune", "--force")  # web1 keeps the bridge
    both.start("db1")
    assert reaches(both, "web1", NEIGHBOUR)


def test_all_of_it_is_given_back(both: TenantWorld) -> None:
    both.does("tenant", "stop", "--fast", "web1")
    assert leases(both) == set()
    both.start("web1")
    assert addresses(both, "web1") == {"eth0": [f"{PUBLIC}/32"], "eth1": [f"{PRIVATE}/16"]}
    # the monitor's death leaves it to the next command
    os.kill(both.monitor_pid(both.container("web1")), signal.SIGKILL)
    assert eventually(lambda: both.word("web1") == "failed")
    both.ok("ps", "-a")
    assert leases(both) == set()


def test_a_routed_device_of_several_changes_at_once(both: TenantWorld) -> None:
    neighbour(both)
    both.does("tenant", "set", "web1", "--ip-add", SECOND)
    assert addresses(both, "web1") == {"eth0": [f"{PUBLIC}/32", f"{SECOND}/32"], "eth1": [f"{PRIVATE}/16"]}
    assert reaches(both, "db1", SECOND)
    both.does("tenant", "set", "web1", "--ip-del", PUBLIC, "--rate", "50M")
    assert addresses(both, "web1") == {"eth0": [f"{SECOND}/32"], "eth1": [f"{PRIVATE}/16"]}
    assert both.inside("web1", "ip rule | grep -c 198.51") == "1"
    assert leases(both) == {SECOND, PUBLIC6, PRIVATE, NEIGHBOUR}
    assert reaches(both, "web1", "10.222.0.1", SECOND)
    # its last IPv4 address goes: the other device is the way out now
    both.does("tenant", "set", "web1", "--ip-del", SECOND)
    assert "dev eth1" in both.inside("web1", "ip route show default")
    both.does("tenant", "set", "web1", "--ip-add", PUBLIC)
    both.does("tenant", "restart", "--fast", "web1")
    assert "dev eth0" in both.inside("web1", "ip route show default")
    assert both.ok("tenant", "set", "web1", "--ifname", "eth1", "--ip", "10.222.7.9") == "waits for a restart: network"


def test_two_routed_devices(tenants: TenantWorld) -> None:
    tenants.create("web1", *BUSYBOX, "--ip", PUBLIC)
    tenants.does("tenant", "set", "web1", "--netif-add", "slow0", "--ip", SECOND, "--rate", "5M")
    tenants.create("web2", *BUSYBOX, "--ip", OTHER)
    tenants.start("web1", "web2")
    assert addresses(tenants, "web1") == {"eth0": [f"{PUBLIC}/32"], "slow0": [f"{SECOND}/32"]}
    for address in (PUBLIC, SECOND):
        assert reaches(tenants, "web2", address)
        assert reaches(tenants, "web1", OTHER, address)
    words = tenants.refused("tenant", "set", "web1", "--ifname", "slow0", "--ip-add", PUBLIC)
    assert f"an address is there twice: {PUBLIC}" in words
    # from device to device: who gives it away is asked first
    tenants.does("tenant", "set", "web1", "--ifname", "slow0", "--ip-add", THIRD)
    assert "dev eth0" in tenants.inside("web1", "ip route show 169.254.1.1")
    tenants.does(
        "tenant", "set", "web1", f'network.1.addresses=["{SECOND}"]', f'network.0.addresses=["{PUBLIC}", "{THIRD}"]'
    )
    assert addresses(tenants, "web1") == {"eth0": [f"{PUBLIC}/32", f"{THIRD}/32"], "slow0": [f"{SECOND}/32"]}
    assert reaches(tenants, "web2", THIRD)
    assert reaches(tenants, "web1", OTHER, THIRD)
    assert set(inspected(tenants, "web1")["Networks"]) == {"routed", "routed:slow0"}
    listed = json.loads(tenants.ok("network", "inspect"))
    routed = next(one for one in listed if one["name"] == "routed")
    assert {one["address"] for one in routed["addresses"]} == {PUBLIC, SECOND, THIRD, OTHER}
    # of one that is on two tenants the second is refused
    assert "is tenant web1's" in tenants.refused("tenant", "set", "web2", "--ip-add", SECOND)


def test_addresses_of_the_pools_stay_over_a_reboot(tenants: TenantWorld) -> None:
    tenants.create("web1", *BUSYBOX, "--network", "bridge")
    tenants.does("tenant", "set", "web1", "--netif-add", "eth1")
    assert tenants.settings("web1")["network"][1]["type"] == "routed"
    tenants.start("web1")
    before = addresses(tenants, "web1")
    assert all(item[0].startswith(start) for item, start in zip(before.values(), ("10.222", "10.223"), strict=True))
    assert "dev eth0" in tenants.inside("web1", "ip route show default")
    reboot(tenants, "web1")
    assert addresses(tenants, "web1") == before


def test_a_device_that_goes_waits_for_a_restart_also_in_place(both: TenantWorld) -> None:
    assert both.ok("tenant", "set", "web1", "--netif-del", "eth1") == "waits for a restart: network"
    assert set(addresses(both, "web1")) == {"eth0", "eth1"}
    reboot(both, "web1")
    assert addresses(both, "web1") == {"eth0": [f"{PUBLIC}/32"]}
    assert leases(both) == {PUBLIC, PUBLIC6}
    assert both.inside("web1", "ip rule | grep -c lookup.10 || true") == "0"  # one device needs none
    # the other way, and to nothing but the bridge
    both.does("tenant", "set", "web1", 'network=[{type = "bridge"}]')
    reboot(both, "web1")
    assert leases(both).isdisjoint({PUBLIC, PUBLIC6, PRIVATE}) and len(leases(both)) == 1
    assert not (both.run_root / "containers" / both.container("web1") / "routed").exists()


def test_what_it_got_while_it_ran_is_nobody_s_after_its_end(both: TenantWorld) -> None:
    both.does("tenant", "set", "web1", "--ip-add", SECOND)
    both.does("tenant", "stop", "--fast", "web1")
    both.does("tenant", "set", "web1", "--ip-del", SECOND)
    both.start("web1")
    both.create("web2", *BUSYBOX, "--ip", SECOND)
    both.start("web2")
    assert reaches(both, "web1", SECOND)


def test_flags_are_about_the_device_that_is_meant(tenants: TenantWorld) -> None:
    tenants.create("web1", *BUSYBOX, "--ip", PUBLIC)
    tenants.file("web1").write_text(tenants.file("web1").read_text() + "\n# a remark of the operator's\n")
    tenants.does("tenant", "set", "web1", "--netif-add", "lan0", "--network", "bridge")
    tenants.does("tenant", "set", "web1", "--netif-add", "eth2")
    assert [(one["name"], one["type"]) for one in tenants.settings("web1")["network"]] == [
        ("eth0", "routed"), ("lan0", "bridge"), ("eth2", "routed"),
    ]  # fmt: skip
    tenants.does("tenant", "set", "web1", "--ifname", "eth2", "--ip", SECOND, "--rate", "5M")
    assert tenants.settings("web1")["network"][2]["addresses"] == [SECOND]
    assert tenants.settings("web1")["network"][0]["addresses"] == [PUBLIC]
    tenants.does("tenant", "set", "web1", "--netif-del", "lan0")
    assert [one["name"] for one in tenants.settings("web1")["network"]] == ["eth0", "eth2"]
    assert "# a remark of the operator's" in tenants.file("web1").read_text()
    for flags, words in (
        (["--netif-add", "eth2"], "--netif-add: it has a device eth2: --ifname eth2 changes it"),
        (["--ifname", "eth7", "--ip", OTHER], "--ifname: eth7 is not one of its devices: eth0, eth2"),
        (["--netif-del", "eth7"], "--netif-del: eth7 is not one of its devices: eth0, eth2"),
        (["--netif-del", "eth2", "--ip", OTHER], "--netif-del and --ip cannot be together"),
        (["--netif-add", "lo"], "network.2.name: 'lo' is not a name of a network device"),
        (["--netif-add", "eth3", "--network", "none"], "cannot be with --network none"),
        (["--ifname", "eth2", "--ip", "10.222.3.3"], "network.1.addresses.0: 10.222.3.3 is of the bridge's subnet"),
        (
            ["--netif-add", "lan0", "--network", "bridge", "--ip", "10.9.0.1"],
            "take one from 10.222.0.2 to 10.222.255.254",
        ),
        (
            ["--netif-add", "lan0", "--network", "bridge", "--ip", "10.222.0.1"],
            "10.222.0.1 is no address of the bridge's",
        ),
        (
            ["network.0.type=bridge", "network.0.addresses=[]", "--netif-add", "eth3", "--network", "bridge"],
            "there is one bridge",
        ),
    ):
        before = tenants.file("web1").read_text()
        assert words in tenants.refused("tenant", "set", "web1", *flags)
        assert tenants.file("web1").read_text() == before


def test_an_archive_has_the_devices(both: TenantWorld, tmp_path: Path) -> None:
    both.does("tenant", "stop", "--fast", "web1")
    both.ok("tenant", "export", "web1", str(tmp_path / "web1.tar"))
    both.does("tenant", "import", str(tmp_path / "web1.tar"), "--name", "web2", "--trust", "--new-addresses")
    both.start("web1", "web2")
    assert [one["name"] for one in both.settings("web2")["network"]] == ["eth0", "eth1"]
    mine, others = addresses(both, "web1"), addresses(both, "web2")
    assert mine == {"eth0": [f"{PUBLIC}/32"], "eth1": [f"{PRIVATE}/16"]}
    assert others["eth0"][0].startswith("10.223.") and others["eth1"][0].startswith("10.222.")
    assert len(both.field("web2", "ip")) == 3
    assert both("tenant", "doctor").returncode == 0
