"""User namespaces in a kernel of another age: mapped owners on ext4, none on tmpfs; pids of two tenants by cgroup."""

from __future__ import annotations

import pytest
from tests.host import ext4, machine

pytestmark = pytest.mark.slow

_MAPS = """
script='cat /proc/self/uid_map; touch /x; stat -c "owner %u" /x /bin/busybox'
$P run --rm --network none --userns auto busybox sh -c "$script"
pycontain run --rm --network none --userns auto busybox true
echo "status $?"
"""

_PIDS = """
bomb='i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done'
for name in one two; do
    $P run -d --name $name --network none --userns auto --pids-limit 20 busybox sh -c "sh -c '$bomb'; sleep 1000"
    until $P logs $name 2>&1 | grep -q "can't fork"; do :; done
    sh -c 'sleep 0 & wait; echo the host can'
done
for group in $(cat /run/other/containers/*/cgroup); do
    echo current $(cat $group/pids.current) $(grep max $group/pids.events)
done
$P rm -f one two >/dev/null; echo left $(ls /srv/store/ids)
"""


def run(bare: machine.Host, body: str) -> list[str]:
    result = bare.run(ext4.script(body), timeout=200)
    assert result.status == 0, result.output
    return result.output.splitlines()


def test_mapped_owners_on_ext4_and_an_error_on_tmpfs(bare: machine.Host) -> None:
    lines = run(bare, _MAPS)
    assert ["0", "805306368", "65536"] in [line.split() for line in lines], lines
    assert lines.count("owner 0") == 2, lines
    refused = [line for line in lines if line.startswith("pycontain: ")]
    assert len(refused) == 1 and "its file system does not support mapped owners" in refused[0], lines
    assert "tmpfs does since Linux 6.3" in refused[0] and "use --userns host" in refused[0]
    assert "status 125" in lines


def test_two_tenants_exhaust_pids_without_touching_each_other_or_the_host(bare: machine.Host) -> None:
    lines = run(bare, _PIDS)
    assert lines.count("the host can") == 2, lines
    groups = [line.split() for line in lines if line.startswith("current ")]
    assert len(groups) == 2, lines
    for _, current, _, refused in groups:
        assert 18 <= int(current) <= 20 and int(refused) > 0, lines
    assert lines[-1] == "left next", lines
