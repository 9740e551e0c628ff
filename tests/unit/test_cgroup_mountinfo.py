from __future__ import annotations

import os
import time

import pytest

from pycontain.kernel import mountinfo

LINE = b"36 35 98:0 /mnt\\0401 /a\\040b\\134c rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue"


def test_a_line_of_the_man_page() -> None:
    mount = mountinfo.Mount(LINE)
    assert (mount.number, mount.parent, mount.device) == (36, 35, os.makedev(98, 0))
    assert (mount.root, mount.point) == ("/mnt 1", "/a b\\c")
    assert mount.options == ["rw", "noatime"]
    assert mount.propagation == ["shared:1", "master:2"]
    assert (mount.type, mount.source, mount.super_options) == ("ext3", "/dev/root", ["rw", "errors=continue"])
    assert not mount.read_only


@pytest.mark.parametrize("line", [b"", b"36 35", b"36 35 98:0 / / rw ext3 x rw", b"a b c:d / / rw - x y z"])
def test_what_is_no_line(line: bytes) -> None:
    with pytest.raises(ValueError):
        mountinfo.Mount(line)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"a", "a"),
        (b"\\040", " "),
        (b"a\\011b\\012", "a\tb\n"),
        (b"x\\134040", "x\\040"),
        (b"a\\", "a\\"),
        (b"\\9", "\\9"),
    ],
)
def test_unescape(field: bytes, expected: str) -> None:
    assert mountinfo.unescape(field) == expected


def test_of_type_takes_only_the_type_field() -> None:
    table = b"\n".join(
        [
            b"1 0 0:1 / / rw - ext4 /dev/a rw",
            b"2 1 0:2 / /x rw - tmpfs a\\040-\\040cgroup2\\040b rw",
            b"3 1 0:3 / /y rw - fuse src rw,odd - cgroup2 option",
            b"4 1 0:4 / /cg rw,nosuid shared:3 - cgroup2 none rw,nsdelegate",
            b"5 1 0:4 /sub /cg2 rw - cgroup2 none rw",
        ]
    )
    assert [mount.number for mount in mountinfo.of_type(table, "cgroup2")] == [4, 5]
    assert [mount.number for mount in mountinfo.of_type(table + b"\n", "cgroup2")] == [4, 5]
    assert mountinfo.of_type(b"", "cgroup2") == []


def test_the_table_of_this_process() -> None:
    mounts = mountinfo.parse(mountinfo.read())
    assert mounts[-1].number
    root = [mount for mount in mounts if mount.point == "/"][-1]
    assert root.reachable()
    proc = mountinfo.of_type(mountinfo.read(), "proc")
    assert any(mount.point == "/proc" and mount.reachable() for mount in proc)


def test_a_large_table_is_searched_not_parsed() -> None:
    row = b"%d 1 0:50 / /var/lib/x/overlay/%064d/merged rw,relatime - overlay overlay rw,lowerdir=/l/%0200d"
    table = b"\n".join(row % (number, number, number) for number in range(20000))
    table += b"\n9 1 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    start = time.perf_counter()
    found = mountinfo.of_type(table, "cgroup2")
    took = time.perf_counter() - start
    start = time.perf_counter()
    mountinfo.parse(table)
    assert [mount.point for mount in found] == ["/sys/fs/cgroup"]
    assert took < (time.perf_counter() - start) / 5
