"""oci/pages.py: lists of pages, and files that have them or not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pycontain.kernel.errors import Error
from pycontain.oci import criu_messages as messages
from pycontain.oci import pages

PAGE = os.sysconf("SC_PAGE_SIZE")


def image(path: Path, magic: str, *entries: list[tuple[int, Any]]) -> Path:
    texts = [messages.encode(entry) for entry in entries]
    path.write_bytes(bytes.fromhex(magic) + b"".join(len(text).to_bytes(4, "little") + text for text in texts))
    return path


def write(directory: Path, process: str, *entries: list[tuple[int, Any]]) -> Path:
    return image(directory / f"pagemap-{process}.img", "1943565425400856", *entries)


def tree(directory: Path, *processes: int) -> None:
    image(directory / "pstree.img", "1943565430302750", *[[(1, process), (2, 0)] for process in processes])


def test_what_is_in_the_file_is_counted(tmp_path: Path) -> None:
    tree(tmp_path, 1)
    write(
        tmp_path,
        "1",
        [(1, 7)],
        [(1, 0x1000), (2, 3), (4, 4)],
        # older lists have no flags
        [(1, 0x2000), (2, 2)],
        # more than 32 bits
        [(1, 0x3000), (4, 4), (5, 1)],
        # lazy and there
        [(1, 0x4000), (2, 1), (4, 6)],
        # in an earlier checkpoint, as older lists and newer ones say it; with a server of pages
        [(1, 0x5000), (2, 100), (3, 1)],
        [(1, 0x6000), (2, 100), (4, 1)],
        [(1, 0x7000), (2, 100), (4, 2)],
    )
    file = tmp_path / "pages-7.img"
    file.write_bytes(bytes(7 * PAGE))
    pages.check(str(tmp_path))
    os.truncate(file, 7 * PAGE - 1)
    words = f"{file} is damaged: it has {7 * PAGE - 1} of {7 * PAGE} bytes of memory: make the checkpoint again"
    with pytest.raises(Error) as caught:
        pages.check(str(tmp_path))
    assert caught.value.message == words and caught.value.status == 1


def test_lists_of_other_processes_do_not_count(tmp_path: Path) -> None:
    """Those that an earlier checkpoint has left in the directory."""
    write(tmp_path, "1", [(1, 1)], [(1, 0), (2, 1), (4, 4)])
    (tmp_path / "pages-1.img").write_bytes(bytes(PAGE))
    old = write(tmp_path, "9", [(1, 1)], [(1, 0), (2, 5), (4, 4)])
    tree(tmp_path, 1, 7)  # 7 is a zombie, without memory
    pages.check(str(tmp_path))
    old.rename(tmp_path / "pagemap-7.img")
    with pytest.raises(Error, match=f"it has {PAGE} of {5 * PAGE} bytes"):
        pages.check(str(tmp_path))


def test_what_is_no_list(tmp_path: Path) -> None:
    tree(tmp_path, 1)
    path = write(tmp_path, "1", [(1, 1)], [(1, 0), (2, 1), (4, 4)])
    whole = path.read_bytes()
    for text in (b"", b"something", whole[:-1], whole[:8], whole[:-3] + b"\xff\xff\xff"):
        path.write_bytes(text)
        with pytest.raises(Error, match=r"pagemap-1.img is damaged: it is no list of pages: make the checkpoint again"):
            pages.check(str(tmp_path))
    path.write_bytes(whole)
    with pytest.raises(Error, match=r"pages-1.img, memory of the container: No such file or directory"):
        pages.check(str(tmp_path))


def test_what_criu_is_to_say(tmp_path: Path) -> None:
    pages.check(str(tmp_path))
    write(tmp_path, "1", [(1, 1)], [(1, 0), (2, 1), (4, 4)])
    (tmp_path / "pstree.img").write_bytes(b"damaged")
    pages.check(str(tmp_path))
