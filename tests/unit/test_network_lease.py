"""Addresses are given out once, in turn, quickly. (Giving back touches the firewall: see the integration tests.)"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pycontain.kernel.errors import Error, InUse, UsageError
from pycontain.network import lease, port
from pycontain.network.settings import Settings, packed


def network(prefix: int = 16, base6: int | None = 0xFD12_3456_789A_0001 << 64) -> Settings:
    return Settings("pycontain0", int.from_bytes(packed("10.222.0.0"), "big"), prefix, base6, 1500, "/r/network.json")


def test_a_lease_has_all_that_a_container_needs(tmp_path: Path) -> None:
    found = lease.acquire(str(tmp_path), network(), "abc")
    assert (found.address, found.prefix, found.gateway) == ("10.222.0.2", 16, "10.222.0.1")
    assert (found.address6, found.prefix6, found.gateway6) == ("fd12:3456:789a:1::2", 64, "fd12:3456:789a:1::1")
    assert (found.mac, found.table) == ("02:70:0a:de:00:02", "pycontain")
    assert os.readlink(found.path) == "abc"
    assert found.record()["address6"] == found.address6
    only4 = lease.acquire(str(tmp_path), network(base6=None), "four")
    assert (only4.address6, only4.gateway6, only4.record()["prefix6"]) == (None, None, None)


def test_addresses_are_given_in_turn_and_not_again_at_once(tmp_path: Path) -> None:
    run_root = str(tmp_path)
    first = lease.acquire(run_root, network(), "1")
    os.unlink(first.path)
    assert [lease.acquire(run_root, network(), "x").address for _ in range(3)] == [
        "10.222.0.3",
        "10.222.0.4",
        "10.222.0.5",
    ]
    assert lease.leases(run_root) == {f"10.222.0.{at}": "x" for at in (3, 4, 5)}


def test_a_dry_pool_says_so_and_freed_addresses_come_back(tmp_path: Path) -> None:
    run_root, small = str(tmp_path), network(29)
    taken = [lease.acquire(run_root, small, str(at)) for at in range(5)]
    assert [item.address for item in taken] == [f"10.222.0.{at}" for at in range(2, 7)]
    with pytest.raises(Error, match=r"no address is left in 10\.222\.0\.0/29: 5 are in use.*/r/network\.json"):
        lease.acquire(run_root, small, "6")
    os.unlink(taken[1].path)
    assert lease.acquire(run_root, small, "6").address == "10.222.0.3"


def test_the_smallest_subnet_has_one(tmp_path: Path) -> None:
    assert lease.acquire(str(tmp_path), network(30), "1").address == "10.222.0.2"
    with pytest.raises(Error, match="1 are in use"):
        lease.acquire(str(tmp_path), network(30), "2")


def test_behind_a_long_run_of_taken_addresses_the_free_one_is_found(tmp_path: Path) -> None:
    run_root = str(tmp_path)
    lease.acquire(run_root, network(22), "first")
    for offset in range(3, 900):
        Path(f"{run_root}/network/leases/10.222.{offset >> 8}.{offset & 255}").symlink_to("x")
    assert lease.acquire(run_root, network(22), "after").address == "10.222.3.132"


def test_a_wanted_address(tmp_path: Path) -> None:
    run_root = str(tmp_path)
    assert lease.acquire(run_root, network(), "one", "10.222.9.9").address == "10.222.9.9"
    assert lease.acquire(run_root, network(), "one", "10.222.9.9").container_id == "one"
    with pytest.raises(InUse, match=r"address 10\.222\.9\.9 is in use by container one"):
        lease.acquire(run_root, network(), "two", "10.222.9.9")
    assert lease.acquire(run_root, network(), "two").address == "10.222.0.2"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("10.222.0.1", "is the gateway's; take one from 10.222.0.2 to 10.222.255.254"),
        ("10.222.0.0", "is not a host's address in 10.222.0.0/16"),
        ("10.222.255.255", "is not a host's address"),
        ("10.223.0.5", "is not a host's address"),
        ("1.2.3", "is no IPv4 address such as 10.222.0.2"),
        ("fd00::5", "is no IPv4 address"),
        ("../../etc/passwd", "is no IPv4 address"),
    ],
)
def test_a_wanted_address_that_cannot_be(tmp_path: Path, wanted: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lease.acquire(str(tmp_path), network(), "one", wanted)


def test_a_dry_pool_takes_back_its_own_addresses_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    withdrawn: list[bytes] = []
    monkeypatch.setattr(port, "withdraw", lambda _, addresses: withdrawn.extend(addresses))
    run_root, bridge = str(tmp_path), network()
    bridge.routed = (int.from_bytes(packed("10.223.0.0"), "big"), 30, None)
    lease.acquire(run_root, bridge, "bridged")  # its lease stands for an IPv6 address, which the pool does not know
    lease.acquire(run_root, bridge.pool(), "routed")
    lease.acquire(run_root, bridge.pool(), "new", alive=lambda _: False)
    assert lease.leases(run_root) == {"10.222.0.2": "bridged", "10.223.0.2": "new"}
    assert withdrawn == [packed("10.223.0.2")]


def test_find(tmp_path: Path) -> None:
    run_root = str(tmp_path)
    lease.acquire(run_root, network(), "one")
    two = lease.acquire(run_root, network(), "two")
    found = lease.find(run_root, network(), "two")
    assert found is not None
    assert (found.record(), found.path) == (two.record(), two.path)
    assert lease.find(run_root, network(), "three") is None


def test_a_damaged_hint_is_only_a_hint(tmp_path: Path) -> None:
    run_root = str(tmp_path)
    lease.acquire(run_root, network(), "one")
    for text in ("", "nonsense", "-7", "99999999999999999", "65536"):
        Path(f"{run_root}/network/next").write_text(text)
        assert lease.acquire(run_root, network(), "x").address.startswith("10.222.")
    assert len(lease.leases(run_root)) == 6


def test_the_directory_of_the_leases_may_come_later(tmp_path: Path) -> None:
    """Who is the first makes the directory above, and another one may be quicker from there on."""
    (tmp_path / "network").mkdir()
    assert lease.acquire(str(tmp_path), network(), "one").address == "10.222.0.2"


def test_eight_processes_get_two_hundred_addresses_each_once(tmp_path: Path) -> None:
    script = f"""
import sys
from pycontain.network import lease
from pycontain.network.settings import Settings
settings = Settings("b", 0x0ADE0000, 24, None, 1500)
sys.stdin.readline()
for number in range(25):
    print(lease.acquire({str(tmp_path)!r}, settings, sys.argv[1] + "-" + str(number)).address, flush=True)
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(at)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for at in range(8)
    ]
    for child in children:
        assert child.stdin
        child.stdin.write("go\n")
        child.stdin.flush()
    given = [address for child in children for address in child.communicate()[0].split()]
    assert [child.returncode for child in children] == [0] * 8
    assert len(given) == len(set(given)) == 200
    held = lease.leases(str(tmp_path))
    assert set(held) == set(given)
    assert sorted(held.values()) == sorted(f"{at}-{number}" for at in range(8) for number in range(25))


def test_a_lease_costs_the_same_with_thousands(tmp_path: Path) -> None:
    """Far below what a listing of the directory would cost, at least once: the machine may be doing other things."""
    run_root = str(tmp_path)
    lease.acquire(run_root, network(), "first")
    for offset in range(3, 5000):
        Path(f"{run_root}/network/leases/10.222.{offset >> 8}.{offset & 255}").symlink_to("x")
    Path(f"{run_root}/network/next").write_text("4999")
    samples = []
    for number in range(50):
        start = time.perf_counter()
        lease.acquire(run_root, network(), str(number))
        samples.append(time.perf_counter() - start)
    assert min(samples) < 0.001


def test_an_unwritable_run_root_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Error, match=r"cannot lock .*/network/next: Not a directory"):
        lease.acquire(str(tmp_path / "file"), network(), "one")
