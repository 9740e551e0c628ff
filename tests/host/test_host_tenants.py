"""Tenants of a host with systemd, over two boots of one disk: order, limits, shutdown; what is as before."""

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
shutdown = "{shutdown}"
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
mkdir -p /run/systemd/system/pycontain-tenant@low.service.d
printf '[Service]\\nStandardError=append:/var/lib/pycontain/log/said\\n' \\
    >/run/systemd/system/pycontain-tenant@low.service.d/test.conf
systemctl daemon-reload
for name in high low; do $T create $name --network none; done
systemctl start pycontain-tenants.target
$T start low
cd /sys/fs/cgroup/pycontain.slice/pycontain-tenants.slice
for name in high low; do
    group=pycontain-tenant@$name.service
    echo $(cat $group/[0-9a-f]*/memory.max $group/[0-9a-f]*/cpu.max $group/[0-9a-f]*/pids.max) $name
    echo $(cat $group/cpu.weight $group/memory.low) the unit of $name
    main=$(systemctl show -P MainPID $group)
    echo $(cat /proc/$main/comm) $(sed 's/.*@//' /proc/$main/cgroup)
done
cd /
tar -C / -cf /disk/etc.tar etc/pycontain/tenants etc/systemd/system/multi-user.target.wants/pycontain-tenants.target \\
    etc/systemd/system/pycontain-tenants.target.wants \\
    $(cd /; ls -d etc/systemd/system/pycontain-tenant@*.d)
# their inits hear nothing before
until [ "$(grep -cs started /var/lib/pycontain/log/events)" = 2 ]; do sleep 0.1; done
"""

_SECOND = r"""
until [ "$(grep -cs started /var/lib/pycontain/log/events)" = 4 ]; do sleep 0.1; done
cat /var/lib/pycontain/log/events
grep -o 'tenant low cannot be suspended.*PATH\|install CRIU.*' /var/lib/pycontain/log/said
pycontain tenant list -H -o name,status -s name
cd /sys/fs/cgroup/pycontain.slice/pycontain-tenants.slice
cat */[0-9a-f]*/memory.max; systemctl show -P NRestarts 'pycontain-tenant@*'
up=$(systemctl show -P ActiveEnterTimestampMonotonic pycontain-tenant@high)
[ $up -le $(systemctl show -P InactiveExitTimestampMonotonic pycontain-tenant@low) ] && echo in order
"""

_KILL = """
set -e
T="pycontain tenant"
was=$(systemctl show -P MainPID pycontain-tenant@high)
$T monitor high >/tmp/events & monitor=$!
until grep -qs watching /tmp/events; do sleep 0.1; done
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
systemctl start pycontain-tenant@loop 2>/dev/null || true
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
    # CRIU cannot work on such a kernel: who is to be suspended is stopped
    for name, onboot, order, shutdown in (("high", "yes", 10, "stop"), ("low", "as-before", -3, "suspend")):
        text = _SETTINGS.format(init=_INIT.replace('"', '\\"'), onboot=onboot, order=order, shutdown=shutdown)
        (settings / f"{name}.toml").write_text(text)
    return path


def ok(host: machine.Host, script: str) -> list[str]:
    result = host.run(script, timeout=120)
    assert result.status == 0, result.output + result.console
    return result.output.splitlines()


@pytest.mark.timeout(900)
def test_over_a_reboot(prepared: None, disk: Path, files: Path) -> None:
    """The host goes down with both running, and comes up with both, in their order."""
    with machine.Host(memory="768M", systemd=True, binds=[f"{disk}:/disk"], files=files, life=400) as host:
        lines = ok(host, _FIRST)
        limits = "50331648 50000 100000 40"
        assert lines[-6:] == [
            *(f"{limits} high", "200 8388608 the unit of high", "pycontain-mon high.service/keeper"),
            *(f"{limits} low", "200 8388608 the unit of low", "pycontain-mon low.service/keeper"),
        ], lines
        died = host.run("systemctl poweroff; sleep 1000", timeout=120)
        assert died.status == machine.DIED, died
        shutil.unpack_archive(disk / "etc.tar", files)
        lines = ok(host, _SECOND)
        # who has been started first may be slow to say it
        lines[0:2], lines[4:6] = sorted(lines[0:2]), sorted(lines[4:6])
        assert lines == [
            *("high started", "low started", "low stopped", "high stopped"),
            *("high started", "low started"),
            *(
                "tenant low cannot be suspended to the disk: criu is not in PATH",
                "install CRIU 4.1 or newer; it is stopped",
            ),
            *("high   running", "low    running", "50331648", "50331648", "0", "", "0", "in order"),
        ], lines


@pytest.mark.nightly
def test_a_killed_monitor_and_a_crash_loop(
    prepared: None, tmp_path: Path, files: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As tests/integration/test_tenant_service.py, within limits that are enforced."""
    (tmp_path / "mount").write_text(_DISK)
    (tmp_path / "mount").chmod(0o755)
    with machine.Host(memory="768M", systemd=True, binds=[f"{tmp_path}:/disk"], files=files, life=250) as host:
        ok(host, "pycontain tenant create high --network none && systemctl start pycontain-tenant@high")
        lines = ok(host, _KILL)
        assert lines == [
            *("running", '"event":"watching","tenants":{"high":"running"}}'),
            *('"event":"stopped","status":null}', '"event":"started"}'),
        ], lines
        lines = ok(host, _LOOP)
        assert lines[0] == "exit-code\t2" and lines[1] == "failed" and lines[-1] == "status 1", lines
