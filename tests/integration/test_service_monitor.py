"""A container's monitor as the main process of a service: who it is, what it tells, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from world import World, eventually

_START = """
import sys
from pycontain.engine import names
from pycontain.engine.load import load
from pycontain.engine.paths import Paths
from pycontain.engine.start import Attachment, start
paths = Paths(sys.argv[1], sys.argv[2])
paths.prepare()
how = Attachment(False)
how.service, how.notify = True, sys.argv[4]
start(paths, load(paths, names.find(paths, sys.argv[3])), how, fresh=False)
"""


class Service:
    """What a service manager has of it: its main process and what it said."""

    def __init__(self, world: World, name: str, directory: Path) -> None:
        self.link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.link.bind(str(directory / "notify"))
        self.link.settimeout(60)
        words = [sys.executable, "-c", _START, str(world.root), str(world.run_root), name, str(directory / "notify")]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def ready(self) -> None:
        assert self.link.recv(4096) == b"READY=1"

    def end(self) -> int:
        status = self.process.wait(60)
        assert self.process.stderr
        self.complaints = self.process.stderr.read()
        self.process.stderr.close()
        self.link.close()
        return status


#: (script, *flags) -> the container's ID and its service.
Make = Callable[..., tuple[str, Service]]


@pytest.fixture
def made(world: World, tmp_path: Path) -> Make:
    def make(script: str, *flags: str) -> tuple[str, Service]:
        identity = world.ok("create", "--network", "none", "--name", "s", *flags, "busybox", "sh", "-c", script)
        return identity, Service(world, "s", tmp_path)

    return make


def test_it_is_the_main_process_itself(world: World, made: Make) -> None:
    identity, service = made("trap 'exit 0' TERM; echo here; while :; do sleep 0.1; done")
    service.ready()
    assert world.monitor_pid(identity) == service.process.pid
    assert Path(f"/proc/{service.process.pid}/comm").read_text() == "pycontain-mon\n"
    assert world.status("s") == "running"
    assert eventually(lambda: world.ok("logs", "s") == "here")
    world.ok("stop", "s")
    assert service.end() == 0 and service.complaints == ""
    world.ok("rm", "s")


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$; sleep 9", 137)])
def test_it_ends_as_the_container_did(world: World, made: Make, script: str, status: int) -> None:
    # as PID 1 it would not be killed by itself
    _, service = made(script, *(["--init"] if "kill" in script else []))
    service.ready()
    assert service.end() == status
    world.ok("rm", "s")


def test_who_was_told_to_end_has_not_failed(world: World, made: Make) -> None:
    _, service = made("trap 'exit 5' TERM; touch /up; while :; do sleep 0.1; done")
    service.ready()
    assert eventually(lambda: world("exec", "s", "test", "-e", "/up").returncode == 0)
    world.ok("stop", "s")
    assert service.end() == 0
    assert world.inspect("s")["State"]["ExitCode"] == 5
    world.ok("rm", "s")


def test_its_service_manager_may_end_it_too(world: World, made: Make) -> None:
    _, service = made("trap 'exit 5' TERM; touch /up; while :; do sleep 0.1; done", "--restart", "always")
    service.ready()
    assert eventually(lambda: world("exec", "s", "test", "-e", "/up").returncode == 0)
    service.process.send_signal(signal.SIGTERM)
    assert service.end() == 0
    assert world.status("s") == "exited"
    world.ok("rm", "s")


def test_a_restart_is_the_same_process(world: World, made: Make) -> None:
    identity, service = made("test -e /twice || { touch /twice; exit 1; }; sleep 1000", "--restart", "on-failure")
    service.ready()
    assert eventually(lambda: world.inspect("s")["RestartCount"] == 1 and world.status("s") == "running")
    assert world.monitor_pid(identity) == service.process.pid
    world.ok("kill", "s")
    assert service.end() == 0
    world.ok("rm", "s")


def test_a_start_that_fails_says_why_and_leaves_nothing(world: World, made: Make) -> None:
    world.ok("create", "--network", "none", "--name", "bad", "busybox", "/no/such/program")
    directory = Path(world.run_root).parent / "bad"
    directory.mkdir()
    service = Service(world, "bad", directory)
    assert service.end() == 127
    assert "container bad" in service.complaints and "/no/such/program" in service.complaints
    world.ok("rm", "bad")


def test_a_killed_one_takes_the_container_with_it(world: World, made: Make) -> None:
    identity, service = made("sleep 1000")
    service.ready()
    init = os.pidfd_open(world.pid(identity))
    service.process.kill()
    assert service.end() == -signal.SIGKILL
    os.close(init)
    assert world.status("s") == "exited"
    world.ok("rm", "s")
