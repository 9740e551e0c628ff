"""Tenants of a host with systemd, over two boots of one disk: order, limits, shutdown, a killed monitor, a crash loop."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.host import machine

pytestmark = pytest.mark.slow

#: The store is on an ext4 image: an old kernel maps no owners on a tmpfs, and it is what the next boot has of this one.
_DISK = """#!/bin/sh
set -e
busybox modprobe loop 2>/dev/null || true
if [ ! -e /disk/image ]; then
    truncate -s 64M /disk/image
    mke2fs -q -F -t ext4 /disk/image
    mount -o loop /disk/image /mnt
    cp -a /var/lib/pycontain/. /mnt/
    mkdir /mnt/log
    umount /mnt
fi
mount -o loop /disk/image /var/lib/pycontain
"""

_DISK_UNIT = """[Unit]
Before=pycontain-tenants.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/disk/mount
[Install]
WantedBy=multi-user.target
"""

_INIT = (
    "trap 'echo $(hostname) stopped >>/log/events; exit 0' TERM; echo $(hostname) started >>/log/events;"
    " echo ready; while :; do sleep 1000 & wait $!; done"
)

_SETTINGS = """version = 1
template = "busybox"
[boot]
init = ["sh", "-c", "{init}"]
onboot = "{onboot}"
order = {order}
stop_timeout = 20
[cpu]
cpus = 0.5
units = 2000
[memory]
limit = "48M"
guarantee = "8M"
[processes]
max = 40
[[mounts]]
source = "/var/lib/pycontain/log"
target = "/log"
"""

_FIRST = """
set -e
T="pycontain tenant"
for name in high low before idle; do $T create $name --network none; done
systemctl start pycontain-tenants.target
# as-before, and never started: not to be started by the target
$T list -H -o name,status -s name
$T start before
for name in high low before; do
    cd /sys/fs/cgroup/pycontain.slice/pycontain-tenants.slice/pycontain-tenant@$name.service
    echo $name: $(cat [0-9a-f]*/memory.max [0-9a-f]*/cpu.max [0-9a-f]*/pids.max) unit: $(cat cpu.weight memory.low)
    main=$(systemctl show -P MainPID pycontain-tenant@$name)
    echo $name: $(cat /proc/$main/comm) in $(sed 's/.*service//' /proc/$main/cgroup)
done
cd /
echo stop; $T stop low; systemctl is-active pycontain-tenant@low || true
$T start low; systemctl is-active pycontain-tenant@low
cat /var/lib/pycontain/log/events; : >/var/lib/pycontain/log/events
tar -C / -cf /disk/etc.tar etc/pycontain/tenants etc/systemd/system/multi-user.target.wants \\
    etc/systemd/system/pycontain-tenants.target.wants \\
    $(cd /; ls -d etc/systemd/system/pycontain-tenant@*.d)
"""

_SECOND = """
cat /var/lib/pycontain/log/events
pycontain tenant list -H -o name,status -s name
for name in high low before; do
    systemctl show -P ActiveEnterTimestampMonotonic -P InactiveExitTimestampMonotonic pycontain-tenant@$name | paste -s
done
"""

_KILL = """
set -e
T="pycontain tenant"
was=$(systemctl show -P MainPID pycontain-tenant@high)
$T monitor high >/tmp/events & monitor=$!
until grep -q watching /tmp/events; do sleep 0.1; done
kill -9 $was
until [ "$(systemctl show -P NRestarts pycontain-tenant@high)" = 1 ] &&
    [ "$(systemctl show -P ActiveState pycontain-tenant@high)" = active ]; do sleep 0.2; done
$T status high
until grep -q started /tmp/events; do sleep 0.1; done
kill $monitor; sed 's/.*"event":/"event":/' /tmp/events
"""

_LOOP = """
set -e
T="pycontain tenant"
mkdir -p /etc/systemd/system/pycontain-tenant@loop.service.d
printf '[Unit]\\nStartLimitBurst=2\\n[Service]\\nRestartSec=0\\n' \\
    >/etc/systemd/system/pycontain-tenant@loop.service.d/test.conf
$T create loop --template busybox --network none --init 'sh -c "exit 3"'
systemctl daemon-reload
systemctl start pycontain-tenant@loop || true
until [ "$(systemctl show -P ActiveState pycontain-tenant@loop)" = failed ]; do sleep 0.2; done
systemctl show -P Result -P NRestarts pycontain-tenant@loop | paste -s
$T status -v loop || echo status $?
"""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disk")
    (path / "mount").write_text(_DISK)
    (path / "mount").chmod(0o755)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the host's root has from its first boot on."""
    path = tmp_path_factory.mktemp("files")
    units = path / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in (machine.CHECKOUT / "contrib/systemd").glob("pycontain-tenant*"):
        shutil.copy(unit, units)
    (units / "disk.service").write_text(_DISK_UNIT)
    (units / "multi-user.target.wants").mkdir()
    (units / "multi-user.target.wants/disk.service").symlink_to("../disk.service")
    (path / "usr/local/bin").mkdir(parents=True)
    (path / "usr/local/bin/pycontain").symlink_to(machine.PYTHON.parent / "pycontain")
    settings = path / "etc/pycontain/tenants"
    settings.mkdir(parents=True)
    for name, onboot, order in (("high", "yes", 10), ("low", "yes", -3), ("before", "as-before", 5), ("idle", "as-before", 0)):
        text = _SETTINGS.format(init=_INIT.replace('"', '\\"'), onboot=onboot, order=order)
        (settings / f"{name}.toml").write_text(text)
    return path


def ok(host: machine.Host, script: str) -> list[str]:
    result = host.run(script, timeout=120)
    assert result.status == 0, result.output + result.console
    return result.output.splitlines()


def test_over_a_reboot(prepared: None, disk: Path, files: Path) -> None:
    with machine.Host(memory="768M", systemd=True, binds=[f"{disk}:/disk"], files=files, life=400) as host:
        lines = ok(host, _FIRST)
        print("\n".join(lines))
        died = host.run("systemctl poweroff; sleep 100", timeout=60)
        assert died.status == machine.DIED, died
        shutil.unpack_archive(disk / "etc.tar", files, filter="tar")
        lines = ok(host, _SECOND)
        print("\n".join(lines))
        lines = ok(host, _KILL)
        print("\n".join(lines))
        lines = ok(host, _LOOP)
        print("\n".join(lines))
    assert 0
