"""pycontain-oci killed at any moment: delete --force removes all that is left; and many at once."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from oci_bundle import Oci
from world import PYCONTAIN_OCI, cgroup_mount, eventually, reap, run_processes

SEED = int(os.environ.get("PYCONTAIN_SEED", "0")) or random.randrange(1 << 30)


def left(oci: Oci, *names: str) -> list[str]:
    """What still speaks of containers: directories, cgroups, mounts of the bundle, processes that wait at the gate."""
    places = [place / name for name in names for place in (oci.root, cgroup_mount() / "pycontain-oci")]
    found = [str(path) for path in places if path.exists()]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [line for line in mounts if str(oci.root) in line or str(oci.bundle) in line]
    groups = tuple(f"/pycontain-oci/{name}\n" for name in names)
    reap()
    for process in run_processes():
        try:
            environment = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            group = (process / "cgroup").read_text()
        except OSError:
            continue
        if any(own in group for own in groups) or f"\0{oci.root}\0".encode() in environment:
            found.append(f"{process}: {environment[:200]!r}")
    return found


def run_killed(oci: Oci, arguments: list[str], after: float, out: Path | None = None) -> int:
    """One verb, killed so many seconds after its start; its exit status, -9 where it was killed."""
    with (out or oci.bundle / "out").open("w") as file:
        process = subprocess.Popen(
            [PYCONTAIN_OCI, "--root", str(oci.root), *arguments], stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
        try:
            return process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


@pytest.mark.parametrize("verb", ["create", "run", "start", "exec", "delete"])
def test_killed_at_any_moment(oci: Oci, verb: str) -> None:
    print("PYCONTAIN_SEED =", SEED)
    chance = random.Random(SEED)
    oci.spec["process"]["args"] = ["sleep", "1000"]
    (oci.bundle / "config.json").write_text(json.dumps(oci.spec))
    bundle = ["-b", str(oci.bundle), "k"]
    took = 0.02 if verb in ("create", "run", "exec") else 0.003
    for _ in range(25):
        if verb not in ("create", "run"):
            oci.ok("create", *bundle)
        arguments = {
            "create": ["create", *bundle],
            "run": ["run", "-d", *bundle],
            "start": ["start", "k"],
            "exec": ["exec", "-d", "k", "sleep", "1000"],
            "delete": ["delete", "--force", "k"],
        }[verb]
        run_killed(oci, arguments, chance.uniform(0, took * 1.5))
        oci.ok("delete", "--force", "k")
        assert eventually(lambda: not left(oci, "k")), left(oci, "k")


class Lives:
    """Containers of one bundle, made, started and removed by many threads at once; every second one's runtime is killed
    in the middle of one of its verbs, and ``delete --force`` has to do for it.
    """

    VERBS = ("create", "start", "exec", "kill", "delete")

    def __init__(self, oci: Oci) -> None:
        self.oci = oci
        self.wrong: list[str] = []
        self.killed: list[str] = []
        #: How long each verb has taken here. Seconds.
        self.took = dict.fromkeys(self.VERBS, 0.05)

    def many(self, number: int) -> None:
        chance = random.Random(f"{SEED}-{number}")
        for turn in range(10):
            victim = chance.choice(self.VERBS) if chance.random() < 0.5 else ""
            self.one(f"p{number}-{turn}", victim, chance)

    def one(self, name: str, victim: str, chance: random.Random) -> None:
        for verb, words in (
            ("create", ["create", "-b", str(self.oci.bundle), name]),
            ("start", ["start", name]),
            ("exec", ["exec", name, "true"]),
            ("kill", ["kill", name, "KILL"]),
            ("delete", ["delete", name]),
        ):
            if verb == "delete":
                self.wait_end(name)
            if verb == victim:
                if run_killed(self.oci, words, chance.uniform(0, self.took[verb]), self.output()) == -9:
                    self.killed.append(f"{verb} {name}")
                self.call("delete", "--force", name)
                return
            began = time.monotonic()
            self.call(*words)
            self.took[verb] = time.monotonic() - began

    def output(self) -> Path:
        return self.oci.bundle / f"out-{threading.get_ident()}"

    def call(self, *words: str) -> None:
        # far more than any of them takes
        if (status := run_killed(self.oci, list(words), 60, self.output())) or self.output().read_text():
            self.wrong.append(f"{words}: {status}: {self.output().read_text()}")

    def wait_end(self, name: str) -> None:
        deadline = time.monotonic() + 60
        while oci_status(self.oci, name) != "stopped" and time.monotonic() < deadline:
            os.sched_yield()


def test_a_hundred_lives_ten_at_a_time(oci: Oci) -> None:
    print("PYCONTAIN_SEED =", SEED)
    oci.spec["process"]["args"] = ["sleep", "1000"]
    (oci.bundle / "config.json").write_text(json.dumps(oci.spec))
    lives = Lives(oci)
    threads = [threading.Thread(target=lives.many, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(lives.killed), "killed:", *lives.killed)
    assert lives.wrong == []
    assert len(lives.killed) > 5
    names = [f"p{number}-{turn}" for number in range(10) for turn in range(10)]
    assert eventually(lambda: not left(oci, *names)), left(oci, *names)
    assert os.listdir(oci.root) == []


def oci_status(oci: Oci, name: str) -> str:
    done = subprocess.run(
        [PYCONTAIN_OCI, "--root", str(oci.root), "state", name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return str(json.loads(done.stdout)["status"])


@pytest.mark.parametrize("verb", ["create", "run", "start", "exec", "delete"])
def test_killed_at_one_system_call_after_the_other(oci: Oci, verb: str) -> None:
    """create and run from the call before the state directory is made, the others from their first one, in steps:
    PYCONTAIN_STEP=1 (make kills) takes each.
    """
    assert shutil.which("strace"), "strace is missing: scripts/need-packages test"
    step = int(os.environ.get("PYCONTAIN_STEP", "0"))
    oci.spec["process"]["args"] = ["sleep", "1000"]
    (oci.bundle / "config.json").write_text(json.dumps(oci.spec))
    create = ["create", "-b", str(oci.bundle), "k"]
    arguments = {
        "create": create,
        "run": ["run", "-d", *create[1:]],
        "start": ["start", "k"],
        "exec": ["exec", "-d", "k", "sleep", "1000"],
        "delete": ["delete", "--force", "k"],
    }[verb]

    def before() -> None:
        if verb not in ("create", "run"):
            oci.ok(*create)
        if verb == "exec":
            oci.ok("start", "k")

    log = oci.bundle / "trace"
    before()
    _traced(oci, arguments, ["-o", str(log)])
    oci.ok("delete", "--force", "k")
    calls = [line for line in log.read_text().splitlines() if not line.startswith(("---", "+++"))]
    made = f'mkdir("{oci.root}/k"'
    first = 1
    # a planner makes it in the place of the command
    if verb in ("create", "run") and not os.environ.get("PYCONTAIN_PLANNER"):
        first = next(at for at, line in enumerate(calls) if made in line)
    chance = random.Random(SEED)
    at, tried = first, 0
    while at <= len(calls) + 1:
        before()
        _traced(oci, arguments, ["-o", "/dev/null", "-e", f"inject=all:signal=KILL:when={at}"])
        oci.ok("delete", "--force", "k")
        assert eventually(lambda: not left(oci, "k")), (at, calls[at - 2 : at + 1], left(oci, "k"))
        tried += 1
        at += step or chance.randrange(1, 2 * max(len(calls) - first, 1) // 20 + 2)
    print(f"{verb}: killed at {tried} of {len(calls) + 1 - first} calls")
    assert tried > 5


def _traced(oci: Oci, arguments: list[str], options: list[str]) -> None:
    """One verb under strace(1), whatever becomes of it. Its own process alone is traced: what it makes is the guest."""
    with (oci.bundle / "out").open("w") as out:
        command = ["strace", *options, PYCONTAIN_OCI, "--root", str(oci.root), *arguments]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False, timeout=60)
