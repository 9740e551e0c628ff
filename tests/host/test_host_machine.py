"""The disposable host itself: what it says, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.host import debian, images, machine

pytestmark = pytest.mark.slow

Run = Callable[..., machine.Result]


def processes_of(marker: str) -> list[int]:
    """The processes with this word on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if marker.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_output_status_and_what_is_visible(host: Run, tmp_path: Path) -> None:
    script = f"""
        echo out; echo err >&2
        cat /sys/fs/cgroup/cgroup.controllers
        test -e {machine.HERE}/stage1 && echo checkout
        touch {machine.HERE}/stage1 2>/dev/null || echo read-only
        . /etc/os-release; echo $VERSION_CODENAME
        echo from the guest > /shared/file; echo x > /etc/only-in-the-guest
        exit 3
    """
    result = host(script, timeout=60, binds=[f"{tmp_path}:/shared"])
    assert result.status == 3, result.console
    expected = ["out", "err", "cpu io memory pids", "checkout", "read-only", debian.release()]
    assert result.output.splitlines() == expected
    assert (tmp_path / "file").read_text() == "from the guest\n"
    assert not Path("/etc/only-in-the-guest").exists()


def test_the_time_limit_ends_it_with_all_its_processes(host: Run) -> None:
    began = time.monotonic()
    result = host("echo started; sleep 1000 & sleep 1000", timeout=30)
    assert time.monotonic() - began < 90
    assert result.status == machine.DIED
    assert result.output == "started\n"
    assert result.console.endswith("killed after its time limit of 30 s\n")


def test_this_machines_root(host: Run) -> None:
    assert host("cmp /etc/passwd /shared/passwd", timeout=60, lower="/", binds=["/etc:/shared"]).status == 0


def test_a_panic_is_told(host: Run) -> None:
    result = host("echo c > /proc/sysrq-trigger", timeout=30)
    assert result.status == machine.DIED
    assert "panic" in result.console.lower()


def test_it_dies_with_the_command_that_started_it(host: Run, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo started; sleep 1000")
    (tmp_path / "jobs").mkdir()
    command = [sys.executable, "-m", "tests.host", "run", "--timeout", "60", str(script)]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "jobs"), "PYTHONPATH": str(machine.CHECKOUT)}
    run = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=machine.CHECKOUT)
    assert run.stdout
    assert run.stdout.readline() == b"started\n"
    (job,) = (tmp_path / "jobs").glob("pycontain-host-*")
    marker = f"uml_dir={job}/uml"
    assert processes_of(marker)
    run.send_signal(signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 60
    while processes_of(marker):
        assert time.monotonic() < deadline, processes_of(marker)
        time.sleep(0.05)


def test_scripts_one_after_the_other(bare: machine.Host) -> None:
    assert bare.run("echo one; exit 3").status == 3
    result = bare.run("echo two; printf three")
    assert (result.status, result.output) == (0, "two\nthree")
    assert bare.run("exit 0").output == ""


def test_a_script_that_hangs_is_killed_and_the_host_lives(bare: machine.Host) -> None:
    bare.run("echo here > /run/mark")
    began = time.monotonic()
    result = bare.run("echo begun; sleep 1000 & sleep 1000", timeout=4)
    assert time.monotonic() - began < 60
    assert result.status == machine.KILLED and result.output.startswith("begun\n"), result
    assert bare.run("cat /run/mark; pidof sleep").output == "here\n"


def test_a_host_that_died_is_booted_again(prepared: None) -> None:
    with machine.Host() as host:
        assert host.run("echo here > /run/mark").status == 0
        result = host.run("echo o > /proc/sysrq-trigger; sleep 1000", timeout=20)
        assert result.status == machine.DIED and "ended with status 0" in result.console, result
        assert host.run("test -e /run/mark", timeout=20).status == 1


def test_a_host_that_does_not_answer_is_killed(prepared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "GRACE", 1.0)
    with machine.Host() as host:
        # the process that would kill the script cannot
        result = host.run("echo begun; kill -STOP $PPID; sleep 1000", timeout=4)
        assert (result.status, result.output) == (machine.DIED, "begun\n")
        assert "killed, because it did not answer" in result.console, result


def test_output_without_end_ends_the_host(prepared: None) -> None:
    with machine.Host() as host:
        result = host.run("yes " + "x" * 1000)
    assert result.status == machine.DIED
    assert "wrote more than" in result.console


def test_pycontain_is_installed_and_needs_no_network(bare: machine.Host) -> None:
    result = bare.run(
        f"""
        command -v pycontain
        pycontain run --rm --network none busybox echo from a container
        {machine.PYTHON} -c 'import pycontain, pydantic, prctl, pytest; print("imported")'
        """
    )
    assert result.status == 0, result.output
    assert result.output.splitlines() == [str(images.PYCONTAIN), "from a container", "imported"]


def test_systemd(systemd: machine.Host) -> None:
    result = systemd.run(
        """
        cat /proc/1/comm /proc/self/cgroup /sys/fs/cgroup/cgroup.controllers
        systemctl is-system-running
        systemctl list-units --failed --no-legend
        test -S /run/dbus/system_bus_socket && busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 \\
            org.freedesktop.DBus.Peer Ping && echo bus
        exit 4
        """
    )
    assert result.status == 4, result.console
    expected = ["systemd", "0::/system.slice/umljob.service", "cpu io memory pids", "running", "bus"]
    assert result.output.splitlines() == expected


def test_slices_and_scopes_are_real(systemd: machine.Host) -> None:
    result = systemd.run(
        """
        systemd-run --quiet --scope --slice=a-b.slice -p MemoryMax=64M -p TasksMax=20 -p CPUQuota=20% sh -c '
            cd /sys/fs/cgroup/$(cut -d: -f3 /proc/self/cgroup) && pwd && cat memory.max pids.max cpu.max'
        """
    )
    assert result.status == 0, result.output
    path, *limits = result.output.splitlines()
    assert path.startswith("/sys/fs/cgroup/a.slice/a-b.slice/run-") and path.endswith(".scope")
    assert limits == ["67108864", "20", "20000 100000"]


def test_a_users_manager_delegates(systemd: machine.Host) -> None:
    name, number = debian.USER, debian.USER_ID
    manager = f"/user.slice/user-{number}.slice/user@{number}.service"
    result = systemd.run(
        f"""
        systemctl start user@{number}.service || exit
        stat -c %U /sys/fs/cgroup{manager}/cgroup.procs
        setpriv --reuid {name} --regid {name} --init-groups env XDG_RUNTIME_DIR=/run/user/{number} \\
            systemd-run --quiet --user --scope -p MemoryMax=64M -p TasksMax=20 sh -c '
                cut -d: -f3 /proc/self/cgroup
                cd /sys/fs/cgroup/$(cut -d: -f3 /proc/self/cgroup) && cat memory.max pids.max'
        systemctl stop user@{number}.service
        """
    )
    assert result.status == 0, result.output
    owner, path, *limits = result.output.splitlines()
    assert owner == name
    assert path.startswith(f"{manager}/app.slice/run-"), path
    assert limits == ["67108864", "20"]


def test_help_and_a_script_that_is_not_there() -> None:
    command = [sys.executable, "-m", "tests.host", "run"]
    text = subprocess.run([*command, "--help"], cwd=machine.CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert "--systemd" in text and "PYCONTAIN_TESTS_CACHE" in text
    done = subprocess.run([*command, "/nowhere"], cwd=machine.CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (machine.DIED, "tests.host: /nowhere: No such file or directory\n")
