"""Tenants under a systemd: order, a killed monitor, a crash loop, reboot and poweroff inside, as before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from systemd_guest import CHECKOUT, Guest

_BEGIN = f"""
set -e
ln -sf {CHECKOUT}/.venv/bin/pycontain /usr/local/bin/pycontain
cp {CHECKOUT}/contrib/systemd/pycontain-tenant* /etc/systemd/system/
systemctl daemon-reload
mkdir -p /var/lib/pycontain/log
"""
_END = """
systemctl stop 'pycontain-tenant@*' pycontain-tenants.target 2>/dev/null
for name in $(pycontain tenant list -H -o name); do pycontain tenant destroy -f $name; done
rm -rf /usr/local/bin/pycontain /var/lib/pycontain/log
rm -rf /etc/systemd/system/pycontain-tenant* /etc/systemd/system/*/pycontain-tenant*
systemctl daemon-reload; systemctl reset-failed 'pycontain-tenant*' 2>/dev/null
ls /etc/systemd/system | grep pycontain; true
"""
#: An init: says what happens to it; touching /reboot or /poweroff has it do so, as reboot(8) would.
_INIT = """trap 'echo $(hostname) stopped >>/log/events; exit 0' TERM
echo $(hostname) started >>/log/events
echo ready
while :; do
    sleep 0.1 & wait $!
    [ ! -e /reboot ] || { rm /reboot; echo $(hostname) reboots >>/log/events; busybox reboot -f; }
    [ ! -e /poweroff ] || { rm /poweroff; busybox poweroff -f; }
done"""


_FUNCTIONS = """
T="pycontain tenant"
make() {
    name=$1; shift
    $T create $name --template busybox --network none --stop-timeout 20 --init "sh /log/init" \\
        --mount /var/lib/pycontain/log:/log --privileged-ids yes "$@"
}
show() { systemctl show -P $1 pycontain-tenant@$2; }
until_said() { # HOW OFTEN, WORDS OF AN INIT'S
    until [ "$(grep -c "$2" /var/lib/pycontain/log/events 2>/dev/null)" = $1 ]; do sleep 0.05; done
}
until_is() { # PROPERTY VALUE NAME
    until [ "$(show $1 $3)" = $2 ]; do sleep 0.05; done
}
"""


class Units:
    """The guest with our units, and ways to make and look at tenants in it."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest

    def __call__(self, script: str, timeout: float = 150) -> str:
        done = self.guest.run(f"set -e\n{_FUNCTIONS}\n{script}", timeout=timeout)
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def units(systemd_guest: Guest) -> Iterator[Units]:
    begun = systemd_guest.run(f"{_BEGIN}cat >/var/lib/pycontain/log/init <<'EOT'\n{_INIT}\nEOT\n")
    assert begun.returncode == 0, begun.stdout
    yield Units(systemd_guest)
    ended = systemd_guest.run(_END, timeout=150)
    assert ended.returncode == 0 and "pycontain-tenant" not in ended.stdout, ended.stdout


def test_order_and_stop_in_systemds_hands(units: Units) -> None:
    """The higher order first, and at the stop last; a stop by the verb is no failure for systemd."""
    text = units("""
make high --boot-order 10 --onboot yes; make low --boot-order -3 --onboot yes; make other
systemctl is-enabled pycontain-tenant@high; systemctl is-enabled pycontain-tenant@other || true
systemctl start pycontain-tenants.target
until_said 1 "low started"; until_said 1 "high started"  # they may be slow to say it, and hear nothing before
[ $(show ActiveEnterTimestampMonotonic high) -le $(show InactiveExitTimestampMonotonic low) ] && echo in order
main=$(show MainPID high); cat /proc/$main/comm; sed -n 's/^0::.*@/@/p' /proc/$main/cgroup
$T stop low; show ActiveState low; show Result low; show NRestarts low
$T start low; show ActiveState low; systemctl is-active pycontain-tenants.target
until_said 2 "low started"
$T stop --all >/dev/null; show ActiveState high
cat /var/lib/pycontain/log/events
""")
    lines = text.splitlines()
    assert lines[:2] == ["enabled", "disabled"], text
    assert lines[2:5] == ["in order", "pycontain-mon", "@high.service/keeper"], text
    assert lines[5:9] == ["low", "inactive", "success", "0"], text
    assert lines[9:13] == ["low", "active", "active", "inactive"], text
    assert sorted(lines[13:15]) == ["high started", "low started"], text
    assert lines[15:] == ["low stopped", "low started", "low stopped", "high stopped"], text


@pytest.mark.nightly
def test_disable_and_destroy_leave_no_unit(units: Units) -> None:
    text = units("""
make one --boot-order 1; make two
$T enable one two; $T get one boot.onboot; $T get two boot.onboot
cat /etc/systemd/system/pycontain-tenant@two.service.d/*.conf | grep After
$T set one boot.order=7; cat /etc/systemd/system/pycontain-tenant@two.service.d/*.conf | grep After
$T rename one uno; ls /etc/systemd/system/pycontain-tenants.target.wants
$T disable two; $T get two boot.onboot; $T destroy uno
cd /etc/systemd/system; ls -d pycontain-tenant@*.d pycontain-tenants.target.wants/* 2>/dev/null || echo none
""")
    assert text.splitlines() == [
        *("yes", "yes", "After=pycontain-tenants-order@1.target", "After=pycontain-tenants-order@7.target"),
        *("pycontain-tenant@two.service", "pycontain-tenant@uno.service", "no", "uno", "none"),
    ]


def test_a_killed_monitor_is_started_again_and_told_of(units: Units) -> None:
    text = units("""
make one; $T enable one; $T start one
was=$(show MainPID one)
until_said 1 started
$T monitor one >/tmp/events & monitor=$!
until grep -qs watching /tmp/events; do sleep 0.05; done
kill -9 $was
until_is NRestarts 1 one; until_is ActiveState active one
$T status one
until grep -q started /tmp/events; do sleep 0.05; done
kill $monitor; sed 's/.*"event":/"event":/' /tmp/events; rm /tmp/events
until_said 2 started
""")
    assert text.splitlines() == [
        *("one", "running", '"event":"watching","tenants":{"one":"running"}}', '"event":"stopped","status":null}'),
        '"event":"started"}',
    ]


def test_a_crash_loop_ends_in_failed(units: Units) -> None:
    text = units("""
mkdir -p /etc/systemd/system/pycontain-tenant@loop.service.d
printf '[Service]\\nRestartSec=0\\n' >/etc/systemd/system/pycontain-tenant@loop.service.d/test.conf
systemctl daemon-reload
make loop --init 'sh -c "exit 3"'
systemctl start pycontain-tenant@loop 2>/dev/null || true
until_is ActiveState failed loop
show Result loop; show NRestarts loop
$T status -v loop || echo status $?
$T start loop; $T status loop || true
""")
    lines = text.splitlines()
    assert lines[:2] == ["exit-code", "5"], text
    assert lines[2] == "failed" and "its init ended with status 3" in lines[3] and lines[4] == "status 1", text


def test_reboot_inside_is_in_place_and_poweroff_inside_is_no_failure(units: Units) -> None:
    text = units("""
make one; $T enable one; $T start one
main=$(show MainPID one); init=$($T list -H -o pid one)
$T exec one touch /reboot || true  # init may end it before it has ended itself
until_said 2 started
until [ "$($T status one)" = running ]; do sleep 0.05; done
[ "$main" = "$(show MainPID one)" ]; [ "$init" != "$($T list -H -o pid one)" ]; show NRestarts one
sed -n 's/^0::.*@one/@one/; s/[0-9a-f]\\{64\\}/ID/p' /proc/$($T list -H -o pid one)/cgroup
$T exec one touch /poweroff || true
until_is ActiveState inactive one
show Result one; show NRestarts one; $T status one || echo status $?
""")
    assert text.splitlines() == ["one", "0", "@one.service/ID", "success", "0", "stopped", "status 3"]


@pytest.mark.nightly
def test_as_before(units: Units) -> None:
    """What ran when all were stopped starts with the target, what did not does not; asked for, it does."""
    text = units("""
make ran --onboot as-before; make idle --onboot as-before
$T start ran; $T stop --all >/dev/null
systemctl start pycontain-tenants.target; $T list -H -o name,status -s name
systemctl stop pycontain-tenants.target; until_is ActiveState inactive ran
$T start idle; $T status idle
""")
    assert text.splitlines() == ["ran", "idle   stopped", "ran    running", "idle", "running"]


@pytest.mark.nightly
def test_as_before_and_failing(units: Units) -> None:
    """Its unit starts it again as any other, also while the others are still coming."""
    text = units("""
make one --onboot as-before --init "sh -c 'exit 3'"
$T start one >/dev/null 2>&1 || true
until_is ActiveState failed one
show NRestarts one
""")
    assert text.splitlines() == ["5"], text


@pytest.mark.nightly
def test_a_start_that_fails_says_why(units: Units) -> None:
    text = units("""
make one --init /no/such/init; $T enable one
$T start one 2>&1 || echo status $?
$T stop one; show ActiveState one; $T status one || true
""")
    lines = text.splitlines()
    assert "pycontain-tenant@one.service did not start" in lines[0] and "/no/such/init" in lines[0], text
    assert lines[1:] == ["status 125", "one", "inactive", "stopped"], text


@pytest.mark.nightly
def test_machined_knows_the_guest(units: Units) -> None:
    """By its name, in its unit; and no more when it has ended."""
    text = units("""
make one; $T enable one; $T start one
machinectl show one -p Name -p Class -p Service -p Unit -p Leader
echo Leader=$($T list -H -o pid one)
leader() { machinectl show one -p Leader 2>/dev/null | cut -d= -f2; }
first=$(leader)
$T exec one touch /reboot || true
until second=$(leader); [ -n "$second" ] && [ "$second" != $first ]; do sleep 0.05; done
[ "$second" = $($T list -H -o pid one) ]
$T stop one
until ! machinectl show one >/dev/null 2>&1; do sleep 0.05; done
""")
    lines = text.splitlines()
    assert {"Name=one", "Class=container", "Service=pycontain", "Unit=pycontain-tenant@one.service"} <= set(lines), text
    assert lines.count(lines[-2]) == 2 and lines[-2].startswith("Leader="), text


@pytest.mark.nightly
def test_a_stop_takes_the_tenants_own_time_not_systemds(units: Units) -> None:
    """Its init does not end: SIGKILL comes after boot.stop_timeout, which is longer than the unit's."""
    text = units("""
mkdir -p /etc/systemd/system/pycontain-tenant@deaf.service.d
printf '[Service]\\nTimeoutStopSec=2\\n' >/etc/systemd/system/pycontain-tenant@deaf.service.d/test.conf
systemctl daemon-reload
make deaf --init "sh -c 'trap : TERM; while :; do sleep 0.2; done'" --stop-timeout 4
systemctl start pycontain-tenant@deaf
begin=$(date +%s); systemctl stop pycontain-tenant@deaf; [ $(($(date +%s) - begin)) -ge 3 ]
show Result deaf; $T status deaf || true
""")
    assert text.splitlines() == ["success", "stopped"]


def test_a_set_that_repairs_the_settings_is_followed_by_the_unit(units: Units) -> None:
    """What starts with the host is what they say now, also where nobody can say what they said before."""
    text = units("""
make one; make two --onboot yes
cd /etc/pycontain/tenants; sed -i '/^description/d; s/^version = 1/version = 1\\ndescription = 3/' one.toml two.toml
$T validate one >/dev/null 2>&1 || echo damaged
$T set one description= boot.onboot=yes; $T set two description= boot.onboot=no
systemctl is-enabled pycontain-tenant@one || true; systemctl is-enabled pycontain-tenant@two || true
$T doctor | grep -v ^note || true
""")
    assert text.splitlines() == ["damaged", "enabled", "disabled"]
