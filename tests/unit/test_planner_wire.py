"""The planner's messages, and whom it works for (docs/planner.md)."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
from pathlib import Path

import pytest

from pycontain.cli.main import GLOBAL
from pycontain.oci import options
from pycontain.planner import caller, wire

SOURCE = Path(__file__).parents[2] / "src" / "helper" / "planner.c"


def request(
    argv: list[bytes], variables: list[bytes], numbers: tuple[int, ...] = (0, 1, 2), **changes: int | bytes
) -> bytes:
    """A request, with fields of its head changed."""
    strings = b"".join([word + b"\0" for word in [*argv, *variables]])
    body = struct.pack(f"={len(numbers)}i", *numbers) + strings
    head: dict[str, int | bytes] = {
        "magic": wire.MAGIC,
        "size": 32 + len(body),
        "oci": 1,
        "words": len(argv),
        "environ": len(variables),
        "fds": len(numbers),
        "umask": 0o27,
    }
    return struct.pack("=8s6I", *{**head, **changes}.values()) + body


def test_a_request() -> None:
    data = request([b"create", b"", b"\xff"], [b"A=1", b"B==", b"A=2", b"C", b"=D"], (0, 1, 2, 9))
    found = wire.Request(data, [10, 11, 12, 13, 14])
    assert (found.oci, found.umask, found.cwd, found.fds, found.numbers) == (
        True,
        0o27,
        10,
        [11, 12, 13, 14],
        [0, 1, 2, 9],
    )
    assert found.argv == ["create", "", "\udcff"]
    assert found.environ == {b"A": b"1", b"B": b"="}


@pytest.mark.parametrize(
    "data",
    [
        request([b"run"], [], magic=b"PYCREQ0\0"),
        request([b"run"], [], size=31),
        request([b"run"], [], size=1 << 30),
        request([b"run"], [], words=2),
        request([b"run"], [], words=0),
        request([b"run"], [], environ=1 << 31),
        request([b"run"], [], fds=2),
        request([b"run"], [], fds=1 << 30),
        request([b"run"], [], (0, 1, 1)),
        request([b"run"], [], (2, 1, 0)),
        request([b"run"], [], (1, 2, 3)),
        request([b"run"], [], (-1, 0, 1)),
        request([b"run"], [])[:-1],
    ],
)
def test_a_request_that_is_none(data: bytes) -> None:
    with pytest.raises(wire.ProtocolError):
        wire.Request(data, [10, 11, 12, 13])


@pytest.mark.parametrize(
    "data", [b"", b"Z", b"Q", b"Q" + bytes(32), b"Q" + request([b"run"], [])[:40], b"G", b"Q" + b"\xff" * 64, b"F"]
)
def test_what_comes_over_the_socket_and_is_none(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.close()
        with pytest.raises(wire.ProtocolError):
            wire.receive(ours)


def test_a_request_over_the_socket_with_many_descriptors() -> None:
    count = 300  # more than one message may have
    ours, theirs = socket.socketpair()
    with ours, theirs, open("/dev/null") as null:
        wire.send_fds(theirs, [null.fileno()] * (count + 1))
        theirs.sendall(b"Q" + request([b"run"], [b"A=B"], tuple(range(count))))
        found = wire.receive(ours)
        assert len({found.cwd, *found.fds}) == count + 1
        for fd in [found.cwd, *found.fds]:
            assert not os.get_inheritable(fd)
            os.close(fd)


def test_an_answer() -> None:
    data = wire.answer([b"pycontain-helper", b"launch", b"5"], {b"A": b"B=C"}, [4, 9])
    size, words, environ, fds = struct.unpack_from("=4I", data, 1)
    assert (data[:1], size, words, environ, fds) == (b"P", len(data) - 17, 3, 1, 2)
    assert data[17:] == struct.pack("=2i", 4, 9) + b"pycontain-helper\0launch\0005\0A=B=C\0"


@pytest.mark.parametrize(
    ("environ", "fits"),
    [
        ({}, True),
        ({b"LANG": b"C"}, True),
        ({b"LANG": b"en_US.UTF-8"}, True),
        ({b"LANG": b"de_DE.utf8@euro"}, True),
        ({b"LANG": b"en_US"}, False),
        ({b"LANG": b"C.UTF-8", b"LC_CTYPE": b"en_US.ISO-8859-1"}, False),
        ({b"LC_ALL": b"C.UTF-8", b"LC_CTYPE": b"en_US.ISO-8859-1"}, True),
        ({b"LC_ALL": b"", b"LANG": b"POSIX"}, True),
    ],
)
def test_character_sets(environ: dict[bytes, bytes], fits: bool) -> None:
    assert caller.is_utf8(environ) == fits


def test_surroundings() -> None:
    ours = caller.surroundings()
    assert ours == caller.surroundings(f"/proc/{os.getpid()}", ours) == caller.surroundings(f"/proc/{os.getpid()}")
    if os.getuid() == 0:
        pid = os.fork()
        if pid == 0:
            os.setgroups([12345])
            signal.pause()
        try:
            status = Path(f"/proc/{pid}/status")
            while "12345" not in status.read_text():
                os.sched_yield()
            assert ours != caller.surroundings(f"/proc/{pid}", ours)
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def test_labels_are_compared_where_there_are_some(tmp_path: Path) -> None:
    """Of a security module, a label of the planner's and another one of the client's; with none, none is looked for."""
    for name, label in (("one", b"planner"), ("two", b"client"), ("three", b"")):
        process = tmp_path / name
        for directory in ("attr", "root"):
            (process / directory).mkdir(parents=True)
        (process / "attr" / "current").write_bytes(label)
        (process / "status").write_bytes(b"Uid:\t0\nFDSize:\t64\n")
        (process / "root").rmdir()
        (process / "root").symlink_to("/")
    one, two, three = (caller.surroundings(str(tmp_path / name)) for name in ("one", "two", "three"))
    assert one != two and one != three
    assert caller.surroundings(str(tmp_path / "two"), one) != one
    assert caller.surroundings(str(tmp_path / "two"), three) == three


def words_of(name: str) -> set[str]:
    """Of a table in the C source."""
    table = re.search(rf"{name}\[\] = \{{(.*?)NULL\}}", SOURCE.read_text(), re.DOTALL)
    assert table
    return set(re.findall(r'"([^"]+)"', table[1]))


def test_the_client_knows_the_options_before_the_verb() -> None:
    """One that it takes for a flag and that has a value would have the value taken for the verb."""
    values = {flag.title for flag in GLOBAL.flags if not flag.is_bool}
    flags = {flag.title for flag in GLOBAL.flags if flag.is_bool}
    values |= {f"--{name}" for name in options.GLOBAL.values}
    flags |= {f"--{name}" for name in options.GLOBAL.flags}
    assert words_of("values") == values
    assert words_of("flags") == flags - {"--version", "--help"}
