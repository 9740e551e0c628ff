"""--storage-opt, and what a disk's limits may be."""

from __future__ import annotations

import pytest

from pycontain.cli import args, verbs
from pycontain.cli.verbs import storage
from pycontain.kernel.errors import Error, UsageError
from pycontain.storage import disk
from pycontain.storage.disk import Disk

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("size=10G", (10 * GIB, None)),
        ("size=10g,inodes=100000", (10 * GIB, 100000)),
        ("inodes=7", (None, 7)),
        ("size=-1,inodes=-1", (0, 0)),
        ("size=512mb", (512 << 20, None)),
    ],
)
def test_options(text: str, found: tuple[int | None, int | None]) -> None:
    assert storage.option(text) == found


@pytest.mark.parametrize(
    "text", ["", "size", "size=", "10G", "size=1g,size=2g", "inodes=1k", "inodes=-2", "inodes=99999999999", "dm.fs=xfs"]
)
def test_what_is_no_option(text: str) -> None:
    with pytest.raises(UsageError):
        storage.option(text)


def read(*words: str) -> tuple[int | None, int | None] | None:
    return storage.read(args.parse(verbs.load("update"), [*words, "name"]))


def test_the_flag_may_be_given_again() -> None:
    assert storage.read(args.parse(verbs.load("run"), ["image"])) is None
    assert read("--storage-opt", "size=1g", "--storage-opt", "inodes=500") == (GIB, 500)
    with pytest.raises(UsageError, match="twice"):
        read("--storage-opt", "size=1g", "--storage-opt", "size=2g")


@pytest.mark.parametrize(("size", "inodes"), [(1, 0), (disk.SMALLEST - 1, 0), (0, 1), (0, 63), (0, 1 << 32)])
def test_limits_that_nobody_could_live_with(size: int, inodes: int) -> None:
    with pytest.raises(Error, match="give at least"):
        disk.check(size, inodes)


@pytest.mark.parametrize(("size", "inodes"), [(0, 0), (disk.SMALLEST, 64), (1 << 50, (1 << 32) - 1)])
def test_limits_that_can_be(size: int, inodes: int) -> None:
    disk.check(size, inodes)


def test_a_record_has_a_disk_or_none() -> None:
    assert Disk.of({}) is None
    one = Disk.of(Disk(disk.IMAGE, GIB, 5).to_json())
    assert one is not None and (one.kind, one.size, one.inodes) == (disk.IMAGE, GIB, 5)
