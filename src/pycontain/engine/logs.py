"""logs: what a container has written, each line to the stream that it was written to."""

from __future__ import annotations

import os
import time

from pycontain.engine import logfiles, names, state
from pycontain.engine.load import read_record
from pycontain.engine.logfiles import HEAD, STAMP, STDERR, STDOUT, LogFile, is_entry
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain.engine.paths import Paths

    #: Which file of the list, and where in it.
    Position = tuple[int, int]

_SECOND = 1_000_000_000
#: Written together, as far as it is for one stream.
_BATCH = 64 << 10
#: How far before the last lines the beginning of a line in parts is looked for, in bytes.
_REACH = 256 << 10


class Wanted:
    """What to show. since, until: nanoseconds since the epoch, None for no bound. tail: lines, -1 for all."""

    __slots__ = ("since", "tail", "timestamps", "until", "until_time")

    def __init__(
        self, since: int | None = None, until: int | None = None, tail: int = -1, timestamps: bool = False
    ) -> None:
        self.since = b"" if since is None else stamp(since)
        self.until = b"" if until is None else stamp(until)
        self.until_time = until
        self.tail = tail
        self.timestamps = timestamps

    def matches(self, line: bytes) -> bool:
        """Whether an entry was written in the time that is wanted."""
        moment = line[:STAMP]
        return moment >= self.since and (not self.until or moment < self.until)


def stamp(nanoseconds: int) -> bytes:
    """A time as the log has it; nanoseconds since the epoch."""
    nanoseconds = max(0, nanoseconds)
    return b"%s.%09dZ" % (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // _SECOND)).encode(),
        nanoseconds % _SECOND,
    )


class Start:
    """Where the last lines begin. cut: of all; parts: of a stream whose first line has parts before ``cut``."""

    __slots__ = ("cut", "parts")

    def __init__(self, cut: Position) -> None:
        self.cut = cut
        self.parts: dict[bytes, Position] = {}

    def first(self) -> Position:
        return min([self.cut, *self.parts.values()])

    def shows(self, position: Position, line: bytes) -> bool:
        """Whether a line at a position before or after the cut is one of the last."""
        return position >= self.cut or (is_entry(line) and position >= self.parts.get(line[31:37], self.cut))


class Printer:
    """Takes lines as they are in the log, writes what is wanted of them."""

    def __init__(self, wanted: Wanted, out: int = 1, err: int = 2) -> None:
        self.wanted = wanted
        self._fds = {STDOUT: out, STDERR: err}
        self._batch: list[bytes] = []
        self._size = 0
        self._stream = STDOUT
        #: Streams in the middle of a line, and whether that is shown.
        self._middle: dict[bytes, bool] = {}
        self._shown = not wanted.since

    def line(self, line: bytes) -> None:
        """One line of the log; one that is damaged is shown as it is, if that before it was."""
        if not is_entry(line):
            if self._shown:
                self._put(STDOUT, line + b"\n")
            return
        stream, text = line[31:37], line[HEAD:]
        begins = stream not in self._middle
        self._shown = self._middle[stream] if not begins else self.wanted.matches(line)
        if line[38:39] == b"P":
            self._middle[stream] = self._shown
        else:
            text += b"\n"
            if not begins:
                del self._middle[stream]
        if self._shown:
            self._put(stream, line[: STAMP + 1] + text if begins and self.wanted.timestamps else text)

    def _put(self, stream: bytes, data: bytes) -> None:
        if stream != self._stream or self._size > _BATCH:
            self.flush()
            self._stream = stream
        self._batch.append(data)
        self._size += len(data)

    def outputs(self) -> set[int]:
        """The descriptors that it writes to."""
        return set(self._fds.values())

    def flush(self) -> None:
        """Write what is left. Raises BrokenPipeError, OSError."""
        data, self._batch, self._size = b"".join(self._batch), [], 0
        fd = self._fds[self._stream]
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                _wait_writable(fd)


def _wait_writable(fd: int) -> None:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()


# --- the last lines -----------------------------------------------------------------------------------------------


def find_start(files: list[LogFile], wanted: Wanted, complete: bool) -> Start:
    """Where the last ``wanted.tail`` lines begin, read from the end.

    complete: nobody writes any more, so that what stands after the last newline is a line.
    """
    if wanted.tail < 0 or not files:
        return Start((0, 0))
    walk = _Walk(wanted)
    for index, offset, line, ended in _backward(files):
        if not ended and (not line or (index == len(files) - 1 and not complete)):
            walk.skip((index, offset))
            continue
        if not walk.take((index, offset), line):
            break
    return walk.start


def _backward(files: list[LogFile]) -> Iterator[tuple[int, int, bytes, bool]]:
    """(file, offset, line, whether a newline ends it), the last first."""
    for index in range(len(files) - 1, -1, -1):
        ended = False
        for offset, line in files[index].backward():
            yield index, offset, line, ended
            ended = True


class _Walk:
    """From the end of a log towards its beginning, counting lines."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.left = wanted.tail
        self.start = Start((0, 0))
        self.begun = False
        #: Streams whose first line that is shown may have parts further back.
        self.open: set[bytes] = set()
        self.reach = _REACH

    def skip(self, position: Position) -> None:
        """What is no line yet; where it is the end of all, what comes after it counts as new."""
        if not self.begun:
            self.start.cut = position
            self.begun = True

    def take(self, position: Position, line: bytes) -> bool:
        """One line; whether more is needed."""
        if not self.begun:
            self.start.cut = (position[0], position[1] + len(line) + 1)
            self.begun = True
        if not is_entry(line):
            self._count(position)
            return self._needed(line)
        stream, is_part = line[31:37], line[38:39] == b"P"
        if is_part and stream in self.open:
            self.start.parts[stream] = position
            return self._needed(line)
        self.open.discard(stream)
        if self.left and self.wanted.matches(line):
            self._count(position)
            self.open.add(stream)
            self.start.parts[stream] = position
        return self._needed(line)

    def _count(self, position: Position) -> None:
        if self.left:
            self.left -= 1
            self.start.cut = position

    def _needed(self, line: bytes) -> bool:
        if self.left:
            return True
        self.reach -= len(line) + 1
        return bool(self.open) and self.reach > 0


# --- showing ------------------------------------------------------------------------------------------------------


def print_files(files: list[LogFile], start: Start, printer: Printer, complete: bool) -> None:
    """All lines from ``start`` on; of the last file what stands after the last newline only if ``complete``."""
    first, offset = start.first()
    for index in range(first, len(files)):
        file = files[index]
        file.seek(offset if index == first else 0)
        for at, line in file.lines():
            if start.shows((index, at), line):
                printer.line(line)
        if complete or index < len(files) - 1:
            print_rest(file, printer)


def print_rest(file: LogFile, printer: Printer) -> None:
    rest = file.rest()
    if rest:
        printer.line(rest)


def show(paths: Paths, text: str, wanted: Wanted, follow: bool = False, out: int = 1, err: int = 2) -> None:
    """Write the log of a container to two descriptors; with ``follow`` until it has ended.

    Raises NotFound; Error where it keeps no log or the log cannot be read; BrokenPipeError.
    """
    container_id = names.find(paths, text)
    _refuse_without_log(paths, container_id, text)
    printer = Printer(wanted, out, err)
    if follow:
        from pycontain.engine.follow import Follower

        with Follower(paths, container_id, printer) as follower:
            follower.run()
        return
    # asked before the files are opened: what is not complete then never will be
    ended = not state.alive(paths, container_id)
    files = logfiles.open_all(paths.container(container_id))
    try:
        if wanted.tail:
            print_files(files, find_start(files, wanted, ended), printer, ended)
        printer.flush()
    finally:
        logfiles.close_all(files)


def _refuse_without_log(paths: Paths, container_id: str, text: str) -> None:
    try:
        record = read_record(paths, container_id)
    except Error:
        return  # damaged: its log may still say why
    if not record.log_size:
        raise Error(f"container {text} keeps no log: it was made with --log-size 0, so what it writes is not kept")
