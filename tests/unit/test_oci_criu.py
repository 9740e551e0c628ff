"""What checkpoint and restore say to CRIU, and what they make of its answers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontain.kernel.errors import Error, UsageError
from pycontain.kernel.mountinfo import parse as parse_mounts
from pycontain.oci import criu, criu_options, external
from pycontain.oci import criu_messages as messages
from pycontain.oci.arguments import Call, parse
from pycontain.oci.criu_options import Options
from pycontain.oci.options import GLOBAL, VERBS

_NUMBERS = st.integers(0, (1 << 64) - 1)
_FIELDS = st.lists(st.tuples(st.integers(1, 1000), st.one_of(_NUMBERS, st.binary(max_size=300))))


@given(_FIELDS)
def test_messages_are_read_as_they_are_written(fields: list[tuple[int, int | bytes]]) -> None:
    found = messages.decode(messages.encode(fields))
    assert [(key, value) for key in found for value in found[key]] == sorted(
        fields, key=lambda field: list(found).index(field[0])
    )


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        messages.decode(data)
    except ValueError:
        pass


def test_messages_are_those_of_protobuf() -> None:
    """Examples of the format's description (protobuf.dev, "Encoding")."""
    assert messages.encode([(1, 150)]) == bytes.fromhex("089601")
    assert messages.encode([(2, "testing")]) == bytes.fromhex("120774657374696e67")
    assert messages.encode([(3, messages.encode([(1, 150)]))]) == bytes.fromhex("1a03089601")
    assert messages.encode([(1, -2)]) == bytes.fromhex("08feffffffffffffffff01")
    assert messages.number(messages.decode(b""), 7, 5) == 5
    assert messages.text(messages.decode(messages.encode([(9, "why")])), 9) == "why"


#: A program that answers as CRIU does: to every request with these bytes.
_PROGRAM = """\
#!{python}
import socket, sys
assert sys.argv[1:] == ["swrk", "3"]
link = socket.socket(fileno=3)
link.recv(65536)
for answer in {answers!r}:
    link.send(answer)
    link.recv(65536)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "criu"


def write(program: Path, *answers: list[tuple[int, Any]]) -> str:
    program.write_text(_PROGRAM.format(python=sys.executable, answers=[messages.encode(one) for one in answers]))
    program.chmod(0o755)
    return str(program)


def version(major: int, minor: int) -> list[tuple[int, Any]]:
    return [(1, messages.VERSION), (2, 1), (messages.RESPONSE_VERSION, messages.encode([(1, major), (2, minor)]))]


def test_versions(program: Path) -> None:
    for good in ((4, 1), (4, 2), (5, 0)):
        criu.check_version(write(program, version(*good)))
    for old in ((3, 17), (4, 0)):
        path = write(program, version(*old))
        words = f"{path} is CRIU {old[0]}.{old[1]}, which is too old: install CRIU 4.1 or newer, or name it with --criu"
        with pytest.raises(Error) as caught:
            criu.check_version(path)
        assert caught.value.message.startswith(words) and caught.value.status == 1


def test_what_is_no_criu(program: Path) -> None:
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(Error, match="does not say its version, as CRIU does: it has ended with status 3"):
        criu.check_version(str(program))
    program.write_text("")  # cannot be executed
    with pytest.raises(Error, match="it has ended with status 127"):
        criu.check_version(str(program))


def test_features(program: Path) -> None:
    yes = [(1, messages.FEATURE_CHECK), (2, 1), (messages.RESPONSE_FEATURES, messages.encode([(1, 1)]))]
    criu.check_feature(write(program, yes), "pre-dump", criu.MEMORY_TRACKING)
    no = [(1, messages.FEATURE_CHECK), (2, 1), (messages.RESPONSE_FEATURES, messages.encode([(1, 0)]))]
    with pytest.raises(Error, match=r"^--pre-dump: CRIU answers that it has no mem_track: this kernel"):
        criu.check_feature(write(program, no), "pre-dump", criu.MEMORY_TRACKING)


def test_notices_come_before_the_answer(program: Path) -> None:
    notice = [(1, messages.NOTIFY), (2, 1), (5, messages.encode([(1, "post-restore"), (2, 44)]))]
    path = write(program, notice, [(1, messages.RESTORE), (2, 1)])
    heard: list[tuple[str, int]] = []
    with criu.Criu(path) as process:
        process.ask(messages.RESTORE, [], lambda name, pid, _: heard.append((name, pid)))
    assert heard == [("post-restore", 44)]


def test_what_a_notice_raises_is_raised_when_criu_has_answered(program: Path) -> None:
    notice = [(1, messages.NOTIFY), (2, 1), (5, messages.encode([(1, "setup-namespaces"), (2, 44)]))]
    path = write(program, notice, [(1, messages.RESTORE), (2, 0)])

    def refuse(_name: str, _pid: int, _descriptors: list[int]) -> None:
        raise Error("not today")

    with criu.Criu(path) as process, pytest.raises(Error, match="not today"):
        process.ask(messages.RESTORE, [], refuse)


def test_a_refusal_has_criu_s_words(program: Path) -> None:
    path = write(program, [(1, messages.DUMP), (2, 0), (7, 1), (9, b"no\nreason")])
    with criu.Criu(path) as process, pytest.raises(criu.Failed, match=r"^no; reason$"):
        process.ask(messages.DUMP)


def test_the_excerpt_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "dump.log"
    log.write_text(
        "(00.1) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n"
        "(00.2) cg: fine\n"
        "(00.3)      1: Error (criu/files-reg.c:1790): Can't lookup mount=58 for fd=0 path=/dev/null\n"
        "(00.4) Error (criu/files-reg.c:1790): Can't lookup mount=58 for fd=0 path=/dev/null\n"
        "(00.5) Error (criu/cr-dump.c:2111): Dumping FAILED.\n"
    )
    assert criu.excerpt(str(log)) == "Can't lookup mount=58 for fd=0 path=/dev/null"
    assert criu.excerpt(str(tmp_path / "none")) == ""


def call(line: str) -> Call:
    return parse(line.split(), GLOBAL, VERBS)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("checkpoint --manage-cgroups-mode hard c", "Invalid manage-cgroups-mode value 'hard'"),
        ("restore --empty-ns pid c", "namespace 'pid' is not supported"),
    ],
)
def test_options_that_cannot_be(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Options(call(line), "x.log")


def test_options(program: Path, tmp_path: Path) -> None:
    path = write(program, version(4, 1))
    words = "--tcp-established --file-locks=false --manage-cgroups-mode strict --shell-job"
    options = Options(call(f"--criu {path} checkpoint --image-path {tmp_path} {words} c"), "dump.log")
    options.configuration({"annotations": {"org.criu.config": "/etc/mine.conf"}})
    ((field, data),) = options.request()
    assert field == messages.REQUEST_OPTIONS and isinstance(data, bytes)
    found = messages.decode(data)
    numbers = messages.OPTIONS
    assert found[numbers["tcp_established"]] == [1] == found[numbers["shell_job"]]
    assert numbers["file_locks"] not in found and numbers["leave_running"] not in found
    assert found[numbers["manage_cgroups_mode"]] == [5]
    assert found[numbers["empty_ns"]] == [0x40000000]
    assert found[numbers["config_file"]] == [b"/etc/mine.conf"]
    assert (options.images, options.log) == (str(tmp_path), f"{tmp_path}/dump.log")


@pytest.mark.parametrize(
    ("annotations", "path"),
    [({}, b"/etc/criu/runc.conf"), ({"org.criu.config": ""}, None), ({"org.criu.config": "/x"}, b"/x")],
)
def test_the_configuration_file(program: Path, annotations: dict[str, str], path: bytes | None) -> None:
    options = Options(call(f"--criu {write(program)} checkpoint c"), "dump.log")
    options.configuration({"annotations": annotations})
    data = options.request()[0][1]
    assert isinstance(data, bytes)
    assert messages.decode(data).get(messages.OPTIONS["config_file"]) == ([path] if path else None)


_HERE = b"""\
20 1 8:1 / / rw shared:1 - ext4 /dev/sda rw
21 20 0:6 / /dev rw - devtmpfs dev rw
22 20 0:30 / /run rw - tmpfs run rw
23 20 0:40 / /var/lib/c/merged rw - overlay overlay rw
24 20 0:5 / /proc rw - proc proc rw
"""
_THERE = b"""\
80 70 0:40 / / rw - overlay overlay rw
81 80 0:50 / /proc rw - proc proc rw
82 81 0:6 /null /proc/keys rw - devtmpfs dev rw
83 80 0:51 / /tmp rw - tmpfs tmpfs rw
84 80 0:30 /c/resolv.conf /etc/resolv.conf rw - tmpfs run rw
85 80 8:1 /srv/data /data rw - ext4 /dev/sda rw
86 80 0:40 /etc /etc/again ro - overlay overlay rw
87 80 0:5 / /host-proc rw - proc proc rw
"""


def test_the_mounts_that_come_from_outside() -> None:
    assert external.external(parse_mounts(_THERE), parse_mounts(_HERE)) == {
        "/proc/keys": "/dev/null",
        "/etc/resolv.conf": "/run/c/resolv.conf",
        "/data": "/srv/data",
    }


def test_binds_come_from_where_the_spec_says() -> None:
    spec = {
        "mounts": [
            {"destination": "/data", "type": "bind", "source": "data", "options": ["rbind"]},
            {"destination": "etc/one/", "type": "none", "source": "/one", "options": ["bind"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
        ]
    }
    saved = {"/data": "/old/data", "/data/disk": "/old/disk", "/proc/keys": "/dev/null"}
    assert external.sources_now(spec, "/bundle", saved) == {
        "/data": "/bundle/data",
        "/data/disk": "/bundle/data/disk",
        "/etc/one": "/one",
        "/proc/keys": "/dev/null",
        "/dev/null": "/dev/null",
    }
    with pytest.raises(Error, match="its mount /lost was of a file system that is mounted nowhere on this host"):
        external.sources_now(spec, "/bundle", {"/lost": ""})


def test_descriptors_that_are_given_on() -> None:
    extra: list[int] = []
    try:
        fields = external.inherited(["/dev/null file[3:4]", "pipe:[7]", "pipe:[7]"], extra)
        assert os.readlink(f"/proc/self/fd/{extra[0]}") == "/dev/null"
    finally:
        for fd in extra:
            os.close(fd)
    assert [value for _, value in fields] == [messages.pair("file[3:4]", 4), messages.pair("pipe:[7]", 1)]
    # what is the container's own is CRIU's business
    assert external.inherited(["/dev/null", "socket:[5]", ""], []) == []


def test_images_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"has no checkpoint: inventory.img is missing"):
        external.load(str(tmp_path))
    (tmp_path / "inventory.img").write_bytes(b"")
    with pytest.raises(Error, match=r"cannot read .*/descriptors.json: No such file"):
        external.load(str(tmp_path))
    external.save(str(tmp_path), ["/dev/null", "pipe:[7]", ""], {"/data": "/srv"})
    assert external.load(str(tmp_path)) == (["/dev/null", "pipe:[7]", ""], {"/data": "/srv"})
    (tmp_path / "mounts.json").unlink()  # images of runc have none
    assert external.load(str(tmp_path))[1] == {}


def labelled(tmp_path: Path, program: Path, words: str) -> dict[int, list[int | bytes]]:
    options = Options(call(f"--criu {write(program)} restore --image-path {tmp_path} {words} c"), "x.log")
    options.labels(call(f"restore {words} c"))
    data = options.request()[0][1]
    assert isinstance(data, bytes)
    return messages.decode(data)


def test_labels_are_given_where_the_kernel_has_their_module(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(criu_options, "_MODULES", {"apparmor": ("AppArmor", lambda: True)})
    monkeypatch.setattr(criu_options, "selinux_enabled", lambda: True)
    found = labelled(tmp_path, program, "--lsm-profile apparmor:box --lsm-mount-context u:r:t:s0")
    assert found[messages.OPTIONS["lsm_profile"]] == [b"apparmor:box"]
    assert found[messages.OPTIONS["lsm_mount_context"]] == [b"u:r:t:s0"]
    monkeypatch.setattr(criu_options, "_MODULES", {"apparmor": ("AppArmor", lambda: False)})
    with pytest.raises(Error, match=r"^--lsm-profile: AppArmor is not enabled on this host$"):
        labelled(tmp_path, program, "--lsm-profile apparmor:box")
    with pytest.raises(UsageError, match="it is apparmor:PROFILE or selinux:LABEL"):
        labelled(tmp_path, program, "--lsm-profile box")
