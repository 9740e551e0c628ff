"""inotify: what happened in a directory."""

from __future__ import annotations

import select
from pathlib import Path

import pytest

from pycontain.kernel import inotify
from pycontain.kernel.errors import Error
from pycontain.kernel.inotify import Event, Inotify


def test_events_have_names(tmp_path: Path) -> None:
    with Inotify() as watch:
        number = watch.add(str(tmp_path), inotify.CREATE | inotify.MODIFY | inotify.MOVED_TO)
        assert watch.read() == []
        (tmp_path / "log").write_text("x")
        (tmp_path / "log").rename(tmp_path / "log.1")
        assert select.select([watch.fd], [], [], 5)[0]
        found = [(event.watch, event.mask, event.name) for event in watch.read()]
    assert found == [
        (number, inotify.CREATE, "log"),
        (number, inotify.MODIFY, "log"),
        (number, inotify.MOVED_TO, "log.1"),
    ]


def test_the_directory_itself_goes(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with Inotify() as watch:
        watch.add(str(tmp_path / "run"), inotify.DELETE_SELF)
        (tmp_path / "run").rmdir()
        assert [event.mask for event in watch.read()] == [inotify.DELETE_SELF, inotify.IGNORED]


def test_what_is_not_there_or_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Inotify() as watch:
        assert watch.add(str(tmp_path / "none"), inotify.CREATE) == -1
        with pytest.raises(Error, match=r"cannot watch .*Not a directory"):
            watch.add(str(tmp_path / "file"), inotify.CREATE)


def test_truncated_events_are_left_out() -> None:
    data = inotify._EVENT.pack(1, inotify.CREATE, 0, 16) + b"log".ljust(16, b"\0")
    (event,) = inotify.events(data + data[:10])
    assert isinstance(event, Event)
    assert (event.watch, event.name) == (1, "log")
