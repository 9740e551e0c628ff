"""A container's log files: ``log`` is written, ``log.1`` is the one before it (src/helper/logfile.c).

A line is ``TIME STREAM F|P TEXT``: TIME is RFC 3339 in UTC with nine digits, so times compare as bytes; P is a part of
a line that goes on with the stream's next entry.
"""

from __future__ import annotations

import os
import time

from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    #: Device and inode.
    Key = tuple[int, int]

STDOUT, STDERR = b"stdout", b"stderr"
#: Length of TIME, and of all that stands before TEXT.
STAMP, HEAD = 30, 40
#: The helper's lines are shorter; what is longer is damaged, and read in pieces.
_LONGEST = 64 << 10
_BLOCK = 64 << 10
#: Seconds in which it is tried to see all files between two rotations.
_PATIENCE = 5.0
#: So many files are always allowed.
_FEW = 100


def is_entry(line: bytes) -> bool:
    """Whether a line has the form that the helper writes."""
    return (
        line[29:31] == b"Z "
        and line[31:37] in (STDOUT, STDERR)
        and line[37:40] in (b" F ", b" P ")
        and line[10:11] == b"T"
        and line[:4].isdigit()
    )


class LogFile:
    """One file of a log, held open: it can be read to its end however often it is renamed or removed."""

    __slots__ = ("_first", "_rest", "_rest_at", "fd", "key", "offset")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        status = os.fstat(fd)
        #: What tells it from all others that are open.
        self.key = (status.st_dev, status.st_ino)
        #: Where the next read begins.
        self.offset = 0
        self._rest = b""
        self._rest_at = 0
        self._first = b""

    def close(self) -> None:
        os.close(self.fd)

    def seek(self, offset: int) -> None:
        """Read from here on; the beginning of a line."""
        self.offset = offset
        self._rest = b""

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """(offset, line without its newline) of what is complete from here to the end. Raises OSError."""
        while True:
            data = os.pread(self.fd, _BLOCK, self.offset)
            if self._truncated():
                self.seek(0)
                continue
            if not data:
                size = os.fstat(self.fd).st_size
                if size >= self.offset:
                    return
                self.seek(size)  # the helper has taken back what a full disk let it write of a line
                continue
            at = self.offset - len(self._rest)
            self.offset += len(data)
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                yield at, line
                at += len(line) + 1
            if len(self._rest) > _LONGEST:
                yield at, self.rest()

    def rest(self) -> bytes:
        """What stands after the last newline, which nobody will complete."""
        rest, self._rest = self._rest, b""
        return rest

    def _truncated(self) -> bool:
        """Whether the helper has begun the file anew, as it does where only one is kept: its first time is another."""
        first = os.pread(self.fd, STAMP, 0)
        before = self._first
        self._first = first
        return bool(before) and not first.startswith(before)

    def backward(self) -> Iterator[tuple[int, bytes]]:
        """(offset, line), the last first; it begins with what stands after the last newline, empty or not."""
        position = os.fstat(self.fd).st_size
        begun = b""
        while position > 0:
            size = min(_BLOCK, position)
            position -= size
            block = os.pread(self.fd, size, position) + begun
            lines = block.split(b"\n")
            at = position + len(block)
            for line in reversed(lines[1:]):
                at -= len(line)
                yield at, line
                at -= 1
            begun = lines[0]
            if len(begun) > _LONGEST:
                yield position, begun
                begun = b""
        yield 0, begun


def open_all(directory: str, after: Key | None = None) -> list[LogFile]:
    """All files of the log in a container's directory, the oldest first. Raises Error.

    after: only those that are newer than this one, or all where it is not there any more.
    """
    try:
        deadline = time.monotonic() + _PATIENCE
        while True:
            found, settled = _open_all(directory, after)
            if settled or time.monotonic() > deadline:
                return found
            close_all(found)
    except OSError as error:
        raise Error(f"cannot read the log {error.filename or directory}: {os_text(error)}") from None


def close_all(files: list[LogFile]) -> None:
    for file in files:
        file.close()


def _open_all(directory: str, after: Key | None) -> tuple[list[LogFile], bool]:
    """The files, the oldest first, and whether they were not renamed meanwhile."""
    found: list[LogFile] = []
    try:
        # from the newest: a file that is renamed while we go on is met twice, unless it gets a name that was not listed
        file = open_file(f"{directory}/log")
        if file is not None:
            if file.key == after:
                file.close()
                return [], is_current(directory, after)
            found.append(file)
        older = _numbered(directory)
        if len(older) > _FEW:
            _allow_files(len(older))
        for name in older:
            file = open_file(f"{directory}/{name}")
            if file is None:
                continue
            if file.key == after or any(file.key == other.key for other in found):
                file.close()
                if file.key == after:
                    break
                continue
            found.append(file)
        newest = found[0].key if found else after
        # a rotation begins with the oldest file and ends with "log"
        settled = (newest is None or is_current(directory, newest)) and _numbered(directory) == older
        return found[::-1], settled
    except BaseException:
        close_all(found)
        raise


def _allow_files(count: int) -> None:
    """All of them are open at once, and a process may have few (RLIMIT_NOFILE)."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * count)), hard))


def _numbered(directory: str) -> list[str]:
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    numbers = [int(name[4:]) for name in names if name.startswith("log.") and name[4:].isdecimal()]
    return [f"log.{number}" for number in sorted(numbers)]


def open_file(path: str) -> LogFile | None:
    """One file, None where it does not exist. Raises OSError."""
    try:
        return LogFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
    except FileNotFoundError:
        return None


def is_current(directory: str, key: Key) -> bool:
    """Whether a file is the one that is written."""
    try:
        status = os.stat(f"{directory}/log", follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (status.st_dev, status.st_ino) == key
