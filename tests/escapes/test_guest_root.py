"""Root in a container of the default configuration: what it tries, and what it gets, which is nothing.

The attempts are in attempts.py; what each is to be answered stands in docs/threat-model.md, and this reads it there:
so the page cannot say anything else. An answer that names several errors means that the kernel's configuration decides
which one.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from world import World

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "threat-model.md"
ROW = re.compile(r"^\| (?P<name>[^|]+) \| `(?P<answers>[^|]+)` \|(?: (?P<why>[^|]*) \|)?$")


def table() -> dict[str, list[str]]:
    """Attempt → the answers that it may get, of the page's table of attempts."""
    section = PAGE.read_text().partition("\n## Guest root\n")[2].partition("\n## ")[0]
    rows = [match for match in map(ROW.match, section.splitlines()) if match]
    return {row["name"].replace("\\", ""): row["answers"].split(", ") for row in rows}


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the host that everybody may read, on a path that everybody may enter."""
    base = tmp_path_factory.mktemp("host")
    base.chmod(0o755)
    path = base / "secret"
    path.write_text("the host's\n")
    return path


@pytest.fixture(scope="module", autouse=True)
def listener() -> Iterator[None]:
    """An abstract socket beside the commands that start containers."""
    with socket.socket(socket.AF_UNIX) as found:
        found.bind("\0pycontain-escapes")
        found.listen()
        yield


def tried(world: World, secret: Path, *flags: str) -> dict[str, str]:
    """The answers in a new container with these flags."""
    program = (HERE / "attempts.py").read_text()
    command = ["/usr/bin/python3", "-I", "-", str(secret), str(os.getpid())]
    done = world("run", "--rm", "-i", *flags, "sparse", *command, input=program)
    assert done.returncode == 0, done
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("users", ["auto", "host"])
def test_root_gets_nothing(world: World, secret: Path, users: str) -> None:
    """In a user namespace of its own, which is the default where the host has a pool of IDs, and in the host's."""
    answers = tried(world, secret, "--userns", users)
    expected = table()
    assert list(answers) == list(expected), "docs/threat-model.md, Guest root: not the attempts of attempts.py"
    assert len(answers) >= 60
    wrong = {name: answer for name, answer in answers.items() if answer not in expected[name]}
    assert wrong == {}, json.dumps(wrong, indent=1)
    assert secret.read_text() == "the host's\n"


def test_the_attempts_can_succeed(secret: Path) -> None:
    """On the host, as root, some do: a program that always fails would prove nothing."""
    import subprocess

    names = [
        "read a file of the host by its path",
        "see a process that is not the container's",
        "signal a process of the host",
        "read the environment of a process of the host",
        "a real-time priority",
        "mount a tmpfs",
        "unshare: a mount namespace",
        "socket AF_ALG",
        "an abstract socket of the host",
        "keyctl: the user's keyring",
        "setns: the mount namespace of PID 1",
    ]
    words = [sys.executable, str(HERE / "attempts.py"), str(secret), str(os.getpid()), *names]
    unshare = ["unshare", "--mount", "--propagation", "private"]
    done = subprocess.run([*unshare, *words], capture_output=True, text=True, timeout=60, check=True)
    answers = json.loads(done.stdout)
    succeeded = [name for name, answer in answers.items() if answer.startswith("GOT ")]
    assert len(succeeded) >= 7 and "an abstract socket of the host" in succeeded, answers
