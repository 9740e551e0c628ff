"""Files in merged layers, without a mount. What needs a real overlay is in tests/integration."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from pycontain.kernel.errors import Error
from pycontain.storage.lookup import MAX_DEPTH, find_file, find_in

LIMIT = 1000


@pytest.fixture
def layers(tmp_path: Path) -> list[Path]:
    """Three empty layers, the bottom one first."""
    paths = [tmp_path / "layers" / name for name in ("aa", "bb", "cc")]
    for path in paths:
        path.mkdir(parents=True)
    return paths


def _file(layer: Path, name: str, content: str) -> Path:
    path = layer / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def _whiteout(layer: Path, name: str) -> None:
    path = layer / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(0, 0))


def _look(layers: list[Path], name: str = "etc/passwd") -> bytes | None:
    root = str(layers[0].parent.parent)
    return find_file(root, [layer.name for layer in layers], name, LIMIT)


def test_top_layer_wins(layers: list[Path]) -> None:
    _file(layers[0], "etc/passwd", "bottom")
    assert _look(layers) == b"bottom"
    assert _look(layers, "/etc//./passwd") == b"bottom"
    _file(layers[1], "etc/passwd", "middle")
    assert _look(layers) == b"middle"


def test_missing(layers: list[Path]) -> None:
    assert _look(layers) is None
    _file(layers[1], "etc/passwd", "")
    assert _look(layers) == b""
    assert _look(layers, "etc/passwd/x") is None
    assert _look(layers, "etc/passwd/..") is None
    assert _look(layers, "x" * 300) is None


def test_whiteout_hides_a_file(layers: list[Path]) -> None:
    _file(layers[0], "etc/passwd", "bottom")
    _whiteout(layers[1], "etc/passwd")
    assert _look(layers) is None
    assert _look(layers[:1]) == b"bottom"
    _file(layers[2], "etc/passwd", "new")
    assert _look(layers) == b"new"


def test_whiteout_hides_a_directory(layers: list[Path]) -> None:
    _file(layers[0], "etc/passwd", "bottom")
    _whiteout(layers[1], "etc")
    assert _look(layers) is None
    _file(layers[2], "etc/group", "new")
    assert _look(layers) is None
    assert _look(layers, "etc/group") == b"new"


def test_file_hides_a_directory(layers: list[Path]) -> None:
    _file(layers[0], "etc/passwd", "bottom")
    _file(layers[1], "etc", "a file")
    assert _look(layers) is None
    assert _look(layers, "etc") == b"a file"
    (layers[2] / "etc").mkdir()
    assert _look(layers) is None
    with pytest.raises(Error, match="is a directory"):
        _look(layers, "etc")


@pytest.mark.parametrize("prefix", ["user", "trusted"])
def test_opaque_directory(layers: list[Path], prefix: str) -> None:
    if prefix == "trusted" and os.geteuid():
        pytest.skip("trusted extended attributes need root")
    _file(layers[0], "etc/passwd", "bottom")
    _file(layers[1], "etc/group", "middle")
    os.setxattr(layers[1] / "etc", f"{prefix}.overlay.opaque", b"y")
    assert _look(layers) is None
    assert _look(layers, "etc/group") == b"middle"


def test_links_stay_in_the_view(layers: list[Path]) -> None:
    _file(layers[0], "usr/etc/passwd", "right")
    (layers[2] / "etc").symlink_to("/usr/etc")
    assert _look(layers) == b"right"
    (layers[1] / "up").symlink_to("../../../../../../usr/etc/passwd")
    assert _look(layers, "up") == b"right"
    _file(layers[1], "usr/etc/passwd", "upper")
    assert _look(layers, "up") == b"upper"
    assert _look(layers, "etc/../etc/passwd") == b"upper"


def test_links_to_the_host(layers: list[Path], tmp_path: Path) -> None:
    secret = _file(tmp_path, "secret", "of the host")
    (layers[0] / "a").symlink_to(secret)
    (layers[0] / "b").symlink_to("../../secret")
    (layers[0] / "c").symlink_to(tmp_path)
    (layers[0] / "d").symlink_to(f"/proc/{os.getpid()}/root{secret}")
    for name in ("a", "b", "c/secret", "d", "../../secret", "../" * 30 + str(secret)):
        assert _look(layers, name) is None


def test_link_loop(layers: list[Path]) -> None:
    (layers[0] / "a").symlink_to("b")
    (layers[1] / "b").symlink_to("a")
    with pytest.raises(Error, match="symbolic links"):
        _look(layers, "a")


def test_too_deep(layers: list[Path]) -> None:
    _file(layers[0], "d/" * (MAX_DEPTH - 1) + "f", "ok")
    assert _look(layers, "d/" * (MAX_DEPTH - 1) + "f") == b"ok"
    _file(layers[0], "d/" * (MAX_DEPTH + 1) + "f", "deep")
    with pytest.raises(Error, match="directories deep"):
        _look(layers, "d/" * (MAX_DEPTH + 1) + "f")


def test_only_regular_files(layers: list[Path]) -> None:
    os.mkfifo(layers[0] / "fifo")
    (layers[0] / "dir").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(layers[0] / "socket"))
    listener.close()
    # A FIFO without a writer: opening it for reading would wait for ever.
    with pytest.raises(Error, match="is a FIFO, not a regular file"):
        _look(layers, "fifo")
    with pytest.raises(Error, match="is a directory"):
        _look(layers, "dir")
    with pytest.raises(Error, match="is a directory"):
        _look(layers, "/")
    with pytest.raises(Error, match="is a socket"):
        _look(layers, "socket")


@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes need root")
def test_devices_are_not_opened(layers: list[Path]) -> None:
    os.mknod(layers[0] / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with pytest.raises(Error, match="is a device"):
        _look(layers, "null")


def test_size_limit(layers: list[Path]) -> None:
    _file(layers[0], "f", "x" * LIMIT)
    assert _look(layers, "f") == b"x" * LIMIT
    _file(layers[1], "f", "x" * (LIMIT + 1))
    with pytest.raises(Error, match=f"{LIMIT + 1} bytes, more than {LIMIT}"):
        _look(layers, "f")
    path = _file(layers[2], "f", "")
    os.truncate(path, 1 << 40)
    with pytest.raises(Error, match="bytes, more than"):
        _look(layers, "f")


@pytest.mark.parametrize("name", ["redirect", "metacopy"])
def test_what_only_a_mount_can_resolve(layers: list[Path], name: str) -> None:
    path = _file(layers[1], "etc/passwd", "")
    os.setxattr(path.parent if name == "redirect" else path, f"user.overlay.{name}", b"x")
    with pytest.raises(Error, match=name):
        _look(layers)


@pytest.mark.parametrize("name", ["redirect", "metacopy", "opaque"])
def test_attributes_of_one_tree_mean_nothing(layers: list[Path], name: str) -> None:
    """A container's root, where the guest sets what it likes."""
    path = _file(layers[0], "etc/passwd", "the guest's")
    for place in (path, path.parent):
        os.setxattr(place, f"user.overlay.{name}", b"y")
    assert find_in([str(layers[0])], "/etc/passwd", 4096) == b"the guest's"


def test_descriptors_are_closed(layers: list[Path]) -> None:
    test_links_stay_in_the_view(layers)
    os.mkfifo(layers[0] / "fifo")
    (layers[0] / "l1").symlink_to("l1")
    before = os.listdir("/proc/self/fd")
    for name in ("etc/passwd", "up", "fifo", "l1", "none", "usr/none/x"):
        try:
            _look(layers, name)
        except Error:
            pass
    assert os.listdir("/proc/self/fd") == before


def test_missing_layer(layers: list[Path]) -> None:
    with pytest.raises(Error, match="layers are damaged"):
        find_in([str(layers[0]), str(layers[0]) + "-none"], "etc/passwd", LIMIT)
