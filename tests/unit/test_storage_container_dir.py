"""The container's directory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pycontain.kernel.errors import Error, InUse
from pycontain.storage import container_dir


def _mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_make(tmp_path: Path, umask: int) -> None:
    root = f"{tmp_path}/new/root"
    before = os.umask(umask)
    try:
        path = container_dir.make(root, "abc")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert path == container_dir.path(root, "abc") == f"{root}/containers/abc"
    assert sorted(os.listdir(path)) == ["etc", "root", "upper", "work"]
    assert _mode(path) == 0o700 and _mode(root) == 0o711 and _mode(f"{root}/containers") == 0o711
    # The guest's "/" is upper: everybody in there comes through it.
    assert _mode(f"{path}/upper") == 0o755 and _mode(f"{path}/work") == 0o700


def test_twice(tmp_path: Path) -> None:
    container_dir.make(str(tmp_path), "abc")
    with pytest.raises(InUse, match="abc exists already"):
        container_dir.make(str(tmp_path), "abc")
    assert os.path.isdir(f"{tmp_path}/containers/abc/upper")


def test_root_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Error, match=r"Not a directory.*--root elsewhere"):
        container_dir.make(f"{tmp_path}/file", "abc")


def test_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.mkdir

    def mkdir(path: str, mode: int = 0o777) -> None:
        if path.endswith("/root"):
            raise OSError(28, "No space left on device")
        real(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(Error, match=r"cannot create .*containers/abc: No space left on device: .*prune"):
        container_dir.make(str(tmp_path), "abc")
    assert os.listdir(f"{tmp_path}/containers") == []
