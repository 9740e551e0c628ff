"""What the tests of the verbs that look share."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from world import World


def run_directory(world: World, container_id: str) -> Path:
    return world.run_root / "containers" / container_id


@contextmanager
def process(world: World, *arguments: str, **more: int) -> Iterator[subprocess.Popen[bytes]]:
    """pycontain in the background, with pipes for output; killed at the end."""
    with subprocess.Popen(
        [*world.command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=more.get("stdout", subprocess.PIPE),
        stderr=more.get("stderr", subprocess.PIPE),
    ) as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()


def read_until(fd: int, text: bytes, seconds: float = 60.0) -> bytes:
    """What comes from a descriptor, up to the chunk that completes ``text``."""
    data = b""
    deadline = time.monotonic() + seconds
    while text not in data:
        assert select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0], data
        try:
            chunk = os.read(fd, 65536)
        except OSError:  # the other end of a terminal is closed
            chunk = b""
        assert chunk, data
        data += chunk
    return data


@contextmanager
def terminal(world: World, *arguments: str, rows: int = 24) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """pycontain with a terminal of its own, the controlling one: the master's descriptor, and the process."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 200, 0, 0))
    try:
        with subprocess.Popen(
            [*world.command, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        ) as child:
            os.close(slave)
            slave = -1
            try:
                yield master, child
            finally:
                if child.poll() is None:
                    child.kill()
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)
