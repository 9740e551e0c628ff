"""state, start, kill and delete without an interpreter: the same answers as Python's, and really without."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from oci_bundle import Oci
from world import PYCONTAIN_OCI, eventually, reap

PYTHON = {"PYCONTAIN_OCI_PYTHON": "1"}


def stopped(oci: Oci, name: str) -> bool:
    reap()
    return bool(oci.state(name)["status"] == "stopped")


def gone(pid: int) -> bool:
    reap()
    return not Path(f"/proc/{pid}").exists()


def life(oci: Oci, ask: Callable[..., None]) -> None:
    """Everything that a caller does with a container, right and wrong, in one order."""
    create = ("create", "-b", str(oci.bundle), "c")
    for verb in ("state", "start", "kill", "delete"):
        ask(verb, "c")  # there is none
        ask(verb)
        ask(verb, "c", "d", "e")
        ask(verb, "--moon", "c")
        ask(verb, "../c")
    ask("delete", "--force", "c")
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.spec["annotations"] = {"a.b": 'x"y', "status": '0,\n  "status": "creating"'}
    oci.ok(*create)
    ask("state", "c")
    ask("delete", "c")
    ask("kill", "c", "0")
    ask("start", "c")
    ask("state", "c")
    ask("start", "c")
    ask("kill", "c", "SIGUSR9")
    ask("kill", "c", "999")
    ask("delete", "c")
    oci.ok("pause", "c")
    ask("state", "c")
    ask("start", "c")
    oci.ok("resume", "c")
    ask("kill", "c", "kill")
    assert eventually(lambda: stopped(oci, "c"))
    ask("state", "c")
    ask("kill", "c", "SIGKILL")
    ask("kill", "--all", "c", "9")
    ask("start", "c")
    ask("delete", "c")
    ask("delete", "c")
    oci.ok(*create)
    ask("kill", "-a", "c", "KILL")
    assert eventually(lambda: stopped(oci, "c"))
    ask("delete", "-f", "c")
    oci.ok(*create)
    oci.ok("start", "c")
    ask("delete", "--force", "c")
    ask("state", "c")
    script = oci.bundle / "rootfs/bin/broken"
    script.write_text("#!/no/interpreter\n")
    script.chmod(0o755)
    oci.spec["process"]["args"] = ["broken"]
    oci.ok(*create)
    ask("start", "c")
    assert eventually(lambda: stopped(oci, "c"))
    ask("start", "c")
    ask("delete", "c")


def damages(oci: Oci, ask: Callable[..., None]) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    for name in ("state.json", "pid", "cgroup", "config.json", "head", "tail"):
        for damage in (
            lambda path: path.unlink(),
            lambda path: os.truncate(path, 5),
            lambda path: os.truncate(path, 0),
        ):
            oci.ok("create", "-b", str(oci.bundle), "c")
            init = oci.state("c")["pid"]
            damage(oci.root / "c" / name)
            ask("state", "c")
            ask("kill", "c", "0")
            ask("delete", "c")
            ask("delete", "--force", "c")
            assert not (oci.root / "c").exists(), name
            reap()
            if name == "pid":  # nobody knows whom to kill but by the cgroup
                assert eventually(partial(gone, init))


@pytest.mark.parametrize("scenario", [life, damages])
def test_the_answers_are_pythons(oci: Oci, scenario: Callable[[Oci, Callable[..., None]], None]) -> None:
    answers: list[list[str]] = []
    for more in ({}, PYTHON):
        found: list[str] = []

        def ask(*arguments: str, more: dict[str, str] = more, found: list[str] = found) -> None:
            log = oci.bundle / "log"
            log.unlink(missing_ok=True)
            done = oci("--log", str(log), "--log-format=json", *arguments, env={**os.environ, **more})
            text = f"{arguments}: {done.returncode} {done.stdout}{done.stderr}"
            if log.exists():
                text += json.loads(log.read_text())["msg"]
            found.append(re.sub(r'"pid": [1-9][0-9]*|"created": "[^"]*"', "X", text))

        scenario(oci, ask)
        answers.append(found)
        (oci.bundle / "rootfs/bin/broken").unlink(missing_ok=True)
    assert answers[0] == answers[1]


@pytest.fixture
def alone(tmp_path: Path) -> str:
    """The program where it finds no interpreter's package: what it answers it answers itself."""
    (tmp_path / "bin").mkdir()
    return str(shutil.copy(PYCONTAIN_OCI, tmp_path / "bin/pycontain-oci"))


def test_no_interpreter(oci: Oci, alone: str) -> None:
    def ask(*arguments: str) -> str:
        done = subprocess.run(
            [alone, "--root", str(oci.root), "--log=/x", "--log-format", "json", "--systemd-cgroup", *arguments],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.ok("create", "-b", str(oci.bundle), "c")
    assert json.loads(ask("state", "c"))["status"] == "created"
    ask("start", "c")
    pid = json.loads(ask("state", "c"))["pid"]
    assert eventually(lambda: "sleep" in Path(f"/proc/{pid}/cmdline").read_text())
    ask("kill", "c", "USR1")
    ask("kill", "--all", "c", "9")
    assert eventually(lambda: gone(pid))
    assert json.loads(ask("state", "c"))["status"] == "stopped"
    ask("delete", "c")
    oci.ok("run", "-d", "-b", str(oci.bundle), "c")
    ask("delete", "--force", "c")
    assert not (oci.root / "c").exists()
    done = subprocess.run([alone, "--root", str(oci.root), "state", "c"], capture_output=True, check=False)
    assert done.returncode == 125  # what is wrong is Python's to say


def test_hooks_are_pythons(oci: Oci, alone: str) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    for kind in ("poststart", "poststop"):
        oci.spec.setdefault("hooks", {})[kind] = [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} >> hooked"]}]
    oci.ok("create", "-b", str(oci.bundle), "c")
    for verb in ("start", "delete"):
        done = subprocess.run([alone, "--root", str(oci.root), verb, "c"], capture_output=True, check=False)
        assert done.returncode == 125
    oci.ok("start", "c")
    os.kill(oci.state("c")["pid"], signal.SIGKILL)
    assert eventually(lambda: stopped(oci, "c"))
    oci.ok("delete", "c")
    assert (oci.bundle / "hooked").read_text() == "poststart\npoststop\n"


def test_the_root_of_the_hierarchy_is_never_removed(oci: Oci) -> None:
    """By neither: a state directory that names it would have everybody killed."""
    oci.spec["process"]["args"] = ["sleep", "1000"]
    for more in ({}, PYTHON):
        oci.ok("create", "-b", str(oci.bundle), "c")
        file = oci.root / "c/cgroup"
        group = Path(file.read_text().strip())
        file.write_text(f"{group.parents[1]}\n")
        pid = oci.state("c")["pid"]
        for name in ("KILL", "TERM"):
            done = oci("kill", "--all", "c", name, env={**os.environ, **more})
            assert done.returncode == 1 and "its state is damaged (cgroup): delete it with --force" in done.stderr
        assert not gone(pid)
        assert oci("delete", "--force", "c", env={**os.environ, **more}).returncode == 0
        assert eventually(partial(gone, pid))
        group.rmdir()
