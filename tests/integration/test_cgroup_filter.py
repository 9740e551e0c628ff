"""The device filter in the kernel: loaded by bpf(2), attached to a group of the test's own, met by open and mknod."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontain.cgroup import devices, hierarchy
from pycontain.cgroup import group as groups
from pycontain.cgroup.devices import ANY, BLOCK, CHAR, MKNOD, READ, WRITE, Rule
from pycontain.cgroup.group import Group

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loads eBPF programs, which root may")

BPF_PROG_LOAD, BPF_PROG_ATTACH = 5, 8
BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE = 15, 6
SYS_BPF = {"x86_64": 321, "aarch64": 280, "s390x": 351, "ppc64le": 361, "riscv64": 280}.get(platform.machine(), 321)

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = libc.syscall(SYS_BPF, command, buffer, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def load(program: bytes) -> int:
    code, licence, log = (
        ctypes.create_string_buffer(program, len(program)),
        ctypes.create_string_buffer(b"Apache-2.0"),
        ctypes.create_string_buffer(1 << 18),
    )
    addresses = [ctypes.addressof(code), ctypes.addressof(licence)]
    attributes = struct.pack(
        "=IIQQIIQII",
        BPF_PROG_TYPE_CGROUP_DEVICE,
        len(program) // 8,
        *addresses,
        1,
        len(log),
        ctypes.addressof(log),
        0,
        0,
    )
    try:
        return bpf(BPF_PROG_LOAD, attributes)
    except OSError as error:
        raise AssertionError(f"{error}: {log.value.decode()}") from None


def attach(group: Group, program: bytes) -> None:
    fd = load(program)
    try:
        bpf(BPF_PROG_ATTACH, struct.pack("=IIII", group.fd, fd, BPF_CGROUP_DEVICE, 0))
    finally:
        os.close(fd)


@pytest.fixture
def group() -> Iterator[Group]:
    with groups.create(hierarchy.find(), f"/pycontain-test-devices-{os.getpid()}") as made:
        yield made
        made.kill()
        made.remove()


PROBE = """
import os, sys
directory, own = sys.argv[1], sys.argv[2]
with open(own, "w") as file: file.write("0")
def say(what, call):
    try:
        result = call()
        if isinstance(result, int): os.close(result)
        print(what, 0)
    except OSError as error:
        print(what, error.errno)
for name in ("null", "zero", "urandom", "tty", "ptmx", "mem", "node"):
    path = directory + "/" + name
    say(name + " r", lambda: os.open(path, os.O_RDONLY | os.O_NOCTTY))
    say(name + " rw", lambda: os.open(path, os.O_RDWR | os.O_NOCTTY))
say("mknod c", lambda: os.mknod(directory + "/c", 0o20600, os.makedev(1, 7)))
say("mknod b", lambda: os.mknod(directory + "/b", 0o60600, os.makedev(8, 0)))
"""


def probe(group: Group, directory: Path) -> dict[str, int]:
    nodes = {"null": (1, 3), "zero": (1, 5), "urandom": (1, 9), "tty": (5, 0), "ptmx": (5, 2), "mem": (1, 1)}
    for name, (major, minor) in {**nodes, "node": (10, 237)}.items():
        os.mknod(directory / name, 0o20600, os.makedev(major, minor))
    run = subprocess.run(
        [sys.executable, "-c", PROBE, directory, f"{group.directory}/cgroup.procs"],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    return {what: int(number) for what, number in (line.rsplit(" ", 1) for line in run.stdout.splitlines())}


@pytest.fixture
def nodes() -> Iterator[Path]:
    """A directory whose file system has device nodes (a test's own tmp_path may be mounted nodev)."""
    directory = Path(f"/dev/shm/pycontain-test-{os.getpid()}")
    if os.statvfs("/dev/shm").f_flag & os.ST_NODEV:
        directory = Path(f"/root/.pycontain-test-{os.getpid()}")
    directory.mkdir()
    yield directory
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


def test_the_default_lets_the_standard_devices_be_opened(group: Group, nodes: Path) -> None:
    attach(group, devices.default_program())
    got = probe(group, nodes)
    assert {what: number for what, number in got.items() if number == errno.EPERM} == {
        "mem r": errno.EPERM,
        "mem rw": errno.EPERM,
        "node r": errno.EPERM,
        "node rw": errno.EPERM,
    }
    assert got["null rw"] == got["zero r"] == got["urandom r"] == got["mknod c"] == got["mknod b"] == 0


def test_without_a_filter_the_same_nodes_open(group: Group, nodes: Path) -> None:
    got = probe(group, nodes)
    assert errno.EPERM not in {got["null rw"], got["node r"], got["mknod c"]}


def test_rules_in_order(group: Group, nodes: Path) -> None:
    attach(
        group,
        devices.program(
            [
                Rule(True),
                Rule(False, CHAR, 1, 5, WRITE),
                Rule(False, CHAR, 1, 9),
                Rule(True, CHAR, 1, 9, READ),
                Rule(False, BLOCK, access=MKNOD),
            ]
        ),
    )
    got = probe(group, nodes)
    assert (got["zero r"], got["zero rw"]) == (0, errno.EPERM)
    assert (got["urandom r"], got["urandom rw"]) == (0, errno.EPERM)
    assert (got["null rw"], got["mknod c"], got["mknod b"]) == (0, 0, errno.EPERM)


def test_what_a_spec_says_is_what_the_kernel_does(group: Group, nodes: Path) -> None:
    spec = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 1, "access": "r"}]
    attach(group, devices.program(devices.compile(spec)))
    got = probe(group, nodes)
    assert got["mem r"] != errno.EPERM or not os.path.exists("/dev/mem")
    assert got["mem rw"] == errno.EPERM


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [Rule(True)],
        [Rule(False)],
        [Rule(True), Rule(False, CHAR, 1, 3, READ)],
        [
            Rule(bool(number % 2), CHAR if number % 3 else ANY, number % 4096, number, 1 + number % 7)
            for number in range(600)
        ],
    ],
    ids=["none", "all", "nothing", "one", "many"],
)
def test_the_verifier_takes_it(rules: list[Rule]) -> None:
    os.close(load(devices.program(rules)))
