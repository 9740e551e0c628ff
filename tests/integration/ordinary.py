"""Ordinary users of a host of their own: accounts, ranges of ids, devices that they may open, a network; no root.

The host is a mount, PID and network namespace of this machine. Nothing of it is left when its first process is gone,
and no file of the machine's is changed: accounts are bound over the machine's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

TIMEOUT = 60
#: Where a server of the host answers that no container has for its own.
HOST = "192.0.2.1"
#: name → user ID, first of its 65536 subordinate IDs (0: it has none)
USERS = {"ann": (4242, 700000), "bob": (4243, 800000), "eve": (4244, 0)}

_PREPARE = r"""
set -eu
base=$1
for file in passwd group subuid subgid; do mount --bind "$base/etc/$file" "/etc/$file"; done
for device in net/tun:10:200 fuse:10:229; do
	name=${device%%:*} number=${device#*:}
	mknod "$base/dev-${name##*/}" c "${number%:*}" "${number#*:}"
	chmod 666 "$base/dev-${name##*/}"
	mount --bind "$base/dev-${name##*/}" "/dev/$name"
done
mkdir -p "$base/venv"
mount --bind "$2" "$base/venv"
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
ip address add 192.0.2.1/32 dev lo
echo ready
exec cat
"""
#: What the containers' network is a copy of: a way to somewhere. After the build, which is not to wait for mirrors.
_ROUTE = """
ip link add out0 type veth peer name out1
ip address add 198.51.100.7/24 dev out0
ip link set out0 up
ip link set out1 up
ip route add default via 198.51.100.1
"""


class Host:
    """The host. ``user(name)`` is somebody on it."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="pycontain-ordinary-"))
        self.base.chmod(0o755)
        self._accounts()
        command = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child=KILL", "--mount-proc"]
        command += ["--propagation", "private", "sh", "-c", _PREPARE, "sh", str(self.base), sys.prefix]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout
        assert self.process.stdout.readline() == b"ready\n", "the users' host could not be set up"
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.init = int(children[0])
        self.people = {name: User(self, name, *numbers) for name, numbers in USERS.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        shutil.rmtree(self.base, ignore_errors=True)

    def _accounts(self) -> None:
        etc = self.base / "etc"
        etc.mkdir()
        for file in ("passwd", "group"):
            lines = Path(f"/etc/{file}").read_text()
            for name, (number, _) in USERS.items():
                more = f":{self.base}/{name}:/bin/sh" if file == "passwd" else ""
                lines += f"{name}:x:{number}:{number}:{more}\n" if more else f"{name}:x:{number}:\n"
            (etc / file).write_text(lines)
        ranges = "".join(f"{name}:{first}:65536\n" for name, (_, first) in USERS.items() if first)
        for file in ("subuid", "subgid"):
            (etc / file).write_text(ranges)

    def enter(self) -> list[str]:
        """The command line that executes what follows it as root of this host."""
        return ["nsenter", "-t", str(self.init), "-m", "-p", "-n"]

    def root(self, script: str) -> str:
        """Run a script as root of this host; its output."""
        done = subprocess.run(
            [*self.enter(), "sh", "-euc", script], capture_output=True, text=True, timeout=TIMEOUT, check=True
        )
        return done.stdout

    def connect(self) -> None:
        """Give it a way to the outside; and a server at HOST, port 8000, with the file ``word``."""
        (self.base / "www").mkdir()
        (self.base / "www" / "word").write_text("from the host\n")
        self.root(f"{_ROUTE}\nbusybox httpd -p {HOST}:8000 -h {self.base}/www")

    def processes(self) -> list[str]:
        """Command lines of all that runs here besides the host's own."""
        lines = self.root("ps -eo stat,user,args --no-headers").splitlines()
        return [line for line in lines if line.split()[1] in USERS and not line.startswith("Z")]


class User:
    """Somebody with a home, a run directory and pycontain."""

    def __init__(self, host: Host, name: str, uid: int, first: int) -> None:
        self.host, self.name, self.uid, self.first = host, name, uid, first
        self.home = host.base / name
        self.run_directory = Path(f"/run/{name}")
        self.home.mkdir(mode=0o700)
        host.root(f"chown {uid}:{uid} {self.home}; mkdir -m 700 /run/{name}; chown {uid}:{uid} /run/{name}")

    def command(self, *arguments: str) -> list[str]:
        environment = [f"HOME={self.home}", f"PATH={self.host.base}/venv/bin:/usr/bin:/bin", f"USER={self.name}"]
        environment.append(f"XDG_RUNTIME_DIR={self.run_directory}")
        who = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        return [*self.host.enter(), *who, "env", "-i", "-C", "/", *environment, *arguments]

    def __call__(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run pycontain to its end."""
        return self.do("pycontain", *arguments, **more)

    def do(self, *command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        more = {"stdin": subprocess.DEVNULL, "timeout": TIMEOUT, **more}
        return subprocess.run(self.command(*command), capture_output=True, text=True, check=False, **more)

    def ok(self, *arguments: str, **more: Any) -> str:
        """pycontain, which must succeed without a word on stderr; what it printed, without the last newline."""
        done = self(*arguments, **more)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.removesuffix("\n")

    def refused(self, *arguments: str, status: int = 125) -> str:
        """pycontain, which must fail with one line; that line."""
        done = self(*arguments)
        assert done.returncode == status, done
        lines = [line for line in done.stderr.splitlines() if not line.startswith("Try ")]
        assert len(lines) == 1 and lines[0].startswith("pycontain: "), done
        return lines[0].removeprefix("pycontain: ")

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("inspect", container))[0]
        return found

    def status(self, container: str) -> str:
        rows = json.loads(self.ok("ps", "-a", "--format", "json"))
        return next((str(row["State"]) for row in rows if container in (row["Id"], row.get("Name"))), "gone")


def eventually(look: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether it becomes true: for what the kernel and other processes do in their own time."""
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
