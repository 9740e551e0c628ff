"""--supervise in a kernel of another age that has the controllers: sysinfo says the limits, the mounts are made."""

from __future__ import annotations

import pytest
from tests.host import ext4, machine

pytestmark = pytest.mark.slow

#: busybox's free asks sysinfo(2).
_SCRIPT = """
R="$P run --rm --network none --userns auto"
memory='free -k | while read a b c; do [ "$a" = Mem: ] && echo "$b $c"; done'
echo host $(sh -c "busybox $memory")
echo without $($R -m 64m busybox sh -c "$memory")
echo limited $($R -m 64m --supervise sysinfo busybox sh -c "$memory")
echo unlimited $($R --supervise sysinfo busybox sh -c "$memory")
mounts='mkdir -p /m /s && mount -t tmpfs x /s && mkdir /s/low /s/up /s/work && echo below >/s/low/file &&
    mount -t overlay o /m -o lowerdir=/s/low,upperdir=/s/up,workdir=/s/work && cat /m/file && echo above >/m/new &&
    cat /s/up/new && umount /m && umount /s && ls -A /m /s && mknod /null c 1 3 && echo gone >/null && echo done'
echo mounts $($R --supervise mount,mknod busybox sh -c "$mounts" 2>&1)
echo left $(ls /srv/store/ids) $(ls /run/other/containers)
"""


@pytest.fixture(scope="module")
def lines(bare: machine.Host) -> dict[str, list[str]]:
    result = bare.run(ext4.script(_SCRIPT), timeout=200)
    assert result.status == 0, result.output
    return {line.split()[0]: line.split()[1:] for line in result.output.splitlines() if line.strip()}


def test_sysinfo_tells_the_limit(lines: dict[str, list[str]]) -> None:
    # what busybox calls used is wrong, and runs into the total: it takes the host's caches from /proc/meminfo away
    assert lines["limited"][0].startswith("65536") and len(lines["limited"][0]) > 10, lines
    assert 0 < int(lines["limited"][1]) < 65536, lines
    host = int(lines["host"][0])
    assert int(lines["without"][0]) == int(lines["unlimited"][0]) == host > 65536, lines


def test_mounts_and_devices_are_made(lines: dict[str, list[str]]) -> None:
    assert lines["mounts"] == ["below", "above", "/m:", "/s:", "done"], lines
    assert lines["left"] == ["next"], lines
