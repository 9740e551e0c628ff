"""Many guests on one machine: how long a start takes beside those that run, what each of them costs, how fast all go.

``python -m tests.bench.crowd [--guests 1000] [--callers 2] [--network bridge|none|routed] [--planner]``, in namespaces
of its own (``scripts/isolated``). Every guest is an idle process of its own with the default confinement and a user
namespace.

A start is given as wall time and as processor time of the command with all that it waited for: on a machine that is
shared the second says more. Memory is given twice: what the machine has less of (MemAvailable), which others take from,
too; and the sum of parts that are surely the guests': what their processes have (PSS of program, monitor, relay, of a
sample), and what the kernel has more of (slabs, stacks, page tables, memory of each processor).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.warm import Planner

BIN = Path(sys.executable).parent
#: How many of the first, and of the last, starts are compared.
SAMPLE = 25


def memory() -> dict[str, int]:
    """/proc/meminfo, KiB."""
    lines = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
    return {words[0].rstrip(":"): int(words[1]) for words in lines}


#: What of it is the kernel's own.
KERNEL = ("SUnreclaim", "SReclaimable", "KernelStack", "PageTables", "Percpu")


def used_by(run_root: Path) -> dict[str, float]:
    """KiB (PSS) of a guest's processes by what they are, medians over a sample."""
    found: dict[str, list[int]] = {}
    for directory in sorted((run_root / "containers").iterdir())[:SAMPLE]:
        guest = int((directory / "pid").read_text().split()[0])
        monitor = int(Path(f"/proc/{guest}/stat").read_text().rpartition(")")[2].split()[1])
        children = Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split()
        relays = [int(pid) for pid in children if int(pid) != guest]
        for name, pids in (("program", [guest]), ("monitor", [monitor]), ("relay", relays)):
            found.setdefault(name, []).append(sum(map(pss, pids)))
    return {name: statistics.median(values) for name, values in found.items()}


def pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError("no Pss")


class Crowd:
    def __init__(self, base: Path, network: str, env: dict[str, str]) -> None:
        self.command = [str(BIN / "pycontain"), "--root", str(base / "root"), "--run-root", str(base / "run")]
        self.network, self.env = network, env
        #: number, wall time, processor time in ms
        self.times: list[tuple[int, float, float]] = []
        self.errors: list[str] = []
        self.next = 0
        self.lock = threading.Lock()

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*self.command, *words]
        return subprocess.run(
            command, env=self.env, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    def start(self, guests: int) -> None:
        while True:
            with self.lock:
                number = self.next
                self.next += 1
            if number >= guests or self.errors:
                return
            flags = ["-d", "--network", self.network, "--cgroup-parent", "/pycontain-bench"]
            command = [*self.command, "run", *flags, "busybox", "sleep", "1000000"]
            begin = time.perf_counter()
            child = subprocess.Popen(
                command, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = status
            spent = (time.perf_counter() - begin) * 1e3
            assert child.stderr is not None
            with child.stderr:
                if status:
                    self.errors.append(f"guest {number}: {child.stderr.read().decode().strip()}")
            self.times.append((number, spent, (usage.ru_utime + usage.ru_stime) * 1e3))

    def fill(self, guests: int, callers: int) -> float:
        begin = time.perf_counter()
        threads = [threading.Thread(target=self.start, args=(guests,)) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - begin


def report(crowd: Crowd, seconds: float, before: dict[str, int], run_root: Path) -> None:
    """Print what was seen."""
    times = sorted(crowd.times)
    print(f"{len(times)} guests in {seconds:.1f} s: {len(times) / seconds:.0f} a second")
    for place, name in ((1, "wall"), (2, "processor")):
        part = [item[place] for item in times]
        first, last = statistics.median(part[:SAMPLE]), statistics.median(part[-SAMPLE:])
        print(
            f"a start, {name} time, median of {SAMPLE}: "
            f"first {first:.1f} ms, last {last:.1f} ms, {last / first:.2f} times"
        )
    step = max(len(times) // 10, 1)
    for low in range(0, len(times), step):
        wall, processor = (statistics.median(item[place] for item in times[low : low + step]) for place in (1, 2))
        print(f"  from {low:5}: {wall:7.1f} ms, processor {processor:5.1f} ms")
    now = memory()
    print(f"memory: MemAvailable {(before['MemAvailable'] - now['MemAvailable']) / len(times):.0f} KiB each")
    parts = used_by(run_root) | {name: (now[name] - before[name]) / len(times) for name in KERNEL}
    print("  parts: " + ", ".join(f"{name} {value:.0f}" for name, value in parts.items()))
    print(f"  together, without what can be reclaimed: {sum(parts.values()) - parts['SReclaimable']:.0f} KiB each")


def devices() -> int:
    """How many of the host's ends there are."""
    return sum(line.strip().startswith(("vp", "vr")) for line in Path("/proc/net/dev").read_text().splitlines())


def clear(crowd: Crowd) -> None:
    """All gone by one command, and when the kernel has done the rest."""
    begin = time.perf_counter()
    done = crowd("rm", "-f", "--all")
    seconds, left = time.perf_counter() - begin, devices()
    assert not done.returncode, done.stderr
    while devices() and time.perf_counter() - begin < 120:
        time.sleep(0.05)
    print(f"all gone in {seconds:.1f} s; {left} devices were left, until {time.perf_counter() - begin:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--guests", type=int, default=1000)
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--network", default="bridge")
    parser.add_argument("--planner", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pycontain-crowd-") as name:
        base = Path(name)
        planner = Planner(base)
        crowd = Crowd(base, arguments.network, planner.warm if arguments.planner else planner.cold)
        crowd("image", "build", "-q", "busybox")
        try:
            assert not crowd("run", "--rm", "--network", arguments.network, "busybox", "true").returncode
            before = memory()
            seconds = crowd.fill(arguments.guests, arguments.callers)
            for error in crowd.errors:
                print(f"stopped by: {error}")
            report(crowd, seconds, before, base / "run")
        finally:
            clear(crowd)
            crowd("network", "prune", "-f")
            planner.end()


if __name__ == "__main__":
    main()
