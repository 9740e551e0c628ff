"""A client with a terminal of its own, of 30 lines and 100 columns, and somebody who types."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence

from tests.clients.view import TIMEOUT, View

LINES, COLUMNS = 30, 100
#: What to type for "30 100": a client may say how large its terminal is when the command runs already.
SIZE = 'until stty size | grep "3[0] 100"; do sleep 0.1; done\n'


def _controlling() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def talk(view: View, command: Sequence[str], *exchanges: tuple[str, str]) -> tuple[int, str]:
    """Run a command; ``exchanges``: what to wait for, what to type then. Its status and all of its output."""
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(
        view.command(command),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**view.environment, "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=_controlling,
    )
    os.close(slave)
    output = b""
    deadline = time.monotonic() + TIMEOUT
    pending = list(exchanges)
    at = 0
    try:
        while True:
            if pending and (found := output.find(pending[0][0].encode(), at)) >= 0:
                at = found + len(pending[0][0])
                os.write(master, pending.pop(0)[1].encode())
                continue
            assert select.select([master], [], [], max(0.0, deadline - time.monotonic()))[0], (command, output)
            try:
                data = os.read(master, 65536)
            except OSError:  # nobody has the other end any more
                data = b""
            if not data:
                break
            output += data
        assert not pending, (command, pending, output)
        return process.wait(TIMEOUT), output.decode(errors="replace").replace("\r\n", "\n")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)
