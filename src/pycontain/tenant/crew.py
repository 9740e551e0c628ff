"""Several commands at one time, and not too many of them."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

    #: What a command is about, and its words.
    Job = tuple[str, Sequence[str]]
    Running = tuple[str, "subprocess.Popen[bytes]", IO[bytes]]


class Outcome:
    """How a command ended. status: its exit status, negative for a signal. lines: what it wrote to either stream."""

    __slots__ = ("lines", "name", "status")

    def __init__(self, name: str, status: int, lines: list[str]) -> None:
        self.name = name
        self.status = status
        self.lines = lines


def processors() -> int:
    """How many commands at one time there are where nobody says otherwise: one for each processor of ours."""
    return len(os.sched_getaffinity(0))


def run(jobs: Sequence[Job], at_once: int, done: Callable[[Outcome], None]) -> None:
    """Run all, in their order, ``at_once`` at one time; ``done`` hears of each as it ends. Raises OSError."""
    waiting = list(reversed(jobs))
    running: dict[int, Running] = {}
    poll = select.poll()
    while waiting or running:
        while waiting and len(running) < max(at_once, 1):
            fd, one = _begin(*waiting.pop())
            running[fd] = one
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll():
            poll.unregister(fd)
            os.close(fd)
            done(_end(*running.pop(fd)))


def _begin(name: str, words: Sequence[str]) -> tuple[int, Running]:
    # a file, not a pipe: what a command leaves running may keep it open
    output = tempfile.TemporaryFile()
    process = subprocess.Popen(list(words), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    return os.pidfd_open(process.pid), (name, process, output)


def _end(name: str, process: subprocess.Popen[bytes], output: IO[bytes]) -> Outcome:
    status = process.wait()
    with output:
        output.seek(0)
        lines = output.read(1 << 16).decode("utf-8", "replace").splitlines()
    return Outcome(name, status, lines)
