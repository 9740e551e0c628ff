"""A systemd in a container with a user namespace of its own, where the kernel has all controllers: it divides its own
group among its services, within limits that it cannot change.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.host import cache, images, machine

pytestmark = pytest.mark.slow

_SCRIPT = """
busybox modprobe loop 2>/dev/null
mkdir -p /srv/store && mount -o loop /srv/host/image /srv/store
# keys cost a slow kernel twenty seconds; in a container the words of init are systemd's kernel command line
masks='systemd.mask=ssh.service systemd.mask=pycontain-ssh-keys.service'
P="pycontain --root /srv/store --run-root /run/other"
$P run -dit --name t --network none --userns auto --memory 256M --pids-limit 300 debian-vps /sbin/init $masks >/dev/null
until [ -e "$(echo /run/other/containers/*)/ready" ]; do busybox usleep 20000; done
echo "state $($P exec t systemctl is-system-running --wait)"
echo "failed $($P exec t systemctl --failed --no-legend)"
echo "divides $($P exec t cat /sys/fs/cgroup/cgroup.subtree_control)"
echo "command $($P exec t cat /proc/self/cgroup)"
echo "memory $($P exec t cat /sys/fs/cgroup/memory.max)"
$P exec t sh -c 'echo max >/sys/fs/cgroup/memory.max; echo max >/sys/fs/cgroup/pids.max' 2>&1
$P exec t systemd-run --wait --quiet -p MemoryMax=20M -p MemorySwapMax=0 tail /dev/zero
echo "service $?"
echo "events $($P exec t cat /sys/fs/cgroup/system.slice/memory.events | grep oom_kill)"
$P stop -t 60 t >/dev/null
echo "ended $($P wait t)"
$P rm t >/dev/null
echo "left $(ls -A /run/other/containers) $(ls -d /sys/fs/cgroup/pycontain 2>/dev/null)."
umount -l /srv/store
"""


def test_systemd_divides_its_own_group(host: Callable[..., machine.Result], tmp_path: Path) -> None:
    try:
        store = images.templates()
    except cache.NotReady as reason:
        pytest.fail(str(reason), pytrace=False)
    # made here, where it takes a second; owners are mapped on ext4
    image = str(tmp_path / "image")
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(store), image, "500M"], check=True)
    result = host(_SCRIPT, memory="768M", binds=[f"{tmp_path}:/srv/host"], timeout=250)
    assert result.status == 0, result.output
    lines = result.output.splitlines()
    found = dict(line.split(" ", 1) for line in lines if " " in line)
    assert found["state"] == "running", result.output
    assert found["failed"] == "", result.output
    assert {"memory", "pids"} <= set(found["divides"].split()), result.output
    # where init is: the group itself is divided, so no process can be in it
    assert found["command"] == "0::/init.scope", result.output
    assert found["memory"] == str(256 << 20), result.output
    assert result.output.count("Permission denied") == 2, result.output
    assert found["service"] != "0", result.output
    assert int(found["events"].split()[-1]) > 0, result.output
    assert found["ended"] == "130", result.output
    assert found["left"].strip() == ".", result.output
