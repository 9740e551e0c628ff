"""The bytes of netlink messages, against what pyroute2 makes of them; answers that are damaged."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from pycontain.kernel import nfnl, rtnl
from pycontain.network import veth
from pycontain.network.lease import Lease
from pycontain.network.settings import Settings

NETWORK = Settings("pycontain0", 0x0ADE0000, 16, 0xFD12_3456_789A_0001 << 64, 1400)
ID = "0123456789abcdef" * 4


def decode(kind: Any, data: bytes) -> Any:
    found = kind(data)
    found.decode()
    return found


def split(data: bytes) -> list[bytes]:
    """The whole messages of a batch."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        found.append(data[at : at + size])
        at += (size + 3) & ~3
    return found


def test_the_hosts_requests() -> None:
    host, _, settle = veth.attach_requests(NETWORK, Lease(NETWORK, 2, ID, ""), 7, ID, 9)
    data = split(host)
    create, port, up = (decode(ifinfmsg, data[at]) for at in (0, 1, 3))
    entry = decode(ndmsg, data[2])
    assert [item["header"]["sequence_number"] for item in (create, port, entry, up)] == [1, 2, 3, 4]
    assert create["header"]["flags"] == 0x605
    name = create.get_attr("IFLA_IFNAME")
    assert name.startswith("vp0123456789")
    assert len(name) == 15
    assert (create.get_attr("IFLA_MASTER"), create.get_attr("IFLA_MTU")) == (7, 1400)
    assert create["index"] == port["index"] == up["index"] >= 1 << 24
    info = create.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer["index"] == veth.GUEST_INDEX
    assert peer.get_attr("IFLA_IFNAME") == "eth0"
    assert peer.get_attr("IFLA_ADDRESS") == "02:70:0a:de:00:02"
    assert (peer.get_attr("IFLA_NET_NS_FD"), peer.get_attr("IFLA_MTU")) == (9, 1400)
    assert (peer.get_attr("IFLA_NUM_TX_QUEUES"), create.get_attr("IFLA_NUM_RX_QUEUES")) == (1, 1)
    slave = port.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_SLAVE_DATA")
    assert slave.get_attr("IFLA_BRPORT_MODE") == 1
    assert b"\x05\x00\x27\x00\x01" in data[1]  # IFLA_BRPORT_LOCKED: pyroute2 does not know it
    assert (entry["family"], entry["ifindex"], entry.get_attr("NDA_LLADDR")) == (7, up["index"], "02:70:0a:de:00:02")
    assert (entry["state"], entry["flags"], entry["header"]["flags"]) == (0x42, 0x04, 0x505)  # static, of the bridge
    assert (up["flags"], up["change"]) == (0x81, 0x81)  # up, and nobody's neighbour
    assert [decode(ifinfmsg, data)["index"] for data in split(settle)] == [create["index"], 7]


def test_the_guests_requests() -> None:
    guest = veth.attach_requests(NETWORK, Lease(NETWORK, 258, ID, ""), 7, ID, 9)[1]
    data = split(guest)
    assert [int.from_bytes(item[8:12], "little") for item in data] == [1, 2, 3, 4, 5, 6]
    assert [decode(ifinfmsg, item)["index"] for item in data[:2]] == [1, veth.GUEST_INDEX]
    four, six = decode(ifaddrmsg, data[2]), decode(ifaddrmsg, data[4])
    assert (four.get_attr("IFA_LOCAL"), four["prefixlen"], four.get_attr("IFA_BROADCAST")) == (
        "10.222.1.2",
        16,
        "10.222.255.255",
    )
    assert (six.get_attr("IFA_ADDRESS"), six["prefixlen"], six["flags"]) == ("fd12:3456:789a:1::102", 64, 2)
    routes = [decode(rtmsg, item) for item in (data[3], data[5])]
    assert [item.get_attr("RTA_GATEWAY") for item in routes] == ["10.222.0.1", "fd12:3456:789a:1::1"]
    assert [(item["dst_len"], item["table"], item.get_attr("RTA_OIF")) for item in routes] == [(0, 254, 100)] * 2


def test_without_ipv6_there_is_no_word_of_it() -> None:
    network = Settings("pycontain0", 0x0ADE0000, 16, None, 1500)
    host, guest, _ = veth.attach_requests(network, Lease(network, 2, ID, ""), 7, ID, 9, hairpin=False)
    port = decode(ifinfmsg, split(host)[1])
    assert port.get_attr("IFLA_AF_SPEC") is None
    assert port.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_SLAVE_DATA").get_attr("IFLA_BRPORT_MODE") == 0
    assert len(split(guest)) == 4


def test_names_and_indexes_differ_from_start_to_start() -> None:
    requests = [veth.attach_requests(NETWORK, Lease(NETWORK, 2, ID, ""), 7, ID, 9)[0] for _ in range(3)]
    found = [decode(ifinfmsg, split(item)[0])["index"] for item in requests]
    assert len(set(found)) == 3
    assert all(0 < index < 1 << 31 for index in found)


def test_a_refusal_names_the_request_and_the_kernels_reason() -> None:
    with pytest.raises(rtnl.Refused) as caught:
        rtnl.send(rtnl.batch([rtnl.settle(rtnl.LOOPBACK), rtnl.settle(999_999)]))
    assert (caught.value.number, caught.value.errno) == (2, 19)


def test_what_is_there_is_found() -> None:
    with rtnl.Socket() as route:
        link = rtnl.link(route, "lo")
        assert link is not None
        assert (link.index, link.name, link.master, link.kind) == (1, "lo", 0, "")
        assert rtnl.link(route, "nonexistent") is None
        assert "lo" in [item.name for item in rtnl.links(route)]
        addresses = rtnl.addresses(route, 1, 2)
    assert (bytes([127, 0, 0, 1]), 8) in addresses or not addresses


@given(st.binary(max_size=80))
def test_damaged_messages_are_an_error_and_never_more(data: bytes) -> None:
    try:
        for _, _, _, body in rtnl.messages(data):
            rtnl.attributes(body)
    except OSError as error:
        assert error.errno == 74


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=20))))
def test_attributes_come_back(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join([rtnl.attribute(kind, value) for kind, value in pairs])
    assert list(rtnl.each(data)) == pairs
    assert len(data) % 4 == 0


def test_a_netfilter_batch_splits_what_no_attribute_can_hold() -> None:
    pairs = [(os.urandom(8), os.urandom(8)) for _ in range(1000)]
    found = nfnl.add("pycontain", "publish4_any", pairs)
    assert len(found) == 3
    assert all(len(body) < 65000 for _, _, body in found)
    assert nfnl.batch([]) == b""
