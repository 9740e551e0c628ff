"""Many guests on one machine: how long a start takes beside those that run, what each of them costs, how fast all go.

``python -m tests.bench.crowd [--guests 1000] [--callers 2] [--network bridge|none] [--planner]``, in namespaces of its
own (``scripts/isolated``). Every guest is an idle process of its own with the default confinement and a user namespace.
Memory is what the machine has less of (MemAvailable), page tables, kernel and monitors included.
"""

from __future__ import annotations

import argparse
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


def available() -> int:
    """KiB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    raise AssertionError("no MemAvailable")


class Crowd:
    def __init__(self, base: Path, network: str, env: dict[str, str]) -> None:
        self.command = [str(BIN / "pycontain"), "--root", str(base / "root"), "--run-root", str(base / "run")]
        self.network, self.env = network, env
        self.times: list[tuple[int, float]] = []
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
            begin = time.perf_counter()
            flags = ["-d", "--network", self.network, "--cgroup-parent", "/pycontain-bench"]
            done = self("run", *flags, "busybox", "sleep", "1000000")
            self.times.append((number, (time.perf_counter() - begin) * 1e3))
            if done.returncode:
                self.errors.append(f"guest {number}: {done.stderr.strip()}")

    def fill(self, guests: int, callers: int) -> float:
        begin = time.perf_counter()
        threads = [threading.Thread(target=self.start, args=(guests,)) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - begin


def report(crowd: Crowd, seconds: float, used: int) -> None:
    times = [spent for _, spent in sorted(crowd.times)]
    first, last = statistics.median(times[:SAMPLE]), statistics.median(times[-SAMPLE:])
    print(f"{len(times)} guests in {seconds:.1f} s: {len(times) / seconds:.0f} a second")
    print(f"a start, median of {SAMPLE}: the first {first:.1f} ms, the last {last:.1f} ms, {last / first:.2f} times")
    for low in range(0, len(times), max(len(times) // 10, 1)):
        part = times[low : low + max(len(times) // 10, 1)]
        print(f"  from {low:5}: {statistics.median(part):7.1f} ms")
    print(f"memory: {used / len(times):.0f} KiB each")


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
            before = available()
            seconds = crowd.fill(arguments.guests, arguments.callers)
            report(crowd, seconds, before - available())
            for error in crowd.errors:
                print(f"stopped by: {error}")
        finally:
            begin = time.perf_counter()
            crowd("rm", "-f", "--all")
            print(f"all gone in {time.perf_counter() - begin:.1f} s")
            crowd("network", "prune", "-f")
            planner.end()


if __name__ == "__main__":
    main()
