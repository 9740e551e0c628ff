"""What a whole pycontain does with limits, under either cgroup driver. Runs in the test host: guest_drivers.py MANAGER
PYCONTAIN [SCENARIO...]; see test_host_drivers.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.host.guest_limits import loop_device
from tests.host.scenarios import Scenarios

SCENARIOS = Scenarios()
MIB = 1 << 20
QUIET = ("--network", "none")
COMMAND: list[str] = []
SYSTEMD = False


def pycontain(*words: str, status: int = 0) -> str:
    """Run it; its standard output. It must end with ``status``."""
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip()


def refused(*words: str) -> str:
    """The one line of an error."""
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode not in (0, 1), done
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Try ")]
    assert len(lines) == 1 and lines[0].startswith("pycontain: "), done.stderr
    return lines[0].removeprefix("pycontain: ")


def inspect(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pycontain("inspect", name))[0]
    return found


def directory(identity: str) -> Path:
    """The cgroup of a container that runs."""
    return Path(Path(f"/run/pycontain/containers/{identity}/cgroup").read_text().strip())


def usage(group: Path) -> int:
    """Processor time in µs."""
    return int((group / "cpu.stat").read_text().split()[1])


def share_of(group: Path) -> float:
    """Of a processor, for two seconds."""
    first, began = usage(group), time.monotonic()
    time.sleep(2.0)
    return (usage(group) - first) / 1e6 / (time.monotonic() - began)


@SCENARIOS.add
def limits_are_in_the_kernel_and_where_they_should_be() -> None:
    script = (
        "cd /sys/fs/cgroup; for f in memory.max memory.swap.max cpu.max cpu.weight pids.max; do echo $f $(cat $f); done"
    )
    flags = ("-m", "64m", "--memory-swap", "128m", "--cpus", "0.5", "--cpu-shares", "2048", "--pids-limit", "20")
    output = pycontain("run", "--rm", *QUIET, *flags, "busybox", "sh", "-c", script)
    assert output.splitlines() == [
        "memory.max 67108864",
        "memory.swap.max 67108864",
        "cpu.max 50000 100000",
        "cpu.weight 174",
        "pids.max 20",
    ], output
    identity = pycontain("run", "-d", *QUIET, "--name", "one", "busybox", "sleep", "1000")
    group = directory(identity)
    wanted = f"machine.slice/pycontain-{identity}.scope/container" if SYSTEMD else f"pycontain/{identity}"
    assert group == Path("/sys/fs/cgroup") / wanted, group
    pid = (group / "cgroup.procs").read_text().split()
    assert len(pid) == 1 and Path(f"/proc/{pid[0]}/cgroup").read_text() == f"0::/{wanted}\n"
    # no limits were asked for: figures are there all the same, and nothing is held back
    assert (group / "pids.max").read_text() == (group / "memory.max").read_text() == "max\n"
    pycontain("rm", "-f", "one")
    assert not group.exists()


@SCENARIOS.add
def memory_kills_at_its_limit_and_it_is_said() -> None:
    identity = pycontain(
        "run", "-d", "--name", "oom", *QUIET, "-m", "64m", "--memory-swap", "64m", "busybox", "tail", "/dev/zero"
    )
    assert pycontain("wait", "oom") == "137"
    state = inspect("oom")["State"]
    assert state["OOMKilled"] is True and state["ExitCode"] == 137, state
    pycontain("rm", "oom")
    assert not Path(f"/run/pycontain/containers/{identity}").exists()


@SCENARIOS.add
def a_fifth_of_a_processor_is_a_fifth() -> None:
    identity = pycontain(
        "run", "-d", "--name", "cpu", *QUIET, "--cpus", "0.2", "busybox", "sh", "-c", "while :; do :; done"
    )
    group = directory(identity)
    while usage(group) < 40000:  # past the first period
        os.sched_yield()
    # this host itself may be held up for a while, so once is enough: by another limit it is never so
    shares = [share_of(group)]
    while not 0.18 <= shares[-1] <= 0.22 and len(shares) < 5:
        shares.append(share_of(group))
    pycontain("rm", "-f", "cpu")
    print(f"cpu shares {shares}", file=sys.stderr)
    assert 0.18 <= shares[-1] <= 0.22, shares


@SCENARIOS.add
def a_fork_bomb_stops_and_its_neighbour_keeps_its_share() -> None:
    neighbour = pycontain("run", "-d", "--name", "good", *QUIET, "busybox", "sh", "-c", "while :; do :; done")
    bomb = pycontain("run", "-d", "--name", "bomb", *QUIET, "--pids-limit", "25", "busybox", "sleep", "1000")
    # a shell ends at its first fork that is refused, and those that it has made go on
    pycontain("exec", "-d", "bomb", "sh", "-c", "while :; do sh -c 'while :; do :; done' & done")
    group = directory(bomb)
    deadline = time.monotonic() + 60
    while "max 0" in (group / "pids.events").read_text():
        assert time.monotonic() < deadline, "the bomb never met its limit"
        time.sleep(0.02)
    assert int((group / "pids.current").read_text()) <= 25
    # this host itself may be held up for a while, so once is enough
    shares = [share_of(directory(neighbour))]
    while shares[-1] <= 0.35 and len(shares) < 5:
        shares.append(share_of(directory(neighbour)))
    pycontain("rm", "-f", "bomb", "good")
    print(f"neighbour's shares {shares}", file=sys.stderr)
    assert shares[-1] > 0.35, shares


@SCENARIOS.add
def a_device_that_is_not_allowed() -> None:
    script = (
        "mknod /dev/mem2 c 1 1 && head -c1 /dev/zero | wc -c; for f in /dev/mem2 /dev/given; do"
        " (head -c1 $f >/dev/null && echo read) 2>&1; (echo x >$f && echo written) 2>&1; done; true"
    )
    with loop_device(MIB) as (path, _, _):
        output = pycontain("run", "--rm", *QUIET, "--device", f"{path}:/dev/given:r", "busybox", "sh", "-c", script)
    refusal = "Operation not permitted"
    lines = output.splitlines()
    assert lines[0] == "1" and lines[3] == "read" and len(lines) == 5, lines
    assert refusal in lines[1] and refusal in lines[2] and refusal in lines[4], lines


@SCENARIOS.add
def a_controller_that_is_not_there() -> None:
    """The stock kernel of the test host has no cpuset."""
    for flags in ((), ("--missing-controllers", "error")):
        text = refused("run", "--rm", *QUIET, *flags, "--cpuset-cpus", "0", "busybox", "true")
        assert "the cpuset controller is not available in cgroup v2 on this host" in text, text
    done = subprocess.run(
        [*COMMAND, "run", "--name", "warned", *QUIET, "--missing-controllers", "warn", "--cpuset-cpus", "0", "busybox",
         "true"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert done.stderr.count("\n") == 1 and "pycontain: warning: " in done.stderr, done.stderr
    (warning,) = inspect("warned")["Warnings"]
    assert warning in done.stderr and re.search("not enforced: the cpuset controller", warning), warning
    pycontain("rm", "warned")


@SCENARIOS.add
def ten_starts_at_once() -> None:
    flags = ("-m", "32m", "--pids-limit", "10", "--cpus", "0.5")
    words = [*COMMAND, "run", "--rm", *QUIET, *flags, "busybox", "cat", "/sys/fs/cgroup/memory.max"]
    running = [
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    answers = [(*process.communicate(), process.returncode) for process in running]
    assert answers == [(f"{32 * MIB}\n", "", 0)] * 10, answers


def groups_left() -> list[str]:
    """By os.walk(), which passes over what goes meanwhile, as glob() does not."""
    return [name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names if name.startswith("pycontain")]


@SCENARIOS.add
def nothing_is_left() -> None:
    assert pycontain("ps", "-aq") == ""
    assert not list(Path("/run/pycontain/containers").iterdir())
    deadline = time.monotonic() + 60
    while left := groups_left():  # scopes are systemd's to take away, when it has heard that they are empty
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def main(manager: str, command: str, names: list[str]) -> None:
    global SYSTEMD
    SYSTEMD = manager == "systemd"
    COMMAND[:] = [command, "--cgroup-manager", manager]
    SCENARIOS.main(names)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
