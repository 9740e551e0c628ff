"""What --network routed decides: addresses, MAC address, rate, and what it has in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pycontain.kernel.errors import Error, InUse, UsageError
from pycontain.network import lease, routed, ruleset, settings

ID = "0123456789abcdef" * 4
OTHER = "f" * 64


@pytest.fixture
def chosen(tmp_path: Path) -> settings.Settings:
    return settings.Settings("pycontain0", 0x0ADE0000, 16, 0xFD00 << 112, 1500, str(tmp_path / "network.json"))


def made(chosen: settings.Settings, *addresses: str, **wish: Any) -> routed.Routed:
    return routed.Routed(ID, list(addresses), routed.Wish(addresses, **wish), chosen.table, "/leases")


@pytest.mark.parametrize(
    ("text", "address"),
    [("10.88.1.10", "10.88.1.10"), ("2001:DB8:0::1", "2001:db8::1"), ("203.0.113.255", "203.0.113.255")],
)
def test_addresses(text: str, address: str) -> None:
    assert routed.check_address(text) == address


@pytest.mark.parametrize(
    "text",
    "0.1.2.3 127.0.0.1 169.254.1.1 224.0.0.1 255.255.255.255 :: ::1 ff02::1 fe80::5 ::ffff:1.2.3.4 1.2.3 x".split(),
)
def test_what_no_container_can_have(text: str) -> None:
    with pytest.raises(UsageError, match="address"):
        routed.check_address(text)


def test_twice_or_too_many() -> None:
    with pytest.raises(UsageError, match="address 2001:db8::1 is given twice"):
        routed.check_addresses(["2001:db8::1", "2001:db8:0::1"])
    with pytest.raises(UsageError, match="65 addresses; a container can have 64"):
        routed.check_addresses([f"10.0.0.{number}" for number in range(65)])


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10M", 10**7),
        ("512k", 512_000),
        ("1.5G", 1_500_000_000),
        ("100mbit", 10**8),
        ("9600", 9600),
        ("2Gbps", 2 * 10**9),
    ],
)
def test_rates(text: str, rate: int) -> None:
    assert routed.parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "M", "fast", "-1M", "1e6", "100", "2000T", "1.2.3M", "١M"])
def test_bad_rates(text: str) -> None:
    with pytest.raises(UsageError, match="rate"):
        routed.parse_rate(text)


def test_mac_addresses() -> None:
    assert routed.check_mac("02-AA-bb-0-0-1".replace("-0-0-", "-00-00-").replace("-1", "-01")) == "02:aa:bb:00:00:01"
    for bad in ("01:00:5e:00:00:01", "00:00:00:00:00:00", "02:aa:bb:cc:dd", "02:aa:bb:cc:dd:gg", "02:70:a9:fe:01:01"):
        with pytest.raises(UsageError, match="MAC address"):
            routed.check_mac(bad)


def test_a_mac_address_is_made_of_the_first_ipv4_address(chosen: settings.Settings) -> None:
    assert made(chosen, "2001:db8::1", "10.88.1.10", "10.88.1.11").mac == "02:70:0a:58:01:0a"
    assert made(chosen, "2001:db8::1").mac == "02:71:01:23:45:67"
    assert made(chosen, "2001:db8::1", mac="02:00:00:00:00:09").mac == "02:00:00:00:00:09"


def test_names_fit_a_device_and_begin_with_the_container(chosen: settings.Settings) -> None:
    one = made(chosen, "10.88.1.10")
    assert len(one.name) == 15
    assert one.name.startswith("vr0123456789")


def test_the_state_file_comes_back(chosen: settings.Settings, tmp_path: Path) -> None:
    run_root = str(tmp_path)
    (tmp_path / "containers" / ID).mkdir(parents=True)
    one = made(chosen, "10.88.1.10", "2001:db8::1", rate=10**6, interface="eth7")
    one.proxies = [(3, "10.88.1.10")]
    routed.save(run_root, one)
    again = routed.load(run_root, chosen, ID)
    assert again is not None and again.record() == one.record()
    assert [item.container_id for item in routed.saved(run_root, chosen)] == [ID]
    assert routed.own_requests(again) == routed.own_requests(one)
    (tmp_path / "containers" / ID / "routed").write_text('{"addresses": [7]}')
    with pytest.raises(Error, match="not a record of addresses"):
        routed.load(run_root, chosen, ID)
    assert routed.saved(run_root, chosen) == []
    assert routed.load(run_root, chosen, OTHER) is None


def test_addresses_are_taken_all_or_none(chosen: settings.Settings, tmp_path: Path) -> None:
    run_root = str(tmp_path)
    lease.take_all(run_root, chosen, ID, ["10.88.1.10", "2001:db8::1"])
    lease.take_all(run_root, chosen, ID, ["10.88.1.10"])  # its own
    with pytest.raises(InUse, match=f"address 2001:db8::1 is in use by container {ID[:12]}"):
        lease.take_all(run_root, chosen, OTHER, ["10.88.1.11", "2001:db8::1"])
    assert lease.leases(run_root) == {"10.88.1.10": ID, "2001:db8::1": ID}
    lease.take_all(run_root, chosen, OTHER, ["10.88.1.10"], lambda _: False)  # its owner is gone
    assert lease.leases(run_root)["10.88.1.10"] == OTHER
    lease.give_back(run_root, ID, ["10.88.1.10", "2001:db8::1"])
    assert lease.leases(run_root) == {"10.88.1.10": OTHER}


def test_the_pool_is_beside_the_bridge(chosen: settings.Settings) -> None:
    assert (chosen.pool().subnet, chosen.pool().subnet6) == ("10.223.0.0/16", "fd00:0:0:1::/64")
    assert chosen.pool().table == chosen.table
    wide = settings.Settings("pycontain0", 0x0ADF0000, 16, None, 1500)
    assert (wide.pool().subnet, wide.pool().subnet6) == ("10.221.0.0/16", None)


def test_the_table_has_words_for_guests(chosen: settings.Settings) -> None:
    one = made(chosen, "10.88.1.10", "2001:db8::1", rate=10**6)
    text = ruleset.script(chosen, guests=[one])
    assert f"own4 {{ {one.index} . {one.mac} . 10.88.1.10 }}" in text
    assert f"own6 {{ {one.index} . {one.mac} . fe80::70:aff:fe58:10a }}" in text
    assert f'rates {{ {one.index} : "{one.name}" }}' in text
    without = settings.Settings("pycontain0", 0x0ADE0000, 16, None, 1500)
    assert "snat ip6" not in ruleset.script(without)
