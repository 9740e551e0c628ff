"""What is kept for test hosts: made once, whole or not at all, removed when nobody wants it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.host import cache, debian

_MAKER = """
import os, sys
from pathlib import Path
from tests.host import cache

def make(path: Path) -> None:
    (path / "half").touch()
    with open(os.environ["LOG"], "a") as log:
        log.write("made\\n")
    print("making", flush=True)
    sys.stdin.readline()
    (path / "whole").touch()

path = cache.kept("thing", "key", make)
print((path / "whole").exists(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYCONTAIN_TESTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setattr(cache, "_used", {})
    return tmp_path / "cache"


def maker() -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _MAKER]
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def touch(path: Path) -> None:
    (path / "whole").touch()


def old(path: Path) -> None:
    then = time.time() - 2 * 24 * 3600
    os.utime(path, (then, then))


def test_made_once_by_two_at_once(base: Path, tmp_path: Path) -> None:
    with maker() as first:
        assert line(first) == "making"
        with maker() as second:
            assert first.stdin and second.stdin
            first.stdin.write("\n")
            first.stdin.flush()
            assert line(first) == "True" and line(second) == "True"
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_killed_maker_leaves_nothing_half(base: Path) -> None:
    with maker() as process:
        assert line(process) == "making"
        process.send_signal(signal.SIGKILL)
    assert (base / "thing-key.partial" / "half").exists()
    path = cache.kept("thing", "key", touch)
    assert sorted(entry.name for entry in path.iterdir()) == ["whole"]
    assert not (base / "thing-key.partial").exists()


def test_a_maker_that_fails_is_asked_again(base: Path) -> None:
    def fail(path: Path) -> None:
        raise cache.NotReady("no")

    with pytest.raises(cache.NotReady, match="no"):
        cache.kept("thing", "key", fail)
    assert not list(base.glob("thing-*"))
    assert (cache.kept("thing", "key", touch) / "whole").exists()


def test_another_key_is_removed_a_day_after_its_last_use(base: Path) -> None:
    for name in ("thing-old", "thing-new", "other-old"):
        (base / name).mkdir(parents=True)
    old(base / "thing-old")
    old(base / "other-old")
    cache.kept("thing", "key", touch)
    assert sorted(path.name for path in base.glob("*-*")) == ["other-old", "thing-key", "thing-new"]


def test_what_is_in_use_is_not_removed(base: Path) -> None:
    with maker() as process:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
        assert [line(process), line(process)] == ["making", "True"]
        old(base / "thing-key")
        cache.kept("thing", "another", touch)
        assert (base / "thing-key").exists()
        process.stdin.write("\n")
        process.stdin.close()
        process.wait()
    cache._used.clear()
    cache.kept("thing", "a third", touch)
    assert not (base / "thing-key").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a root, as root")
def test_a_root_that_cannot_be_made_says_why(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCONTAIN_TESTS_MIRROR", f"deb [trusted=yes] file:{base}/nowhere {debian.release()} main")
    with pytest.raises(cache.NotReady, match=r"(?s)cannot be made: mmdebstrap ended with \d+:\n.*nowhere"):
        debian.root()
    assert not list(base.glob("root-*"))


@pytest.mark.parametrize("name", ["a:b", "a,b", "a b"])
def test_names_that_mount_options_cannot_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("PYCONTAIN_TESTS_CACHE", str(tmp_path / name))
    with pytest.raises(cache.NotReady, match="PYCONTAIN_TESTS_CACHE"):
        cache.directory()


def test_a_place_that_cannot_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PYCONTAIN_TESTS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(cache.NotReady, match="cannot be made"):
        cache.directory()
