"""A tenant's settings: every key, its bounds, and errors of one line that name the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pycontain.kernel.errors import Error, NotFound, UsageError
from pycontain.tenant import assign, file, refused, settings, words

FULL = """# a comment at the top
version = 1
id = 101                      # unique
template = "debian-vps"

[boot]
onboot = "yes"                # with the host
order = 3

[memory]
limit = "512M"                # vzctl's physpages

[[network]]
# the first one
name = "eth0"
type = "routed"
addresses = ["10.88.1.10", "fd00::10"]
"""


def problem(value: dict[str, Any]) -> str:
    with pytest.raises(Error) as caught:
        settings.check({"version": 1, **value}, "F")
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"memory": {"limit": "51x"}}, "F: memory.limit: '51x' is not a size"),
        ({"memory": {"limit": "512"}}, "F: memory: limit '512' is below 1M"),
        ({"memory": {"swap": "1G"}}, "F: memory: swap is beside a limit of memory"),
        ({"memory": {"limit": "1G", "guarantee": "2G"}}, "F: memory: guarantee 2G is above limit, 1G"),
        ({"version": 2}, "F: version: 2 is a version that this pycontain does not know"),
        ({"numtcpsock": 4}, "F: numtcpsock: no stock kernel limits"),
        ({"features": {"nfs": True}}, "F: features.nfs: a stock kernel mounts NFS for nobody but the host's root"),
        ({"memory": {"limits": "1G"}}, "F: memory.limits: is not a setting: did you mean memory.limit?"),
        ({"nonsense": 1}, "F: nonsense: is not a setting"),
        ({"id": "101"}, "F: id: must be a whole number"),
        ({"id": -1}, "F: id: -1 is not at least 0"),
        ({"hostname": "a b"}, "F: hostname: 'a b' is not a host name"),
        ({"hostname": "-a"}, "F: hostname: '-a' is not a host name"),
        ({"description": "a\nb"}, "F: description: 'a\\nb' has a control character"),
        ({"boot": 3}, "F: boot: must be a table"),
        ({"boot": {"onboot": True}}, "F: boot.onboot: True is none of 'no', 'yes', 'as-before'"),
        ({"boot": {"order": 1.5}}, "F: boot.order: must be a whole number"),
        ({"boot": {"delay": 601}}, "F: boot.delay: 601"),
        ({"boot": {"init": [""]}}, "F: boot.init.0: a word of a command is empty"),
        ({"boot": {"stop_signal": "SIGNOPE"}}, "F: boot.stop_signal: 'SIGNOPE' is not a signal"),
        ({"boot": {"stop_timeout": -1}}, "F: boot.stop_timeout: -1 is not at least 0"),
        ({"cpu": {"cpus": -0.5}}, "F: cpu.cpus: -0.5 is not at least 0"),
        ({"cpu": {"limit": "x%"}}, "F: cpu.limit: 'x%' is not a share of CPU time"),
        ({"cpu": {"units": 7}}, "F: cpu.units: 7 is not at least 8"),
        ({"cpu": {"mask": "a"}}, "F: cpu.mask: 'a' is not a list of numbers"),
        ({"processes": {"max": -1}}, "F: processes.max: -1 is not at least 0"),
        ({"io": {"weight": 0}}, "F: io.weight: 0 is not at least 1"),
        ({"io": {"read_bps": "fast"}}, "F: io.read_bps: 'fast' is not a size"),
        ({"network": [{"addresses": ["10.0.0.1/24"]}]}, "F: network.0.addresses.0: '10.0.0.1/24' is not an IPv4"),
        (
            {"network": [{"addresses": ["127.0.0.1"]}]},
            "F: network.0.addresses.0: 127.0.0.1 is not an address that a container can have",
        ),
        ({"network": [{"addresses": ["10.0.0.1", "10.0.0.1"]}]}, "F: network: an address is there twice: 10.0.0.1"),
        ({"network": [{"name": "eth1"}, {}]}, "F: network: two devices are called eth1"),
        ({"network": [{"type": "wifi"}]}, "F: network.0.type: 'wifi' is none of 'routed', 'bridge'"),
        ({"network": [{"mac": "01:00:00:00:00:00"}]}, "F: network.0.mac: '01:00:00:00:00:00' is not a MAC address"),
        ({"network": [{"rate": "fast"}]}, "F: network.0.rate: 'fast' is not a rate"),
        ({"network": [{"rate": "1"}]}, "F: network.0.rate: rate '1': give from 8k to 1000G"),
        ({"network": [{"addresses": ["fe80::1"]}]}, "F: network.0.addresses.0: fe80::1 is not an address that"),
        ({"network": {}}, "F: network: must be a list"),
        ({"dns": {"servers": ["nobody"]}}, "F: dns.servers.0: 'nobody' is not an IPv4 or IPv6 address"),
        ({"rights": {"capabilities": ["net_raw"]}}, "F: rights.capabilities.0: 'net_raw' is neither +NAME nor -NAME"),
        ({"rights": {"capabilities": ["+nope"]}}, "F: rights.capabilities.0: "),
        ({"rights": {"devices": ["/etc/passwd"]}}, "F: rights.devices.0: '/etc/passwd' is not /dev/NAME"),
        ({"rights": {"devices": ["/dev/x:q"]}}, "F: rights.devices.0: '/dev/x:q' is not /dev/NAME"),
        ({"mounts": [{"source": "/a"}]}, "F: mounts.0.target: is missing"),
        ({"mounts": [{"source": "/a", "target": "b"}]}, "F: mounts.0.target: 'b' is not an absolute path"),
        ({"mounts": [{"source": "/../a", "target": "/b"}]}, "F: mounts.0.source: '/../a' is not an absolute path"),
        ({"sysctls": {"Ä": "1"}}, "F: sysctls: 'Ä' is not a sysctl's name"),
        ({"environment": {"A-B": "1"}}, "F: environment: 'A-B' is not a variable's name"),
        ({"hooks": {"pre_star": []}}, "F: hooks.pre_star: is not a setting: did you mean hooks.pre-start?"),
        ({"boot": {"order": "x", "delay": 9999}}, "F: boot.order: must be a whole number (and 1 more)"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_with_its_key(value: dict[str, Any], expected: str) -> None:
    assert problem(value).startswith(expected)


def test_version_is_required() -> None:
    with pytest.raises(Error, match="F: version: is missing: begin the file with version = 1"):
        settings.check({}, "F")


def test_the_contract_of_the_page() -> None:
    """docs/tenants.md: every key there is one here, with its default."""
    import tomllib

    page = (Path(__file__).parents[2] / "docs" / "tenants.md").read_text()
    example = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])
    found = settings.check(example, "the page").plain()
    default = settings.Settings(version=1).plain()
    assert set(default) == set(found)
    for key in ("boot", "cpu", "memory", "processes", "io", "disk", "dns", "features", "rights"):
        assert example[key] == default[key], key


def test_numbers_and_hyphens() -> None:
    found = settings.check({"version": 1, "memory": {"limit": 1 << 30}, "hooks": {"pre-start": ["true"]}}, "F")
    assert found.memory.limit == "1073741824"
    assert found.plain()["hooks"]["pre-start"] == ["true"]


def test_the_schema_is_json_and_has_every_key() -> None:
    text = json.dumps(settings.schema())
    for key in settings.every_key():
        assert f'"{key.rpartition(".")[2]}"' in text


@pytest.mark.parametrize(
    ("text", "number"), [("SIGRTMIN+3", 37), ("sigterm", 15), ("TERM", 15), ("15", 15), ("RTMIN+4", 38), ("PWR", 30)]
)
def test_signals(text: str, number: int) -> None:
    assert settings.signal_number(text) == number


@pytest.mark.parametrize("text", ["0", "65", "RTMIN+99", "SIG", "TERM+x", "+3", ""])
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(ValueError):
        settings.signal_number(text)


# --- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [("512M", 512 << 20), ("1.5G", 3 << 29), ("4096", 4096), ("1k", 1024), ("2TiB", 2 << 40), ("10MB", 10 << 20)],
)
def test_sizes(text: str, number: int) -> None:
    assert words.size(text) == number


@pytest.mark.parametrize("text", ["", "M", "-1M", "1.M", "1e3", "512X", "99999999T", "B", "1 2M"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError):
        words.size(text)


def test_rates_and_shares() -> None:
    assert (words.rate("10M"), words.rate("100Mbit"), words.rate("1.5g")) == (10**7, 10**8, 1_500_000_000)
    assert (words.percent("150%"), words.percent("50")) == (1.5, 0.5)
    for text in ("", "0", "x", "M"):
        with pytest.raises(ValueError):
            words.rate(text)
    for text in ("", "0%", "x%", "%", "2e1"):
        with pytest.raises(ValueError):
            words.percent(text)


def test_sizes_are_shown_as_they_are_written() -> None:
    assert [words.show_size(size) for size in (512 << 20, 1 << 30, 1000, 0)] == ["512M", "1G", "1000", "0"]


# --- the file -----------------------------------------------------------------------------------------------------


def test_comments_stay(tmp_path: Path) -> None:
    path = tmp_path / "web1.toml"
    path.write_text(FULL)
    found = file.change(str(path), {"memory.limit": "1G", "boot.order": 5, "cpu.cpus": 2})
    assert (found.memory.limit, found.boot.order, found.cpu.cpus) == ("1G", 5, 2)
    text = path.read_text()
    for comment in ("# a comment at the top", "# unique", "# with the host", "# vzctl's physpages", "# the first one"):
        assert comment in text
    expected = FULL.replace('"512M"', '"1G"').replace("order = 3", "order = 5")
    assert text.startswith(expected[: expected.index("[[network]]")])
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_in_a_list(tmp_path: Path) -> None:
    text = file.changed(FULL, {"network.0.addresses": ["10.88.1.11"], "network.0.rate": "10M"})
    found = file.parse(text, "F").network[0]
    assert (found.addresses, found.rate) == (["10.88.1.11"], "10M")
    assert "# the first one" in text


def test_keys_are_taken_away() -> None:
    text = file.changed(FULL, {"memory.limit": None, "network": None, "cpu.cpus": None, "hostname": None})
    found = file.parse(text, "F")
    assert (found.memory.limit, found.network) == ("", [])
    assert "[cpu]" not in text


def test_lists_of_tables_and_free_tables() -> None:
    changes = {
        "mounts": [{"source": "/a", "target": "/b", "options": ["ro"]}],
        "sysctls": {"net.core.somaxconn": "128"},
        "network": [{"type": "bridge"}, {"name": "eth1"}],
    }
    found = file.parse(file.changed(FULL, changes), "F")
    assert found.mounts[0].options == ["ro"]
    assert found.sysctls == {"net.core.somaxconn": "128"}
    assert [one.name for one in found.network] == ["eth0", "eth1"]


@pytest.mark.parametrize("changes", [{"network.3.rate": "1M"}, {"memory.limit.x": 1}, {"network.name": "x"}])
def test_keys_that_lead_nowhere(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        file.changed(FULL, changes)


def test_a_wrong_change_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "web1.toml"
    path.write_text(FULL)
    with pytest.raises(Error, match=r"memory\.limit: 'x' is not a size"):
        file.change(str(path), {"memory.limit": "x"})
    assert path.read_text() == FULL
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    with pytest.raises(NotFound):
        file.read(str(path))
    path.write_text("version = ")
    with pytest.raises(Error, match="is not TOML"):
        file.read(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Error, match="is not UTF-8"):
        file.read(str(path))
    path.write_text("x = " + "[" * 100000)
    with pytest.raises(Error):
        file.read(str(path))
    path.unlink()
    path.mkdir()
    with pytest.raises(Error, match="Is a directory"):
        file.read(str(path))


def test_a_new_file_is_valid() -> None:
    text = file.fresh({"template": "busybox-vps", "boot.init": ["a", "b"], "network": [{"type": "bridge"}]})
    found = file.parse(text, "F")
    assert (found.template, found.boot.init) == ("busybox-vps", ["a", "b"])


# --- KEY=VALUE ----------------------------------------------------------------------------------------------------


def test_texts_of_a_command_line() -> None:
    words_ = ["memory.limit=512M", "boot.order=3", "cpu.cpus=1.5", "features.tun=true", "hostname=42", "dns.search=a,b"]
    words_ += ['boot.init=["/sbin/init"]', "network.0.rate=10M", "description="]
    assert assign.changes(words_, ["io.weight"]) == {
        "io.weight": None,
        "memory.limit": "512M",
        "boot.order": 3,
        "cpu.cpus": 1.5,
        "features.tun": True,
        "hostname": "42",
        "dns.search": ["a", "b"],
        "boot.init": ["/sbin/init"],
        "network.0.rate": "10M",
        "description": "",
    }


def test_names_with_dots_are_one_name() -> None:
    text = file.changed("version = 1\n", assign.changes(["sysctls.net.core.somaxconn=500", "environment.A.B=true"]))
    found = settings.check(file.raw(text, "F") | {"environment": {}}, "F")
    assert found.sysctls == {"net.core.somaxconn": "500"}
    assert file.raw(text, "F")["environment"] == {"A.B": "true"}
    assert assign.value("environment.A", "1.5") == "1.5"


@pytest.mark.parametrize(
    "key", ["memory.limit", "network.0.rate", "sysctls.net.a", "typo.of.before", "hooks.pre-start"]
)
def test_keys_that_can_be_taken_away(key: str) -> None:
    assign.check_unset([key], {"typo": {"of": {"before": 1}}})


@pytest.mark.parametrize(
    ("key", "expected"), [("memory.limt", "did you mean memory.limit"), ("numproc", "processes.max")]
)
def test_keys_that_are_none(key: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        assign.check_unset([key], {"version": 1})


@pytest.mark.parametrize("word", ["x", "=1", "a..b=1", "numtcpsock=4", "boot.order"])
def test_what_is_no_assignment(word: str) -> None:
    with pytest.raises(UsageError):
        assign.changes([word])


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(refused.REASONS))
def test_each_refusal_is_a_sentence(name: str) -> None:
    text = refused.reason(name)
    assert len(text) > 20 and not text.endswith(".") and "\n" not in text
    if name not in settings.every_key():
        assert text in problem({name: 1})


def test_what_is_refused_has_no_setting() -> None:
    assert refused.reason("memory") == ""
    assert refused.reason("NUMIPTENT") == refused.reason("--numiptent") == refused.reason("numiptent") != ""
