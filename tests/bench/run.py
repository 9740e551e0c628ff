"""How long a container takes, whole process, beside the runtimes that this machine has.

``python -m tests.bench.run [--rounds N] [--crun PATH] [--runc PATH] [--podman PATH]``, in namespaces of its own
(``make bench`` does that). All run a static ``true`` from the same busybox tree, interleaved: A B C A B C. Medians,
with the spread of the middle half, and ratios to ``pycontain run --rm --network none``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.warm import planner

BIN = Path(sys.executable).parent


class Case:
    """One thing to measure: its name, the version of what runs, and the command."""

    def __init__(self, name: str, version: str, command: list[str], env: dict[str, str] | None = None) -> None:
        self.name = name
        self.version = version
        self.command = command
        self.env = env
        self.times: list[float] = []

    def once(self) -> float:
        begin = time.perf_counter()
        subprocess.run(
            self.command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=self.env,
        )  # fmt: skip
        return (time.perf_counter() - begin) * 1e3

    def line(self, base: float) -> str:
        low, middle, high = statistics.quantiles(self.times, n=4)
        return f"| {self.name} | {self.version} | {middle:.1f} | {low:.1f} – {high:.1f} | {middle / base:.2f} |"


def version(command: str) -> str:
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip() if done.stdout or done.stderr else "?"


def bundle(directory: Path, tree: Path) -> Path:
    """An OCI bundle as ``runc spec`` makes one, of the same tree, with the confinement that matters for time."""
    directory.mkdir()
    subprocess.run(["cp", "-a", str(tree), str(directory / "rootfs")], check=True)
    quiet = ["nosuid", "noexec", "nodev"]
    spec = {
        "ociVersion": "1.0.2",
        "process": {
            "args": ["true"],
            "cwd": "/",
            "env": ["PATH=/bin:/usr/bin"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": {name: ["CAP_KILL", "CAP_CHOWN"] for name in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "bench",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*quiet, "mode=1777"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, "ro"]},
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }
    (directory / "config.json").write_text(json.dumps(spec))
    return directory


@contextmanager
def store(base: Path) -> Iterator[list[str]]:
    """A pycontain with a store of its own that has the image busybox; the command."""
    command = [str(BIN / "pycontain"), "--root", str(base / "root"), "--run-root", str(base / "run")]
    subprocess.run([*command, "image", "build", "-q", "busybox"], check=True, stdout=subprocess.DEVNULL)
    try:
        yield command
    finally:
        subprocess.run(["umount", "-l", str(base / "podman" / "overlay")], check=False, capture_output=True)
        subprocess.run([*command, "rm", "-f", "--all"], check=False)
        subprocess.run([*command, "network", "prune", "-f"], check=False, stdout=subprocess.DEVNULL)


def works(case: Case) -> bool:
    """Whether a peer runs here at all: what does not is left out, and said."""
    try:
        for _ in range(3):
            case.once()
        return True
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().splitlines()
        print(f"left out: {case.name}: {reason[-1] if reason else error}", file=sys.stderr)
        return False


def podman_case(podman: str, runtime: str, tree: Path, base: Path) -> Case:
    """podman with a store of its own; the runtime is the crun or runc that is measured beside it."""
    config = base / "containers.conf"
    config.write_text("[containers]\ndefault_ulimits = []\npids_limit = 0\n")
    env = {**os.environ, "CONTAINERS_CONF": str(config)}
    flags = ["--root", str(base / "podman"), "--runroot", str(base / "podman-run"), "--cgroup-manager", "cgroupfs"]
    flags += ["--events-backend", "file", "--runtime", runtime]
    archive = subprocess.run(["tar", "-C", str(tree), "-c", "."], check=True, capture_output=True).stdout
    load = [podman, *flags, "import", "-", "localhost/busybox"]
    subprocess.run(load, check=False, capture_output=True, input=archive, env=env)
    run = ["run", "--rm", "--network", "none", "--pull", "never", "localhost/busybox", "true"]
    return Case(
        f"`podman run --rm --network none` ({Path(runtime).name})", version(podman), [podman, *flags, *run], env
    )


def cases(
    command: list[str], tree: Path, base: Path, warm: dict[str, str], arguments: argparse.Namespace
) -> Iterator[Case]:
    own = version(command[0])
    cold = {**os.environ, "PYCONTAIN_PLANNER": ""}
    run = [*command, "run", "--rm"]
    yield Case("`pycontain run --rm --network none`", own, [*run, "--network", "none", "busybox", "true"], cold)
    yield Case("… with a planner", own, [*run, "--network", "none", "busybox", "true"], warm)
    host = [*run, "--network", "none", "--userns", "host", "busybox", "true"]
    yield Case("`pycontain run --rm --network none --userns host`", own, host, cold)
    yield Case("… with a planner", own, host, warm)
    yield Case("`pycontain run --rm` (bridge)", own, [*run, "busybox", "true"], cold)
    yield Case("… with a planner", own, [*run, "busybox", "true"], warm)
    oci = shutil.which("pycontain-oci", path=str(BIN))
    directory = bundle(base / "bundle", tree)
    if oci:
        state = ["--root", str(base / "oci")]
        words = [oci, *state, "run", "-b", str(directory), "bench"]
        yield Case("`pycontain-oci run`", version(oci), words, cold)
        yield Case("… with a planner", version(oci), words, warm)
    for name in ("crun", "runc"):
        path = getattr(arguments, name) or shutil.which(name)
        if path:
            state = ["--root", str(base / name)]
            yield Case(f"`{name} run`", version(path), [path, *state, "run", "-b", str(directory), "bench"])
    podman = arguments.podman or shutil.which("podman")
    for name in ("crun", "runc"):
        path = getattr(arguments, name) or shutil.which(name)
        if path and podman:
            yield podman_case(podman, path, tree, base)
    python = str(BIN / "python3")
    yield Case("`python3 -I -S -c pass`", version(python), [python, "-I", "-S", "-c", "pass"])


def measure(chosen: list[Case], rounds: int) -> None:
    for _ in range(rounds):
        for case in chosen:
            case.times.append(case.once())


def report(chosen: list[Case], say: Callable[[str], None]) -> None:
    base = statistics.median(chosen[0].times)
    say(f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}")
    say(f"{len(chosen[0].times)} rounds, interleaved\n")
    say("| what | version | median, ms | middle half | ratio |")
    say("| --- | --- | ---: | ---: | ---: |")
    for case in chosen:
        say(case.line(base))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    for name in ("crun", "runc", "podman"):
        parser.add_argument(f"--{name}", help=f"which {name} to compare with")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pycontain-bench-") as name:
        base = Path(name)
        with store(base) as command, planner(base) as found:
            image = json.loads(subprocess.check_output([*command, "image", "inspect", "busybox"]))[0]
            tree = base / "root" / "layers" / image["RootFS"]["Layers"][0]
            chosen = [case for case in cases(command, tree, base, found.warm, arguments) if works(case)]
            measure(chosen, arguments.rounds)
            report(chosen, print)


if __name__ == "__main__":
    main()
