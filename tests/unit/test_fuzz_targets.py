"""The targets of tests/fuzz: their seeds are what they should be, and what fuzzing has found stays found."""

from __future__ import annotations

import io
import os
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.fuzz import mutate, targets

from full_spec import full
from pycontain.cgroup.merge import merge
from pycontain.engine import archive
from pycontain.engine.transfer import Copier
from pycontain.kernel import jsontext
from pycontain.kernel.errors import Error, UsageError
from pycontain.launch import plan
from pycontain.launch.ops import HOST, Rlimit
from pycontain.oci import create

CORPUS = Path(targets.__file__).with_name("corpus")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets' files go with the test's."""
    monkeypatch.setattr(targets, "_work", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_seeds_and_corpus(name: str) -> None:
    target = targets.TARGETS[name]
    seeds = target.seeds()
    assert seeds and all(seeds.values())
    kept = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())] if (CORPUS / name).is_dir() else []
    for data in [*seeds.values(), *kept]:
        target.run(data)


def test_a_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(create, "plan_of", broken)
    with pytest.raises(KeyError):
        targets.fuzz_config(b"{}")
    monkeypatch.setattr(create, "plan_of", lambda *_: (_ for _ in ()).throw(Error("no path")))
    with pytest.raises(AssertionError, match="no JSON path"):
        targets.fuzz_config(b"{}")


def test_changed_documents_are_documents() -> None:
    data, found = targets.TARGETS["config"].seeds()["full"], set()
    for seed in range(300):
        changed = mutate.mutate(data, 1 << 20, seed)
        assert changed is not None and type(jsontext.loads(changed.decode())) is dict
        found.add(changed)
    assert len(found - {data}) > 290
    assert mutate.mutate(b"{", 100, 1) is None and mutate.mutate(b"[1, 2, 3]", 2, 1) is None
    assert mutate.change(5, random.Random(1)) in mutate.POOL


def test_archives_with_changed_headers_are_archives() -> None:
    data = bytearray(targets.TARGETS["archive"].seeds()[f"w-{tarfile.GNU_FORMAT}"])
    data[0:1] = b"e"
    with pytest.raises(tarfile.ReadError), tarfile.open(fileobj=io.BytesIO(data)):
        pass
    with tarfile.open(fileobj=io.BytesIO(mutate.with_checksums(bytes(data)))) as archive:
        assert archive.getnames()[:2] == ["e", "d/f"]


# --- findings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"x": {"hugepageLimits": ["a"]}}, {"cpu": {"weightDevice": [{"major": []}]}}])
def test_an_unknown_property_with_a_known_name_is_merged_as_it_is(change: dict[str, Any]) -> None:
    """`update -r` ended with a traceback: what is unknown had been taken for a list of limits."""
    merged = merge(full()["linux"]["resources"], change)
    key, inner = next(iter(change.items()))
    assert inner.items() <= merged[key].items()


def test_numbers_that_are_too_large_are_no_json() -> None:
    """1e999 was read as infinity, which create could not write into its state."""
    with pytest.raises(jsontext.JsonError, match="x: not JSON: 1e999 is too large for a number"):
        jsontext.loads('{"annotations": {"a": 1e999}}', "x")
    assert jsontext.loads("1e308") == 1e308


def test_errors_are_one_printable_line() -> None:
    """What an error quotes may be another's: a path with line ends, or with what a terminal acts upon."""
    error = Error("cannot open a\nb\x1b[2J\udc91 \u2028 ü: it is gone")
    assert error.message == "cannot open a\\nb\\x1b[2J\\udc91 \\u2028 ü: it is gone" == str(error)


def test_limits_of_more_than_63_bits_are_said_as_they_are() -> None:
    ((_, op),) = plan.decode(plan.encode([(HOST, Rlimit(3, 5, 1 << 63))]))
    assert op.describe().endswith("5 (soft) and 9223372036854775808 (hard)")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mtime": 1 << 65}, "'f' of the time"),
        ({"pax_headers": {"mtime": "nan"}}, "'f' of the time nan"),
        ({"pax_headers": {"path": "a\0b"}}, "no file can be called so"),
        ({"type": tarfile.SYMTYPE, "size": 0, "pax_headers": {"linkpath": "a\0b"}}, "a symbolic link 'f' to 'a"),
    ],
)
def test_members_that_no_file_can_be(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        entry = tarfile.TarInfo("f")
        entry.size = 3
        for name, value in change.items():
            setattr(entry, name, value)
        made.addfile(entry, io.BytesIO(b"abc"))
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(UsageError, match=words):
            archive.extract(io.BytesIO(out.getvalue()), fd, Copier((os.getuid(), os.getgid()), print))
    finally:
        os.close(fd)


def test_an_archive_that_promises_more_than_it_has_ends(tmp_path: Path) -> None:
    """tarfile reads on behind the end, 2**63 bytes in steps of ten thousand."""
    entry = tarfile.TarInfo("d")
    entry.type, entry.size = tarfile.XGLTYPE, 1 << 63
    header = mutate.with_checksums(entry.tobuf(tarfile.GNU_FORMAT))
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for kind in (tarfile.REGTYPE, b"Z"):
            data = bytearray(header)
            data[0:1], data[156:157] = kind.lower(), kind
            copier = Copier((os.getuid(), os.getgid()), print)
            source = io.BytesIO(mutate.with_checksums(bytes(data)))
            with pytest.raises(UsageError, match="standard input is not a tar archive"):
                archive.extract(source, fd, copier)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    "data",
    [
        # tarfile: AttributeError: '_Stream' object has no attribute 'exception'
        bytes.fromhex("1f8b081f8b0800be390a6b02ffedd64d0e865b1884e1ef283d01a52d2d5b0fc02550e24f4cd0dfc6850bc2464d"),
        b"BZh9" + b"\0" * 60,
        b"\xfd7zXZ\0" + b"\0" * 60,
        b"",
        b"\0" * 100,
    ],
)
def test_an_archive_that_is_none_is_a_usage_error(tmp_path: Path, data: bytes) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(UsageError, match="standard input is not a tar archive"):
            archive.extract(io.BytesIO(data), fd, Copier((os.getuid(), os.getgid()), print))
    finally:
        os.close(fd)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
