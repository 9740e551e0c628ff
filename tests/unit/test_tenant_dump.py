"""Tenants on the disk: what counts as one, whose terminal the console is, the groups below."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pycontain.kernel.errors import Error, InUse
from pycontain.oci import criu_messages as messages
from pycontain.tenant import dump, dump_console, dump_mounts, dump_network, dumps, revive, subgroups

MAGIC = b"12345678"


def tty_info(*entries: list[tuple[int, int | bytes]]) -> bytes:
    out = MAGIC
    for entry in entries:
        text = messages.encode(entry)
        out += len(text).to_bytes(4, "little") + text
    return out


def read_tty_info(data: bytes) -> list[dict[int, Any]]:
    found, at = [], len(MAGIC)
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        found.append(messages.decode(data[at + 4 : at + 4 + size]))
        at += 4 + size
    return found


def test_a_console_that_nobody_owns_gets_its_session() -> None:
    console: list[tuple[int, int | bytes]] = [(1, 0), (6, 0), (7, 0), (8, 34816), (9, b"xy")]
    other: list[tuple[int, int | bytes]] = [(1, 1), (6, 0), (7, 0), (8, 34817)]
    data, known = dump_console.with_session(tty_info(console, other), 34816, 14, 15)
    first, second = read_tty_info(data)
    assert known and (first[6], first[7], first[9]) == ([14], [15], [b"xy"])
    assert (second[6], second[7]) == ([0], [0])
    # one that has a session keeps it, byte for byte
    owned = tty_info([(1, 0), (6, 9), (7, 9), (8, 34816)])
    assert dump_console.with_session(owned, 34816, 14, 15) == (owned, True)
    assert dump_console.with_session(b"", 34816, 14, 15) == (b"", False)
    assert dump_console.with_session(tty_info(other), 34816, 14, 15)[1] is False


def test_own_numbers() -> None:
    assert dump_console._numbers(os.getpid(), "NSpid")[-1] == os.getpid()
    assert dump_console._numbers(os.getpid(), "NSnothing") == [0]


class Tenant(SimpleNamespace):
    def alive(self) -> bool:
        return bool(self.runs)


def tenant(directory: Path, runs: bool) -> Any:
    return Tenant(name="bb", directory=str(directory), runs=runs)


def test_what_is_suspended_on_the_disk(tmp_path: Path) -> None:
    assert not dumps.there(tenant(tmp_path, False))
    (tmp_path / dumps.NAME).mkdir()
    assert dumps.there(tenant(tmp_path, False)) and not dumps.there(tenant(tmp_path, True))
    with pytest.raises(InUse, match="suspended on the disk, and cannot be renamed"):
        dumps.refuse(tenant(tmp_path, False), "renamed")
    dumps.refuse(tenant(tmp_path, True), "renamed")


def test_one_is_kept_aside(tmp_path: Path) -> None:
    for name in (dumps.USED, dumps.FAILED):
        (tmp_path / name).mkdir()
    (tmp_path / dumps.USED / "new").touch()
    dumps.set_aside(tenant(tmp_path, False))
    assert [path.name for path in tmp_path.iterdir()] == [dumps.FAILED]
    assert (tmp_path / dumps.FAILED / "new").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "cannot read"), ("{", "is damaged"), ("[]", "is not of version"), ('{"version": 2}', "is not of")],
)
def test_facts_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / dumps.NAME).mkdir()
    if text:
        (tmp_path / dumps.NAME / dumps.FACTS).write_text(text)
    with pytest.raises(Error, match=said):
        dump.read_facts(tenant(tmp_path, False))


RECORD: Any = SimpleNamespace(uid_map=[[0, 1, 2]], supervise="", terminal=True, boots=True)


@pytest.mark.parametrize(
    ("spec", "more", "said"),
    [
        ({"mounts": [{"destination": "/data", "options": ["rbind", "ridmap"]}]}, {}, "/data back with other owners"),
        ({}, {"uid_map": []}, "rights.privileged_ids"),
        ({}, {"supervise": "mknod"}, "answered from outside"),
        ({}, {"terminal": False}, "another command than its init"),
    ],
)
def test_what_criu_would_bring_back_otherwise(spec: dict[str, Any], more: dict[str, Any], said: str) -> None:
    record: Any = SimpleNamespace(**{**vars(RECORD), **more})
    dump._refuse({"mounts": [{"destination": "/x", "options": ["ro"]}]}, RECORD)
    with pytest.raises(Error, match=said):
        dump._refuse(spec, record)


def test_groups_are_made_as_they_were(tmp_path: Path) -> None:
    """On any file system: what is written is what was read."""
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "a" / "b").mkdir(parents=True)
    (old / "a" / "pids.max").write_text("10\n")
    (old / "a" / "cgroup.procs").write_text("1\n")
    (old / "x.max").write_text("5")
    found = subgroups.read(str(old))
    own = (os.getuid(), os.getgid())
    assert found == [("", own, {}), ("a", own, {"pids.max": "10"}), ("a/b", own, {})]
    (new / "a").mkdir(parents=True)
    (new / "a" / "pids.max").write_text("max")  # as a kernel makes it with its group
    subgroups.make(str(new), [*found, ("../out", own, {}), ("/out", own, {})])
    assert (new / "a" / "pids.max").read_text() == "10" and (new / "a" / "b").is_dir()
    assert not (tmp_path / "out").exists()


def test_what_comes_from_the_host_is_what_the_host_has_mounted() -> None:
    spec = {
        "mounts": [{"destination": "/data/", "type": "bind", "source": "/srv/data", "options": ["bind"]}],
        "linux": {"devices": [{"path": "/dev/fuse"}], "maskedPaths": ["/proc/keys"]},
    }
    points = ["/data", "/dev/null", "/dev/fuse", "/proc/keys"]
    assert dump_mounts.sources(spec, "/b", points) == {
        "/data": "/srv/data",
        "/dev/null": "/dev/null",
        "/dev/fuse": "/dev/fuse",
        "/proc/keys": "/dev/null",
    }
    for point in ("/data/sub", "/mine", "/dev/sda", "/proc/kcore"):
        with pytest.raises(Error, match=f"^{point}: a mount from the host that its settings do not have"):
            dump_mounts.sources(spec, "/b", [*points, point])


def test_devices_of_this_process() -> None:
    assert "lo" in dump_network._devices(os.getpid())
    assert dump_network._devices(0) == set()


def test_where_its_parts_are_mounted() -> None:
    assert revive._is_in("/mnt/x", "/mnt") and revive._is_in("/mnt", "/mnt") and not revive._is_in("/mnt2/x", "/mnt")
