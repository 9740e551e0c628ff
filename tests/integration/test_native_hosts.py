"""The fixtures that make other hosts of this machine: one that looks unified, and one with a systemd of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.host import debian, images

from systemd_guest import CHECKOUT, Guest
from world import PYCONTAIN, World, cgroup_mount, eventually

_FIND = "from pycontain.cgroup import hierarchy; h = hierarchy.find(); print(h.mount, h.root, h.own())"


# --- unified ------------------------------------------------------------------------------------------------------


def test_a_host_that_looks_unified(unified: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = unified([sys.executable, "-c", _FIND])
    own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    assert (done.returncode, done.stdout) == (0, f"/sys/fs/cgroup / {own.removeprefix('0::')}\n"), done


def test_a_container_on_a_host_that_looks_unified(
    world: World, unified: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    script = "cat /sys/fs/cgroup/cgroup.type; exit 3"
    done = unified([*world.command, "run", "--rm", "--network", "none", "busybox", "sh", "-c", script])
    assert (done.returncode, done.stdout, done.stderr) == (3, "domain\n", ""), done


def test_nothing_of_it_is_seen_outside(unified: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    assert unified(["false"]).returncode == 1
    assert Path("/proc/self/mountinfo").read_text() == before


# --- systemd ------------------------------------------------------------------------------------------------------


def test_systemd_runs_commands_with_status_and_output(systemd_guest: Guest) -> None:
    done = systemd_guest.run("systemctl is-system-running; cat /proc/1/comm; echo err >&2; exit 3")
    state, *rest = done.stdout.splitlines()
    assert state in ("running", "degraded"), done
    assert (done.returncode, rest) == (3, ["systemd", "err"])


def test_a_scope_is_in_the_tree(systemd_guest: Guest) -> None:
    done = systemd_guest.run(
        """
        systemd-run --quiet --scope --unit=proof --slice=a-b.slice -p Delegate=yes sh -c '
            grep ^0:: /proc/self/cgroup
            mkdir /sys/fs/cgroup/a.slice/a-b.slice/proof.scope/below && systemctl show -P Delegate proof.scope
            rmdir /sys/fs/cgroup/a.slice/a-b.slice/proof.scope/below'
        """
    )
    assert (done.returncode, done.stdout.splitlines()) == (0, ["0::/a.slice/a-b.slice/proof.scope", "yes"]), done


def test_a_scope_through_the_bus(systemd_guest: Guest) -> None:
    """StartTransientUnit with Delegate, for a process that exists; seen from outside, in the machine's tree."""
    manager = "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"
    done = systemd_guest.run(
        f"""
        sleep 1000 & pid=$!
        busctl --quiet --timeout=25 call {manager} StartTransientUnit 'ssa(sv)a(sa(sv))' bus.scope fail \
            2 PIDs au 1 $pid Delegate b true 0 || exit
        busctl get-property org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/bus_2escope \
            org.freedesktop.systemd1.Scope Delegate
        """
    )
    assert (done.returncode, done.stdout) == (0, "b true\n"), done
    scope = systemd_guest.group / "system.slice" / "bus.scope"
    # systemd moves the process in a job that the call does not wait for
    assert eventually(lambda: scope.is_dir() and (scope / "cgroup.procs").read_text())
    assert systemd_guest.run("systemctl stop bus.scope; pidof sleep").returncode == 1
    assert eventually(lambda: not scope.exists())


def test_a_container_under_systemd(systemd_guest: Guest) -> None:
    done = systemd_guest.run(
        f"{PYCONTAIN} run -d --name c --network none --userns host busybox sleep 1000 >/dev/null && "
        f"{PYCONTAIN} ps --format json; {PYCONTAIN} rm -f c >/dev/null"
    )
    assert done.returncode == 0, done
    assert done.stdout.startswith("["), done
    assert json.loads(done.stdout)[0]["State"] == "running", done


def test_a_user_namespace_where_proc_is_masked(systemd_guest: Guest) -> None:
    """The kernel shows no more of /proc in a new one than there is here."""
    done = systemd_guest.run(f"{PYCONTAIN} run --rm --userns auto --network none busybox true")
    assert done.returncode == 125 and "in a container itself: use --userns host" in done.stdout, done
    assert done.stdout.count("\n") == 1


def test_the_machine_is_out_of_its_reach(systemd_guest: Guest) -> None:
    setting = Path("/proc/sys/kernel/pid_max")
    before = setting.read_text()
    done = systemd_guest.run(
        f"""
        echo 4194304 > /proc/sys/kernel/pid_max && echo written
        echo 1 > /sys/kernel/mm/ksm/run && echo written
        touch {CHECKOUT}/x && echo written
        touch /etc/only-in-the-guest
        """
    )
    assert "written" not in done.stdout, done
    assert setting.read_text() == before
    assert not Path("/etc/only-in-the-guest").exists() and not (debian.root() / "etc/only-in-the-guest").exists()


def test_a_command_that_hangs_is_killed(systemd_guest: Guest) -> None:
    done = systemd_guest.run("echo begun; sleep 1000", timeout=5)
    assert done.returncode == 137 and done.stdout.startswith("begun\n"), done
    assert eventually(lambda: systemd_guest.run("pidof sleep").returncode == 1)


# Tests that have a guest, and are in the middle of a command in it.
_TESTS = """
import sys
from pathlib import Path
from systemd_guest import Guest
guest = Guest(*map(Path, sys.argv[1:]))
print(guest.group, guest.pid, guest.keeper.pid, flush=True)
sys.stdin.readline()
guest.close()
"""


@pytest.mark.parametrize("how", ["closed", "tests killed", "guest killed", "power off in the guest"])
def test_nothing_is_left(how: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _TESTS, *map(str, [cgroup_mount(), debian.root(), images.store()])]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent)}
    tests = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    with tests:
        assert tests.stdin and tests.stdout
        words = tests.stdout.readline().split()
        group, pid, keeper = Path(words[0]), int(words[1]), int(words[2])
        processes = _members(group)
        assert pid in processes and list(tmp_path.iterdir())
        if how == "closed":
            tests.stdin.close()
        elif how == "tests killed":
            tests.kill()
        elif how == "guest killed":
            os.kill(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGRTMIN + 4)
        # its way out alone may take half of that (_END in systemd_guest.py, twice)
        assert eventually(lambda: not group.exists() and not list(tmp_path.iterdir()), 30)
    assert eventually(lambda: not [number for number in [*processes, keeper] if _lives(number)])
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def _members(group: Path) -> list[int]:
    """The processes of a group and of those below it, which come and go while systemd works."""
    found: list[int] = []
    for directory, _, _ in os.walk(group):
        try:
            found += [int(line) for line in Path(directory, "cgroup.procs").read_text().split()]
        except OSError:
            continue
    return found


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_guest_that_does_not_boot_says_why(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="did not boot: it ended\n"):
        Guest(cgroup_mount(), tmp_path, images.store())
    assert not list(cgroup_mount().glob(f"pycontain-systemd-{os.getpid()}-1*"))
