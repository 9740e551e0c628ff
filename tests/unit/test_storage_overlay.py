"""The lowerdir option."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontain.engine import start
from pycontain.engine.paths import Paths
from pycontain.engine.record import Record
from pycontain.kernel import rootless
from pycontain.kernel.errors import Error
from pycontain.storage.overlay import PAGE, lower


def test_top_layer_first() -> None:
    assert lower(["aa", "bb", "cc"]) == "layers/cc:layers/bb:layers/aa"
    assert lower(["aa"]) == "layers/aa"


def test_no_layers() -> None:
    with pytest.raises(Error, match="no layers"):
        lower([])


@pytest.mark.parametrize("layer", ["a:b", "a,b", "a\\b", "../x", "", "A", "a b", "a\0"])
def test_anything_but_hex(layer: str) -> None:
    with pytest.raises(Error, match="not hexadecimal"):
        lower(["aa", layer])


def test_too_many() -> None:
    layers = [f"{number:024x}" for number in range(1000)]
    with pytest.raises(Error, match=r"1000 layers, more than the (\d+) .*4096 bytes") as caught:
        lower(layers)
    most = int(caught.value.message.split("more than the ")[1].split()[0])
    value = lower(layers[:most])
    rest = (
        f"lowerdir={value},upperdir=containers/{'0' * 64}/upper,workdir=containers/{'0' * 64}/work,userxattr,volatile"
    )
    assert len(rest) < PAGE
    with pytest.raises(Error):
        lower(layers[: most + 1])


def test_files_of_a_root_are_whole_whatever_the_kernels_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rootless, "inside", lambda: False)
    record = Record(id="0" * 64, layers=["1" * 24])
    _, root = start.root_ops(Paths(str(tmp_path), str(tmp_path)), record, ["volatile"])
    assert "redirect_dir=off,metacopy=off,volatile" in root.values
