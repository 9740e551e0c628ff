"""Which sources of binds the host has to open for a user namespace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pycontain.launch import reach

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="directories get other owners")

MAP = "0 100000 65536\n"


@pytest.mark.parametrize(
    ("owner", "group", "mode", "expected"),
    [
        (0, 0, 0o700, True),
        (0, 0, 0o755, False),
        (0, 0, 0o711, False),
        (0, 0, 0o766, True),  # may be listed, not entered
        (100000, 0, 0o100, False),
        (100000, 0, 0o077, True),  # the owner's bits count, others' do not
        (0, 100000, 0o710, False),
        (0, 100000, 0o701, True),
        (100005, 100006, 0o000, False),  # mapped: the namespace's capabilities hold for it
        (165536, 165536, 0o700, True),
    ],
)
def test_the_directories_above_decide(tmp_path: Path, owner: int, group: int, mode: int, expected: bool) -> None:
    for path in (tmp_path, *tmp_path.parents):
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o011)
    above = tmp_path / "above"
    (above / "source").mkdir(parents=True)
    os.chown(above, owner, group)
    above.chmod(mode)
    if os.statvfs(above).f_flag & reach._LOCKED:
        expected = False
    for recursive in (False, True):
        assert reach.hidden(str(above / "source"), MAP, MAP, recursive) is expected
    (tmp_path / "link").symlink_to(above / "source")
    assert reach.hidden(str(tmp_path / "link"), MAP, MAP, False) is expected


def test_what_does_not_exist_is_for_others_to_tell(tmp_path: Path) -> None:
    assert not reach.hidden(str(tmp_path / "none"), MAP, MAP, False)


def test_attributes_that_the_kernel_locks_and_mounts_below() -> None:
    """/proc has all of them; everything lies below the root."""
    assert not reach.hidden("/proc/sys", "0 100000 1\n", "0 100000 1\n", False)
