"""The helper's decoder against Python's encoder: a damaged plan is refused with status 125, and never a crash.

Nothing is executed, whatever a changed bit makes of the plan: its first record is a clone(2) that the kernel refuses,
and no record behind it can do anything without the process that it would have made. tests/fuzz goes deeper.
"""

from __future__ import annotations

import fcntl
import os
import random
import struct
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontain.launch import ops, ops_mounts
from pycontain.launch.plan import encode

HELPER = Path(sysconfig.get_path("platlib")) / "pycontain" / "pycontain-helper"

F_ADD_SEALS, SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_WRITE = 1033, 1, 2, 4, 8
ALL_SEALS = SEAL_SEAL | SEAL_SHRINK | SEAL_GROW | SEAL_WRITE
#: Bits that clone3(2) does not know, and some of CSIGNAL and CLONE_DETACHED, so that half of them is enough for EINVAL.
NO_CLONE = 0xFF00000000400001

#: Every kind of field, and no operation that could do harm where a flipped bit puts it on the failure's side.
PLAN = encode(
    [
        (ops.HOST, ops.Clone(NO_CLONE)),
        (ops.GUEST, ops.Setsid()),
        (ops.GUEST, ops_mounts.Mount("nofs", "nofs", "/nowhere", 1, ["a=b", "", "flag"], 0, 0)),
        (ops.GUEST, ops_mounts.Mask("/nowhere")),
        (ops.GUEST, ops.Seccomp(0, b"\xff\xff\0\0\0\0\0")),
        (ops.GUEST, ops.Umask(0o22)),
        (ops.GUEST, ops.Lookup("nothing", "/nowhere:/else")),
        (ops.GUEST, ops.Exec(["nothing", "argument"], ["A=b", "C="])),
        (ops.AFTER, ops.Unlink("nothing")),
    ]
)


class Helper:
    """The installed helper, executed as pycontain does: from a sealed copy in memory."""

    def __init__(self) -> None:
        assert HELPER.exists(), f"{HELPER} is missing: make build"
        self.program = os.memfd_create("pycontain-helper", os.MFD_ALLOW_SEALING)
        os.write(self.program, HELPER.read_bytes())
        os.fchmod(self.program, 0o500)
        fcntl.fcntl(self.program, F_ADD_SEALS, ALL_SEALS)

    def run(self, *arguments: str) -> tuple[int, bytes]:
        """Exit status (negative: a signal) and standard error."""
        reader, writer = os.pipe()
        null = os.open("/dev/null", os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, writer, 2)]
        path = f"/proc/self/fd/{self.program}"
        pid = os.posix_spawn(path, ["pycontain-helper", *arguments], {}, file_actions=actions)
        os.close(writer)
        os.close(null)
        with open(reader, "rb") as file:
            text = file.read()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text

    def launch(self, data: bytes, seals: int = ALL_SEALS) -> tuple[int, bytes]:
        """``launch`` with a plan of these bytes."""
        fd = os.memfd_create("plan", os.MFD_ALLOW_SEALING)
        try:
            os.write(fd, data)
            fcntl.fcntl(fd, F_ADD_SEALS, seals)
            os.set_inheritable(fd, True)
            return self.run("launch", str(fd))
        finally:
            os.close(fd)

    def refuses(self, data: bytes) -> None:
        status, text = self.launch(data)
        assert status == 125, (status, text, data)
        assert text.startswith(b"pycontain: the launch plan cannot be read: "), (text, data)

    def survives(self, data: bytes) -> None:
        """It refuses the plan, or does as it says and fails at the clone."""
        status, text = self.launch(data)
        assert status == 125, (status, text, data)
        assert text.startswith((b"pycontain: the launch plan cannot be read: ", b"pycontain: record 0 (clone): ")), text


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    found = Helper()
    yield found
    os.close(found.program)


def test_the_whole_plan_is_taken_and_stops_at_the_clone(helper: Helper) -> None:
    assert helper.launch(PLAN) == (125, b"pycontain: record 0 (clone): Invalid argument\n")


def test_a_plan_cut_short_anywhere_is_refused(helper: Helper) -> None:
    for size in range(len(PLAN)):
        helper.refuses(PLAN[:size])


def test_a_plan_cut_short_with_a_header_that_says_so_is_refused(helper: Helper) -> None:
    for size in range(24, len(PLAN)):
        helper.refuses(PLAN[:12] + struct.pack("<I", size) + PLAN[16:size])


def test_text_after_the_plan_is_refused(helper: Helper) -> None:
    helper.refuses(PLAN + bytes(8))
    longer = bytearray(PLAN + bytes(8))
    struct.pack_into("<I", longer, 12, len(longer))
    helper.refuses(bytes(longer))


def test_a_flipped_bit_in_the_header_is_refused(helper: Helper) -> None:
    for bit in range(24 * 8):
        data = bytearray(PLAN)
        data[bit // 8] ^= 1 << bit % 8
        helper.refuses(bytes(data))


def test_a_flipped_bit_anywhere_does_no_harm(helper: Helper) -> None:
    for at in range(24, len(PLAN)):
        for bit in range(8):
            data = bytearray(PLAN)
            data[at] ^= 1 << bit
            helper.survives(bytes(data))


@pytest.mark.parametrize("value", [0, 1, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF])
def test_a_length_or_count_of_the_wrong_size_does_no_harm(helper: Helper, value: int) -> None:
    for at in range(8, len(PLAN), 4):
        data = bytearray(PLAN)
        struct.pack_into("<I", data, at, value)
        helper.survives(bytes(data))


def test_records_in_another_order_are_refused(helper: Helper) -> None:
    """A guest has to exist before it does something, and its part ends in exec."""
    clone, setsid, program = (
        (ops.HOST, ops.Clone(NO_CLONE)),
        (ops.GUEST, ops.Setsid()),
        (ops.GUEST, ops.Exec(["x"], [])),
    )
    for plan in (
        [setsid, clone, program],
        [clone, program, setsid],
        [clone, clone, program],
        [clone, setsid],
        [setsid],
        [program],
        [clone],
        [(ops.GUEST, ops.Clone(NO_CLONE)), program],
        [(ops.AFTER, ops.Clone(NO_CLONE))],
        [clone, program, program],
    ):
        helper.refuses(encode(plan))


def test_a_list_that_is_not_ended_is_refused_whatever_it_claims(helper: Helper) -> None:
    good = encode([(ops.AFTER, ops.Handover(["abc"]))])
    assert helper.launch(good) == (0, b"")
    at = good.index(b"abc\0")
    for count in (0, 1, 2, 0xFFFFFFFF):
        data = bytearray(good)
        data[at : at + 4] = b"abcd"
        struct.pack_into("<I", data, at - 4, count)
        helper.refuses(bytes(data))


def record(code: int, side: int, body: bytes, zero: int = 0) -> bytes:
    return struct.pack("<HBBI", code, side, zero, len(body) + 8) + body


def plan(*records: bytes) -> bytes:
    payload = b"".join(records)
    return struct.pack("<8sIIII", b"PYCPLAN\0", 1, len(payload) + 24, len(records), 0) + payload


def text(value: bytes, length: int = -1) -> bytes:
    data = struct.pack("<I", len(value) if length < 0 else length) + value + b"\0"
    return data + bytes(-len(data) % 8)


UNLINK, RESTART = ops.Unlink.code, ops.Restart.code


WRONG = {
    "byte that has to be zero": plan(record(UNLINK, ops.AFTER, text(b"a"), zero=1)),
    "NUL in a string": plan(record(UNLINK, ops.AFTER, text(b"a\0b"))),
    "text after the fields": plan(record(UNLINK, ops.AFTER, text(b"a") + bytes(8))),
    "string without its NUL": plan(record(UNLINK, ops.AFTER, struct.pack("<I", 4) + b"abcdefgh" + bytes(4))),
    "string longer than its record": plan(record(UNLINK, ops.AFTER, text(b"abc", length=4))),
    "no field": plan(record(UNLINK, ops.AFTER, b"")),
    "half a field": plan(record(UNLINK, ops.AFTER, struct.pack("<I", 0))),
    "a field too few": plan(record(RESTART, ops.AFTER, bytes(24))),
    "operation 0": plan(record(0, ops.AFTER, b"")),
    "unknown operation": plan(record(9999, ops.AFTER, b"")),
    "unknown side": plan(record(UNLINK, 99, text(b"a"))),
    "cut off": plan(record(UNLINK, ops.AFTER, text(b"a")))[:-8],
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_one_thing_wrong_is_enough(helper: Helper, data: bytes) -> None:
    assert helper.launch(plan(record(UNLINK, ops.AFTER, text(b"a")))) == (0, b"")
    helper.refuses(data)


@pytest.mark.parametrize("length", [9, 100, 4000, 5000, 70000, 1 << 20, (1 << 31) - 1, (1 << 32) - 9, (1 << 32) - 1])
def test_nothing_is_read_behind_the_plan(helper: Helper, length: int) -> None:
    """The plan fills its pages to the end, so that one byte more would be a crash."""
    filler = record(UNLINK, ops.AFTER, text(b"x" * (4096 - 24 - 8 - 5 - 16)))
    for last in (
        record(UNLINK, ops.AFTER, text(b"abc", length)),
        record(ops.Handover.code, ops.AFTER, struct.pack("<II", length, 1)),
    ):
        data = plan(filler, last)
        assert len(data) == 4096
        helper.refuses(data)


def test_an_empty_plan_does_nothing(helper: Helper) -> None:
    assert helper.launch(encode([])) == (0, b"")


def test_noise_is_refused(helper: Helper) -> None:
    noise = random.Random(5)
    helper.refuses(b"")
    for size in range(1, 300, 7):
        helper.refuses(noise.randbytes(size))
        helper.refuses(struct.pack("<8sIIII", b"PYCPLAN\0", 1, size + 24, 1 + size // 8, 0) + noise.randbytes(size))


@pytest.mark.parametrize("seals", [0, SEAL_SHRINK, SEAL_WRITE, SEAL_GROW | SEAL_SEAL | SEAL_SHRINK])
def test_a_plan_that_could_still_change_is_refused(helper: Helper, seals: int) -> None:
    status, text = helper.launch(PLAN, seals)
    assert status == 125
    assert text == b"pycontain: the launch plan cannot be read: Operation not permitted (record 0)\n"


def test_a_file_that_is_no_memfd_is_refused(helper: Helper, tmp_path: Path) -> None:
    path = tmp_path / "plan"
    path.write_bytes(PLAN)
    fd = os.open(path, os.O_RDONLY)
    os.set_inheritable(fd, True)
    status, text = helper.run("launch", str(fd))
    os.close(fd)
    assert status == 125 and b"cannot be read" in text


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("launch",),
        ("launch", "x"),
        ("launch", ""),
        ("launch", "-1"),
        ("launch", "999"),
        ("launch", "99999999999999999999"),
        ("launch", "3", "4"),
        ("attach",),
        ("nonsense",),
    ],
)
def test_what_nobody_should_call_ends_with_125(helper: Helper, arguments: tuple[str, ...]) -> None:
    assert helper.run(*arguments)[0] == 125
