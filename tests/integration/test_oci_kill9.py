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
from world import PYCONTAIN_OCI, cgroup_mount, eventually, reap

SEED = int(os.environ.get("PYCONTAIN_SEED", "0")) or random.randrange(1 << 30)


def left(oci: Oci, name: str) -> list[str]:
    """What still speaks of a container: its directory, its cgroup, processes of ours that wait for their start."""
    found = [str(path) for path in (oci.root / name, cgroup_mount() / "pycontain-oci" / name) if path.exists()]
    reap()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            group = (process / "cgroup").read_text()
        except OSError:
            continue
        if f"/pycontain-oci/{name}\n" in group or f"\0{oci.root}\0".encode() in environment:
            found.append(f"{process}: {environment[:200]!r}")
    return found


def run_killed(oci: Oci, arguments: list[str], after: float) -> None:
    """One verb, killed so many seconds after its start."""
    with (oci.bundle / "out").open("w") as out:
        process = subprocess.Popen(
            [PYCONTAIN_OCI, "--root", str(oci.root), *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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


def test_a_hundred_lives_ten_at_a_time(oci: Oci) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    (oci.bundle / "config.json").write_text(json.dumps(oci.spec))
    wrong: list[str] = []

    def call(*arguments: str) -> None:
        done = subprocess.run(
            [PYCONTAIN_OCI, "--root", str(oci.root), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=(oci.bundle / f"err-{threading.get_ident()}").open("w"), check=False, timeout=60,
        )  # fmt: skip
        if done.returncode:
            wrong.append(f"{arguments}: {(oci.bundle / f'err-{threading.get_ident()}').read_text()}")

    def lives(number: int) -> None:
        for turn in range(10):
            name = f"p{number}-{turn}"
            call("create", "-b", str(oci.bundle), name)
            call("start", name)
            call("exec", name, "true")
            call("kill", name, "KILL")
            deadline = time.monotonic() + 20
            while oci_status(oci, name) != "stopped" and time.monotonic() < deadline:
                os.sched_yield()
            call("delete", name)

    threads = [threading.Thread(target=lives, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert os.listdir(oci.root) == []


def oci_status(oci: Oci, name: str) -> str:
    done = subprocess.run(
        [PYCONTAIN_OCI, "--root", str(oci.root), "state", name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return str(json.loads(done.stdout)["status"])


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("verb", ["create", "run", "delete"])
def test_killed_at_one_system_call_after_the_other(oci: Oci, verb: str) -> None:
    """From the call before the state directory is made to the end, in steps: PYCONTAIN_STEP=1 takes each."""
    step = int(os.environ.get("PYCONTAIN_STEP", "0"))
    oci.spec["process"]["args"] = ["sleep", "1000"]
    (oci.bundle / "config.json").write_text(json.dumps(oci.spec))
    create = ["create", "-b", str(oci.bundle), "k"]
    arguments = {"create": create, "run": ["run", "-d", *create[1:]], "delete": ["delete", "--force", "k"]}[verb]
    log = oci.bundle / "trace"
    if verb == "delete":
        oci.ok(*create)
    _traced(oci, arguments, ["-o", str(log)])
    oci.ok("delete", "--force", "k")
    calls = [line for line in log.read_text().splitlines() if not line.startswith(("---", "+++"))]
    first = 1 if verb == "delete" else next(at for at, line in enumerate(calls) if f'mkdir("{oci.root}/k"' in line)
    chance = random.Random(SEED)
    at, tried = first, 0
    while at <= len(calls) + 1:
        if verb == "delete":
            oci.ok(*create)
        _traced(oci, arguments, ["-o", "/dev/null", "-e", f"inject=all:signal=KILL:when={at}"])
        oci.ok("delete", "--force", "k")
        assert eventually(lambda: not left(oci, "k")), (at, calls[at - 2 : at + 1], left(oci, "k"))
        tried += 1
        at += step or chance.randrange(1, 2 * max(len(calls) - first, 1) // 20 + 2)
    assert tried > 5


def _traced(oci: Oci, arguments: list[str], options: list[str]) -> None:
    """One verb under strace(1), whatever becomes of it. Its own process alone is traced: what it makes is the guest."""
    with (oci.bundle / "out").open("w") as out:
        command = ["strace", *options, PYCONTAIN_OCI, "--root", str(oci.root), *arguments]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False, timeout=60)
