"""What is tried inside the test host of tenants' limits. See test_host_tenant_limits.py.

Run there as ``python guest_tenants.py``: prints one JSON object a scenario. Imported elsewhere it only gives the names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.host.scenarios import Scenarios

BIN = Path(sys.executable).parent
BASE = Path("/mnt")
MIB = 1 << 20
SCENARIOS = Scenarios()
CGROUPS = Path("/sys/fs/cgroup")
#: In the host's user namespace: this kernel maps no owners on a tmpfs.
TEMPLATE = ("--template", "busybox", "--init", "sleep 100000", "--network", "none", "--privileged-ids", "yes")


def places() -> list[str]:
    return ["--root", f"{BASE}/root", "--run-root", f"{BASE}/run", "--tenants", f"{BASE}/tenants"]


def tenant(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "pycontain"), *places(), "tenant", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=120)


def ok(*arguments: str) -> str:
    done = tenant(*arguments)
    others = [line for line in done.stderr.splitlines() if "it uses no ifupdown" not in line]
    assert (done.returncode, others) == (0, []), done
    return done.stdout.strip()


def settings() -> str:
    return Path(f"{BASE}/tenants/a.toml").read_text()


@contextmanager
def running(*flags: str) -> Iterator[None]:
    """A tenant "a"."""
    ok("create", "a", *TEMPLATE, *flags)
    try:
        ok("start", "a")
        yield
    finally:
        ok("destroy", "--force", "a")


def group() -> Path:
    state = json.loads(Path(f"{BASE}/root/tenants/a/state.json").read_text())
    return CGROUPS / "pycontain" / str(state["container"])


def check(expected: dict[str, str], step: str) -> None:
    for file, value in expected.items():
        text = (group() / file).read_text().strip()
        assert text == value, f"{step}: {file} is {text}, not {value}"
        inside = ok("exec", "a", "cat", f"/sys/fs/cgroup/{file}")
        assert inside == value, f"{step}: inside {file} is {inside}, not {value}"


#: Flags, then what the kernel's files say, one step after the other in one tenant that runs.
STEPS: list[tuple[str, dict[str, str]]] = [
    ("--memory 64M", {"memory.max": str(64 * MIB), "memory.swap.max": str(64 * MIB)}),
    ("--memory 128M", {"memory.max": str(128 * MIB), "memory.swap.max": str(128 * MIB)}),
    ("--swap 0", {"memory.max": str(128 * MIB), "memory.swap.max": "0"}),
    ("--swap 32M --memory 96M", {"memory.max": str(96 * MIB), "memory.swap.max": str(32 * MIB)}),
    ("--guarantee 16M", {"memory.low": str(16 * MIB), "memory.max": str(96 * MIB)}),
    ("--guarantee unlimited", {"memory.low": "0"}),
    ("--unset memory.swap", {"memory.swap.max": str(96 * MIB)}),
    ("--memory unlimited", {"memory.max": "max", "memory.swap.max": "max"}),
    ("--cpus 0.5", {"cpu.max": "50000 100000"}),
    ("--cpulimit 20%", {"cpu.max": "20000 100000"}),
    ("--cpus 0", {"cpu.max": "20000 100000"}),
    ("--cpulimit -1", {"cpu.max": "max 100000"}),
    ("--cpuunits 2000", {"cpu.weight": "200"}),
    ("--cpuunits 8", {"cpu.weight": "1"}),
    ("--unset cpu.units", {"cpu.weight": "100"}),
    ("--processes 40", {"pids.max": "40"}),
    ("processes.max=0", {"pids.max": "max"}),
    (
        "--processes 30 --memory 64M --cpus 1",
        {"pids.max": "30", "memory.max": str(64 * MIB), "cpu.max": "100000 100000"},
    ),
]


@SCENARIOS.add
def each_limit_both_ways_and_over_a_restart() -> None:
    with running():
        check({"memory.max": "max", "pids.max": "max", "cpu.max": "max 100000", "cpu.weight": "100"}, "at first")
        words: list[str]
        for flags, expected in STEPS:
            words = flags.split()
            keys = [word for word in words if "=" in word]
            others = [word for word in words if "=" not in word]
            assert ok("set", *others, "a", *keys) == "", flags
            check(expected, flags)
        assert tomllib.loads(settings())["processes"]["max"] == 30
        assert ok("list", "-H", "-o", "pending") == "-"
        ok("restart", "--fast", "a")
        check(STEPS[-1][1], "after a restart")


@SCENARIOS.add
def limits_are_there_at_the_start() -> None:
    flags = "--memory 48M --swap 0 --guarantee 8M --cpus 0.25 --cpuunits 500 --processes 25".split()
    with running(*flags):
        check(
            {
                "memory.max": str(48 * MIB),
                "memory.swap.max": "0",
                "memory.low": str(8 * MIB),
                "cpu.max": "25000 100000",
                "cpu.weight": "50",
                "pids.max": "25",
            },
            "at the start",
        )


@SCENARIOS.add
def limits_hold() -> None:
    """The kernel's own events tell that it has refused what is above them, before and after a change."""
    with running("--memory", "32M", "--swap", "0", "--processes", "12"):
        # 30 sleeps: some do not come about
        many = "for i in $(seq 30); do sleep 100 & done 2>/dev/null; true"
        tenant("exec", "a", "sh", "-c", many)
        refusals = (group() / "pids.events").read_text().split()
        assert int(refusals[1]) > 0, refusals
        assert int((group() / "pids.current").read_text()) <= 12
        ok("restart", "--fast", "a")
        ok("set", "a", "--processes", "60")
        tenant("exec", "a", "sh", "-c", many)
        assert (group() / "pids.events").read_text().split()[1] == "0"
        done = tenant("exec", "a", "sh", "-c", "tail /dev/zero")
        assert done.returncode == 137, done
        events = dict(line.split() for line in (group() / "memory.events").read_text().splitlines())
        assert int(events["oom_kill"]) > 0, events
        assert tenant("status", "a").stdout == "running\n"


@SCENARIOS.add
def a_refused_change_changes_nothing() -> None:
    """The store lies on no disk, so that a limit of I/O is refused; what stands beside it is not done either."""
    with running("--memory", "64M"):
        before = settings()
        done = tenant("set", "a", "--memory", "96M", "--hostname", "b", "--read-bps", "1M")
        assert done.returncode == 125 and "io.read_bps: the store lies on no disk" in done.stderr, done
        assert settings() == before
        check({"memory.max": str(64 * MIB)}, "after the refusal")
        assert ok("list", "-H", "-o", "pending") == "-"


@SCENARIOS.add
def a_set_takes_what_was_edited_by_hand() -> None:
    with running("--memory", "64M"):
        path = Path(f"{BASE}/tenants/a.toml")
        path.write_text(settings().replace('"64M"', '"48M"'))
        assert ok("list", "-H", "-o", "pending") == "memory.limit"
        ok("set", "a", "--description", "x")  # a set takes all of the file
        check({"memory.max": str(48 * MIB)}, "after a set")


@contextmanager
def store_on_a_disk() -> Iterator[str]:
    """The root is on ext4 on a loop device; "MAJOR:MINOR"."""
    image, root = Path("/tmp/tenants.img"), Path(f"{BASE}/root")
    subprocess.run("busybox modprobe loop 2>/dev/null; truncate -s 96M /tmp/tenants.img", shell=True, check=True)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image], check=True)
    there = Path(f"{BASE}/root.tmpfs")
    root.rename(there)
    root.mkdir()
    subprocess.run(["mount", "-o", "loop", image, root], check=True)
    try:
        subprocess.run(["cp", "-a", f"{there}/.", root], check=True)
        device = root.stat().st_dev
        yield f"{os.major(device)}:{os.minor(device)}"
    finally:
        subprocess.run(["umount", root], check=True)
        image.unlink()
        root.rmdir()
        there.rename(root)


def written_in() -> float:
    """Seconds that the tenant takes to have 2 MiB on its disk."""
    begin = time.monotonic()
    ok("exec", "a", "sh", "-c", "dd if=/dev/zero of=/file bs=128k count=16 conv=fsync 2>/dev/null; rm /file")
    return time.monotonic() - begin


@SCENARIOS.add
def limits_of_io() -> None:
    with store_on_a_disk() as device, running("--write-bps", "1M", "--read-iops", "200"):
        free = f"{device} rbps=max wbps=max riops=max wiops=max"
        check({"io.max": f"{device} rbps=max wbps={MIB} riops=200 wiops=max"}, "at the start")
        slow = written_in()
        assert slow > 1.2, slow
        ok("set", "a", "--write-bps", "2M", "--write-iops", "500")
        check({"io.max": f"{device} rbps=max wbps={2 * MIB} riops=200 wiops=500"}, "after a set")
        ok("restart", "--fast", "a")
        check({"io.max": f"{device} rbps=max wbps={2 * MIB} riops=200 wiops=500"}, "after a restart")
        ok("set", "a", "--write-bps", "0", "--write-iops", "0", "--read-iops", "0")
        assert (group() / "io.max").read_text().strip() in ("", free)
        # this host itself may be held up for a while
        assert any(written_in() < slow / 2 for _ in range(5))


@SCENARIOS.add
def doctor_finds_nothing() -> None:
    with running("--memory", "64M", "--processes", "20", "--cpus", "1"):
        done = tenant("doctor")
        notes = [line for line in done.stdout.splitlines() if "lxcfs" not in line]
        assert (done.returncode, notes) == (0, []), done


def main(names: list[str]) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", BASE], check=True)
    command = [
        str(BIN / "pycontain"),
        "--root",
        f"{BASE}/root",
        "--run-root",
        f"{BASE}/run",
        "image",
        "build",
        "busybox",
    ]
    subprocess.run(command, check=True, capture_output=True)
    SCENARIOS.main(names)


if __name__ == "__main__":
    main(sys.argv[1:])
