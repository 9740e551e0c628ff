"""A tenant that takes all that it can get, and one beside it: what the neighbour notices.

The limits are the kernel's. What is timing is printed (pytest -s), and fails only where it is far from what limits
promise: this host has one processor, which a kernel that runs as a process imitates.
"""

from __future__ import annotations

import json

import pytest
from tests.host import machine

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

_BEGIN = """
busybox modprobe loop 2>/dev/null
modprobe -q quota_v2 2>/dev/null; busybox modprobe quota_v2 2>/dev/null
truncate -s 192M /tmp/image
mke2fs -q -F -t ext4 -O quota,project -E quotatype=prjquota /tmp/image
mkdir -p /srv/store && { mount -o loop,prjquota /tmp/image /srv/store || mount -o loop /tmp/image /srv/store; }
cp -a /var/lib/pycontain/. /srv/store/
T="pycontain --root /srv/store --run-root /run/neighbours --tenants /run/settings tenant"
E="$T exec"
set -e
init="sh -c 'trap \\"exit 0\\" TERM; while :; do sleep 1000 & wait; done'"
LIMITS="--memory 48M --swap 0 --processes 40 --disk 24M"
$T create good --template busybox --network none --init "$init" $LIMITS --cpuunits 10000
$T create bad --template busybox --network none --init "$init" $LIMITS --cpuunits 1000 --cpus 0.3
$T start good bad
"""

#: The neighbour's work: files read and written, processes made; the seconds that each round has taken.
_WORK = """
cat >/work <<'EOT'
round=0
while [ $round -lt ${1:-12} ]; do
    begin=$(awk '{print $1}' /proc/uptime)
    i=0
    while [ $i -lt 150 ]; do echo $i >/data; read line </data; i=$((i + 1)); done
    i=0
    while [ $i -lt 20 ]; do /bin/true; i=$((i + 1)); done
    sync /data
    echo $begin $(awk '{print $1}' /proc/uptime)
    round=$((round + 1))
done
EOT
sh /work $1
"""

#: Each in a loop of its own: disk, processes, memory, log. Their own init is the last that the kernel takes.
_ATTACK = """
echo 1000 >/proc/self/oom_score_adj
dd if=/dev/zero of=/fill bs=64k 2>/errors
(while :; do dd if=/dev/zero bs=64k count=32 conv=fsync 2>>/errors >>/fill || rm -f /fill; done) &
(while :; do sleep 1000 & sleep 1000 & done) 2>/dev/null &
(while :; do tail /dev/zero 2>/dev/null; done) &
(while :; do seq 100000 >/proc/1/fd/1; done) &
while :; do wait; done
"""


def script() -> str:
    quote = "'\\''"
    return f"""{_BEGIN}
group() {{ cat /run/neighbours/containers/$($T list -H -o container $1)/cgroup; }}
$E good sh -c '{_WORK.replace("'", quote)}' >/tmp/alone
good=$(group good) bad=$(group bad)
$E -d bad sh -c '{_ATTACK.replace("'", quote)}'
tries=0
until grep -q 'oom_kill [1-9]' $bad/memory.events && grep -q 'max [1-9]' $bad/pids.events; do
    tries=$((tries + 1)); [ $tries -lt 300 ] || exit 9
    sleep 0.1
done
$E good sh /work >/tmp/beside
echo "RESULT {{"
for file in memory.events pids.events memory.max; do
    for name in good bad; do
        echo "\\"$name $file\\": \\"$(tr '\\n' ' ' <$(group $name)/$file)\\","
    done
done
own=$($E good sh -c 'dd if=/dev/zero of=/mine bs=1M count=4 2>/dev/null && echo yes; rm -f /mine')
theirs=/srv/store/containers/$($T list -H -o container bad)
echo "\\"good writes\\": \\"$own\\","
errors=$(find /srv/store -name errors 2>/dev/null)
echo "\\"bad full\\": \\"$(cat $errors </dev/null | grep -c -e 'No space' -e quota)\\","
echo "\\"log\\": \\"$(du -sk $theirs/log* 2>/dev/null | awk '{{ s += $1 }} END {{ print s }}')\\","
echo "\\"free\\": \\"$(df -k --output=avail /srv/store | tail -1)\\","
echo "\\"status\\": \\"$($T list -H -o name,status | tr -s ' \\n' ' ')\\""
echo "}}"
echo ALONE; cat /tmp/alone; echo BESIDE; cat /tmp/beside
$T stop --fast bad good
$T list -H -o name,status
$T destroy bad good
umount -l /srv/store; losetup -D
"""


def rounds(lines: list[str]) -> list[float]:
    """Seconds of each round, in order of length."""
    found = [[float(word) for word in line.split()] for line in lines]
    return sorted(end - begin for begin, end in found)


def test_the_neighbour_keeps_what_is_its_own(bare: machine.Host) -> None:
    result = bare.run(script(), timeout=200)
    assert result.status == 0, result.output[-5000:]
    text = result.output
    found = json.loads(text[text.index("RESULT ") + 7 : text.index("ALONE")])
    alone, beside = (
        rounds([line for line in part.splitlines() if line.count(".") == 2])
        for part in text[text.index("ALONE") :].split("BESIDE")
    )
    middle = [part[len(part) // 2] for part in (alone, beside)]
    print(f"a round alone: {middle[0]:.2f} s, {alone[-1]:.2f} s at most; beside: {middle[1]:.2f} s, {beside[-1]:.2f} s")
    print(found)
    # the one has met its limits, the other none of its own
    assert "oom_kill 0 " not in found["bad memory.events"] and found["bad pids.events"] != "max 0 ", found
    assert "oom_kill 0 " in found["good memory.events"] and found["good pids.events"] == "max 0 ", found
    assert int(found["bad full"]) > 0, found
    assert found["good writes"] == "yes" and int(found["free"]) > 64 << 10, found
    # ten megabytes, three times: what a container's log may have
    assert int(found["log"]) <= 31 << 10, found
    assert found["status"].split() == ["good", "running", "bad", "running"], found
