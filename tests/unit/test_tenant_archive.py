"""Copies and archives of an upper directory keep all of it."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from pycontain.engine.archive import Archive
from pycontain.kernel.errors import Error, UsageError
from pycontain.storage import treecopy
from pycontain.tenant import pack, unpack
from pycontain.tenant.settings import check
from pycontain.tenant.transfer import OUTSIDE, _outside

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="devices and owners need root")

SPARSE = 50 << 20


def fill(top: Path) -> None:
    (top / "d").mkdir()
    (top / "d" / "file").write_bytes(b"\0one\xff")
    os.link(top / "d" / "file", top / "z-link")
    os.symlink("../../outside", top / "d" / "sym")
    os.lchown(top / "d" / "sym", 5, 6)
    os.mknod(top / "gone", stat.S_IFCHR, os.makedev(0, 0))
    os.mkfifo(top / "fifo", 0o640)
    os.chown(top / "d" / "file", 1000, 65534)
    os.chmod(top / "d" / "file", 0o4751)
    with (top / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(SPARSE // 2)
        file.write(b"middle")
        file.truncate(SPARSE)
    (top / ("long" * 60)).write_text("x")
    os.setxattr(top / "d", "trusted.overlay.opaque", b"y")
    os.setxattr(top / "d", "trusted.overlay.origin", b"\0\1of this host")
    os.setxattr(top / "d" / "file", "user.bytes", b"\0\xff=\n")
    os.chmod(top / "d", 0o1700)
    os.utime(top / "d", ns=(10**18 + 1, 10**18 + 123456789))


def look(top: Path, local: bool = True) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for path in sorted([top, *top.rglob("*")]):
        info = path.lstat()
        kind = stat.S_IFMT(info.st_mode)
        content: object = os.readlink(path) if kind == stat.S_IFLNK else None
        content = path.read_bytes() if kind == stat.S_IFREG else content
        names = [name for name in os.listxattr(path, follow_symlinks=False) if local or name not in pack.LOCAL]
        attributes = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]
        time = 0 if kind == stat.S_IFLNK else info.st_mtime_ns
        links = info.st_nlink if kind == stat.S_IFREG else 0
        facts = (info.st_mode, info.st_uid, info.st_gid, info.st_rdev, links, time, attributes, content)
        found.append((str(path.relative_to(top)), *facts))
    return found


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    fill(source)
    return source, target


def opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def test_a_copy_is_the_same(trees: tuple[Path, Path]) -> None:
    source, target = trees
    copied = treecopy.tree(opened(source), opened(target))
    assert look(target) == look(source)
    assert os.stat(target / "sparse").st_blocks * 512 < 1 << 20
    assert copied.files == len(look(source)) - 1


def test_a_tree_too_deep_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    fd = opened(tmp_path / "a")
    for _ in range(treecopy.MAX_DEPTH + 2):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    with pytest.raises(Error, match="directories inside each other"):
        treecopy.tree(opened(tmp_path / "a"), opened(tmp_path / "b"))
    with pytest.raises(Error, match="directories inside each other"):
        pack.write(io.BytesIO(), b"{}", b"", opened(tmp_path / "a"), print)


def test_an_archive_is_the_same(trees: tuple[Path, Path]) -> None:
    source, target = trees
    out = io.BytesIO()
    pack.write(out, b"facts", b"settings", opened(source), lambda text: pytest.fail(text))
    assert len(out.getvalue()) < 1 << 20  # holes are none of it
    (target / "before").mkdir()
    reader = unpack.Reader(io.BytesIO(out.getvalue()), "it")
    assert reader.head() == (b"facts", b"settings")
    reader.extract(opened(target), 0, lambda text: pytest.fail(text))
    assert look(target, False) == look(source, False)
    assert os.stat(target / "sparse").st_blocks * 512 < 1 << 20


def test_an_archive_takes_no_more_room_than_it_has(trees: tuple[Path, Path]) -> None:
    source, target = trees
    (source / "large").write_bytes(bytes(range(256)) * 8192)
    out = io.BytesIO()
    pack.write(out, b"facts", b"settings", opened(source), print)
    reader = unpack.Reader(io.BytesIO(out.getvalue()), "it")
    reader.head()
    with pytest.raises(Error, match=r"disk\.space"):
        reader.extract(opened(target), 1 << 20, print)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_attributes_for_gigabytes_are_not_read(kind: bytes) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 8 << 30
    with pytest.raises(UsageError, match="has a header of 8589934592 bytes"):
        Archive(io.BytesIO(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))


def test_a_socket_is_left_out(tmp_path: Path) -> None:
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)
    said: list[str] = []
    pack.write(io.BytesIO(), b"", b"", opened(tmp_path), said.append)
    assert len(said) == 1 and "root/socket: left out" in said[0]


@pytest.mark.parametrize("cut", [0, 100, 600, 1200])
def test_what_is_cut_off_is_no_archive(tmp_path: Path, cut: int) -> None:
    out = io.BytesIO()
    pack.write(out, b"facts", b"settings", opened(tmp_path), print)
    with pytest.raises(UsageError):
        reader = unpack.Reader(io.BytesIO(out.getvalue()[:cut]), "it")
        reader.head()


def test_a_tree_that_is_cut_off_is_no_tree(trees: tuple[Path, Path]) -> None:
    source, target = trees
    out = io.BytesIO()
    pack.write(out, b"facts", b"settings", opened(source), print)
    data = out.getvalue()
    for cut in (3072, 4096, 8192, data.index(pack.END.encode())):
        reader = unpack.Reader(io.BytesIO(data[:cut]), "it")
        reader.head()
        with pytest.raises(UsageError):
            reader.extract(opened(target), 0, print)


def test_settings_that_reach_beyond_a_tenant(capsys: pytest.CaptureFixture[str]) -> None:
    harmless = check({"version": 1, "memory": {"limit": "1G"}, "environment": {"A": "b"}}, "")
    assert _outside(harmless.plain(), False) == []
    value = {
        "version": 1,
        "hooks": {"post-start": ["true"]},
        "mounts": [{"source": "/", "target": "/host"}],
        "rights": {"privileged_ids": True},
        "features": {"tun": True},
        "boot": {"onboot": "yes", "order": 5, "delay": 5},
        "memory": {"limit": "1G", "guarantee": "1G"},
        "cpu": {"units": 500000},
        "io": {"weight": 10000},
        "network": [{"addresses": ["10.88.1.10"], "mac": "02:00:00:00:00:01"}],
    }
    both = [*OUTSIDE, "network.0.addresses", "network.0.mac"]
    assert _outside(check(value, "").plain(), False) == both
    assert capsys.readouterr().err.count("left out") == len(both)
    assert _outside(check(value, "").plain(), True) == list(OUTSIDE)
