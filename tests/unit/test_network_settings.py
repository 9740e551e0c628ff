"""ROOT/network.json: made once, read, checked."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pycontain.kernel.errors import Error
from pycontain.network import ruleset, settings, spoofing

GOOD = {"bridge": "pycontain0", "subnet": "10.222.0.0/16", "subnet6": "fd12:3456:789a:1::/64", "mtu": 1500}


def write(root: Path, value: Any) -> None:
    (root / "network.json").write_text(json.dumps(value))


def test_first_use_makes_the_file_and_the_next_reads_it(tmp_path: Path) -> None:
    root = tmp_path / "new" / "root"
    assert not settings.exists(str(root))
    made = settings.load(str(root))
    assert settings.exists(str(root))
    assert (made.bridge, made.subnet, made.table) == ("pycontain0", "10.222.0.0/16", "pycontain")
    assert made.subnet6 is None or made.subnet6.startswith("fd")
    assert made.mtu >= 1280
    again = settings.load(str(root))
    assert again.record() == made.record() == json.loads((root / "network.json").read_text())
    assert [path.name for path in root.iterdir()] == ["network.json"]


def test_each_host_gets_its_own_ipv6_subnet(tmp_path: Path) -> None:
    if not settings.has_ipv6():
        pytest.skip("the kernel has no IPv6")
    assert settings.load(str(tmp_path / "a")).subnet6 != settings.load(str(tmp_path / "b")).subnet6


def test_first_users_at_once_agree(tmp_path: Path) -> None:
    script = (
        "import sys; sys.stdin.readline(); from pycontain.network import settings;"
        f"print(settings.load({str(tmp_path)!r}).record())"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    for child in children:
        assert child.stdin
        child.stdin.write("go\n")
        child.stdin.flush()
    assert len({child.communicate()[0] for child in children}) == 1
    assert [child.returncode for child in children] == [0] * 8


def test_addresses(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    found = settings.load(str(tmp_path))
    assert settings.printed(found.address(1)) == "10.222.0.1"
    assert settings.printed(found.address(65535)) == "10.222.255.255"
    assert settings.printed(found.address6(258) or b"") == "fd12:3456:789a:1::102"
    assert (found.size, found.subnet6) == (65536, GOOD["subnet6"])


def test_no_ipv6_and_another_bridge(tmp_path: Path) -> None:
    write(tmp_path, GOOD | {"subnet6": None, "bridge": "br.1", "subnet": "192.168.7.64/29"})
    found = settings.load(str(tmp_path))
    assert (found.subnet6, found.address6(2), found.table, found.size) == (None, None, "pycontain-br.1", 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bridge": ""}, "bridge: '' is no device name"),
        ({"bridge": "a/b"}, "bridge: 'a/b' is no device name"),
        ({"bridge": "x" * 16}, "bridge: 'x{16}' is no device name"),
        ({"bridge": "0br"}, "bridge: '0br' is no device name"),
        ({"bridge": 5}, "bridge: 5 is no device name"),
        ({"subnet": "10.222.0.0"}, "subnet: '10.222.0.0' is no subnet such as"),
        ({"subnet": "10.222.0.1/16"}, "subnet: '10.222.0.1/16' has bits beyond its prefix length"),
        ({"subnet": "10.222.0.0/31"}, "subnet: .* has prefix length 31; it must be from 8 to 30"),
        ({"subnet": "10.0.0.0/7"}, "prefix length"),
        ({"subnet": "10.222.0.0/-1"}, "is no subnet"),
        ({"subnet": "127.0.0.0/16"}, "subnet: '127.0.0.0/16' is not for hosts"),
        ({"subnet": "224.0.0.0/16"}, "not for hosts"),
        ({"subnet": "fd00::/64"}, "is no subnet"),
        ({"subnet": None}, "subnet: None is no subnet"),
        ({"subnet6": "fd00::/48"}, "subnet6: 'fd00::/48' has prefix length 48; it must be 64"),
        ({"subnet6": "fd00::1/64"}, "bits beyond"),
        ({"subnet6": "fe80::/64"}, "not for hosts"),
        ({"subnet6": "ff02::/64"}, "not for hosts"),
        ({"subnet6": "::/64"}, "not for hosts"),
        ({"subnet6": "10.0.0.0/8"}, "is no subnet"),
        ({"mtu": 1279}, "mtu: 1279 is not a number of bytes from 1280"),
        ({"mtu": 65536}, "mtu: 65536"),
        ({"mtu": "1500"}, "mtu: '1500'"),
        ({"mtu": True}, "mtu: True"),
        ({"dns": "1.1.1.1"}, "dns: unknown key"),
    ],
)
def test_bad_content_is_one_line_with_file_and_key(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write(tmp_path, GOOD | change)
    with pytest.raises(Error, match=f"^{tmp_path}/network.json: .*{message}") as caught:
        settings.load(str(tmp_path))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("key", GOOD)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    write(tmp_path, {name: value for name, value in GOOD.items() if name != key})
    with pytest.raises(Error, match=f"network.json: {key}: missing"):
        settings.load(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{", "nonsense"])
def test_what_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "network.json").write_text(text)
    with pytest.raises(Error, match=r"network\.json: "):
        settings.load(str(tmp_path))


def test_a_directory_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Error, match=r"cannot (read|write the network settings) .*Not a directory"):
        settings.load(str(tmp_path / "file"))


def test_a_changed_table_against_spoofing_counts_up() -> None:
    """Else a table of an older pycontain would stay (ruleset.SPOOFING): change both numbers with what it says."""
    shown = spoofing.table(settings.Settings("b", 0x0A000000, 20, 0xFD << 120, 1500))
    assert (ruleset.SPOOFING, hashlib.sha256(shown.encode()).hexdigest()[:16]) == (1, "3e20816414a0c8db")


def test_the_start_road_imports_nothing_slow() -> None:
    """docs/design.md, "The start road"."""
    script = (
        "import sys; import pycontain.network.settings, pycontain.network.lease, pycontain.network.bridge;"
        "import pycontain.network.veth, pycontain.network.port, pycontain.network.files; print(*sorted(sys.modules))"
    )
    source = str(Path(settings.__file__).parents[2])
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {source!r}); {script}"]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    slow = "json re enum typing dataclasses pathlib subprocess argparse logging socket signal struct ctypes shutil"
    slow += " tempfile hashlib ipaddress pyroute2 pydantic typer rich collections functools"
    assert loaded.isdisjoint(slow.split())
