"""Several devices of a container: which is the way out, what the container is told, what is written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pycontain.cli import args
from pycontain.cli import devices as flags
from pycontain.cli.verbs.run import RUN
from pycontain.engine import several
from pycontain.engine.record import Record
from pycontain.engine.request import Device, Request
from pycontain.kernel import rtroute
from pycontain.kernel.errors import Error, UsageError
from pycontain.network import lease, routed, ruleset, settings, veth
from pycontain.network import several as network
from pycontain.tenant import file
from pycontain.tenant.settings import check
from pycontain.tenant.setup import ifupdown, networkd, steps
from pycontain.tenant.template import Template

ID = "0123456789abcdef" * 4


@pytest.fixture
def chosen(tmp_path: Path) -> settings.Settings:
    return settings.Settings("pycontain0", 0x0ADE0000, 16, 0xFD00 << 112, 1500, str(tmp_path / "network.json"))


def made(chosen: settings.Settings, place: int, *addresses: str, **wish: Any) -> routed.Routed:
    found = routed.Wish(addresses, interface=f"eth{max(place, 0)}", place=place, **wish)
    return routed.Routed(ID, list(addresses), found, chosen.table, "/leases")


# --- inside -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        ([(True, True), (True, True)], [(True, True), (False, False)]),
        ([(True, False), (True, True)], [(True, False), (False, True)]),
        ([(False, True), (True, True), (True, True)], [(False, True), (True, False), (False, False)]),
    ],
)
def test_the_first_device_with_a_family_is_the_way_out(
    families: list[tuple[bool, bool]], expected: list[tuple[bool, bool]]
) -> None:
    assert network.ways_out(families) == expected


def test_what_is_sent_from_an_address_goes_by_its_device(chosen: settings.Settings) -> None:
    one = made(chosen, 1, "10.88.1.10", "2001:db8::1", "10.88.1.11")
    table = veth.GUEST_INDEX + 1
    four, six = settings.packed(ruleset.GATEWAY), settings.packed(routed.GATEWAY6)
    assert network.routed_requests(one, one.addresses) == [
        rtroute.table_default(table, four, table),
        rtroute.rule(settings.packed("10.88.1.10"), table),
        rtroute.rule(settings.packed("10.88.1.11"), table),
        rtroute.table_default(table, six, table),
        rtroute.rule(settings.packed("2001:db8::1"), table),
    ]
    taken = lease.Lease(chosen, 5, ID, "/p")
    found = network.bridge_requests(taken, veth.Place("lan0", 2))
    assert found[:3] == [
        rtroute.table_subnet(102, settings.packed("10.222.0.5"), 16, 102),
        rtroute.table_default(102, settings.packed("10.222.0.1"), 102),
        rtroute.rule(settings.packed("10.222.0.5"), 102),
    ]
    assert len(found) == 6
    assert bytes([10, 222, 0, 0]) in found[0][2] and bytes([10, 222, 0, 5]) not in found[0][2]


def test_devices_of_one_start_have_names_of_their_own(chosen: settings.Settings) -> None:
    for _ in range(50):
        names = {made(chosen, place, f"10.88.1.{place + 1}").name for place in range(network.MOST)}
        assert len(names) == network.MOST and all(len(name) == 15 for name in names)
    sixes = {made(chosen, place, f"2001:db8::{place}").mac for place in range(network.MOST)}
    assert len(sixes) == network.MOST


# --- the state file -----------------------------------------------------------------------------------------------


def test_what_is_written_is_read_again(chosen: settings.Settings, tmp_path: Path) -> None:
    (tmp_path / "containers" / ID).mkdir(parents=True)
    first, other = made(chosen, 0, "10.88.1.10"), made(chosen, 2, "10.88.1.11", rate=10**6)
    routed.save(str(tmp_path), first, other, beside=["10.222.0.5"])
    found, beside = routed.load_all(str(tmp_path), chosen, ID)
    assert [one.record() for one in found] == [first.record(), other.record()]
    assert [one.guest_index for one in found] == [100, 102] and beside == ["10.222.0.5"]
    assert [one.index for one in routed.saved(str(tmp_path), chosen)] == [first.index, other.index]
    assert routed.release(str(tmp_path), chosen, ID) == ["10.88.1.10", "10.88.1.11", "10.222.0.5"]


def test_the_only_device_is_written_as_before(chosen: settings.Settings, tmp_path: Path) -> None:
    (tmp_path / "containers" / ID).mkdir(parents=True)
    one = made(chosen, -1, "10.88.1.10")
    assert "place" not in one.record()
    routed.save(str(tmp_path), one)
    text = (tmp_path / "containers" / ID / "routed").read_text()
    assert "others" not in text and "beside" not in text
    assert routed.load_all(str(tmp_path), chosen, ID)[1] == []


@pytest.mark.parametrize("text", ['{"others": 3}', "[]", '{"beside": ["x"]}', "3"])
def test_a_damaged_file_is_said(chosen: settings.Settings, tmp_path: Path, text: str) -> None:
    (tmp_path / "containers" / ID).mkdir(parents=True)
    (tmp_path / "containers" / ID / "routed").write_text(text)
    with pytest.raises(Error, match="not a record of addresses"):
        routed.load_all(str(tmp_path), chosen, ID)


# --- what is asked for --------------------------------------------------------------------------------------------


def test_a_record_has_its_devices(tmp_path: Path) -> None:
    request = Request("busybox", [])
    request.networks = [Device("routed", "", "10.0.0.1", rate=5)]
    assert [(one.network, one.interface) for one in several.devices(request)] == [
        ("bridge", "eth0"),
        ("routed", "eth1"),
    ]
    found = Record(network="bridge", name="x", networks=[one.to_json() for one in request.networks])
    assert [one.addresses for one in several.devices(found)] == [[], ["10.0.0.1"]]
    wrong = {"network": "routed", "interface": "eth1", "ip": 3, "mac": "", "rate": 0}
    for damaged in ([3], [{"network": "routed"}], ["x"], [wrong]):
        with pytest.raises(Error, match="container x: its record is damaged: networks"):
            several.devices(Record(network="bridge", name="x", networks=damaged))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["none", "bridge"], "network none cannot be with others"),
        (["bridge", "container:db"], "network container:db cannot be with others"),
        (["bridge", "bridge"], "there is one bridge"),
        (["routed:interface_name=eth1", "routed"], "two network devices are called eth1"),
        (["routed:ip=10.0.0.1", "routed:ip=10.0.0.1"], "two network devices have the address 10.0.0.1"),
        (["routed:mac=02:00:00:00:00:01"] * 2, "two network devices have the MAC address"),
        (["routed"] * 33, "33 network devices; a container can have 32"),
        (["routed:ip=10.0.0.1,ip=10.0.0.1"], "address 10.0.0.1 is given twice"),
        (["routed:rate=1M,rate=2M"], "rate is given twice"),
        (["routed:alias=x"], "'alias=x' is none of ip=VALUE, mac=VALUE"),
        (["routed:ip="], "'ip=' is none of"),
        (["routed:"], "'' is none of"),
        (["bridge:mac=02:00:00:00:00:01"], "mac is for --network routed"),
        (["bridge:ip=fd00::1"], "is not an IPv4 address"),
        (["routed:interface_name=a/b"], "'a/b' is not a name of a network device"),
        (["routed:interface_name=lo"], "'lo' is not a name"),
        (["container:"], "container: lacks the name"),
    ],
)
def test_networks_that_cannot_be(words: list[str], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        args.parse(RUN, [*[f"--network={word}" for word in words], "busybox"])
    assert expected in caught.value.message


@pytest.mark.parametrize("flag", ["--ip=10.0.0.1", "--rate=1M", "--mac-address=02:00:00:00:00:01"])
def test_with_several_a_flag_has_to_say_of_which(flag: str) -> None:
    with pytest.raises(UsageError, match="say of which device: --network bridge:"):
        args.parse(RUN, ["--network", "bridge", "--network", "routed", flag, "busybox"])


def test_several_networks_in_a_request() -> None:
    options = args.parse(
        RUN,
        ["--network", "routed:ip=10.0.0.1,ip=fd00::1,rate=1M,interface_name=pub0", "--network", "bridge", "busybox"],
    )
    request = Request("busybox", [])
    flags.read(options, request)
    assert (request.network, request.interface, request.ip, request.rate) == (
        "routed",
        "pub0",
        "10.0.0.1,fd00::1",
        10**6,
    )
    assert [one.to_json() for one in request.networks] == [
        {"network": "bridge", "interface": "eth1", "ip": "", "mac": "", "rate": 0}
    ]


# --- tenants ------------------------------------------------------------------------------------------------------

FILE = """\
version = 1
[[network]] # the public one
name = "eth0"
addresses = ["10.0.0.1"]
# between

[[network]]
name = "eth1"
type = "bridge"
"""


def test_a_place_of_a_list_comes_and_goes() -> None:
    more = file.changed(FILE, {"network.2": {"name": "eth2", "addresses": ["10.0.0.2"]}})
    assert more == FILE + '\n[[network]]\nname = "eth2"\naddresses = ["10.0.0.2"]\n'
    between = file.changed(FILE + "\n[dns]\n", {"network.2": {"name": "eth2"}})
    assert between == FILE + '\n[[network]]\nname = "eth2"\n\n[dns]\n'
    less = file.changed(more, {"network.2": None, "network.1": None})
    assert "# the public one" in less and less.count("[[network]]") == 1
    other = file.changed(FILE, {"network.1": {"name": "lan0", "type": "bridge"}})
    assert [one.name for one in check(file.raw(other, "F"), "F").network] == ["eth0", "lan0"]
    inline = file.changed('version = 1\nnetwork = [{name = "a"}]\n', {"network.1": {"name": "b"}})
    assert [one.name for one in check(file.raw(inline, "F"), "F").network] == ["a", "b"]
    for key in ("network.4", "network.4.name"):
        with pytest.raises(UsageError, match=r"network\.4"):
            file.changed(FILE, {key: "x"})


def test_the_guest_is_told_of_each_device_s_table() -> None:
    found = check(
        {
            "version": 1,
            "network": [
                {"addresses": ["10.0.0.1"]},
                {"type": "bridge"},
                {"addresses": ["10.0.0.2", "2001:db8::2"]},
            ],
        },
        "F",
    )
    template = Template("debian-vps", {"Labels": {"io.pycontain.template": "1", "io.pycontain.template.init": "/i"}})
    for bridge6 in (True, False):
        wanted = steps.wanted("a", found, template, "", bridge6)
        assert wanted.interfaces is not None
        first, bridge, last = wanted.interfaces
        assert (first.gateways, first.table, first.by_table) == (["169.254.1.1"], 100, ["169.254.1.1"])
        assert bridge.addresses == []
        assert (last.gateways, last.table) == ([] if bridge6 else ["fe80::1"], 102)
        assert last.by_table == ["169.254.1.1", "fe80::1"]
    assert "[Route]\nGateway=fe80::1\nGatewayOnLink=yes\nTable=102\n" in networkd.text(last, wanted)
    assert "\tup ip -6 route add default via fe80::1 dev eth2 onlink table 102 2>/dev/null || true" in ifupdown.stanza(
        last
    )
    alone = steps.wanted("a", check({"version": 1, "network": [{"addresses": ["10.0.0.1"]}]}, "F"), template, "")
    assert alone.interfaces is not None and "Table" not in networkd.text(alone.interfaces[0], alone)
