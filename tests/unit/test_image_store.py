"""The image store: names, holds, removal."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from pycontain.image import store
from pycontain.kernel.errors import Error, InUse, NotFound, UsageError
from pycontain.storage import layers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers are written as root")

CONFIG: dict[str, Any] = {"Cmd": ["/bin/sh"], "Env": ["A=b"]}


def _layer(root: Path, size: int = 10) -> str:
    draft = layers.create(str(root))
    draft.tree.file("/f", b"x" * size)
    draft.commit("test")
    draft.release()
    return draft.id


def _image(root: Path, name: str, *ids: str) -> store.Image:
    ids = ids or (_layer(root),)
    return store.add(str(root), name, {**CONFIG, "Labels": {"n": name}}, ids, size=10)


def _never(container: str) -> bool:
    return False


def _always(container: str) -> bool:
    return True


def _everything(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_add_and_lookup(tmp_path: Path) -> None:
    root = str(tmp_path)
    layer = _layer(tmp_path)
    mounts = [{"source": "/usr", "target": "/usr", "options": ["ro"]}]
    history = [{"created": "t", "created_by": "x", "size": 10}]
    image = store.add(root, "a/b:1", CONFIG, [layer], mounts, size=10, history=history)
    assert re.fullmatch("[0-9a-f]{24}", image.id)
    for text in ("a/b:1", image.id, image.id[:6]):
        found = store.lookup(root, text)
        assert found and found.id == image.id and found.names == ["a/b:1"]
        assert found.record() == image.record()
    assert (
        found is not None
        and found.config == CONFIG
        and found.layers == [layer]
        and found.mounts == mounts
        and found.size == 10
    )
    assert found.architecture == store.machine() and found.created.endswith("Z") and found.problem == ""
    assert store.history(root, "a/b:1") == history
    assert os.readlink(tmp_path / "refs/a%2Fb%3A1") == f"../images/{image.id}"
    assert os.stat(tmp_path / "images").st_mode & 0o777 == 0o700
    assert [name for name in _everything(tmp_path) if "tmp" in name] == []


def test_lookup_of_nothing(tmp_path: Path) -> None:
    root = str(tmp_path)
    for text in ("none", "abcdef", "0" * 64, "none:1"):
        assert store.lookup(root, text) is None
        with pytest.raises(NotFound, match="does not exist: 'pycontain image ls'"):
            store.acquire(root, text, "c1")
    with pytest.raises(UsageError):
        store.lookup(root, "Bad")
    with pytest.raises(NotFound):
        store.history(root, "none")
    assert store.list_images(root) == []
    assert _everything(tmp_path) == []


def test_ambiguous_id(tmp_path: Path) -> None:
    for tail in ("0" * 18, "1" * 18):
        os.makedirs(tmp_path / "images" / ("abcdef" + tail) / "used")
    with pytest.raises(Error, match=r"abcdef is ambiguous: abcdef0+, abcdef1+: give more of it"):
        store.lookup(str(tmp_path), "abcdef")


def test_name_before_id(tmp_path: Path) -> None:
    first = _image(tmp_path, "one")
    second = _image(tmp_path, first.id[:8])
    found = store.lookup(str(tmp_path), first.id[:8])
    assert found and found.id == second.id


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"config":[],"layers":[],"mounts":[]}', "\xff"])
def test_damaged_record(tmp_path: Path, text: str) -> None:
    root = str(tmp_path)
    other = _image(tmp_path, "other")
    image = _image(tmp_path, "damaged")
    (tmp_path / f"images/{image.id}/image.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(Error, match=image.id):
        store.lookup(root, "damaged")
    listed = {found.id: found for found in store.list_images(root)}
    assert listed[image.id].problem and listed[image.id].names == ["damaged:latest"]
    # While nobody knows what it has, no layer goes; it can be removed, and then they do.
    store.prune(root, _never, layers)
    assert len(layers.committed(root)) == 2
    store.remove(root, "damaged", _never, layers)
    assert layers.committed(root) == other.layers


def test_a_name_that_cannot_be_given(tmp_path: Path) -> None:
    kept = _image(tmp_path, "kept")
    (tmp_path / "refs/a%3Alatest/x").mkdir(parents=True)
    with pytest.raises(Error, match=r"cannot write .*refs/a%3Alatest: Is a directory"):
        _image(tmp_path, "a", *kept.layers)
    assert os.listdir(tmp_path / "images") == [kept.id]
    assert sorted(os.listdir(tmp_path / "refs")) == ["a%3Alatest", "kept%3Alatest"]


def test_missing_layer(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"image a:latest: its layer 0{24} does not exist"):
        _image(tmp_path, "a", "0" * 24)
    assert store.lookup(str(tmp_path), "a") is None


def test_hold(tmp_path: Path) -> None:
    root = str(tmp_path)
    image = _image(tmp_path, "a")
    path = store.hold(root, image.id, "c1")
    assert os.path.exists(path) and store.holders(root, image.id) == ["c1"]
    with pytest.raises(InUse, match="c1 holds image"):
        store.hold(root, image.id, "c1")
    again, second = store.acquire(root, "a", "c2")
    assert again.id == image.id and second != path
    with pytest.raises(InUse, match=r"image a:latest is used by containers c1, c2: .*pycontain rm"):
        store.remove(root, "a", _never, layers)
    os.unlink(path)
    with pytest.raises(InUse, match="used by container c2:"):
        store.remove(root, "a", _never, layers)
    found = store.lookup(root, "a")
    assert found and store.holders(root, found.id) == ["c2"]
    os.unlink(second)
    removed = store.remove(root, "a", _never, layers)
    assert removed.untagged == ["a:latest"] and removed.deleted == [image.id] and removed.freed == 10
    assert _everything(tmp_path) == ["images", "layers", "refs"]
    with pytest.raises(NotFound, match=f"image {image.id} was removed"):
        store.hold(root, image.id, "c3")


def test_stale_holds(tmp_path: Path) -> None:
    root = str(tmp_path)
    image = _image(tmp_path, "a")
    for name in ("dead1", "live", "dead2"):
        store.hold(root, image.id, name)
    with pytest.raises(InUse, match="used by container live:"):
        store.remove(root, "a", lambda name: name.startswith("dead"), layers)
    store.remove(root, "a", _always, layers)
    assert store.list_images(root) == []


def test_names(tmp_path: Path) -> None:
    root = str(tmp_path)
    image = _image(tmp_path, "a")
    assert store.tag(root, "a", "b:2").names == ["a:latest", "b:2"]
    store.hold(root, image.id, "c1")
    with pytest.raises(InUse, match="several names: a:latest, b:2: remove them by name"):
        store.remove(root, image.id[:8], _never, layers)
    # Also in use: it keeps a name.
    removed = store.remove(root, "a", _never, layers)
    assert removed.untagged == ["a:latest"] and removed.deleted == []
    assert store.lookup(root, "a") is None and store.lookup(root, "b:2") is not None
    assert store.remove(root, image.id[:8], _always, layers).deleted == [image.id]
    with pytest.raises(NotFound):
        store.tag(root, "b:2", "c")


def test_shared_layers(tmp_path: Path) -> None:
    root = str(tmp_path)
    base, one, two = (_layer(tmp_path, size) for size in (1, 2, 4))
    _image(tmp_path, "one", base, one)
    _image(tmp_path, "two", base, two)
    assert store.remove(root, "one", _never, layers).freed == 2
    assert set(layers.committed(root)) == {base, two}
    assert store.remove(root, "two", _never, layers).freed == 5
    assert _everything(tmp_path) == ["images", "layers", "refs"]


def test_same_image_twice(tmp_path: Path) -> None:
    root = str(tmp_path)
    layer = _layer(tmp_path)
    first = store.add(root, "a", CONFIG, [layer], created="t")
    store.hold(root, first.id, "c1")
    second = store.add(root, "b", CONFIG, [layer], created="t")
    assert second.id == first.id and store.holders(root, first.id) == ["c1"]
    assert [image.names for image in store.list_images(root)] == [["a:latest", "b:latest"]]


def test_rebuilt_name(tmp_path: Path) -> None:
    root = str(tmp_path)
    old = _image(tmp_path, "a")
    store.hold(root, old.id, "c1")
    new = _image(tmp_path, "a")
    assert {image.id: image.names for image in store.list_images(root)} == {old.id: [], new.id: ["a:latest"]}
    store.repair(root, layers)
    assert len(store.list_images(root)) == 2
    assert store.prune(root, _never, layers).deleted == []
    removed = store.prune(root, _always, layers)
    assert removed.deleted == [old.id] and removed.freed == 10
    assert layers.committed(root) == new.layers


def test_nobody_can_reach_an_image_without_name_and_hold(tmp_path: Path) -> None:
    root = str(tmp_path)
    _image(tmp_path, "a")
    new = _image(tmp_path, "a")
    store.repair(root, layers)
    assert [image.id for image in store.list_images(root)] == [new.id]
    assert layers.committed(root) == new.layers


def test_prune(tmp_path: Path) -> None:
    root = str(tmp_path)
    used, unused = _image(tmp_path, "used"), _image(tmp_path, "unused")
    store.hold(root, used.id, "c1")
    assert store.prune(root, _never, layers).deleted == []
    assert store.prune(root, _never, layers, unused=True).deleted == [unused.id]
    assert [image.id for image in store.list_images(root)] == [used.id]


def test_repair(tmp_path: Path) -> None:
    """Every state that a killed process can leave is brought to an end."""
    root = str(tmp_path)
    kept = _image(tmp_path, "kept")
    half = _image(tmp_path, "half")
    os.rmdir(tmp_path / f"images/{half.id}/used")
    gone = _image(tmp_path, "gone")
    for path in (f"images/{gone.id}/used", f"images/{gone.id}"):
        for file in (tmp_path / path).iterdir():
            file.unlink() if file.is_file() else file.rmdir()
    (tmp_path / f"images/{gone.id}").rmdir()
    temporary = tmp_path / f"images/.tmp-{'0' * 24}"
    (temporary / "used").mkdir(parents=True)
    (temporary / "image.json.5.tmp").write_text("")
    (tmp_path / "refs/.tmp-7").symlink_to("../images/x")
    orphan = _layer(tmp_path)
    assert store.lookup(root, "gone") is None
    with pytest.raises(NotFound):
        store.acquire(root, "half", "c1")
    assert [image.id for image in store.list_images(root)] == [kept.id]
    store.repair(root, layers)
    assert orphan not in layers.committed(root) and layers.committed(root) == kept.layers
    assert sorted(os.listdir(tmp_path / "images")) == [kept.id]
    assert sorted(os.listdir(tmp_path / "refs")) == ["kept%3Alatest"]
    # A name that half-removed images had can be given again.
    assert _image(tmp_path, "half").id


def test_a_layer_that_is_being_made_is_not_unused(tmp_path: Path) -> None:
    root = str(tmp_path)
    draft = layers.create(root)
    draft.commit("committed, and no image has it yet")
    store.prune(root, _never, layers, unused=True)
    image = store.add(root, "a", CONFIG, [draft.id])
    draft.release()
    store.prune(root, _never, layers)
    assert layers.committed(root) == image.layers


def test_root_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Error, match=r"cannot write .*file/images: Not a directory: give --root elsewhere"):
        store.add(f"{tmp_path}/file", "a", CONFIG, [])
