"""/proc of processes: what they call themselves is anything, and must not be read as anything else."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from pycontain.kernel import process

STAT = (
    "{pid} ({name}) {state} 7 1 1 {tty} -1 4194304 100 0 0 0 {user} {system} 0 0 20 0 3 0 {start} "
    "1000 200 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
)


def stat(name: str = "sh", state: str = "S", tty: int = 0, user: int = 0, system: int = 0, start: int = 0) -> str:
    return STAT.format(pid=42, name=name, state=state, tty=tty, user=user, system=system, start=start)


@pytest.mark.parametrize("name", ["sh", "a b", ") R 1 1 1 (", "(", "))", "x\ny", ""])
def test_names_with_anything_in_them(name: str) -> None:
    one = process.Process(42, stat(name), 0, [])
    assert (one.name, one.state, one.ppid, one.threads) == (name, "S", 7, 3)
    assert one.command == f"[{name}]"


def test_times_are_in_seconds() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    one = process.Process(42, stat(user=2 * ticks, system=ticks, start=50 * ticks), 0, [])
    assert (one.cpu, one.started) == (3.0, 50.0)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "?"),
        (os.makedev(136, 0), "pts/0"),
        (os.makedev(136, 7), "pts/7"),
        (os.makedev(137, 1), "pts/257"),
        (os.makedev(4, 1), "tty1"),
        (os.makedev(4, 64), "ttyS0"),
        (os.makedev(5, 1), "5:1"),
    ],
)
def test_terminals(number: int, name: str) -> None:
    assert process.Process(42, stat(tty=number), 0, []).terminal_name == name


def test_zombies_and_processes_with_a_title() -> None:
    assert process.Process(42, stat(state="Z"), 0, []).command == "[sh] <defunct>"
    assert process.split_arguments(b"nginx: worker\0\0\0\0") == ["nginx: worker"]
    assert process.split_arguments(b"sh\0-c\0\0x\0") == ["sh", "-c", "", "x"]
    assert process.split_arguments(b"") == []


@pytest.mark.parametrize("text", ["", "1", "1 (sh)", "1 (sh) S 1"])
def test_what_is_no_stat(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        process.Process(1, text, 0, [])


def test_a_real_process() -> None:
    script = "import time; print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, "a\x1bb"], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == b"up\n"
            one = process.read(child.pid)
            assert one is not None
            assert (one.pid, one.ppid, one.uid) == (child.pid, os.getpid(), os.geteuid())
            assert one.arguments == [sys.executable, "-c", script, "a\x1bb"]
            assert abs(time.clock_gettime(time.CLOCK_BOOTTIME) - one.started) < 60
        finally:
            child.kill()
    assert process.read(child.pid) is None


def test_the_effective_user_is_shown() -> None:
    assert process.effective_uid("Name:\tx\nUid:\t1000\t0\t1000\t1000\nGid:\t1\t1\t1\t1\n") == 0
