"""The log that the monitor writes: its format (CRI), its size, and a disk that is full."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import Client
from world import World, eventually
from worlds import disk, fresh

QUIET = ("--network", "none")
LINE = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([FP]) (.*)", re.DOTALL)


def entries(data: bytes) -> list[tuple[str, str, bytes]]:
    """(stream, F or P, content) of each line of a log file; every line has the format."""
    assert not data or data.endswith(b"\n")
    found = []
    for line in data.split(b"\n")[:-1]:
        match = LINE.fullmatch(line)
        assert match, line
        found.append((match[2].decode(), match[3].decode(), match[4]))
    return found


def content(found: list[tuple[str, str, bytes]], stream: str = "stdout") -> bytes:
    """What was written to a stream, from its entries: P goes on in the next entry of the stream."""
    return b"".join(text + (b"\n" if flag == "F" else b"") for name, flag, text in found if name == stream)


def run(world: World, script: str, *flags: str, name: str = "one") -> Path:
    """Run a script to its end; the container's directory."""
    done = world("run", "--name", name, *QUIET, *flags, "busybox", "sh", "-c", script)
    assert done.returncode == 0, done
    return world.root / "containers" / str(world.inspect(name)["Id"])


def test_the_format(world: World) -> None:
    before = time.time()
    directory = run(world, "echo one; echo two >&2; echo; printf unfinished")
    found = entries((directory / "log").read_bytes())
    assert sorted(found) == sorted(
        [("stdout", "F", b"one"), ("stderr", "F", b"two"), ("stdout", "F", b""), ("stdout", "P", b"unfinished")]
    )
    stamp = (directory / "log").read_bytes()[:30].decode()
    # UTC, within the test
    moment = time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert before - 2 <= moment <= time.time() + 2


def test_binary_data(world: World) -> None:
    script = r"for i in 0 1 2 3; do printf '\000\001\377\r\n\n\200 \t'; done"
    directory = run(world, script)
    data = (directory / "log").read_bytes()
    assert content(entries(data)) == b"\x00\x01\xff\r\n\n\x80 \t" * 4


def test_long_lines_are_in_parts(world: World) -> None:
    directory = run(world, "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end")
    found = entries((directory / "log").read_bytes())
    assert content(found) == b"x" * 100000 + b"\nend\n"
    assert max(len(text) for _, _, text in found) <= 16384
    assert {flag for _, flag, text in found if text == b"end"} == {"F"}


def test_streams_that_mix(world: World) -> None:
    """Each stream's content is whole, whatever stands between."""
    script = "i=0; while test $i -lt 300; do printf a$i; printf b$i >&2; i=$((i+1)); done; echo; echo >&2"
    directory = run(world, script)
    found = entries((directory / "log").read_bytes())
    for stream, letter in (("stdout", "a"), ("stderr", "b")):
        assert content(found, stream).decode() == "".join(f"{letter}{i}" for i in range(300)) + "\n"


def test_a_terminals_output_is_logged(world: World) -> None:
    world.background("-t", "--name", "one", *QUIET, "busybox", "sh", "-c", "echo line; exec sleep 1000")
    log = world.root / "containers" / world.inspect("one")["Id"] / "log"
    # the terminal's two characters for the line's end may come by themselves
    assert eventually(lambda: content(entries(log.read_bytes())) == b"line\r\n")
    assert {name for name, _, _ in entries(log.read_bytes())} == {"stdout"}


def test_log_of_all_lives(world: World) -> None:
    world.ok("create", "--name", "one", *QUIET, "busybox", "echo", "life")
    for _ in range(3):
        assert world("start", "-a", "one").stdout == "life\n"
    assert world.ok("logs", "one") == "life\nlife\nlife"


@pytest.mark.parametrize("files", [1, 2, 5])
def test_rotation_bounds_the_sum(world: World, files: int) -> None:
    size = 65536
    directory = run(world, "seq 60000", "--log-size", "64k", "--log-files", str(files))
    logs = {path.name: path.stat().st_size for path in directory.glob("log*")}
    assert set(logs) == {"log", *(f"log.{number}" for number in range(1, files))}
    # one write of whole lines may go beyond
    assert all(length <= size + 8192 for length in logs.values())
    assert all(length >= size for name, length in logs.items() if name != "log")
    found = []
    for number in range(files - 1, -1, -1):
        found += entries((directory / (f"log.{number}" if number else "log")).read_bytes())
    # the newest are there, and none between is missing; the first may have lost its beginning
    numbers = [int(word) for word in content(found).split()[1:]]
    assert numbers == list(range(60001 - len(numbers), 60001))


def test_empty_lines_do_not_break_the_bound(world: World) -> None:
    """Each costs fifty bytes of log: a read of 32 KiB of them is a megabyte and a half."""
    directory = run(world, "yes '' | head -c 300000", "--log-size", "64k", "--log-files", "2")
    assert sum(path.stat().st_size for path in directory.glob("log*")) <= 2 * (65536 + 8192)


def test_no_log(world: World) -> None:
    directory = run(world, "echo text", "--log-size", "0")
    assert list(directory.glob("log*")) == []


def test_mode(world: World) -> None:
    directory = run(world, "echo text")
    assert (directory / "log").stat().st_mode & 0o7777 == 0o640


def test_a_link_in_its_place_is_not_followed(world: World, workdir: Path) -> None:
    """Nothing but root comes there; all the same what is no log is not written to."""
    world.ok("create", "--name", "one", *QUIET, "busybox", "echo", "text")
    victim = workdir / "victim"
    victim.write_text("")
    (world.root / "containers" / world.inspect("one")["Id"] / "log").symlink_to(victim)
    line = world.refused("start", "-a", "one")
    assert "symbolic links (the log)" in line
    assert victim.read_text() == ""
    assert world.status("one") == "created"


# --- a full disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def small(world: World, tmp_path: Path) -> Iterator[World]:
    """A world whose --root is on a disk of 24 MiB."""
    with disk(tmp_path / "disk", "24m") as point, fresh(world, point / "root", tmp_path / "run") as made:
        yield made


def fill(world: World) -> Path:
    """Use up all of the disk."""
    path = world.root / "filling"
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    return path


def test_a_full_disk_stops_the_log_and_not_the_container(small: World) -> None:
    script = "read go; seq 1000; echo middle >&2; read go; echo last; exit 5"
    small.background("-i", "--name", "one", *QUIET, "busybox", "sh", "-c", script)
    log = small.root / "containers" / small.inspect("one")["Id"] / "log"
    filling = fill(small)
    with Client(small, "attach", "one", stdin=subprocess.PIPE) as client:
        client.send("\n")
        client.expect("\n1000\n")
        # what is there is whole lines
        entries(log.read_bytes())
        before = log.read_bytes()
        filling.unlink()
        client.send("\n")
        assert client.finish() == 5
        assert client.output.endswith(b"last\n")
    after = log.read_bytes()
    assert after.startswith(before)
    assert entries(after)[-1] == ("stdout", "F", b"last")


def test_a_full_disk_at_the_rotation(small: World) -> None:
    flags = ("--log-size", "64k", "--log-files", "2")
    script = "read go; yes | head -c 60000; read go; echo last; exit 5"
    small.background("-i", "--name", "one", *flags, *QUIET, "busybox", "sh", "-c", script)
    directory = small.root / "containers" / small.inspect("one")["Id"]
    filling = fill(small)
    with Client(small, "attach", "one", stdin=subprocess.PIPE) as client:
        client.send("\n")
        client.expect("y\n", 30000)
        filling.unlink()
        client.send("\n")
        assert client.finish() == 5
    assert entries((directory / "log").read_bytes())[-1] == ("stdout", "F", b"last")
    for path in directory.glob("log*"):
        entries(path.read_bytes())


def test_a_full_disk_does_not_lose_the_exit_status(small: World) -> None:
    small.background("-i", "--name", "one", *QUIET, "busybox", "sh", "-c", "read go; exit 5")
    filling = fill(small)
    with Client(small, "attach", "one", stdin=subprocess.PIPE) as client:
        client.send("\n")
        assert client.finish() == 5
    assert small.status("one") == "exited"
    assert small.ok("wait", "one") == "5"
    filling.unlink()


def test_a_full_disk_refuses_new_containers_and_leaves_nothing(small: World) -> None:
    small.ok("create", "--name", "old", *QUIET, "busybox", "true")
    filling = fill(small)
    before = sorted(os.listdir(small.root / "containers"))
    for verb in ("run", "create"):
        line = small.refused(verb, *QUIET, "busybox", "true")
        assert "No space left on device" in line
        assert "the file system is full" in line
    assert sorted(os.listdir(small.root / "containers")) == before
    assert list((small.root / "names").iterdir()) == [small.root / "names" / "old"]
    assert small.ok("ps", "-aq")
    assert small.ok("rm", "old") == "old"
    filling.unlink()
