"""logs -f: a process stands for a monitor: it writes, rotates, restarts, ends; the reader loses and doubles nothing.

Everything is real but the container: lock, pid file, inotify, processes.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import prctl
import pytest

from pycontain.engine import follow, logfiles, logs
from pycontain.engine.paths import Paths
from pycontain.kernel import lock

ID = "f" * 64
STAMP = "2026-01-02T15:04:05.000000000Z"


class Writer:
    """What the helper's logfile.c does."""

    def __init__(self, directory: Path, limit: int, files: int) -> None:
        self.directory, self.limit, self.files = directory, limit, files
        self.fd = self.open(0)

    def open(self, extra: int) -> int:
        return os.open(self.directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | extra, 0o640)

    def line(self, text: str, kind: str = "F") -> None:
        os.write(self.fd, b"%s stdout %s %s\n" % (logs.stamp(time.time_ns()), kind.encode(), text.encode()))
        if os.fstat(self.fd).st_size >= self.limit:
            os.close(self.fd)
            for number in range(self.files - 1, 0, -1):
                source = self.directory / (f"log.{number - 1}" if number > 1 else "log")
                if source.exists():
                    source.rename(self.directory / f"log.{number}")
            self.fd = self.open(os.O_TRUNC if self.files == 1 else 0)


class Container:
    """Directories of one container, and the processes that stand for its monitor and its init."""

    def __init__(self, base: Path) -> None:
        self.paths = Paths(str(base / "root"), str(base / "run"))
        self.directory = Path(self.paths.container(ID))
        self.run = Path(self.paths.run(ID))
        self.directory.mkdir(parents=True)
        self.run.mkdir(parents=True)
        self.processes: list[int] = []

    def fork(self, body: Callable[[], None]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                body()
            except BaseException:
                os._exit(1)
            os._exit(0)
        self.processes.append(pid)
        return pid

    def monitor(self, body: Callable[[], None]) -> int:
        """A process that takes the lock, starts an init, does ``body``, and ends as a monitor ends."""
        ready, told = os.pipe()

        def main() -> None:
            held = lock.open_lock(str(self.run / "lock"))
            assert lock.try_lock(held)
            self.start_init()
            os.write(told, b".")
            body()
            self.end()

        pid = self.fork(main)
        assert os.read(ready, 1)
        os.close(ready)
        os.close(told)
        return pid

    def start_init(self) -> int:
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            prctl.set_pdeathsig(signal.SIGKILL)
            os.closerange(0, told)  # the lock is the monitor's
            os.closerange(told, 256)  # and this tells it
            signal.pause()
            os._exit(0)
        os.close(told)
        os.read(ready, 1)
        os.close(ready)
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        (self.run / "pid").write_text(f"{pid} {started}\n")
        return pid

    def end(self) -> None:
        for path in self.run.iterdir():
            path.unlink()
        self.run.rmdir()

    def follow(self, wanted: logs.Wanted | None = None) -> int:
        """A process that follows the log; the end of what it writes, to be read."""
        reader, writer = os.pipe()

        def main() -> None:
            os.close(reader)
            printer = logs.Printer(wanted or logs.Wanted(), writer, writer)
            with follow.Follower(self.paths, ID, printer) as follower:
                follower.run()

        self.fork(main)
        os.close(writer)
        return reader


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = Container(tmp_path)
    yield made
    for pid in made.processes:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def text_of(reader: int, seconds: float = 20.0) -> str:
    """All that comes until the end, which must come in time."""
    data = b""
    deadline = time.monotonic() + seconds
    with open(reader, "rb", buffering=0) as stream:
        while True:
            assert select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0], f"no end after {data!r}"
            chunk = stream.read(65536)
            if not chunk:
                return data.decode()
            data += chunk


def wait_for(reader: int, text: bytes) -> None:
    """Until ``text`` has come."""
    data = b""
    while text not in data:
        assert select.select([reader], [], [], 20)[0], data
        data += os.read(reader, 65536)


@pytest.mark.parametrize(
    ("limit", "count", "files"), [(1, 120, 150), (200, 600, 200), (5000, 3000, 40), (1 << 20, 3000, 3)]
)
def test_rotations_lose_and_double_nothing(container: Container, limit: int, count: int, files: int) -> None:
    lines = [f"line {number}" for number in range(count)]

    def write() -> None:
        writer = Writer(container.directory, limit, files)
        for number, line in enumerate(lines):
            writer.line(line)
            if number % 40 == 0:
                time.sleep(0.001)  # so that the reader is sometimes at the end

    container.monitor(write)
    assert text_of(container.follow()).splitlines() == lines


def test_a_rotation_that_has_begun_hides_no_file(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """It renames the oldest first: to a name that was not there when the names were read."""
    for name, text in (("log", "new"), ("log.1", "old")):
        (container.directory / name).write_text(f"{logs.stamp(1).decode()} stdout F {text}\n")
    original = logfiles._numbered

    def late(directory: str) -> list[str]:
        names = original(directory)
        monkeypatch.setattr(logfiles, "_numbered", original)
        (container.directory / "log.1").rename(container.directory / "log.2")
        return names

    monkeypatch.setattr(logfiles, "_numbered", late)
    found = logfiles.open_all(str(container.directory))
    assert [next(iter(file.lines()))[1][-3:] for file in found] == [b"old", b"new"]
    logfiles.close_all(found)


def test_what_is_written_just_before_a_rotation(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the reader's end of file and its look at the name: the last line of the old file is not lost."""
    writer = Writer(container.directory, 100, 3)
    reader, output = os.pipe()
    printer = logs.Printer(logs.Wanted(), output, output)
    with follow.Follower(container.paths, ID, printer) as follower:
        follower._begin()
        original = logfiles.is_current

        def late(directory: str, key: tuple[int, int]) -> bool:
            monkeypatch.setattr(logfiles, "is_current", original)
            writer.line("old " + "x" * 100)
            writer.line("new")
            return original(directory, key)

        monkeypatch.setattr(logfiles, "is_current", late)
        follower._advance()
        printer.flush()
    os.close(output)
    assert text_of(reader) == f"old {'x' * 100}\nnew\n"


def test_more_rotations_than_the_reader_sees(container: Container) -> None:
    """While it is stopped the file it has open becomes log.5; the files between are read in their order."""
    go, gate = os.pipe()

    def write() -> None:
        writer = Writer(container.directory, 100, 50)
        writer.line("first")
        os.read(go, 1)
        for number in range(12):
            writer.line(f"{number} {'x' * 40}")
        os.read(go, 1)

    container.monitor(write)
    reader = container.follow()
    wait_for(reader, b"first\n")
    os.kill(container.processes[-1], signal.SIGSTOP)
    os.write(gate, b".")
    assert_soon(lambda: (container.directory / "log.6").exists())
    os.kill(container.processes[-1], signal.SIGCONT)
    os.write(gate, b".")
    assert [line.split()[0] for line in text_of(reader).splitlines()] == [str(number) for number in range(12)]


def assert_soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_file_that_is_begun_anew(container: Container) -> None:
    """--log-files 1: what was overwritten before it was read is lost, what comes then is not doubled or torn."""

    def write() -> None:
        writer = Writer(container.directory, 400, 1)
        for number in range(2000):
            writer.line(str(number))

    container.monitor(write)
    numbers = [int(line) for line in text_of(container.follow()).splitlines()]
    assert numbers == sorted(set(numbers))
    # the reader has the last ones, if the last one did not fill the file
    assert not numbers or numbers[-1] > 1980


def test_a_line_is_shown_when_it_is_written(container: Container) -> None:
    go, gate = os.pipe()

    def write() -> None:
        writer = Writer(container.directory, 1 << 20, 3)
        writer.line("prompt: ", "P")
        os.read(go, 1)
        writer.line("answer")
        os.read(go, 1)

    container.monitor(write)
    reader = container.follow()
    wait_for(reader, b"prompt: ")
    os.write(gate, b".")
    wait_for(reader, b"answer\n")
    os.write(gate, b".")
    assert text_of(reader) == ""


def test_only_the_last_lines_and_what_comes(container: Container) -> None:
    go, gate = os.pipe()

    def write() -> None:
        writer = Writer(container.directory, 1 << 20, 3)
        for number in range(10):
            writer.line(f"old {number}")
        os.write(gate, b"r")
        assert_soon(lambda: (container.run / "go").exists())
        writer.line("new")

    container.monitor(write)
    assert os.read(go, 1) == b"r"
    reader = container.follow(logs.Wanted(tail=1))
    wait_for(reader, b"old 9\n")
    (container.run / "go").touch()
    assert text_of(reader) == "new\n"


def test_a_killed_monitor_is_the_end(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """It removes nothing and says nothing: the reader sees its end by its pidfd, not by looking again."""
    monkeypatch.setattr(follow, "_UNKNOWN", 600_000)

    def write() -> None:
        Writer(container.directory, 1 << 20, 3).line("last")
        signal.pause()

    monitor = container.monitor(write)
    reader = container.follow()
    wait_for(reader, b"last\n")
    os.kill(monitor, signal.SIGKILL)
    os.waitpid(monitor, 0)
    assert text_of(reader) == ""


def test_a_restart_is_not_the_end(container: Container) -> None:
    """The lock goes from process to process: a new one writes on, and only its end is the end."""

    def write() -> None:
        writer = Writer(container.directory, 1 << 20, 3)
        writer.line("one")
        if os.fork():
            (container.run / "pid").unlink()
            os._exit(0)  # the old monitor's process; the lock is in the new one as well
        container.start_init()
        time.sleep(0.2)
        writer.line("two")

    container.monitor(write)
    assert text_of(container.follow()) == "one\ntwo\n"


def test_a_container_that_does_not_run(container: Container) -> None:
    Writer(container.directory, 1 << 20, 3).line("over")
    container.end()
    assert text_of(container.follow()) == "over\n"


def test_what_a_killed_monitor_has_half_written(container: Container) -> None:
    (container.directory / "log").write_text(f"{STAMP} stdout F over\n{STAMP} std")
    container.end()
    assert text_of(container.follow()) == f"over\n{STAMP} std\n"


def test_until_ends_it(container: Container) -> None:
    container.monitor(signal.pause)
    before = time.monotonic()
    assert text_of(container.follow(logs.Wanted(until=time.time_ns() + 300_000_000))) == ""
    assert time.monotonic() - before > 0.1


def test_a_reader_that_went_away_ends_it(container: Container) -> None:
    """``logs -f | head``: it does not wait for the next line to find out."""
    container.monitor(signal.pause)
    os.close(container.follow())
    _, status = os.waitpid(container.processes[-1], 0)
    assert status, "BrokenPipeError"
