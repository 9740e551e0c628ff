"""Layers: made under a lock, complete when they have their name, swept when nobody has them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from pycontain.kernel.errors import Error
from pycontain.storage import layers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers are written as root")


def _names(root: Path) -> list[str]:
    return sorted(os.listdir(root / "layers"))


def test_commit(tmp_path: Path) -> None:
    draft = layers.create(str(tmp_path))
    assert _names(tmp_path) == [f".tmp-{draft.id}"] and len(draft.id) == 24
    assert layers.committed(str(tmp_path)) == []
    draft.tree.file("/f", b"12345")
    assert draft.commit("a test") == 5
    assert layers.committed(str(tmp_path)) == [draft.id]
    assert (tmp_path / "layers" / draft.id / "f").read_bytes() == b"12345"
    facts = layers.facts(str(tmp_path), draft.id)
    assert facts["size"] == 5 and facts["created_by"] == "a test" and facts["created"].endswith("Z")
    draft.release()
    draft.release()
    assert _names(tmp_path) == [draft.id, f"{draft.id}.json"]
    assert os.stat(tmp_path / "layers").st_mode & 0o777 == 0o700
    assert os.stat(tmp_path / "layers" / draft.id).st_mode & 0o777 == 0o755


def test_discard(tmp_path: Path) -> None:
    draft = layers.create(str(tmp_path))
    draft.tree.file("/d/f", b"")
    draft.discard()
    assert _names(tmp_path) == []
    draft = layers.create(str(tmp_path))
    draft.commit("")
    draft.discard()
    assert layers.committed(str(tmp_path)) == [draft.id]


def test_sweep_spares_what_is_being_made(tmp_path: Path) -> None:
    draft = layers.create(str(tmp_path))
    left = layers.create(str(tmp_path))
    left.tree.file("/f", b"")
    left.release()  # as when its maker is killed
    for name in (f"{left.id}.json", f"{left.id}.json.77.tmp", f"{'0' * 24}.json", f"{draft.id}.json.78.tmp"):
        (tmp_path / "layers" / name).write_text("{}")
    assert layers.sweep(str(tmp_path)) == 1
    assert _names(tmp_path) == [f".tmp-{draft.id}", f"{draft.id}.json.78.tmp"]
    draft.commit("")
    draft.release()
    assert layers.sweep(str(tmp_path)) == 0
    assert _names(tmp_path) == [draft.id, f"{draft.id}.json"]


def test_a_layer_that_is_committed_while_somebody_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweeper has opened the directory by its temporary name; then it gets its final one and is released."""
    draft = layers.create(str(tmp_path))
    real = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        if operation & fcntl.LOCK_NB and layers.committed(str(tmp_path)) == []:
            draft.commit("")
            draft.release()
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert layers.sweep(str(tmp_path)) == 0
    assert _names(tmp_path) == [draft.id, f"{draft.id}.json"]


def test_retire(tmp_path: Path) -> None:
    root = str(tmp_path)
    draft = layers.create(root)
    draft.tree.file("/f", b"123")
    draft.commit("")
    assert layers.retire(root, [draft.id]) == 0 and layers.committed(root) == [draft.id]
    draft.release()
    assert layers.retire(root, [draft.id, "0" * 24]) == 3
    assert layers.committed(root) == []
    assert layers.sweep(root) == 1 and _names(tmp_path) == []


def test_nothing_there(tmp_path: Path) -> None:
    root = f"{tmp_path}/none"
    assert layers.sweep(root) == 0 and layers.committed(root) == [] and layers.retire(root, ["aa"]) == 0
    assert not os.path.exists(root)


def test_root_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Error, match=r"cannot create a layer in .*file/layers: Not a directory"):
        layers.create(f"{tmp_path}/file")
