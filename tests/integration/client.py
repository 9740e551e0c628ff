"""pycontain beside the test: a process with pipes, or with a terminal of its own; both are gone when the test is."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from world import World

PATIENCE = 60.0
_CHUNK = 65536


class Client:
    """A pycontain process with pipes. ``expect`` waits for output, ``finish`` for the end."""

    def __init__(self, world: World, *arguments: str, stdin: int | None = subprocess.DEVNULL, **more: Any) -> None:
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        self.process = subprocess.Popen([*world.command, *arguments], stdin=stdin, **more)
        self.output = b""
        self.complaints = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass

    @property
    def pid(self) -> int:
        return self.process.pid

    def expect(self, text: str, count: int = 1, seconds: float = PATIENCE) -> str:
        """All output so far, once it has ``text`` so many times."""
        assert self.process.stdout
        fd = self.process.stdout.fileno()
        wait_for(fd, lambda: self.output.count(text.encode()) >= count, self._take, f"{text!r} in {self!r}", seconds)
        return self.output.decode(errors="replace")

    def _take(self, data: bytes) -> None:
        self.output += data

    def send(self, text: str) -> None:
        assert self.process.stdin
        os.write(self.process.stdin.fileno(), text.encode())

    def close_input(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.stdin = None

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def finish(self, seconds: float = PATIENCE) -> int:
        """The exit status; what it still prints is in ``output`` and ``complaints``."""
        out, err = self.process.communicate(timeout=seconds)
        self.output += out or b""
        self.complaints += err or b""
        return self.process.returncode

    def __repr__(self) -> str:
        return f"{self.output[-300:]!r}"


class Terminal:
    """A pycontain process whose standard descriptors and controlling terminal are a pty; the test is the person."""

    def __init__(self, world: World, *arguments: str, rows: int = 24, columns: int = 80) -> None:
        self.master, self.slave = os.openpty()
        self.resize(rows, columns)
        self.before = self.attributes()
        self.output = b""

        def take() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [*world.command, *arguments], stdin=self.slave, stdout=self.slave, stderr=self.slave, preexec_fn=take
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    @property
    def pid(self) -> int:
        return self.process.pid

    def attributes(self) -> list[Any]:
        """What tcgetattr(3) says of the terminal now."""
        return termios.tcgetattr(self.slave)

    @property
    def raw(self) -> bool:
        return not self.attributes()[3] & termios.ICANON

    def resize(self, rows: int, columns: int) -> None:
        """The kernel sends SIGWINCH to the foreground process group."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text: str | bytes) -> None:
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def expect(self, text: str, count: int = 1, seconds: float = PATIENCE) -> str:
        """All output so far, once it has ``text`` so many times."""
        wait_for(
            self.master, lambda: self.output.count(text.encode()) >= count, self._take, f"{text!r} in {self!r}", seconds
        )
        return self.output.decode(errors="replace")

    def _take(self, data: bytes) -> None:
        self.output += data

    def finish(self, seconds: float = PATIENCE) -> int:
        """The exit status, after all output was read."""
        deadline = time.monotonic() + seconds
        fd = os.pidfd_open(self.process.pid)
        try:
            while True:
                ready = select.select([self.master, fd], [], [], max(0.0, deadline - time.monotonic()))[0]
                assert ready, f"it does not end: {self!r}"
                if self.master in ready:
                    self._take(os.read(self.master, _CHUNK))
                elif fd in ready:
                    # its last words came between the two looks, or are still on their way through the kernel
                    while select.select([self.master], [], [], 0)[0]:
                        self._take(os.read(self.master, _CHUNK))
                    return self.process.wait()
        finally:
            os.close(fd)

    def __repr__(self) -> str:
        return f"{self.output[-300:]!r}"


def wait_for(
    fd: int, done: Callable[[], bool], take: Callable[[bytes], None], what: str, seconds: float = PATIENCE
) -> None:
    """Read a descriptor until ``done``."""
    deadline = time.monotonic() + seconds
    while not done():
        ready = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]
        assert ready, f"no {what} in {seconds} s"
        try:
            data = os.read(fd, _CHUNK)
        except OSError as error:
            assert error.errno == errno.EIO, error  # the last one has closed the pty
            data = b""
        assert data or done(), f"no {what} before its end"
        take(data)


def status_value(pid: int, key: str) -> str:
    """A line of /proc/PID/status."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(f"{key}:"))


def connected(pid: int) -> bool:
    """Whether a process has a connection by a Unix socket, as clients of a monitor have.

    What it asks for afterwards, it is told, also by a monitor that ends.
    """
    held = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            held.add(os.readlink(entry))
        except FileNotFoundError:  # closed since
            continue
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    # linux/net.h: SS_CONNECTED is 3
    return any(f"socket:[{words[6]}]" in held and words[5] == "03" for words in lines)


def stopped(pid: int) -> bool:
    """Whether SIGSTOP has taken effect."""
    return status_value(pid, "State").startswith("T")


def pause_process(pid: int) -> None:
    """SIGSTOP, and wait until it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while not stopped(pid):
        assert time.monotonic() < deadline
        time.sleep(0.001)


@contextmanager
def reaping() -> Iterator[None]:
    """Reap, as a host's init does, the commands whose ``exec`` was killed: they come to the test, a subreaper.

    Until they are reaped the kernel does not let their PID namespace end (pid_namespaces(7)).
    """
    over = threading.Event()
    worker = threading.Thread(target=_reap_others, args=(over,))
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def _reap_others(over: threading.Event) -> None:
    while not over.wait(0.01):
        for path in Path("/proc/self/task").glob("*/children"):
            try:
                children = [int(word) for word in path.read_text().split()]
            except OSError:
                continue
            for pid in children:
                try:
                    # of a PID namespace below ours: no child that anybody here waits for
                    if len(status_value(pid, "NSpid").split()) > 1:
                        os.waitpid(pid, os.WNOHANG)
                except (OSError, StopIteration):
                    continue
