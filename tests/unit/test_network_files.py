"""/etc/resolv.conf and /etc/hosts of a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontain.kernel.errors import UsageError
from pycontain.network.files import extra_host, host_resolv_conf, hosts, resolv_conf

HOST = """\
# made by hand
; so is this
search example.org corp.example.org
nameserver 127.0.0.53
nameserver ::1
nameserver fe80::1%eth0
nameserver fe80::1
nameserver 0.0.0.0
nameserver 192.0.2.53
nameserver 2001:db8::53
options edns0 trust-ad
options timeout:1
nameserver
"""


def test_the_hosts_file_without_what_a_container_cannot_reach() -> None:
    assert resolv_conf(HOST) == (
        "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example.org corp.example.org\n"
        "options edns0 trust-ad timeout:1\n"
    )


def test_what_is_given_takes_the_place_each_for_itself() -> None:
    assert resolv_conf(HOST, dns=["127.0.0.1"]).startswith("nameserver 127.0.0.1\nsearch example.org")
    assert "search a b\n" in resolv_conf(HOST, search=["a", "b"])
    assert "search" not in resolv_conf(HOST, search=["."])
    assert resolv_conf(HOST, options=["ndots:2"]).endswith("options ndots:2\n")


def test_the_last_search_or_domain_wins_and_three_servers_are_read() -> None:
    text = "search a\ndomain b\n" + "".join(f"nameserver 192.0.2.{at}\n" for at in range(1, 6))
    assert resolv_conf(text) == "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nsearch b\n"


@pytest.mark.parametrize("text", ["", "nameserver 127.0.0.53\n", "\0\0nonsense\n"])
def test_no_server_is_said_in_a_comment(text: str) -> None:
    assert resolv_conf(text).startswith("# No name server: ")
    assert "\nnameserver" not in resolv_conf(text)


def test_the_list_of_systemd_resolved(tmp_path: Path) -> None:
    etc, resolved = tmp_path / "etc", tmp_path / "resolved"
    etc.write_text("nameserver 127.0.0.53\n")
    assert host_resolv_conf(str(etc), str(resolved)) == "nameserver 127.0.0.53\n"
    resolved.write_text("nameserver 192.0.2.1\n")
    assert host_resolv_conf(str(etc), str(resolved)) == "nameserver 192.0.2.1\n"
    etc.write_text("nameserver 192.0.2.9\n")
    assert host_resolv_conf(str(etc), str(resolved)) == "nameserver 192.0.2.9\n"
    assert host_resolv_conf(str(tmp_path / "no"), str(tmp_path / "no")) == ""


@pytest.mark.parametrize("bad", ["", "a b", "a\nnameserver 6.6.6.6", "a\0", "a\tb", "a#b", "\x7f", "a\u2028b"])
def test_words_that_would_be_other_lines_are_refused(bad: str) -> None:
    for call in (
        lambda: resolv_conf("", search=[bad]),
        lambda: resolv_conf("", options=[bad]),
        lambda: resolv_conf("", dns=[bad]),
        lambda: hosts("ok", ["192.0.2.1"], [(bad, "192.0.2.1")]),
        lambda: hosts("ok", ["192.0.2.1"], [("name", bad)]),
        lambda: extra_host(f"{bad}:192.0.2.1"),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert "\n" not in caught.value.message
    if bad:
        with pytest.raises(UsageError, match="--hostname"):
            hosts(bad, ["192.0.2.1"])


def test_hosts() -> None:
    text = hosts("web.example.org", ["10.222.0.2", "fd00::2"], [("db", "10.222.0.3")])
    assert text.splitlines() == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
        "10.222.0.2\tweb.example.org web",
        "fd00::2\tweb.example.org web",
        "10.222.0.3\tdb",
    ]
    assert hosts("web", []).endswith("127.0.0.1\tweb\n")
    assert hosts("", ["10.222.0.2"]).count("\n") == 4


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("db:10.0.0.1", ("db", "10.0.0.1")),
        ("db=10.0.0.1", ("db", "10.0.0.1")),
        ("db:fd00::1", ("db", "fd00::1")),
        ("db=[fd00::1]", ("db", "fd00::1")),
        ("host.docker.internal:host-gateway", ("host.docker.internal", "10.222.0.1")),
    ],
)
def test_extra_hosts(text: str, pair: tuple[str, str]) -> None:
    assert extra_host(text, "10.222.0.1") == pair


@pytest.mark.parametrize("text", ["", "db", "db:", ":10.0.0.1", "db:nonsense", "db:host-gateway", "db:10.0.0.1:80"])
def test_extra_hosts_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="--add-host"):
        extra_host(text)
