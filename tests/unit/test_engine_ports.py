"""port: what stands for a port, and for all of the host's addresses."""

from __future__ import annotations

import pytest

from pycontain.engine import ports
from pycontain.kernel.errors import UsageError
from pycontain.network import port


def places(text: str, ipv6: bool = True) -> list[str]:
    return [f"{one.container} {one.place}" for one in ports.bindings(port.parse(text), ipv6)]


def test_all_addresses_of_the_host() -> None:
    assert places("8080:80") == ["80/tcp 0.0.0.0:8080", "80/tcp [::]:8080"]
    assert places("8080:80", ipv6=False) == ["80/tcp 0.0.0.0:8080"]


def test_one_address() -> None:
    assert places("127.0.0.1:53:5353/udp") == ["5353/udp 127.0.0.1:53"]
    assert places("[fd00::1]:80:80") == ["80/tcp [fd00::1]:80"]


def test_sorted_by_the_containers_port() -> None:
    found = ports.bindings([*port.parse("1:443"), *port.parse("2:80"), *port.parse("3:80/udp")], False)
    assert [one.container for one in found] == ["80/tcp", "80/udp", "443/tcp"]


@pytest.mark.parametrize(("text", "key"), [("80", "80/tcp"), ("080", "80/tcp"), ("53/udp", "53/udp")])
def test_what_may_be_asked_for(text: str, key: str) -> None:
    assert ports._key(text) == key


@pytest.mark.parametrize("text", ["x", "0", "65536", "80/sctp", "80/", "/tcp", "-1", "٨٠", "80/tcp/x"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(UsageError, match="is not a port of a container"):
        ports._key(text)
