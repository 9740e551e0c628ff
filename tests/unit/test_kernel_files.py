"""Files that are read whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pycontain.kernel import files


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(OSError, match="it is no regular file"):
            files.read_bytes(str(path), regular=True)
    with pytest.raises(IsADirectoryError):
        files.read_bytes(str(tmp_path), regular=True)
    (tmp_path / "file").write_bytes(b"content")
    assert files.read_bytes(str(tmp_path / "file"), regular=True) == b"content"


def test_a_file_without_an_end_is_too_large() -> None:
    with pytest.raises(OSError, match="File too large"):
        files.read_bytes("/dev/zero", limit=1 << 20)
