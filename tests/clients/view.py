"""A view of the machine for clients of the runtime: what they make in it is gone with it.

Namespaces of its own (mount, PID, network, IPC, UTS, cgroup); cgroup v2 alone at /sys/fs/cgroup, whose root is a group
of the view's own; an empty /run, /dev/shm and state directory. Its PID 1 ends with the test that made it, and with it
every process; the group is then killed and removed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from world import cgroup_mount, eventually, own_cgroup

TIMEOUT = 60
#: A view lives no longer, whatever the tests do. Seconds.
LIFETIME = 1800

#: PID 1. Its children are reaped by the kernel, since it ignores SIGCHLD; it ends when its standard input is closed.
_FIRST = """
set -e
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/client
echo 0 >/sys/fs/cgroup/client/cgroup.procs
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 state "$1"
ip link set lo up
trap '' CHLD
echo ready
exec cat
"""
_ENTER = 'echo 0 >/sys/fs/cgroup/client/cgroup.procs && exec "$@"'


class View:
    """Where clients run. ``state``: a directory inside, of its own, empty at first."""

    def __init__(self, base: Path, environment: dict[str, str] | None = None) -> None:
        self.state = base / "state"
        self.state.mkdir(mode=0o755, parents=True)
        self.group = cgroup_mount() / f"pycontain-clients-{os.getpid()}-{time.monotonic_ns()}"
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.state),
            "TMPDIR": str(self.state),
            "LANG": "C.UTF-8",
            **(environment or {}),
        }

    def __enter__(self) -> Self:
        self.group.mkdir()
        try:
            self._start()
        except BaseException:
            self._clear()
            raise
        return self

    def _start(self) -> None:
        flags = ["--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child=KILL"]
        unshare = ["unshare", *flags, "--mount-proc", "--propagation", "private"]
        join = 'echo 0 >"$1/cgroup.procs" && shift && exec "$@"'
        self.first = subprocess.Popen(
            ["sh", "-c", join, "sh", str(self.group), "timeout", "-s", "KILL", str(LIFETIME)]
            + [*unshare, "sh", "-c", _FIRST, "sh", str(self.state)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
        )
        assert self.first.stdout
        assert self.first.stdout.readline() == b"ready\n", "the view for clients does not start"
        self.pid = int((self.group / "client" / "cgroup.procs").read_text())
        # cgroups(7), no internal processes: what waits outside is not to be in the group that has the clients' below it
        for pid in (self.group / "cgroup.procs").read_text().split():
            (own_cgroup() / "cgroup.procs").write_text(pid)

    def __exit__(self, *_: object) -> None:
        assert self.first.stdin and self.first.stdout
        self.first.stdin.close()
        try:
            self.first.wait(60)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGKILL)
            self.first.wait(60)
        self.first.stdout.close()
        self._clear()

    def _clear(self) -> None:
        kill = self.group / "cgroup.kill"
        if kill.exists():
            kill.write_text("1")
        assert eventually(self._remove), f"{self.group} cannot be removed"

    def _remove(self) -> bool:
        for directory, _, _ in os.walk(self.group, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                return False
        return not self.group.exists()

    # --- what runs in it ---

    def command(self, words: Iterable[str]) -> list[str]:
        """The command line that runs ``words`` in the view, in the group of the clients."""
        namespaces = ["--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup"]
        return ["nsenter", "--target", str(self.pid), *namespaces, "--", "sh", "-c", _ENTER, "sh", *words]

    def start(self, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        """A process in the view: a daemon, or a client that the test talks to."""
        return subprocess.Popen(self.command(words), env=self.environment, **{"stdin": subprocess.DEVNULL, **more})

    def __call__(
        self, *words: str, input: str | None = None, timeout: float = TIMEOUT, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Its output goes to files: a container may hold the other end of a pipe."""
        stdin: dict[str, Any] = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        with (self.state.parent / "out").open("w+") as out, (self.state.parent / "err").open("w+") as err:
            done = subprocess.run(
                ["timeout", "-s", "KILL", str(timeout), *self.command(words)],
                stdout=out,
                stderr=err,
                env=self.environment,
                text=True,
                check=False,
                **stdin,
            )
            out.seek(0)
            err.seek(0)
            found = subprocess.CompletedProcess(list(words), done.returncode, out.read(), err.read())
        assert not check or found.returncode == 0, f"{words[-3:]}: {found.returncode}: {found.stdout}{found.stderr}"
        return found

    def ok(self, *words: str, **more: Any) -> str:
        """Run a command that must succeed; what it printed, without the last newline."""
        return self(*words, check=True, **more).stdout.removesuffix("\n")

    def path(self, inside: str | Path) -> Path:
        """A path inside the view, as the test reaches it."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def write(self, name: str, text: str) -> str:
        """A file of the state directory; its path inside."""
        target = self.path(self.state / name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return str(self.state / name)

    # --- what is left ---

    def groups(self) -> list[str]:
        """The groups below the view's own but the clients': containers', and the parents that clients make."""
        # os.walk(), unlike rglob(), passes over what goes meanwhile
        found = [Path(top, name).relative_to(self.group) for top, names, _ in os.walk(self.group) for name in names]
        return sorted(str(path) for path in found if path.parts[0] != "client")

    def names(self, directory: str | Path) -> list[str]:
        """What a directory inside has; nothing where it is missing."""
        path = self.path(directory)
        return sorted(os.listdir(path)) if path.is_dir() else []
