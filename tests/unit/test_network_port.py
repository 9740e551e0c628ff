"""-p flags and the requests that publish; binding and publishing for real: see the integration tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontain.kernel import rtnl
from pycontain.kernel.errors import Error, UsageError
from pycontain.network import port, ruleset
from pycontain.network.lease import Lease
from pycontain.network.port import Port, parse
from pycontain.network.settings import Settings

NETWORK = Settings("pycontain0", 0x0ADE0000, 16, 0xFD12_3456_789A_0001 << 64, 1500)
LEASE = Lease(NETWORK, 2, "id", "/path")


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("8080:80", [Port("", 8080, 80, "tcp")]),
        ("8080:80/tcp", [Port("", 8080, 80, "tcp")]),
        ("5353:53/udp", [Port("", 5353, 53, "udp")]),
        ("80", [Port("", 0, 80, "tcp")]),
        ("53/udp", [Port("", 0, 53, "udp")]),
        ("127.0.0.1:8080:80", [Port("127.0.0.1", 8080, 80, "tcp")]),
        ("127.0.0.1::80", [Port("127.0.0.1", 0, 80, "tcp")]),
        ("0.0.0.0:1:2", [Port("0.0.0.0", 1, 2, "tcp")]),
        ("[fd00::1]:8080:80", [Port("fd00::1", 8080, 80, "tcp")]),
        ("[FD00:0::1]:8080:80", [Port("fd00::1", 8080, 80, "tcp")]),
        ("[::]:8080:80", [Port("::", 8080, 80, "tcp")]),
        ("[::]::80", [Port("::", 0, 80, "tcp")]),
        ("8000-8002:80-82", [Port("", 8000 + at, 80 + at, "tcp") for at in range(3)]),
        ("80-81", [Port("", 0, 80, "tcp"), Port("", 0, 81, "tcp")]),
        ("65535:1", [Port("", 65535, 1, "tcp")]),
    ],
)
def test_flags(text: str, ports: list[Port]) -> None:
    assert parse(text) == ports


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the container port '' is not a number"),
        ("0:80", "the host port '0' is not a number from 1 to 65535"),
        ("80:0", "the container port '0'"),
        ("65536:80", "the host port '65536'"),
        ("x:80", "the host port 'x'"),
        ("80:x", "the container port 'x'"),
        ("²:80", "the host port '²'"),
        ("8080:", "the container port ''"),
        (":80", "the host port is missing"),
        ("80/sctp", "the protocol is tcp or udp, not 'sctp'"),
        ("80/", "not ''"),
        ("80/tcp/udp", "not 'tcp/udp'"),
        ("1-3:1-2", "3 host ports and 2 container ports"),
        ("1-2:80", "2 host ports and 1 container ports"),
        ("3-1:3-1", "run backwards"),
        ("1-2000:1-2000", "2000 ports; a container can publish 1000"),
        ("fd00::1:8080:80", "stands in brackets"),
        ("1.2.3:8080:80", "'1.2.3' is no IPv4 address"),
        ("host:8080:80", "'host' is no IPv4 address"),
        ("[1.2.3.4]:8080:80", "is no IPv6 address"),
        ("[fd00::1", "in brackets a colon and the ports are missing"),
        ("[fd00::1]8080:80", "in brackets a colon and the ports are missing"),
        ("[fd00::1%eth0]:8080:80", "is no IPv6 address"),
        ("[::1]:8080:80", "take 127.0.0.1"),
        ("[fe80::1]:8080:80", "link-local"),
        ("[::ffff:1.2.3.4]:8080:80", r"write 1\.2\.3\.4"),
        ("1.2.3.4:1:2:3", "too many colons"),
    ],
)
def test_flags_that_cannot_be(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        parse(text)
    assert caught.value.message.startswith(f"-p {text!r}: ")
    assert "\n" not in caught.value.message


@given(st.text(alphabet="0123456789:-./[]tcpudfe% \n\0", max_size=30))
def test_any_text_is_ports_or_a_usage_error(text: str) -> None:
    try:
        ports = parse(text)
    except UsageError as error:
        assert "\n" not in error.message
        return
    assert ports
    for item in ports:
        assert 0 < item.container_port < 65536
        assert 0 <= item.host_port < 65536


def test_records_are_json_and_come_back() -> None:
    ports = parse("8080:80") + parse("[fd00::1]:53:53/udp")
    assert port.from_records(json.loads(json.dumps(port.records(ports)))) == ports
    assert [str(item) for item in ports] == ["*:8080->80/tcp", "[fd00::1]:53->53/udp"]


def test_elements_by_map() -> None:
    flags = ("8080:80", "1.2.3.4:1:2", "[fd00::1]:3:4/udp", "0.0.0.0:5:6", "[::]:7:8")
    found = port.elements([item for flag in flags for item in parse(flag)], str(LEASE.address), LEASE.address6)
    target4, target6 = bytes([10, 222, 0, 2]), bytes.fromhex("fd123456789a00010000000000000002")
    assert found["publish4"] == [(b"\6\0\0\0\1\2\3\4\0\1\0\0", target4 + b"\0\2\0\0")]
    assert found["publish4_any"] == [
        (b"\6\0\0\0\x1f\x90\0\0", target4 + b"\0\x50\0\0"),
        (b"\6\0\0\0\0\5\0\0", target4 + b"\0\6\0\0"),
    ]
    assert found["publish6"] == [
        (b"\x11\0\0\0" + bytes.fromhex("fd00") + bytes(13) + b"\1\0\3\0\0", target6 + b"\0\4\0\0")
    ]
    assert found["publish6_any"] == [
        (b"\6\0\0\0\x1f\x90\0\0", target6 + b"\0\x50\0\0"),
        (b"\6\0\0\0\0\7\0\0", target6 + b"\0\x08\0\0"),
    ]
    assert port.elements(parse("8080:80"), "10.222.0.2", None)["publish6_any"] == []


def test_a_batch_begins_ends_and_counts_from_one() -> None:
    ports = parse("8080:80") + parse("1.2.3.4:1:2")
    for data, count in ((port.publish_requests(ports, LEASE), 3), (port.unpublish_requests(ports, LEASE), 6)):
        found = list(rtnl.messages(data))
        assert [number for _, _, number, _ in found] == list(range(1, count + 3))
        assert (found[0][0], found[-1][0]) == (16, 17)
        assert [bool(flags & rtnl.F_ACK) for _, flags, _, _ in found] == [False] + [True] * count + [False]
        assert all(flags & rtnl.F_REQUEST for _, flags, _, _ in found)


def test_nothing_to_publish_is_no_bytes() -> None:
    assert port.publish_requests([], LEASE) == port.unpublish_requests([], LEASE) == b""
    assert port.forget_requests(parse("8080:80")) == b""


def test_udp_flows_are_forgotten_by_host_port_and_family() -> None:
    found = list(rtnl.messages(port.forget_requests(parse("5353:53/udp") + parse("8080:80"))))
    assert [(number, bool(flags & rtnl.F_ACK)) for _, flags, number, _ in found] == [(1, False), (2, True)]
    assert len(list(rtnl.messages(port.forget_requests(parse("127.0.0.1:5353:53/udp"))))) == 1


def test_saved_ports_come_back_and_a_damaged_record_hides_no_other(tmp_path: Path) -> None:
    run_root = str(tmp_path)
    for name in ("a", "b", "c", "d"):
        (tmp_path / "containers" / name).mkdir(parents=True)
    port.save(run_root, "a", parse("8080:80"), LEASE.address, LEASE.address6)
    (tmp_path / "containers" / "b" / "ports").write_text("{")
    (tmp_path / "containers" / "c" / "ports").write_text("{}")
    found = port.saved(run_root)
    assert [(item.container_id, item.address, item.address6, item.ports) for item in found] == [
        ("a", LEASE.address, LEASE.address6, parse("8080:80"))
    ]
    assert port.load(run_root, "d") is None
    with pytest.raises(Error, match="not a record of published ports"):
        port.load(run_root, "c")
    with pytest.raises(Error, match="cannot write the published ports"):
        port.save(run_root, "nobody", [], LEASE.address, None)
    assert port.saved(run_root + "/none") == []


def test_the_script_publishes_what_is_saved_and_each_key_once() -> None:
    one = port.Publication("1", "10.222.0.2", "fd00::2", parse("8080:80"))
    stale = port.Publication("2", "10.222.0.3", None, parse("8080:81") + parse("1.2.3.4:1:2/udp"))
    lines = [line for line in ruleset.script(NETWORK, [one, stale]).splitlines() if line.startswith("add element")]
    assert lines == [
        "add element inet pycontain publish4_any { 6 . 8080 : 10.222.0.2 . 80 }",
        "add element inet pycontain publish6_any { 6 . 8080 : fd00::2 . 80 }",
        "add element inet pycontain publish4 { 17 . 1.2.3.4 . 1 : 10.222.0.3 . 2 }",
    ]
