from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pycontain.cgroup import hierarchy
from pycontain.kernel.errors import Error

ALLOWED = {"__future__", "_json", "_struct", "errno", "fcntl", "marshal", "os", "posix", "select", "sys", "time"}


def test_the_start_road_imports_only_what_starts_quickly() -> None:
    source = Path(hierarchy.__file__).parents[2]
    script = f"""
import sys
sys.path.insert(0, {str(source)!r})
import os
before = set(sys.modules)
from pycontain.cgroup import devices, group, hierarchy, limits
print(*(set(sys.modules) - before))
"""
    result = subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True, capture_output=True, text=True)
    foreign = {name for name in result.stdout.split() if not name.startswith("pycontain")}
    assert foreign <= ALLOWED


def test_a_path_becomes_a_directory() -> None:
    whole = hierarchy.Hierarchy("/sys/fs/cgroup", "/", frozenset())
    assert whole.directory("/") == "/sys/fs/cgroup"
    assert whole.directory("/a/b") == "/sys/fs/cgroup/a/b"
    part = hierarchy.Hierarchy("/mnt", "/user.slice", frozenset())
    assert part.directory("/user.slice") == "/mnt"
    assert part.directory("/user.slice/a") == "/mnt/a"
    for here, path in ((whole, "/a/b"), (whole, "/"), (part, "/user.slice"), (part, "/user.slice/a")):
        assert here.path(here.directory(path)) == path
    with pytest.raises(Error, match="outside cgroup v2"):
        part.path("/mnt2")
    with pytest.raises(Error, match=r"shows only the cgroups below /user\.slice"):
        part.directory("/user.slices")


def test_no_cgroup2_says_how_to_get_one() -> None:
    with pytest.raises(Error) as caught:
        hierarchy.from_mounts(b"1 0 8:1 / / rw - ext4 /dev/a rw\n31 1 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n")
    assert "mount -t cgroup2 none" in caught.value.message
    assert "systemd.unified_cgroup_hierarchy=1" in caught.value.message


def test_the_kernel_file_of_controllers() -> None:
    here = hierarchy.Hierarchy("/sys/fs/cgroup", "/", frozenset({"hugetlb"}))
    assert "knows no such controller; this host has hugetlb" in here.why_missing("nonsense")
    words = here.why_missing("memory")
    rows = {line.split()[0]: line.split()[1] for line in Path("/proc/cgroups").read_text().splitlines()[1:]}
    if "memory" not in rows:
        assert "CONFIG_MEMCG" in words
    elif rows["memory"] != "0":
        assert words == (
            "it is bound to cgroup v1 (hybrid layout); boot with systemd.unified_cgroup_hierarchy=1 or cgroup_no_v1=all"
        )
        assert here.hybrid
        assert "memory" in here.bound()
