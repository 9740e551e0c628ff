"""A whole pycontain on a host with cgroup v2 alone: its limits are the kernel's, seen from inside."""

from __future__ import annotations

import json

import pytest
from tests.host import machine

pytestmark = pytest.mark.slow

_LIMITS = """
pycontain run --rm --network none -m 64m --memory-swap 128m --cpus 0.5 --cpu-shares 2048 --pids-limit 20 busybox \\
    sh -c 'cd /sys/fs/cgroup; for f in memory.max memory.swap.max cpu.max pids.max; do echo $f $(cat $f); done'
"""

_OOM = """
pycontain run --name oom --network none -m 32m --memory-swap 32m busybox sh -c 'tail /dev/zero'
echo "status $?"
pycontain wait oom
pycontain inspect oom
pycontain rm oom >/dev/null
"""

_PIDS = """
pycontain run --rm --network none --pids-limit 10 busybox sh -c \\
    'i=0; while [ $i -lt 30 ]; do sleep 1 & i=$((i+1)); echo $i; done' 2>&1 || true
"""

_PAUSE = """
pycontain run -d --name p --network none busybox sleep 1000 >/dev/null
pycontain pause p >/dev/null && pycontain ps --format json && pycontain unpause p >/dev/null
pycontain rm -f p >/dev/null; ls -d /sys/fs/cgroup/pycontain 2>&1 || true
"""


_STAY = """
pycontain run -d --name s --network none --log-size 4k --log-files 3 busybox \\
    sh -c 'seq 2000; trap "exit 9" TERM; echo ready; while :; do sleep 0.1; done' >/dev/null
while ! pycontain logs s | grep -q ready; do :; done
init=$(cut -d" " -f1 /run/pycontain/containers/*/pid)
monitor=$(awk '/^PPid/ {print $2}' /proc/$init/status)
for pid in $monitor $(cat /proc/$monitor/task/$monitor/children); do
    awk '/^(Name|CapEff|CapBnd|NoNewPrivs|Seccomp):/ {printf "%s ", $2} END {print ""}' /proc/$pid/status
done
ls /var/lib/pycontain/containers/*/log*
pycontain exec -t s echo by exec
pycontain stop s >/dev/null; pycontain wait s
pycontain start s >/dev/null
kill -9 $(awk '/^PPid/ {print $2}' /proc/$(cut -d" " -f1 /run/pycontain/containers/*/pid)/status)
until pycontain ps -a --format json | grep '"State":"exited"'; do :; done
pycontain info | grep Landlock
pycontain rm -f s >/dev/null; ls /run/pycontain/containers
"""


def run(bare: machine.Host, body: str) -> str:
    result = bare.run(body, timeout=120)
    assert result.status == 0, result.output
    return result.output


def test_limits_from_inside(bare: machine.Host) -> None:
    output = run(bare, _LIMITS)
    for line in ("memory.max 67108864", "memory.swap.max 67108864", "cpu.max 50000 100000", "pids.max 20"):
        assert line in output, output


def test_an_oom_kill_is_said(bare: machine.Host) -> None:
    output = run(bare, _OOM)
    assert "status 137" in output
    found = json.loads(output[output.index("[\n") : output.rindex("]") + 1])[0]
    assert found["State"]["OOMKilled"] is True and found["State"]["ExitCode"] == 137, found["State"]


def test_the_pids_limit_holds(bare: machine.Host) -> None:
    output = run(bare, _PIDS)
    # the shell itself is one of the ten, and gives up at the first fork that fails
    assert "can't fork" in output and "9" in output.split() and "10" not in output.split(), output


def test_pause_and_removal(bare: machine.Host) -> None:
    output = run(bare, _PAUSE)
    assert '"State":"paused"' in output and "No such file" in output, output


def test_what_stays_has_given_up_everything(bare: machine.Host) -> None:
    """Here without Landlock: the other walls stand alone (docs/monitor-sandbox.md)."""
    output = run(bare, _STAY)
    nothing = "0" * 16
    assert f"pycontain-io {nothing} {nothing} 1 2" in output, output
    monitor = next(line.split() for line in output.splitlines() if line.startswith("pycontain-mon "))
    assert int(monitor[1], 16) & ~0x102E == 0, output
    assert [line.rpartition("/")[2] for line in output.splitlines() if "/log" in line] == ["log", "log.1", "log.2"]
    lines = output.splitlines()
    assert "by exec" in output and lines[lines.index("by exec") + 1 :][0] == "9", output
    assert '"State":"exited"' in output and "the kernel has no Landlock" in output, output
