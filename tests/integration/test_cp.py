"""cp: both ways, running or not, and nothing that a container has prepared leads out of it."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from world import World


@pytest.fixture(params=["running", "stopped"])
def box(world: World, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container with some files, that runs or does not."""
    script = "mkdir -p /data/sub; cd /data; echo one >a; echo two >sub/b; chmod 640 a; ln -s /etc/hostname link"
    world.ok("run", "--name", "box", "--network", "none", "busybox", "sh", "-c", script)
    if request.param == "running":
        world.ok("create", "--name", "other", "--network", "none", "busybox", "sleep", "1000")
        world.ok("rm", "box")
        world.ok("rename", "other", "box")
        world.ok("start", "box")
        world.ok("exec", "box", "sh", "-c", script)
    yield "box"


def test_out(world: World, box: str, tmp_path: Path) -> None:
    world.ok("cp", "box:/data", str(tmp_path / "new"))
    assert (tmp_path / "new/a").read_text() == "one\n"
    assert (tmp_path / "new/a").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "new/sub/b").read_text() == "two\n"
    assert os.readlink(tmp_path / "new/link") == "/etc/hostname"
    world.ok("cp", "box:data", str(tmp_path))  # into a directory that exists
    assert (tmp_path / "data/sub/b").read_text() == "two\n"
    (tmp_path / "content").mkdir()
    world.ok("cp", "box:/data/.", str(tmp_path / "content"))
    assert sorted(os.listdir(tmp_path / "content")) == ["a", "link", "sub"]
    world.ok("cp", "box:/data/a", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "one\n"


def test_in(world: World, box: str, tmp_path: Path) -> None:
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/file").write_text("host\n")
    (tmp_path / "tree/run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "tree/run.sh").chmod(0o755)
    world.ok("cp", str(tmp_path / "tree"), "box:/srv")
    world.ok("cp", str(tmp_path / "tree/deep/file"), "box:/data/a")  # in place of a file
    world.ok("cp", str(tmp_path / "tree"), "box:/data")  # into a directory
    world.ok("cp", "box:/srv/.", str(tmp_path / "back"))
    world.ok("cp", "box:/data", str(tmp_path / "data"))
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("file"))
    assert found == ["back/deep/file", "data/tree/deep/file", "tree/deep/file"] or "back/tree/deep/file" in found
    assert (tmp_path / "data/a").read_text() == "host\n"
    script = "stat -c '%a %u %g' /data/tree/run.sh"
    if world.status("box") != "running":
        world.ok("rm", "box")
        return
    assert world.ok("exec", "box", "sh", "-c", script) == "755 0 0"


def test_archives(world: World, box: str, tmp_path: Path) -> None:
    done = subprocess.run([*world.command, "cp", "box:/data", "-"], capture_output=True, check=True, timeout=60)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        names = archive.getnames()
        file = archive.extractfile("data/sub/b")
        assert file is not None and file.read() == b"two\n"
    assert names == ["data", "data/a", "data/link", "data/sub", "data/sub/b"]
    subprocess.run([*world.command, "cp", "-", "box:/tmp"], input=done.stdout, check=True, timeout=60)
    world.ok("cp", "box:/tmp/data/sub/b", str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == "two\n"


def test_links_of_the_container_stay_inside(world: World, box: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("host\n")
    link = f"rm -rf /evil; ln -s {tmp_path} /evil"
    if world.status("box") == "running":
        world.ok("exec", "box", "sh", "-c", link)
    else:
        world.ok("rm", "box")
        world.ok("run", "--name", "box", "--network", "none", "busybox", "sh", "-c", link)
    (tmp_path / "new").write_text("from outside\n")
    assert "no such file" in world.refused("cp", "box:/evil/canary", str(tmp_path / "stolen")).lower()
    assert not (tmp_path / "stolen").exists()
    world.refused("cp", str(tmp_path / "new"), "box:/evil/canary")
    assert canary.read_text() == "host\n"


def test_an_archive_leads_nowhere_else(world: World, box: str) -> None:
    for name, kind, link in (
        ("../out", tarfile.REGTYPE, ""),
        ("a/../../out", tarfile.REGTYPE, ""),
        ("hard", tarfile.LNKTYPE, "../../etc/passwd"),
    ):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            archive.addfile(member)
        assert "leads out" in world.refused("cp", "-", "box:/tmp", input=data.getvalue())


def test_an_archive_writes_through_no_link(world: World, box: str, tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
        file = tarfile.TarInfo("way/passwd")
        file.size = 5
        archive.addfile(file, io.BytesIO(b"evil\n"))
    world.refused("cp", "-", "box:/tmp", input=data.getvalue())
    world.ok("cp", "box:/etc/passwd", str(tmp_path / "passwd"))
    assert "evil" not in (tmp_path / "passwd").read_text()


def test_special_files_are_left_out(world: World, box: str, tmp_path: Path) -> None:
    script = "mkdir /odd; mkfifo /odd/fifo; echo x >/odd/file"
    if world.status("box") != "running":
        world.ok("rm", "box")
        world.ok("run", "--name", "box", "--network", "none", "busybox", "sh", "-c", script)
    else:
        world.ok("exec", "box", "sh", "-c", script)
    done = world("cp", "box:/odd", str(tmp_path / "odd"))
    assert done.returncode == 0 and "fifo: left out" in done.stderr
    assert os.listdir(tmp_path / "odd") == ["file"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("box:/nothing", "/tmp"), "box:/nothing"),
        (("box:/data/a", "/nonexistent/there"), "/nonexistent"),
        (("/nonexistent", "box:/tmp"), "/nonexistent"),
        (("box:/data", "box:/tmp"), "one of SOURCE and TARGET"),
        (("/etc/hostname", "/tmp/x"), "one of SOURCE and TARGET"),
        (("nobody:/data", "/tmp"), "no container 'nobody'"),
        (("box:/data", "/etc/hostname"), "is a file"),
    ],
)
def test_refused(world: World, box: str, arguments: tuple[str, str], words: str) -> None:
    assert words in world.refused("cp", *arguments)


def test_a_set_user_id_program_of_a_guest_is_none_on_the_host(world: World, workdir: Path) -> None:
    """Root's copy of it would be a program of the guest's that makes anybody root."""
    world.background("--name", "one", "--network", "none", "--init", "busybox", "sleep", "1000")
    world.ok("exec", "one", "sh", "-c", "mkdir /t; echo x >/t/s; chmod 6755 /t/s; chmod 3777 /t")
    world.ok("cp", "one:/t", str(workdir / "t"))
    assert stat.S_IMODE((workdir / "t" / "s").stat().st_mode) == 0o755
    assert stat.S_IMODE((workdir / "t").stat().st_mode) == 0o1777
    # into a container all is kept
    (workdir / "t" / "s").chmod(0o4755)
    world.ok("cp", str(workdir / "t" / "s"), "one:/s")
    assert world.ok("exec", "one", "stat", "-c", "%a", "/s") == "4755"
