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
from tests.host import machine

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
        echo from the guest > /shared/file; echo x > /etc/only-in-the-guest
        exit 3
    """
    result = host(script, timeout=60, binds=[f"{tmp_path}:/shared"])
    assert result.status == 3, result.console
    assert result.output.splitlines() == ["out", "err", "cpu io memory pids", "checkout"]
    assert (tmp_path / "file").read_text() == "from the guest\n"
    assert not Path("/etc/only-in-the-guest").exists()


def test_the_time_limit_ends_it_with_all_its_processes(host: Run) -> None:
    began = time.monotonic()
    result = host("echo started; sleep 1000 & sleep 1000", timeout=5, lower="/")
    assert time.monotonic() - began < 12
    assert result.status == machine.DIED
    assert result.output == "started\n"
    assert result.console.endswith("killed after its time limit of 5 s\n")


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
    deadline = time.monotonic() + 10
    while processes_of(marker):
        assert time.monotonic() < deadline, processes_of(marker)
        os.sched_yield()


@pytest.mark.skipif(not Path("/lib/systemd/systemd").exists(), reason="systemd is not installed here")
def test_systemd(host: Run) -> None:
    result = host("cat /proc/1/comm; cat /proc/self/cgroup; exit 4", timeout=90, systemd=True)
    assert result.status == 4, result.console
    assert result.output.splitlines() == ["systemd", "0::/system.slice/umljob.service"]
