"""The lowerdir option."""

from __future__ import annotations

import pytest

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
