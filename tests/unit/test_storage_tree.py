"""Trees that nothing leaves."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontain.kernel.errors import Error
from pycontain.storage.tree import Tree, measure, remove_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trees are written as root")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "tree").mkdir()
    with Tree(str(tmp_path / "tree")) as tree:
        yield tree


def _mode(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_files_and_directories(tree: Tree) -> None:
    before = os.umask(0o077)
    try:
        tree.file("/a/b/c", b"content", 0o4755, 5, 6)
        tree.directory("/tmp", 0o1777, 7, 8)
        tree.symlink("/l", "a/b")
    finally:
        os.umask(before)
    assert Path(tree.path, "a/b/c").read_bytes() == b"content"
    status = os.stat(f"{tree.path}/a/b/c")
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4755, 5, 6)
    assert _mode(f"{tree.path}/a/b") == 0o755
    assert _mode(f"{tree.path}/tmp") == 0o1777 and os.stat(f"{tree.path}/tmp").st_gid == 8
    tree.file("/l/c", b"through a link")
    assert Path(tree.path, "a/b/c").read_bytes() == b"through a link"
    tree.directory("/tmp", 0o700)
    assert _mode(f"{tree.path}/tmp") == 0o700
    assert tree.exists("/a/b/c") and tree.exists("l") and not tree.exists("/x")


def test_links_lead_into_the_tree(tree: Tree, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    tree.symlink("/abs", str(outside))
    tree.symlink("/rel", "../outside")
    tree.symlink("/magic", f"/proc/{os.getpid()}/cwd")
    tree.directory(str(outside))
    tree.file("/abs/f", b"1")
    assert Path(tree.path + str(outside), "f").read_bytes() == b"1"
    with pytest.raises(Error, match="link to something that is not there"):
        tree.file("/rel/f", b"2")
    with pytest.raises(Error):
        tree.file("/magic/f", b"3")
    with pytest.raises(Error):
        tree.file("/..", b"4")
    tree.file("/../../f", b"5")
    assert Path(tree.path, "f").read_bytes() == b"5"
    assert os.listdir(outside) == []


def test_what_is_in_the_way_is_replaced_not_followed(tree: Tree, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("of the host")
    for text in (str(victim), "../victim", "inside"):
        tree.file("/inside", b"inside")
        tree.symlink("/f", text)
        tree.file("/f", b"new")
        assert not os.path.islink(f"{tree.path}/f")
        assert Path(tree.path, "inside").read_bytes() == b"inside"
    assert victim.read_text() == "of the host"
    tree.directory("/d")
    with pytest.raises(Error, match="/d: Is a directory"):
        tree.file("/d", b"")


def test_remove(tree: Tree, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "f").write_text("stays")
    for name in ("a/1.x", "a/2.x", "a/3.y", "b/1.x", "a/sub/4.x"):
        tree.file(f"/{name}", b"")
    tree.symlink("/a/link", str(victim))
    tree.symlink("/to-a", "/a")
    assert tree.remove("/*/1.x") == 3  # a, b and once more a through the link
    assert sorted(os.listdir(f"{tree.path}/a")) == ["2.x", "3.y", "link", "sub"]
    assert tree.remove("/to-a/*.y") == 1
    assert tree.remove("/a/link/f") == 0 and tree.remove("/none") == 0 and tree.remove("/none/*") == 0
    assert tree.remove("/a/link") == 1 and (victim / "f").exists()
    assert tree.remove("/a") == 1 and not tree.exists("/a") and tree.exists("/b")
    assert tree.remove("/*") == 2


def test_copy(tree: Tree, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "open/deep").mkdir(parents=True)
    (source / "closed").mkdir()
    for name, mode in (("open/f", 0o4644), ("open/deep/g", 0o755), ("open/secret", 0o640), ("closed/h", 0o644)):
        (source / name).write_text(name)
        os.chmod(source / name, mode)
    os.chmod(source / "closed", 0o750)
    os.chown(source / "open/f", 12, 13)
    os.utime(source / "open/f", (1, 2))
    os.mkfifo(source / "fifo")
    (source / "link").symlink_to("/nowhere")
    assert tree.copy(str(source), "/public", public=True) == 3
    assert tree.copy(str(source), "/all") == 5
    assert not tree.exists("/public/open/secret") and not tree.exists("/public/closed") and not tree.exists("/all/fifo")
    assert os.readlink(f"{tree.path}/public/link") == "/nowhere"
    status = os.stat(f"{tree.path}/public/open/f")
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), status.st_mtime) == (0, 0, 0o644, 2)
    assert _mode(f"{tree.path}/all/open/secret") == 0o640
    with pytest.raises(Error, match="none: No such file"):
        tree.copy(f"{source}/none", "/x")


def test_measure(tree: Tree, tmp_path: Path) -> None:
    tree.file("/a/f", b"x" * 1000)
    os.link(f"{tree.path}/a/f", f"{tree.path}/g")
    os.truncate(f"{tree.path}/g", 5000)
    (tmp_path / "big").write_bytes(b"x" * 9999)
    tree.symlink("/l", str(tmp_path / "big"))
    tree.symlink("/d", str(tmp_path))
    for number in range(100):
        tree.file(f"/many/{number}/f", b"x")
    before = len(os.listdir("/proc/self/fd"))
    assert measure(tree.path) == 5100
    assert len(os.listdir("/proc/self/fd")) == before


def test_remove_tree(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/f").write_text("stays")
    top = tmp_path / "top"
    (top / "d").mkdir(parents=True)
    (top / "d/link").symlink_to(tmp_path / "host")
    (top / "d/file").write_text("")
    os.mkfifo(top / "fifo")
    remove_tree(str(top))
    assert not top.exists() and (tmp_path / "host/f").exists()
    remove_tree(str(top))
    remove_tree(f"{top}/none/none")


def test_remove_tree_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "top/d").mkdir(parents=True)
    remove_tree("top")
    assert os.listdir(tmp_path) == []


def test_remove_tree_that_is_deeper_than_paths_and_descriptors(tmp_path: Path) -> None:
    name = "d" * 100
    top = tmp_path / "top"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(200):
        os.mkdir(name, dir_fd=fd)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        child = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = child
    os.close(fd)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (120, hard))
    try:
        remove_tree(str(top))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not top.exists()
