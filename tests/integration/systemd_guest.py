"""A systemd of its own on this machine, in namespaces: a test bed for its D-Bus, scopes and units.

It boots in a moment, but has the machine's kernel: where cgroup v1 holds the controllers, there are no limits in it
(tests/host has those). Its root is the test host's Debian with the copy-on-write layer in memory, the checkout is at
its place, read-only, and pycontain's usual --root has the test host's images.

``Guest`` starts this file as a process of its own, which outlives whoever wanted the guest just long enough to remove
what the guest leaves, whatever happens.
"""

from __future__ import annotations

import itertools
import os
import pty
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
#: Seconds: to boot; to power off.
_BOOT, _END = 90.0, 5.0
#: systemd(1): SIGRTMIN+4 powers off.
_POWER_OFF = signal.SIGRTMIN + 4
#: The group, in the guest, of commands that come from outside.
_COMMANDS = "commands"

_number = itertools.count()


class Guest:
    """A running guest: PID 1 is systemd. A context manager; closing powers it off and removes what it leaves.

    mount: where cgroup v2 is mounted here. root, store: of tests.host.debian and tests.host.images.
    """

    def __init__(self, mount: Path, root: Path, store: Path) -> None:
        self.group = mount / f"pycontain-systemd-{os.getpid()}-{next(_number)}"
        command = [sys.executable, str(Path(__file__).resolve()), str(self.group), str(root), str(store)]
        # The process that removes what the guest leaves. It must not share our fate (the terminal's Ctrl-C): its
        # standard input tells it of our end.
        self.keeper = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.keeper.stdout
        said = self.keeper.stdout.readline()
        if not said.startswith("pid "):
            rest = said + self.keeper.stdout.read()
            self.close()
            raise AssertionError(f"the systemd guest did not boot: {rest}")
        #: Its PID 1, in our PID namespace.
        self.pid = int(said.split()[1])

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, script: str, *, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root in all namespaces of the guest; stdout is what it writes to both streams.

        timeout: seconds after which it is killed (status 137).
        """
        inside = [
            *("nsenter", "--all", f"--target={self.pid}", "--", "env", "-i", "HOME=/root", "TERM=dumb", "LANG=C.UTF-8"),
            f"PATH={CHECKOUT}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            *("timeout", "-s", "KILL", f"{timeout:g}", "sh", "-c", script),
        ]
        # outside the group the guest's cgroup namespace would show its place as /../..
        enter = f"echo 0 > {shlex.quote(str(self.group / _COMMANDS / 'cgroup.procs'))} && exec {shlex.join(inside)}"
        # A file, not a pipe: what the script leaves running may keep it open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                ["sh", "-c", enter],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout + 10,
                check=False,
            )
            output.seek(0)
            text = output.read().decode(errors="replace")
        # nsenter dies by the signal that its command died by
        status = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return subprocess.CompletedProcess(script, status, text)

    def close(self) -> None:
        """Power it off, and wait until nothing is left."""
        assert self.keeper.stdin and self.keeper.stdout
        self.keeper.stdin.close()
        self.keeper.wait(_BOOT + 2 * _END)
        self.keeper.stdout.close()


# --- the keeper ---------------------------------------------------------------------------------------------------


def _keep(group: Path, environment: dict[str, str]) -> int:
    """Boot a guest, say its PID, keep it until standard input ends, remove it."""
    work = Path(environment["WORK"])
    # The console. Ours stays open: without anybody there, reading would give errors all the time.
    master, slave = pty.openpty()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(work / "notify"))
        (work / "root").mkdir()
        (work / "layer").mkdir()
        (group / _COMMANDS).mkdir(parents=True)
        # What is started is unshare, whose child is the guest and dies with it, as it does with us.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", str(HERE / "systemd_guest_root")],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
        )
        ended = os.pidfd_open(process.pid)
        try:
            return _attend(process, ended, master, notify)
        finally:
            _end(process, ended, group)


def _attend(process: subprocess.Popen[bytes], ended: int, master: int, notify: socket.socket) -> int:
    """Read what the guest says until it ends, or nobody wants it, or it does not boot."""
    console = b""
    deadline: float | None = time.monotonic() + _BOOT
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = select.select([0, ended, master, notify.fileno()], [], [], left)[0]
        if master in ready:
            console = (console + os.read(master, 65536))[-10000:]
        if notify.fileno() in ready and b"READY=1" in notify.recv(65536).split(b"\n") and deadline is not None:
            deadline = None
            print(f"pid {_child(process.pid)}", flush=True)
        if 0 in ready:
            return 0
        if ended in ready or not ready:
            print(f"{'it ended' if ready else 'out of time'}\n{console.decode(errors='replace')}", flush=True)
            return 1


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _end(process: subprocess.Popen[bytes], ended: int, group: Path) -> None:
    try:
        os.kill(_child(process.pid), _POWER_OFF)
        select.select([ended], [], [], _END)
    except (OSError, IndexError):
        pass  # there is no guest any more, or not yet
    process.kill()
    process.wait()
    _remove(group)


def _remove(group: Path) -> None:
    """Kill what is in a group and below it, and remove them, when the kernel has taken the processes away."""
    with open(group / "cgroup.events") as events:
        (group / "cgroup.kill").write_text("1")
        watch = select.poll()
        watch.register(events, select.POLLPRI)
        deadline = time.monotonic() + _END
        while "populated 1" in os.pread(events.fileno(), 4096, 0).decode() and time.monotonic() < deadline:
            watch.poll(1000 * _END)
    for directory, _, _ in os.walk(group, topdown=False):
        os.rmdir(directory)


def main(group: str, root: str, store: str) -> int:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    work = tempfile.mkdtemp(prefix="pycontain-systemd-")
    environment = {"GROUP": group, "WORK": work, "LOWER": root, "STORE": store, "CHECKOUT": str(CHECKOUT)}
    try:
        return _keep(Path(group), {**environment, "PATH": os.environ["PATH"]})
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
