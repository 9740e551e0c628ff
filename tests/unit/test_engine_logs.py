"""logs: lines of the CRI format to streams, the last lines from the end, and files that change underneath."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontain.engine import logfiles, logs
from pycontain.engine.logs import Printer, Wanted, find_start, print_files

STREAMS = {"o": "stdout", "e": "stderr"}


def at(second: int) -> str:
    return f"2026-01-02T15:{second // 60:02d}:{second % 60:02d}.000000000Z"


def entry(second: int, stream: str, kind: str, text: str) -> str:
    return f"{at(second)} {STREAMS[stream]} {kind} {text}\n"


class Log:
    """A log directory, and what a reader shows of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, text: str, name: str = "log") -> None:
        (self.directory / name).write_text(text)

    def show(self, wanted: Wanted | None = None, complete: bool = True) -> tuple[str, str]:
        """What goes to standard output and to standard error."""
        wanted = wanted or Wanted()
        with open(self.directory / "out", "w+b") as out, open(self.directory / "err", "w+b") as err:
            files = logfiles.open_all(str(self.directory))
            try:
                printer = Printer(wanted, out.fileno(), err.fileno())
                if wanted.tail:
                    print_files(files, find_start(files, wanted, complete), printer, complete)
                printer.flush()
            finally:
                logfiles.close_all(files)
            out.seek(0)
            err.seek(0)
            return out.read().decode(), err.read().decode()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_streams_and_files_in_order(log: Log) -> None:
    log.write(entry(5, "o", "F", "c") + entry(6, "e", "F", "bad"))
    log.write(entry(3, "o", "F", "b"), "log.1")
    log.write(entry(1, "o", "F", "a"), "log.2")
    log.write("not a file of the log\n", "log.old")
    assert log.show() == ("a\nb\nc\n", "bad\n")


def test_ten_files_are_ordered_by_number(log: Log) -> None:
    log.write(entry(12, "o", "F", "0"))
    for number in range(1, 12):
        log.write(entry(12 - number, "o", "F", str(number)), f"log.{number}")
    assert log.show()[0].split() == [str(number) for number in range(11, -1, -1)]


def test_no_log_yet(log: Log) -> None:
    assert log.show() == ("", "")
    assert log.show(Wanted(tail=3)) == ("", "")


def test_parts_of_a_line_are_joined_by_stream(log: Log) -> None:
    log.write(
        entry(1, "o", "P", "one ")
        + entry(1, "e", "P", "bad ")
        + entry(2, "o", "F", "two")
        + entry(3, "e", "F", "worse")
        + entry(4, "o", "P", "prompt: ")
    )
    assert log.show() == ("one two\nprompt: ", "bad worse\n")


def test_timestamps_stand_at_the_beginning_of_lines_only(log: Log) -> None:
    log.write(entry(1, "o", "P", "one ") + entry(2, "o", "F", "two") + entry(3, "o", "F", "x"))
    assert log.show(Wanted(timestamps=True))[0] == f"{at(1)} one two\n{at(3)} x\n"


def test_empty_lines_and_other_bytes(log: Log) -> None:
    (log.directory / "log").write_bytes(entry(1, "o", "F", "").encode() + entry(2, "o", "F", "\0x\ry").encode())
    assert log.show()[0] == "\n\0x\ry\n"


DAMAGED = [
    "",
    "x",
    "no entry at all",
    at(1),
    f"{at(1)} stdout F",
    f"{at(1)} stdout X text",
    f"{at(1)} stdlog F text",
    f"{at(1)}  stdout F text",
    "2026-01-02 15:00:00.000000000Z stdout F text",
    "x" * 100,
]


@pytest.mark.parametrize("line", DAMAGED)
def test_damaged_lines_are_shown_as_they_are(log: Log, line: str) -> None:
    log.write(entry(1, "o", "F", "a") + line + "\n" + entry(2, "o", "F", "b"))
    assert log.show() == (f"a\n{line}\nb\n", "")
    assert log.show(Wanted(tail=2)) == (f"{line}\nb\n", "")


def test_what_was_cut_off_at_the_end(log: Log) -> None:
    torn = f"{at(2)} stdout F half a li"
    log.write(entry(1, "o", "F", "a") + torn)
    # nobody will complete it: it is an entry but for its newline
    assert log.show(complete=True)[0] == "a\nhalf a li\n"
    # somebody is about to
    assert log.show(complete=False)[0] == "a\n"
    assert log.show(Wanted(tail=1), complete=False)[0] == "a\n"
    assert log.show(Wanted(tail=1), complete=True)[0] == "half a li\n"


def test_an_endless_line_without_form_takes_bounded_memory(log: Log) -> None:
    log.write("y" * 1_000_000 + "\n" + entry(1, "o", "F", "end"))
    shown = log.show()[0]
    assert shown.replace("\n", "") == "y" * 1_000_000 + "end"
    assert max(map(len, shown.splitlines())) < 200_000
    assert log.show(Wanted(tail=1))[0] == "end\n"


# --- bounds in time -----------------------------------------------------------------------------------------------


def nanoseconds(second: int, more: int = 0) -> int:
    import datetime

    moment = datetime.datetime(2026, 1, 2, 15, second // 60, second % 60, tzinfo=datetime.UTC)
    return int(moment.timestamp()) * 10**9 + more


def test_since_is_inclusive_and_until_is_not(log: Log) -> None:
    log.write("".join(entry(second, "o", "F", str(second)) for second in range(10)))
    assert log.show(Wanted(since=nanoseconds(7)))[0] == "7\n8\n9\n"
    assert log.show(Wanted(until=nanoseconds(2)))[0] == "0\n1\n"
    assert log.show(Wanted(since=nanoseconds(7, 1), until=nanoseconds(8, 1)))[0] == "8\n"
    assert log.show(Wanted(since=nanoseconds(50)))[0] == ""


def test_a_line_belongs_to_the_time_of_its_beginning(log: Log) -> None:
    log.write(entry(1, "o", "P", "a") + entry(5, "o", "F", "b") + entry(6, "o", "F", "c"))
    assert log.show(Wanted(since=nanoseconds(3)))[0] == "c\n"
    assert log.show(Wanted(until=nanoseconds(3)))[0] == "ab\n"


def test_the_last_lines_of_a_time(log: Log) -> None:
    log.write("".join(entry(second, "o", "F", str(second)) for second in range(10)))
    assert log.show(Wanted(tail=2, until=nanoseconds(5)))[0] == "3\n4\n"
    assert log.show(Wanted(tail=2, since=nanoseconds(9)))[0] == "9\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, b"1970-01-01T00:00:00.000000000Z"),
        (-5, b"1970-01-01T00:00:00.000000000Z"),
        (1_767_366_245_000_000_007, b"2026-01-02T15:04:05.000000007Z"),
        (253_402_300_799_999_999_999, b"9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_stamps(number: int, text: bytes) -> None:
    assert logs.stamp(number) == text
    assert len(text) == logfiles.STAMP


# --- the last lines -----------------------------------------------------------------------------------------------


def test_the_last_lines_reach_into_older_files(log: Log) -> None:
    log.write(entry(5, "o", "F", "c"))
    log.write(entry(3, "o", "F", "a") + entry(4, "o", "F", "b"), "log.1")
    assert log.show(Wanted(tail=2))[0] == "b\nc\n"
    assert log.show(Wanted(tail=3))[0] == "a\nb\nc\n"
    assert log.show(Wanted(tail=9))[0] == "a\nb\nc\n"
    assert log.show(Wanted(tail=0))[0] == ""


def test_the_first_of_the_last_lines_is_whole(log: Log) -> None:
    log.write(
        entry(1, "o", "F", "old")
        + entry(2, "e", "P", "bad ")
        + entry(3, "o", "P", "a")
        + entry(4, "o", "P", "b")
        + entry(5, "e", "F", "end")
        + entry(6, "o", "F", "c")
    )
    assert log.show(Wanted(tail=1)) == ("abc\n", "")
    assert log.show(Wanted(tail=2)) == ("abc\n", "bad end\n")
    assert log.show(Wanted(tail=3)) == ("old\nabc\n", "bad end\n")


def test_the_parts_of_a_line_may_be_in_the_file_before(log: Log) -> None:
    log.write(entry(3, "o", "F", "b"))
    log.write(entry(1, "o", "F", "old") + entry(2, "o", "P", "a"), "log.1")
    assert log.show(Wanted(tail=1))[0] == "ab\n"


def test_a_line_that_is_not_ended_counts(log: Log) -> None:
    log.write(entry(1, "o", "F", "a") + entry(2, "o", "P", "prompt: "))
    assert log.show(Wanted(tail=1))[0] == "prompt: "
    assert log.show(Wanted(tail=2))[0] == "a\nprompt: "


def test_few_lines_of_a_large_log_are_not_all_of_it(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ends of 10 MB are found without reading them: what is read is counted."""
    line = entry(1, "o", "F", "x" * 60)
    log.write(line * (10_000_000 // len(line)) + entry(2, "o", "F", "end"))
    read = 0
    original = os.pread

    def count(fd: int, size: int, offset: int) -> bytes:
        nonlocal read
        data = original(fd, size, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", count)
    assert log.show(Wanted(tail=10))[0].endswith("x\nend\n")
    assert read < 500_000


Lines = st.lists(
    st.tuples(st.sampled_from("oe"), st.sampled_from("FFFP"), st.text("ab c", max_size=5)), min_size=1, max_size=40
)


def expected(lines: list[tuple[str, str, str]], count: int) -> tuple[str, str]:
    """The last lines by a straightforward way: all lines are put together first, then the last are taken.

    A line has the place of its end, and one that is not ended that of its last part.
    """
    whole: list[tuple[int, str, str]] = []
    begun: dict[str, tuple[int, str]] = {}
    for place, (stream, kind, text) in enumerate(lines):
        before = begun.pop(stream, (0, ""))[1]
        if kind == "P":
            begun[stream] = place, before + text
        else:
            whole.append((place, stream, f"{before}{text}\n"))
    whole += [(place, stream, text) for stream, (place, text) in begun.items()]
    last = sorted(whole)[-count:] if count else []
    return "".join(t for _, s, t in last if s == "o"), "".join(t for _, s, t in last if s == "e")


@given(Lines, st.integers(0, 45), st.integers(1, 3))
def test_the_last_lines_are_those_of_all(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str, str]], count: int, parts: int
) -> None:
    """Whatever the parts, streams and files: the same as from the beginning."""
    log = Log(tmp_path_factory.mktemp("log"))
    texts = [entry(number, *line) for number, line in enumerate(lines)]
    size = -(-len(texts) // parts)
    pieces = [texts[place : place + size] for place in range(0, len(texts), size)][::-1]
    for number, piece in enumerate(pieces):
        log.write("".join(piece), f"log.{number}" if number else "log")
    assert log.show(Wanted(tail=count)) == expected(lines, count)


@given(st.binary(max_size=400), st.integers(0, 5))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, tail: int) -> None:
    """Nothing that can be in the file is an exception; read backward it is the same lines as forward."""
    log = Log(tmp_path_factory.mktemp("log"))
    (log.directory / "log").write_bytes(data)
    files = logfiles.open_all(str(log.directory))
    try:
        forward = [*files[0].lines(), (len(data) - len(data.rpartition(b"\n")[2]), files[0].rest())]
        assert forward[::-1] == list(files[0].backward())
        printer = Printer(Wanted(tail=tail), os.open("/dev/null", os.O_WRONLY), os.open("/dev/null", os.O_WRONLY))
        print_files(files, find_start(files, printer.wanted, True), printer, True)
        printer.flush()
        for fd in printer.outputs():
            os.close(fd)
    finally:
        logfiles.close_all(files)


# --- files that change --------------------------------------------------------------------------------------------


def drain(files: list[logfiles.LogFile]) -> Iterator[bytes]:
    for file in files:
        for _, line in file.lines():
            yield line


def test_a_file_is_read_on_from_where_it_was(log: Log) -> None:
    log.write("one\ntw")
    (file,) = logfiles.open_all(str(log.directory))
    assert list(drain([file])) == [b"one"]
    with open(log.directory / "log", "a") as stream:
        stream.write("o\nthree\n")
    assert list(drain([file])) == [b"two", b"three"]
    file.close()


def test_a_renamed_file_stays_readable_and_is_known_again(log: Log) -> None:
    log.write("one\n")
    (file,) = logfiles.open_all(str(log.directory))
    with open(log.directory / "log", "a") as writer:
        (log.directory / "log").rename(log.directory / "log.1")
        writer.write("two\n")
    log.write("three\n")
    assert not logfiles.is_current(str(log.directory), file.key)
    assert list(drain([file])) == [b"one", b"two"]
    files = logfiles.open_all(str(log.directory))
    assert [one.key for one in files].index(file.key) == 0
    assert list(drain(files)) == [b"one", b"two", b"three"]
    logfiles.close_all([file, *files])


def test_a_truncated_file_is_read_from_its_beginning(log: Log) -> None:
    """--log-files 1: the helper begins the one file anew, and it may be as long as before when we look again."""
    log.write(entry(1, "o", "F", "aaaa"))
    (file,) = logfiles.open_all(str(log.directory))
    assert len(list(drain([file]))) == 1
    log.write(entry(2, "o", "F", "bbbb") + entry(3, "o", "F", "c"))
    assert [line[logfiles.HEAD :] for line in drain([file])] == [b"bbbb", b"c"]
    file.close()


def test_half_a_line_that_was_taken_back(log: Log) -> None:
    """A full disk: the helper cuts off what it could not write whole, and goes on when there is room."""
    whole = entry(1, "o", "F", "one")
    log.write(whole + entry(2, "o", "F", "lost")[:-3])
    (file,) = logfiles.open_all(str(log.directory))
    assert len(list(drain([file]))) == 1
    os.truncate(log.directory / "log", len(whole))
    assert list(drain([file])) == []
    with open(log.directory / "log", "a") as stream:
        stream.write(entry(3, "o", "F", "three"))
    assert [line[logfiles.HEAD :] for line in drain([file])] == [b"three"]
    file.close()


def test_a_rotation_while_the_files_are_opened(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is taken twice, and none that is there in the end is left out."""
    log.write(entry(2, "o", "F", "two"))
    log.write(entry(1, "o", "F", "one"), "log.1")
    original = logfiles.open_file

    def rotate(path: str) -> logfiles.LogFile | None:
        found = original(path)
        monkeypatch.setattr(logfiles, "open_file", original)
        (log.directory / "log.1").rename(log.directory / "log.2")
        (log.directory / "log").rename(log.directory / "log.1")
        log.write(entry(3, "o", "F", "three"))
        return found

    monkeypatch.setattr(logfiles, "open_file", rotate)
    assert log.show()[0] == "one\ntwo\nthree\n"


def test_a_rotation_that_is_half_done(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """log.1 became log.2 after it was opened, and ``log`` is not renamed yet: the file is met again."""
    log.write(entry(3, "o", "F", "three"))
    log.write(entry(2, "o", "F", "two"), "log.1")
    log.write(entry(1, "o", "F", "one"), "log.2")
    original = logfiles.open_file

    def rename(path: str) -> logfiles.LogFile | None:
        found = original(path)
        if path.endswith("/log.1"):
            (log.directory / "log.1").rename(log.directory / "log.2")
        return found

    monkeypatch.setattr(logfiles, "open_file", rename)
    assert log.show()[0] == "two\nthree\n"


def test_a_log_that_is_a_link_is_not_followed(log: Log) -> None:
    from pycontain.kernel.errors import Error

    (log.directory / "log").symlink_to("/etc/passwd")
    with pytest.raises(Error, match="cannot read the log"):
        logfiles.open_all(str(log.directory))


def test_a_slow_reader_gets_all(log: Log) -> None:
    """Standard output that does not take more for now (O_NONBLOCK) is waited for."""
    text = "".join(f"line {number}\n" for number in range(30_000))
    log.write("".join(entry(1, "o", "F", line) for line in text.splitlines()))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.set_blocking(writer, False)
        files = logfiles.open_all(str(log.directory))
        printer = Printer(Wanted(), writer, 2)
        print_files(files, find_start(files, printer.wanted, True), printer, True)
        printer.flush()
        os._exit(0)
    os.close(writer)
    # not a byte is read before it waits; one that does not has ended by then
    while (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) not in "SZ":
        pass
    with open(reader, "rb") as stream:
        assert stream.read().decode() == text
    assert os.waitpid(pid, 0)[1] == 0
