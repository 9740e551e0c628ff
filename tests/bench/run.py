"""``make bench``: measures this runtime beside all others that the machine has, and writes docs/benchmarks.md.

``python -m tests.bench.run``, as root and in namespaces of its own (``scripts/isolated tests/bench/view.sh``). A part
that fails is left out, and the page says why; the status is 0 all the same: a benchmark is no test.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench import crowded, memory, operations, page, plot, rates, verbs
from tests.bench.bundles import Bundles
from tests.bench.peers import BIN, COLD, WARM, Runtime, cold, runtimes, version
from tests.bench.programs import Maker, programs
from tests.bench.timing import Clock, Failed, interleave, spawn
from tests.warm import planner

DOCS = Path(__file__).parents[2] / "docs"
SECTIONS = ("verbs", "programs", "rates", "memory", "crowd", "operations")
#: Of the 15 minutes that it may take.
_SECONDS = 14 * 60


@contextmanager
def store(base: Path) -> Iterator[list[str]]:
    """A pycontain with a store of its own that has the image busybox; the command."""
    command = [str(BIN / "pycontain"), "--root", str(base / "root"), "--run-root", str(base / "run")]
    subprocess.run([*command, "image", "build", "-q", "busybox"], check=True, stdout=subprocess.DEVNULL)
    try:
        yield command
    finally:
        subprocess.run([*command, "rm", "-f", "--all"], check=False, stdout=subprocess.DEVNULL)
        subprocess.run([*command, "network", "prune", "-f"], check=False, stdout=subprocess.DEVNULL)


class Bench:
    """One run. Each section has a method of its name."""

    def __init__(self, base: Path, own: list[str], warm: dict[str, str], arguments: argparse.Namespace) -> None:
        self.base, self.own, self.warm, self.arguments = base, own, warm, arguments
        self.clock = Clock(_SECONDS)
        self.results = page.Results()
        self.results.rounds = arguments.rounds
        image = json.loads(subprocess.check_output([*own, "image", "inspect", "busybox"]))[0]
        self.tree = base / "root" / "layers" / image["RootFS"]["Layers"][0]
        self.bundles = Bundles(base, self.tree)
        self.runtimes = runtimes(base, warm, arguments)
        self.results.versions = {one.name: one.version for one in self.runtimes if one.name != WARM}
        self.results.versions["pycontain"] = self.results.versions.pop(COLD)
        self.results.versions["Python"] = version(str(BIN / "python3"))

    def do(self, sections: list[str]) -> None:
        for name in sections:
            print(f"{name} …", file=sys.stderr, flush=True)
            if self.clock.left() < 0:
                self.results.trouble[name] = "the time was over"
                continue
            try:
                getattr(self, name)()
            except Exception as error:  # a benchmark ends no build
                traceback.print_exc()
                self.results.trouble[name] = f"{type(error).__name__}: {error}"

    def verbs(self) -> None:
        for row in verbs.measure(self.runtimes, self.bundles, self.base, self.arguments.rounds, self.clock):
            self.results.verbs.append(row)

    def _maker(self) -> Maker:
        base = Path(tempfile.mkdtemp(prefix="p-", dir=self.base))
        return Maker(base, self.bundles, self.own, self.warm, self.runtimes)

    def programs(self) -> None:
        maker = self._maker()
        with programs(maker) as found:
            for row, network in ((self.results.none, False), (self.results.network, True)):
                chosen = [one for one in found if one.network == network]
                self.results.names.update({(one.who, network): one.name for one in chosen})
                measures = [(one.who, one.once) for one in chosen]
                interleave(row, measures, max(self.arguments.rounds // 2, 5), self.clock, 90)
            self.results.trouble |= maker.trouble
            self.results.versions |= maker.versions
            if "memory" in self.arguments.sections:
                self._memory_of(maker)

    def memory(self) -> None:
        """Ours; the others' is measured while their daemons are there."""
        for who, env in (("pycontain run -d", cold()),):
            words = [*self.own, "run", "-d", "--network", "none", "busybox", "sleep", "1000000"]
            self._beside(who, words, env)
        subprocess.run([*self.own, "rm", "-f", "--all"], check=False, stdout=subprocess.DEVNULL)

    def _memory_of(self, maker: Maker) -> None:
        for who, words in maker.daemons.items():
            self._beside(who, words, maker.env.get(who, dict(os.environ)))

    def _beside(self, who: str, words: list[str], env: dict[str, str]) -> None:
        def start(number: int) -> None:
            named = [f"idle-{number}" if word == "NAME" else word for word in words]
            spawn(named, env, self.base / "errors")

        try:
            self.results.beside[who] = memory.measure(start)
        except Failed as reason:
            self.results.trouble[f"memory, {who}"] = str(reason)

    def rates(self) -> None:
        starters: list[tuple[str, Callable[[int], object]]] = []
        for who, env in (("pycontain run --rm", cold()), ("pycontain run --rm, planner", self.warm)):
            words = [*self.own, "run", "--rm", "--network", "none", "busybox", "true"]
            starters.append((who, self._starter(words, env)))
        for runtime in self.runtimes:
            name = {COLD: "pycontain-oci run", WARM: "pycontain-oci run, planner"}.get(runtime.name)
            starters.append((name or f"{runtime.name} run", self._runs(runtime)))
        self.results.rate = rates.measure(starters, self.clock)

    def _starter(self, words: list[str], env: dict[str, str]) -> Callable[[int], object]:
        return lambda number: spawn(words, env, self.base / f"errors-{number}")

    def _runs(self, runtime: Runtime) -> Callable[[int], object]:
        head = [runtime.program, "--root", str(runtime.state), "run", "-b", str(self.bundles.true)]
        return lambda number: spawn([*head, f"rate-{number}"], runtime.env, self.base / f"errors-{number}")

    def crowd(self) -> None:
        for network in self.arguments.crowd_network or ["bridge", "routed"]:
            who = f"warm, {network}"
            self.results.crowded[who] = crowded.measure(self.own, self.warm, self.base, self.clock, network)

    def operations(self) -> None:
        self.results.operations = operations.measure(self.runtimes[0], self.bundles, self.base)


def _unmount(base: Path) -> None:
    """What podman leaves mounted below its store."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        target = line.split()[1]
        if target.startswith(f"{base}/"):
            subprocess.run(["umount", "-l", target], check=False)


def _write(results: page.Results, directory: Path) -> None:
    pictures: list[Path] = []
    try:
        pictures = plot.draw(results.verbs, results.rate, directory / "benchmarks")
    except Failed as reason:
        results.trouble["the picture"] = str(reason)
    (directory / "benchmarks.md").write_text(page.text(results, bool(pictures)))
    print(f"written: {directory / 'benchmarks.md'}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    for name in ("crun", "runc"):
        parser.add_argument(f"--{name}", help=f"which {name} to compare with, and to give podman")
    parser.add_argument("--other", action="append", default=[], metavar="NAME=PATH", help="one more OCI runtime")
    parser.add_argument("--only", dest="sections", action="append", choices=SECTIONS, help="not everything")
    parser.add_argument(
        "--crowd-network", action="append", metavar="MODE", help="what many guests have: bridge, routed"
    )
    parser.add_argument("--output", type=Path, default=DOCS, metavar="DIR", help="where benchmarks.md is written")
    arguments = parser.parse_args()
    arguments.sections = arguments.sections or list(SECTIONS)
    return arguments


def main() -> None:
    arguments = _parse()
    with ExitStack() as stack:
        found_base = tempfile.TemporaryDirectory(prefix="pcb-", ignore_cleanup_errors=True)
        base = Path(stack.enter_context(found_base))
        stack.callback(_unmount, base)
        own = stack.enter_context(store(base))
        found = stack.enter_context(planner(base))
        bench = Bench(base, own, found.warm, arguments)
        bench.do([name for name in SECTIONS if name in arguments.sections])
        _write(bench.results, arguments.output)


if __name__ == "__main__":
    main()
