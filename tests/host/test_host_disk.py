"""Disk limits by project quotas, and what needs CAP_SYS_RESOURCE: a host whose kernel and root have both."""

from __future__ import annotations

import pytest
from tests.host import machine

pytestmark = pytest.mark.slow

_BEGIN = """
busybox modprobe loop 2>/dev/null; busybox modprobe quota_v2 2>/dev/null
truncate -s $size /tmp/image
$make /tmp/image && mkdir -p /srv/store && mount -o loop$options /tmp/image /srv/store || exit 9
cp -a /var/lib/pycontain/. /srv/store/
P="pycontain --root /srv/store --run-root /run/other"
room() { echo "$1" $($P exec $2 df -kP / | tail -n 1); }
fill() { $P exec $1 sh -c "dd if=/dev/zero of=/fill bs=64k count=$(($2 * 16)) 2>&1" | tail -n 1; }
"""
_EXT4 = "size=128M; make='mke2fs -q -F -t ext4"
_PROJECT = _EXT4 + " -O quota,project -E quotatype=prjquota'; options=,prjquota" + _BEGIN
_XFS = "size=320M; make='mkfs.xfs -q -f'; options=,prjquota; busybox modprobe xfs 2>/dev/null" + _BEGIN
_IMAGE = _EXT4 + "'; options=" + _BEGIN
_END = """
$P rm -f --all >/dev/null; echo left $(ls /srv/store/projects /srv/store/containers 2>/dev/null | grep -v :)
# the kernel may have the last loop file open for a moment
until umount /srv/store 2>/dev/null; do sleep 0.1; done; losetup -D
"""

_PROJECTS = """
$P info | grep 'Disk limits'
for name in one two; do
    $P run -d --name $name --network none --storage-opt size=16m,inodes=200 busybox sleep 1000 >/dev/null
done
room first one
fill one 24
$P exec one sh -c 'echo size $(stat -c %s /fill)'
fill two 4
room second two
$P update --storage-opt size=24m one >/dev/null; room grown one
$P update --storage-opt size=8m one
$P exec one rm /fill
$P update --storage-opt size=8m one >/dev/null; room smaller one
$P exec two sh -c 'i=0; while [ $i -lt 300 ] && touch /f$i 2>/dev/null; do i=$((i+1)); done; echo inodes $i'
$P exec one sh -c 'touch /more && echo the neighbour can'
$P run -d --name out --network none --userns host --storage-opt size=16m busybox sleep 1000 >/dev/null
fill out 24
$P exec out sh -c 'echo size $(stat -c %s /fill)'
$P stop -t 0 one >/dev/null; $P start one >/dev/null; room again one
"""

_GROWTH = """
$P run -d --name one --network none --storage-opt size=16m busybox sleep 1000 >/dev/null
room first one
$P update --storage-opt size=64m one >/dev/null && room grown one
fill one 32
$P exec one sh -c 'echo size $(stat -c %s /fill)'
"""

_TENANT = """
T="$P --tenants /tmp/tenants tenant"
$T create web1 --template busybox --init '/bin/sleep 100000' --network none --disk 16M --inodes 400 2>/dev/null
$T start web1 >/dev/null 2>&1
T1="$T exec web1"
web() { echo "$1" $($T1 df -kP / | tail -n 1); }
web first
$T1 sh -c 'echo one >/data; ln /data /link; rm /etc/profile; dd if=/dev/zero of=/half bs=1M count=10 2>/dev/null'
$T snapshot create web1 one
$T snapshot list -H web1
$T1 sh -c 'echo two >/data; rm /half'
$T set web1 --disk 24M >/dev/null; web grown
$T stop --fast web1 >/dev/null
# with the old root and the new one there at once, each within its own limit
$T snapshot restore web1 one && $T start web1 >/dev/null 2>&1; web restored
$T1 sh -c 'cat /data /link; ls /etc/profile 2>&1'
$T1 sh -c 'dd if=/dev/zero of=/more bs=1M count=20 2>&1 | grep -c -i "no space\\|quota"; stat -c "more %s" /more'
echo projects $(ls /srv/store/projects | wc -l)
$T stop --fast web1 >/dev/null; $T reinstall web1 --keep-old 2>/dev/null; $T start web1 >/dev/null 2>&1; web again
$T1 ls /data 2>&1
echo projects $(ls /srv/store/projects | wc -l)
$T stop --fast web1 >/dev/null; $T snapshot rm web1 before-reinstall; echo projects $(ls /srv/store/projects | wc -l)
$T destroy web1 >/dev/null
"""


def run(bare: machine.Host, body: str) -> list[str]:
    result = bare.run(body, timeout=250)
    assert result.status == 0, result.output
    return result.output.splitlines()


def sizes(lines: list[str]) -> dict[str, int]:
    """By the word in front: how large df says that the root is, in KiB."""
    return {words[0]: int(words[2]) for words in (line.split() for line in lines) if words[1:2] == ["overlay"]}


@pytest.mark.parametrize(("name", "begin"), [("ext4", _PROJECT), ("xfs", _XFS)], ids=["ext4", "xfs"])
def test_project_quotas(bare: machine.Host, name: str, begin: str) -> None:
    lines = run(bare, begin + _PROJECTS + _END)
    assert any("Disk limits" in line and f"project ({name} has project quotas there)" in line for line in lines), lines
    assert sizes(lines) == {"first": 16384, "second": 16384, "grown": 24576, "smaller": 8192, "again": 8192}, lines
    held = [int(line.split()[1]) for line in lines if line.startswith("size ")]
    assert len(held) == 2 and all(12 << 20 < size <= 16 << 20 for size in held), lines
    refused = [line for line in lines if line.startswith("pycontain: ")]
    assert len(refused) == 1 and "bytes of its disk are in use: a limit of 8388608 is less" in refused[0], lines
    made = next(int(line.split()[1]) for line in lines if line.startswith("inodes "))
    assert 100 < made <= 200, lines
    assert "the neighbour can" in lines
    assert lines[-1] == "left", lines


def test_an_image_grows_while_it_is_in_use(bare: machine.Host) -> None:
    lines = run(bare, _IMAGE + _GROWTH + _END)
    found = sizes(lines)
    assert found["first"] < 16384 and 50000 < found["grown"] <= 65536, lines
    assert f"size {32 << 20}" in lines
    assert lines[-1] == "left", lines


@pytest.mark.parametrize(("begin", "kind"), [(_PROJECT, " copy "), (_XFS, " shared ")], ids=["ext4", "xfs"])
def test_a_tenant_keeps_its_quota_with_every_root(bare: machine.Host, begin: str, kind: str) -> None:
    lines = run(bare, begin + _TENANT + _END)
    assert sizes(lines) == {"first": 16384, "grown": 24576, "restored": 24576, "again": 24576}, lines
    assert any(line.startswith("one ") and kind in line for line in lines), lines
    assert lines.count("one") == 2 and "two" not in lines, lines
    assert sum("No such file" in line for line in lines) == 2, lines  # /etc/profile, which is gone, and /data
    held = next(int(line.split()[1]) for line in lines if line.startswith("more "))
    assert 12 << 20 < held < 14 << 20, lines  # and no more: ten MiB of 24 are taken
    # the root that was there before has its own while it is kept
    assert [line for line in lines if line.startswith("projects ")] == ["projects 1", "projects 2", "projects 1"], lines
    assert lines[-1] == "left", lines
