"""Storage against the kernel: lookup, options and file systems as overlayfs itself sees them."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from image_world import in_namespace, mount, needs_root
from pycontain.kernel.errors import Error
from pycontain.storage import container_dir, filesystem, lookup, overlay

pytestmark = needs_root

MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096


def _overlay(lower: list[str], upper: str, target: str) -> None:
    """An overlay with its work directory beside ``upper``."""
    os.makedirs(f"{upper}-work", exist_ok=True)
    mount("overlay", target, "overlay", 0, f"lowerdir={':'.join(lower)},upperdir={upper},workdir={upper}-work")


# --- lookup -----------------------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c")


def _path(source: random.Random) -> str:
    return "/".join(source.choice(NAMES) for _ in range(source.randint(1, 4)))


def _change(source: random.Random) -> None:
    """One change as a guest could make it; what cannot be done is left out."""
    path, other = f"/{_path(source)}", f"/{_path(source)}"
    kind = source.randrange(8)
    try:
        if kind < 3:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Path(path).write_text(str(source.random()))
        elif kind == 3:
            os.makedirs(path)
        elif kind == 4:
            os.unlink(path)
        elif kind == 5:
            shutil.rmtree(path)
        elif kind == 6:
            os.symlink(source.choice(("", "/", "../", "../../../")) + _path(source), path)
        else:
            os.rename(path, other)
    except OSError:
        pass


def _in_root(top: str, body: Callable[[], bytes]) -> bytes:
    """What ``body`` answers in a child whose root is ``top``: no link leads it to the host."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.chroot(top)
            os.chdir("/")
            os.write(writer, body())
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as file:
        answer = file.read()
    _, status = os.waitpid(child, 0)
    assert status == 0
    return answer


def _make_changes(source: random.Random, top: str, count: int) -> None:
    seed = source.random()

    def body() -> bytes:
        inner = random.Random(seed)
        for _ in range(count):
            _change(inner)
        return b""

    _in_root(top, body)


def _through_mount(top: str, path: str) -> bytes | str | None:
    """What a guest reads: the content of a regular file, None, "other" or "loop"."""

    def body() -> bytes:
        try:
            regular = stat.S_ISREG(os.stat(f"/{path}").st_mode)
            return b"=" + Path(f"/{path}").read_bytes() if regular else b"other"
        except OSError as error:
            return b"loop" if error.errno == errno.ELOOP else b"none"

    answer = _in_root(top, body)
    if answer[:1] == b"=":
        return answer[1:]
    return None if answer == b"none" else answer.decode()


@pytest.mark.parametrize("seed", range(12))
def test_lookup_sees_what_the_mount_shows(tmp_path: Path, seed: int) -> None:
    """Three layers made by random changes through real overlays: every path, by the kernel and by us."""
    source = random.Random(seed)

    def body() -> None:
        mount("tmpfs", str(tmp_path), "tmpfs")
        top = f"{tmp_path}/top"
        os.mkdir(top)
        trees = [f"{tmp_path}/l{number}" for number in range(4)]
        for tree in trees:
            os.mkdir(tree)
        _make_changes(source, trees[0], 80)
        for number in (1, 2, 3):
            _overlay(trees[:number][::-1], trees[number], top)
            _make_changes(source, top, 40)
            if number < 3:
                subprocess.run(["umount", top], check=True)
        found = {"=": 0, "none": 0, "other": 0, "loop": 0}
        paths = {"/".join(parts) for parts in _paths(4)}
        for path in sorted(paths):
            expected = _through_mount(top, path)
            try:
                actual: bytes | str | None = lookup.find_in(trees[::-1], path, 1000)
            except Error as error:
                actual = "loop" if "symbolic links" in error.message else "other"
            assert actual == expected, path
            found["=" if isinstance(expected, bytes) else expected or "none"] += 1
        assert found["="] and found["none"] and found["other"]

    in_namespace(body)


def _paths(depth: int) -> list[tuple[str, ...]]:
    if not depth:
        return []
    below = _paths(depth - 1)
    return [(name,) for name in NAMES] + [(name, *rest) for name in NAMES for rest in below]


# --- options ----------------------------------------------------------------------------------------------------------


def test_lower_is_what_mount_takes(tmp_path: Path) -> None:
    """Also with as many layers as it allows, and with the longest names of a container."""
    most = 0
    for count in range(1, 200):
        try:
            overlay.lower([f"{number:024x}" for number in range(count)])
            most = count
        except Error:
            break
    assert 60 < most < 199

    def body() -> None:
        mount("tmpfs", str(tmp_path), "tmpfs")
        layers = [f"{number:024x}" for number in range(most)]
        for layer in layers:
            os.makedirs(f"{tmp_path}/layers/{layer}")
            Path(f"{tmp_path}/layers/{layer}/who").write_text(layer)
        container = "f" * 64
        base = container_dir.make(str(tmp_path), container)
        os.chdir(tmp_path)
        where = f"containers/{container}"
        options = f"lowerdir={overlay.lower(layers)},upperdir={where}/upper,workdir={where}/work"
        mount("overlay", f"{base}/root", "overlay", 0, f"{options},metacopy=off,index=off,volatile")
        assert Path(f"{base}/root/who").read_text() == layers[-1]
        assert stat.S_IMODE(os.stat(f"{base}/root").st_mode) == 0o755

    in_namespace(body)


# --- file systems -----------------------------------------------------------------------------------------------------


def _tmpfs(place: str) -> None:
    mount("tmpfs", place, "tmpfs")


def _ramfs(place: str) -> None:
    mount("ramfs", place, "ramfs")


def _nested(place: str) -> None:
    mount("tmpfs", place, "tmpfs")
    for name in ("lower", "upper", "work", "nested"):
        os.mkdir(f"{place}/{name}")
    mount("overlay", place, "overlay", 0, f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work")


def _read_only(place: str) -> None:
    mount("tmpfs", place, "tmpfs", MS_RDONLY)


def _ext4(place: str) -> None:
    image = f"{place}.img"
    with open(image, "wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", image], check=True)
    done = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr.strip()}")


def _plain(place: str) -> None:
    """What the tests' directory is on."""


def _works_as_upper(place: str, beside: str) -> bool:
    """Whether overlayfs mounts with an upper directory in ``place``, and can replace a directory there."""
    try:
        for name in ("u", "w"):
            os.mkdir(f"{place}/{name}")
        os.makedirs(f"{beside}/lower/d/x")
        os.makedirs(f"{beside}/merged")
        mount(
            "overlay", f"{beside}/merged", "overlay", 0, f"lowerdir={beside}/lower,upperdir={place}/u,workdir={place}/w"
        )
        os.rmdir(f"{beside}/merged/d/x")
        os.rmdir(f"{beside}/merged/d")
        os.mkdir(f"{beside}/merged/d")
        return os.listdir(f"{beside}/merged/d") == []
    except OSError:
        return False


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_tmpfs, None),
        (_ext4, None),
        (_plain, None),
        (_ramfs, "is on ramfs: it has no trusted extended attributes"),
        (_nested, "is on overlay: overlayfs cannot use an overlay as upper directory"),
        (_read_only, "is on tmpfs: tmpfs is mounted read-only there"),
    ],
)
def test_upper_problem_says_what_the_kernel_does(
    tmp_path: Path, make: Callable[[str], None], words: str | None
) -> None:
    place, beside = f"{tmp_path}/place", f"{tmp_path}/beside"
    os.mkdir(place)
    os.mkdir(beside)

    def body() -> None:
        mount("tmpfs", beside, "tmpfs")
        make(place)
        before = None if words and "read-only" in words else os.listdir(place)
        problem = filesystem.upper_problem(place)
        assert before is None or os.listdir(place) == before
        if words is None:
            assert problem is None
        else:
            assert problem is not None and words in problem and "give --root on ext4, xfs, btrfs or tmpfs" in problem
        assert _works_as_upper(place, beside) is (problem is None)

    in_namespace(body)


def test_upper_problem_of_what_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in (filesystem.upper_problem(f"{tmp_path}/none") or "")
    assert "proc holds no files" in (filesystem.upper_problem("/proc/self") or "")


def test_container_dir_when_there_is_no_room(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()

    def body() -> None:
        outcomes = []
        for inodes in range(2, 12):
            mount("tmpfs", str(root), "tmpfs", 0, f"size=1m,nr_inodes={inodes}")
            try:
                container_dir.make(str(root), "abc")
                outcomes.append(True)
            except Error as error:
                assert "containers/abc: No space left on device: the file system is full" in error.message
                assert [name for _, names, files in os.walk(root) for name in names + files] in ([], ["containers"])
                outcomes.append(False)
            subprocess.run(["umount", str(root)], check=True)
        assert outcomes == sorted(outcomes) and not outcomes[0] and outcomes[-1]
        mount("tmpfs", str(root), "tmpfs", MS_RDONLY)
        with pytest.raises(Error, match="Read-only file system: give --root"):
            container_dir.make(str(root), "abc")

    in_namespace(body)
