"""The files of a tenant's root: what is written, for which distribution, and that nothing is written out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontain.kernel.errors import Error, UsageError
from pycontain.tenant import password
from pycontain.tenant.setup import accounts, family, identity, ifupdown, names, networkd, services
from pycontain.tenant.setup.root import LIMIT, Root
from pycontain.tenant.setup.wanted import Interface, Wanted, parse

WANTS = "etc/systemd/system/multi-user.target.wants"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The root; what is beside it is the host's."""
    (tmp_path / "root" / "etc").mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def root(place: Path) -> Iterator[Root]:
    fd = os.open(place, os.O_PATH | os.O_DIRECTORY)
    yield Root(fd, (os.geteuid(), os.getegid()))
    os.close(fd)


def wanted(**values: object) -> Wanted:
    found = Wanted()
    for key, value in values.items():
        setattr(found, key, value)
    return found


ROUTED = Interface("eth0", ["10.88.1.10/32", "fd00::2/128"], ["169.254.1.1", "fe80::1"], onlink=True)


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_is_mounted_below_is_not_looked_at() -> None:
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY)
    host = Root(fd)
    try:
        assert host.read("/proc/version") is None and not host.exists("/proc/version") and host.names("/proc") == []
        with pytest.raises(OSError, match="cross-device"):
            host.write("/proc/sys/kernel/hostname", "mine")
    finally:
        os.close(fd)


# --- what is written ----------------------------------------------------------------------------------------------


def test_what_is_wanted_goes_to_another_process() -> None:
    one = wanted(hostname="a", interfaces=[ROUTED], keys=["k"], servers=["9.9.9.9"], first=True)
    again = parse(one.plain())
    assert again.plain() == one.plain() and again.interfaces and again.interfaces[0].onlink
    assert parse(Wanted().plain()).interfaces is None


def test_names(root: Root, place: Path) -> None:
    names.write(root, wanted(hostname="web1.example", addresses=["10.88.1.10"], servers=["9.9.9.9"], search=["a", "b"]))
    assert (place / "etc/hostname").read_text() == "web1.example\n"
    assert "10.88.1.10\tweb1.example web1\n" in (place / "etc/hosts").read_text()
    assert "nameserver 9.9.9.9\nsearch a b\n" in (place / "etc/resolv.conf").read_text()


def test_the_guests_own_lines_stay(root: Root, place: Path) -> None:
    write(place / "etc/hosts", "127.0.0.1 localhost\n192.0.2.1 mine\n")
    for address in ("10.0.0.1", "10.0.0.2"):
        names.write(root, wanted(hostname="a", addresses=[address]))
    assert (place / "etc/hosts").read_text() == (
        "127.0.0.1 localhost\n192.0.2.1 mine\n# pycontain: begin\n10.0.0.2\ta\n# pycontain: end\n"
    )


def test_a_block_stays_at_its_place() -> None:
    text = f"a\n{names.BEGIN}\nold\n{names.END}\nb\n"
    assert names.with_block(text, ["new"]) == f"a\n{names.BEGIN}\nnew\n{names.END}\nb\n"
    # one that somebody has cut off goes to the end
    assert names.with_block(f"a\n{names.BEGIN}\nold\n", ["new"]) == f"a\n{names.BEGIN}\nnew\n{names.END}\n"


def test_a_resolver_of_the_guests_own_is_left_alone(root: Root, place: Path) -> None:
    (place / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    names.write(root, wanted(servers=["9.9.9.9"]))
    assert (place / "etc/resolv.conf").is_symlink() and not (place / "run").exists()


def test_networkd() -> None:
    lines = networkd.text(ROUTED, wanted(servers=["9.9.9.9"], search=["example"])).splitlines()
    assert "Name=eth0" in lines and "Address=10.88.1.10/32" in lines and "Address=fd00::2/128" in lines
    assert lines.count("GatewayOnLink=yes") == 2 and "Gateway=fe80::1" in lines
    assert "DNS=9.9.9.9" in lines and "Domains=example" in lines and "KeepConfiguration=yes" in lines
    assert "Unmanaged=yes" in networkd.text(Interface("eth0", [], []), Wanted())


def test_networkd_forgets_a_device(root: Root, place: Path) -> None:
    networkd.write(root, wanted(interfaces=[Interface("eth0", [], []), Interface("eth1", [], [])]))
    write(place / "etc/systemd/network/10-mine.network")
    networkd.write(root, wanted(interfaces=[Interface("eth1", [], [])]))
    found = sorted(path.name for path in (place / "etc/systemd/network").iterdir())
    assert found == ["05-pycontain-eth1.network", "10-mine.network"]


def test_ifupdown(root: Root, place: Path) -> None:
    ifupdown.write(root, wanted(interfaces=[ROUTED]))
    text = (place / "etc/network/interfaces").read_text()
    assert text.startswith("auto lo\niface lo inet loopback\n") and "iface eth0 inet manual\n" in text
    assert "\tup ip addr add fd00::2/128 dev eth0 2>/dev/null || true\n" in text
    assert "\tup ip -6 route add default via fe80::1 dev eth0 2>/dev/null || true\n" in text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ID=debian\n", "debian"),
        ('ID="ubuntu"\nID_LIKE=debian\n', "debian"),
        ('ID=mint\nID_LIKE="ubuntu debian"\n', "debian"),
        ("ID=rocky\nID_LIKE='rhel centos fedora'\n", "fedora"),
        ("ID=busybox\n", "busybox"),
        ("ID=plan9\n", ""),
        ("", ""),
    ],
)
def test_distributions(text: str, found: str) -> None:
    assert family.of_release(text) == found


def test_an_unknown_distribution_is_a_warning(root: Root, place: Path) -> None:
    warnings = family.apply(root, wanted(hostname="a", interfaces=[ROUTED]))
    assert len(warnings) == 1 and "its distribution is not known" in warnings[0]
    assert (place / "etc/hostname").read_text() == "a\n"  # what all have is written


def test_services_of_one_that_is_to_be_saved(root: Root, place: Path) -> None:
    path = place / services.PATH[1:]
    family.apply(root, wanted(saved=True))
    assert not path.exists()  # no systemd there
    write(place / "usr/lib/systemd/systemd")
    family.apply(root, wanted(saved=True))
    assert "ProtectHostname=no" in path.read_text()
    family.apply(root, wanted(saved=None))
    assert path.exists()
    family.apply(root, wanted(saved=False))
    assert not path.exists()


def test_who_is_in_use_is_told(root: Root, place: Path) -> None:
    assert family.apply(root, wanted(distribution="debian", interfaces=[ROUTED])) == []
    assert not (place / "etc/systemd").exists() and not (place / "etc/network").exists()  # nobody would read it
    write(place / "etc/network/interfaces")
    write(place / "sbin/ifup")
    (place / WANTS).mkdir(parents=True)
    (place / WANTS / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    assert family.apply(root, wanted(distribution="debian", interfaces=[ROUTED])) == []
    assert (place / "etc/systemd/network/05-pycontain-eth0.network").exists()
    assert "eth0" in (place / "etc/network/interfaces").read_text()


def test_an_identity_of_its_own(root: Root, place: Path) -> None:
    for name in ("etc/machine-id", "var/lib/dbus/machine-id", "etc/ssh/ssh_host_rsa_key", "etc/ssh/sshd_config"):
        write(place / name, "template's\n")
    write(place / "usr/bin/ssh-keygen")
    (place / "etc/systemd/system").mkdir(parents=True)
    identity.renew(root)
    assert (place / "etc/machine-id").read_text() == "" and not (place / "var/lib/dbus/machine-id").exists()
    assert [path.name for path in (place / "etc/ssh").iterdir()] == ["sshd_config"]
    assert (place / WANTS / "pycontain-ssh-keys.service").is_symlink()


# --- root's account -----------------------------------------------------------------------------------------------


def test_a_password_in_shadow(root: Root, place: Path) -> None:
    write(place / "etc/shadow", "daemon:*:1::::::\nroot:*:1:0:99999:7:::\n")
    (place / "etc/shadow").chmod(0o640)
    accounts.set_password(root, "$6$x$y")
    lines = (place / "etc/shadow").read_text().splitlines()
    assert lines[0] == "daemon:*:1::::::" and lines[1].startswith("root:$6$x$y:") and lines[1].endswith(":0:99999:7:::")
    assert stat.S_IMODE((place / "etc/shadow").stat().st_mode) == 0o640
    assert accounts.with_password("a:*:::::::\n", "H").startswith("root:H:")


def test_without_shadow_there_is_no_password(root: Root, place: Path) -> None:
    with pytest.raises(Error, match="has no /etc/shadow"):
        accounts.set_password(root, "$6$x$y")
    os.mkfifo(place / "etc/shadow")
    with pytest.raises(Error, match="has no /etc/shadow"):
        accounts.set_password(root, "$6$x$y")


def test_keys(root: Root, place: Path) -> None:
    write(place / "root/.ssh/authorized_keys", "ssh-rsa old")
    for _ in range(2):
        accounts.add_keys(root, ["ssh-ed25519 new"])
    assert (place / "root/.ssh/authorized_keys").read_text() == "ssh-rsa old\nssh-ed25519 new\n"


def test_keys_of_somebody_without_a_home(root: Root, place: Path) -> None:
    accounts.add_keys(root, ["ssh-ed25519 new"])
    for name, mode in (("root", 0o700), ("root/.ssh", 0o700), ("root/.ssh/authorized_keys", 0o600)):
        assert stat.S_IMODE((place / name).stat().st_mode) == mode


@pytest.mark.parametrize(("distribution", "begin"), [("debian", "$y$"), ("busybox", "$6$"), ("", "$6$")])
def test_hashes(distribution: str, begin: str) -> None:
    one, two = (password.hashed("secret", distribution) for _ in range(2))
    assert one.startswith(begin) and one != two and "secret" not in one and ":" not in one


@pytest.mark.parametrize("text", ["", "a\tb", "a\nb", "x" * 600])
def test_passwords_that_nobody_could_type(text: str) -> None:
    with pytest.raises(UsageError):
        password.hashed(text, "debian")


# --- a root that was made to lead elsewhere -----------------------------------------------------------------------

ALL = {"hostname": "evil", "servers": ["9.9.9.9"], "interfaces": [ROUTED], "keys": ["ssh-ed25519 k"], "first": True}
#: Path in the root → what it is a link to; HOST stands for a directory of the host's.
ATTACKS = [
    {"etc": "HOST"},
    {"etc/hosts": "HOST/hosts", "etc/hostname": "HOST/hostname", "etc/machine-id": "HOST/machine-id"},
    {"etc/hosts": "../../outside/hosts", "etc/hostname": "../../outside/hostname"},
    {"etc/ssh": "HOST", "root": "HOST", "etc/systemd": "HOST", "etc/network": "HOST"},
    {"root/.ssh": "HOST", "etc/systemd/network": "HOST", "etc/network/interfaces": "HOST/interfaces"},
    {"root/.ssh/authorized_keys": "HOST/hosts", "etc/shadow": "HOST/shadow"},
    {"etc": "/proc/self/cwd", "root": "/proc/self/root"},
]


@pytest.mark.parametrize("links", ATTACKS, ids=lambda links: " ".join(links))
def test_nothing_is_written_out_of_the_root(
    root: Root, place: Path, tmp_path: Path, links: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, here = tmp_path / "outside", tmp_path / "here"
    outside.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("hosts", "hostname", "shadow", "machine-id", "ssh_host_rsa_key", "interfaces", "authorized_keys"):
        (outside / name).write_text("root:the host's\n")
    for name, target in links.items():
        link = place / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_dir():
            link.rmdir()
        link.symlink_to(target.replace("HOST", str(outside)))
    try:
        family.apply(root, wanted(distribution="debian", password="$6$x$y", **ALL))
    except (Error, OSError):
        pass  # a refusal is as good
    assert sorted(path.name for path in outside.iterdir()) == sorted(
        ("hosts", "hostname", "shadow", "machine-id", "ssh_host_rsa_key", "interfaces", "authorized_keys")
    )
    assert {path.read_text() for path in outside.iterdir()} == {"root:the host's\n"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "outside", "root"]
    assert not list(here.iterdir())


def test_nothing_outside_is_read(root: Root, place: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for number, target in enumerate((f"{tmp_path}/secret", "../../secret", "/proc/self/environ")):
        (place / f"etc/{number}").symlink_to(target)
        assert root.read(f"/etc/{number}") is None and not root.exists(f"/etc/{number}")


def test_what_is_no_file_is_not_read(root: Root, place: Path) -> None:
    os.mkfifo(place / "etc/fifo")
    (place / "etc/loop").symlink_to("loop")
    (place / "etc/large").write_bytes(bytes(LIMIT + 1))
    for name in ("fifo", "loop", "large", "none", "fifo/none"):
        assert root.read(f"/etc/{name}") is None


def test_a_links_place_is_taken(root: Root, place: Path, tmp_path: Path) -> None:
    """What has the name is replaced and not written through, also where it leads to another file of the root."""
    write(place / "etc/other", "other")
    (place / "etc/hostname").symlink_to("other")
    root.write("/etc/hostname", "a\n")
    assert (place / "etc/other").read_text() == "other" and not (place / "etc/hostname").is_symlink()


def test_links_inside_the_root_are_followed_on_the_way(root: Root, place: Path) -> None:
    (place / "real").mkdir()
    (place / "etc/systemd").symlink_to("/real")
    root.write("/etc/systemd/a/b", "x")
    assert (place / "real/a/b").read_text() == "x"
