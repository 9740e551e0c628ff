"""Tenants' files as a whole: disks that follow the settings, snapshots, reinstall, export and import."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import disk_world
from disk_world import DiskWorld
from world import World, digest, eventually, reap

TEMPLATE = "busybox-vps"
#: What overlayfs notes of the layers' inodes: of this host only.
LOCAL = {"trusted.overlay.origin", "trusted.overlay.impure", "trusted.overlay.uuid"}
#: What a tenant leaves in its root: all that a snapshot and an archive have to keep.
FILES = """
echo one >/data; ln /data /link; mkdir /d; chown 7:8 /d; chmod 1751 /d; ln -s ../../etc/shadow /sym; mkfifo /fifo
dd if=/dev/zero of=/sparse bs=1 count=1 seek=9000000 2>/dev/null; rm /etc/securetty /etc/profile
rm -r /home; mkdir /home; touch -d '2001-02-03 04:05:06' /data; printf x >/home/deep
"""


class Tenants:
    """``pycontain tenant`` with settings of its own. kind: of disk_world.KINDS, "" for the machine's file system."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        self.kind = world.kind if isinstance(world, DiskWorld) else ""
        self.environment = {**os.environ, "PYCONTAIN_TENANTS": str(directory)}

    def __call__(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.world("tenant", *arguments, env=self.environment, **more)

    def ok(self, *arguments: str, **more: Any) -> str:
        return self.world.ok("tenant", *arguments, env=self.environment, **more)

    def refused(self, *arguments: str, **more: Any) -> str:
        return self.world.refused("tenant", *arguments, env=self.environment, **more)

    def create(self, name: str, *flags: str) -> None:
        self.ok("create", name, "--template", TEMPLATE, "--network", "none", *flags)

    def sh(self, name: str, script: str) -> str:
        return self.ok("exec", name, "sh", "-c", script)

    def container(self, name: str) -> Path:
        state = json.loads((self.world.root / "tenants" / name / "state.json").read_text())
        return self.world.root / "containers" / str(state["container"])


@pytest.fixture(scope="module")
def templates(images: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A store with the template, on the machine's own file system."""
    base = tmp_path_factory.mktemp("templates")
    found = World(base / "root", base / "run")
    for part in ("images", "layers", "refs"):
        (found.root / part).mkdir(mode=0o700, parents=True)
    disk_world.copy_image(images.root, found.root, "busybox")
    subprocess.run([*found.command, "image", "build", TEMPLATE], check=True, capture_output=True, timeout=120)
    return found


def emptied(world: World, tenants: Tenants) -> None:
    names = [path.name for path in (world.root / "tenants").glob("[!.]*")]
    if names:
        tenants.ok("destroy", "-f", *names)

    def clean() -> bool:
        reap()
        return not world.leftovers()

    assert eventually(clean), world.leftovers()
    assert [path.name for path in (world.root / "tenants").glob("*")] in ([], [".lock"])


@pytest.fixture
def plain(templates: World, tmp_path: Path) -> Iterator[Tenants]:
    """Tenants of a store without quotas."""
    found = Tenants(templates, tmp_path / "tenants")
    yield found
    emptied(templates, found)


@pytest.fixture(scope="module", params=["btrfs", "image"])
def kept(
    request: pytest.FixtureRequest, templates: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DiskWorld]:
    with disk_world.store(request.param, templates.root, tmp_path_factory.mktemp(request.param), TEMPLATE) as found:
        yield found


@pytest.fixture
def limited(kept: DiskWorld, tmp_path: Path) -> Iterator[Tenants]:
    """Tenants of a store that limits their disks, by each means that this machine's kernel has."""
    found = Tenants(kept, tmp_path / "tenants")
    yield found
    emptied(kept, found)


def upper(tenants: Tenants, name: str) -> list[tuple[object, ...]]:
    """All that there is to know of a tenant's files, where they can be seen."""
    base = tenants.container(name)
    top = base / "disk" / "upper" if (base / "disk" / "upper").exists() else base / "upper"
    return [facts_of(path, top) for path in sorted([top, *top.rglob("*")])]


def facts_of(path: Path, top: Path) -> tuple[object, ...]:
    info = path.lstat()
    what: object = None
    if stat.S_ISREG(info.st_mode):
        what = path.read_bytes()
    elif stat.S_ISLNK(info.st_mode):
        what = os.readlink(path)
    names = [name for name in os.listxattr(path, follow_symlinks=False) if name not in LOCAL]
    attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    links = info.st_nlink if stat.S_ISREG(info.st_mode) else 0
    # of a symbolic link no time: there is no call that sets it by a descriptor
    time = 0 if stat.S_ISLNK(info.st_mode) else info.st_mtime_ns
    facts = (info.st_mode, info.st_uid, info.st_gid, info.st_rdev, links, time, attributes, what)
    return (str(path.relative_to(top)), *facts)


LOOK = (
    "cat /data /link; stat -c %h /data; stat -c '%n %a %u:%g %F %Y' /data /d /fifo; readlink /sym; stat -c %s /sparse;"
    " echo $(($(du -k /sparse | cut -f1) < 100)); ls /home; ls /etc/securetty /etc/profile 2>&1; true"
)


# --- disks --------------------------------------------------------------------------------------------------------


def test_the_disk_follows_the_settings(limited: Tenants) -> None:
    limited.create("web1", "--disk", "24M")
    limited.ok("start", "web1")
    said = limited("exec", "web1", "sh", "-c", "dd if=/dev/zero of=/fill bs=64k count=640 2>&1").stdout
    assert "No space" in said or "uota" in said, said
    assert limited.sh("web1", "rm /fill; echo there") == "there"
    if limited.kind == "image":
        assert "cannot shrink while it is in use" in limited.refused("set", "web1", "--disk", "16M")
        assert limited.ok("get", "web1", "disk.space") == "24M"  # a change that was refused has changed nothing
    else:
        limited.ok("set", "web1", "--disk", "64M")
        assert "uota" not in limited.sh("web1", "dd if=/dev/zero of=/fill bs=64k count=640 2>&1; rm /fill")
    limited.sh("web1", "dd if=/dev/zero of=/half bs=1M count=10 conv=fsync 2>/dev/null")
    if limited.kind == "btrfs":
        disk_world.run("btrfs", "filesystem", "sync", str(limited.world.root))  # its groups count what is committed
    assert 10 << 20 <= int(limited.ok("list", "-H", "-o", "disk-used")) < 14 << 20
    limited.sh("web1", "rm /half")
    limited.ok("stop", "--fast", "web1")
    limited.ok("set", "web1", "--disk", "32M")
    limited.ok("start", "web1")
    said = limited("exec", "web1", "sh", "-c", "dd if=/dev/zero of=/fill bs=64k count=640 2>&1").stdout
    assert "No space" in said or "uota" in said, said


def test_a_tenant_without_a_limit_gets_one_at_its_next_start(plain: Tenants) -> None:
    plain.create("web1")
    plain.ok("start", "web1")
    plain.sh("web1", FILES)
    before = plain.sh("web1", LOOK)
    assert "disk.space" in plain.ok("set", "web1", "--disk", "24M")  # waits for a restart
    plain.ok("stop", "--fast", "web1")
    plain.ok("start", "web1")
    assert int(plain.sh("web1", "df -kP /").splitlines()[1].split()[1]) < 24 << 10
    assert plain.sh("web1", LOOK) == before
    plain.ok("stop", "--fast", "web1")
    plain.ok("set", "web1", "--disk", "0")
    plain.ok("start", "web1")
    assert int(plain.sh("web1", "df -kP /").splitlines()[1].split()[1]) > 24 << 10
    assert plain.sh("web1", LOOK) == before


# --- snapshots and reinstall --------------------------------------------------------------------------------------


def test_snapshot_and_restore(limited: Tenants) -> None:
    limited.create("web1", "--disk", "32M")
    limited.ok("start", "web1")
    limited.sh("web1", FILES)
    before = limited.sh("web1", LOOK)
    limited.ok("snapshot", "create", "web1", "one", "--description", "as it was")
    assert limited.ok("status", "web1") == "running"  # it stood still, and goes on
    limited.sh("web1", "echo two >/data; rm -r /d /sym; touch /more")
    assert "stop it first" in limited.refused("snapshot", "restore", "web1", "one")
    assert "has a snapshot 'one' already" in limited.refused("snapshot", "create", "web1", "one")
    limited.ok("stop", "--fast", "web1")
    limited.ok("snapshot", "restore", "web1", "one")
    limited.ok("start", "web1")
    assert limited.sh("web1", LOOK) == before
    assert "No such file" in limited("exec", "web1", "ls", "/more").stderr
    (row,) = json.loads(limited.ok("snapshot", "list", "web1", "--format", "json"))
    kind = "subvolume" if row["size"] is None else "copy"
    assert (row["name"], row["description"], row["kind"]) == ("one", "as it was", kind)
    limited.ok("snapshot", "rm", "web1", "one")
    assert limited.ok("snapshot", "list", "-H", "web1") == ""
    assert "has no snapshot 'one'" in limited.refused("snapshot", "rm", "web1", "one")


def test_a_snapshot_is_the_whole_tree(plain: Tenants) -> None:
    plain.create("web1")
    plain.ok("start", "web1")
    plain.sh("web1", FILES)
    plain.ok("stop", "--fast", "web1")
    upper_directory = plain.container("web1") / "upper"
    os.setxattr(upper_directory / "d", "user.colour", b"\xff\x00blue")
    before = upper(plain, "web1")
    plain.ok("snapshot", "create", "web1", "one")
    plain.ok("start", "web1")
    plain.sh("web1", "rm -r /data /d /home; echo new >/etc/securetty")
    plain.ok("stop", "--fast", "web1")
    plain.ok("snapshot", "restore", "web1", "one")
    assert upper(plain, "web1") == before
    assert os.stat(upper_directory / "sparse").st_blocks * 512 < 1 << 20
    assert os.getxattr(upper_directory / "d", "user.colour") == b"\xff\x00blue"


def test_reinstall_keeps_the_settings_and_the_old_root(limited: Tenants) -> None:
    limited.create("web1", "--disk", "32M", "--description", "mine")
    limited.ok("start", "web1")
    limited.sh("web1", FILES)
    assert "stop it first" in limited.refused("reinstall", "web1")
    limited.ok("stop", "--fast", "web1")
    assert "no template" in limited.refused("reinstall", "web1", "--template", "busybox")
    assert limited.ok("reinstall", "web1", "--keep-old") == "snapshot before-reinstall"
    limited.ok("start", "web1")
    assert limited.sh("web1", "ls /data 2>/dev/null; ls -d /home /etc/profile; hostname") == "/etc/profile\n/home\nweb1"
    assert limited.ok("get", "web1", "description") == "mine"
    limited.ok("stop", "--fast", "web1")
    limited.ok("snapshot", "restore", "web1", "before-reinstall")
    limited.ok("start", "web1")
    assert limited.sh("web1", "cat /data") == "one"


# --- crashes ------------------------------------------------------------------------------------------------------


def step(tenants: Tenants, call: str, number: int, *arguments: str) -> bool:
    """Run a verb that is killed at a system call; whether it came to its end before."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    command = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    command += [*tenants.world.command, "tenant", *arguments]
    done = subprocess.run(command, env=tenants.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -9, 137), done
    return done.returncode == 0


@pytest.mark.parametrize("verb", ["create", "restore", "reinstall"])
def test_killed_at_every_rename_the_root_is_the_old_or_the_new_one(plain: Tenants, verb: str) -> None:
    """All that a verb promises it says by a rename: state, record, snapshot, the root itself."""
    plain.create("web1")
    new = upper(plain, "web1")
    plain.ok("snapshot", "create", "web1", "new")
    (plain.container("web1") / "upper" / "mine").write_text("old")
    old = upper(plain, "web1")
    plain.ok("snapshot", "create", "web1", "old")
    verbs = {
        "create": ("snapshot", "create", "web1", "more"),
        "restore": ("snapshot", "restore", "web1", "new"),
        "reinstall": ("reinstall", "web1"),
    }
    number, finished = 0, False
    while not finished:
        number += 1
        finished = step(plain, "rename", number, *verbs[verb])
        assert plain("status", "web1").stdout == "stopped\n"
        plain.ok("set", "web1", "--description", f"step {number}")  # completes or undoes it
        there = upper(plain, "web1")
        if verb == "reinstall":  # a new root like the first one, with times of its own
            assert there == old or [line[0] for line in there] == [line[0] for line in new]
        else:
            assert there == old or (there == new and verb == "restore")
        assert {path.name for path in plain.container("web1").iterdir()} >= {"upper", "work", "root", "etc"}
        assert not [*plain.container("web1").glob("*.new"), *plain.container("web1").glob("*.old")]
        plain("snapshot", "rm", "web1", "more")
        if not finished:
            plain.ok(*verbs[verb])  # the same verb repeated completes
            if verb == "create":
                plain.ok("snapshot", "rm", "web1", "more")
            plain.ok("snapshot", "restore", "web1", "old")
        names = {path.name for path in (plain.world.root / "tenants" / "web1" / "snapshots").iterdir()}
        assert names == {"old", "new"}
    assert number > 3


def test_one_that_was_frozen_for_a_snapshot_goes_on(plain: Tenants) -> None:
    plain.create("web1")
    plain.ok("start", "web1")
    # the first rename says what is done; the second one would give the snapshot its facts
    assert not step(plain, "rename", 2, "snapshot", "create", "web1", "one")
    assert plain("status", "-v", "web1").stdout.splitlines()[0] == "suspended"
    assert plain.ok("snapshot", "list", "-H", "web1") == ""
    plain.ok("snapshot", "create", "web1", "one")  # which completes it
    assert plain.ok("status", "web1") == "running"
    assert plain.sh("web1", "echo goes on") == "goes on"
    assert [path.name for path in (plain.world.root / "tenants/web1/snapshots").iterdir()] == ["one"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_one_goes_on_when_its_export_is_ended(plain: Tenants, tmp_path: Path, number: signal.Signals) -> None:
    plain.create("web1")
    plain.ok("start", "web1")
    plain.sh("web1", "dd if=/dev/zero of=/data bs=1M count=2 2>/dev/null")
    command = [*plain.world.command, "tenant", "export", "web1", "-"]
    # more than a pipe holds, and nobody reads on: it stands in the middle
    with subprocess.Popen(command, env=plain.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        assert plain("status", "-v", "web1").stdout.splitlines()[0] == "suspended"
        process.send_signal(number)
        assert process.wait(30) == (130 if number == signal.SIGINT else -number)
    assert plain.ok("status", "web1") == "running"
    state = json.loads((plain.world.root / "tenants/web1/state.json").read_text())
    assert state["phase"] == "", state


# --- export and import --------------------------------------------------------------------------------------------


def test_export_and_import_are_the_same_tenant(limited: Tenants, tmp_path: Path) -> None:
    limited.create("web1", "--disk", "32M", "--stop-timeout", "33", "--id", "333")
    limited.ok("start", "web1")
    limited.sh("web1", FILES)
    before = limited.sh("web1", LOOK)
    file = tmp_path / "web1.tar.zst"
    limited.ok("export", "web1", str(file))  # while it runs
    assert limited.ok("status", "web1") == "running"
    assert file.read_bytes()[:4] == b"\x28\xb5\x2f\xfd" and file.stat().st_mode & 0o777 == 0o600
    assert file.stat().st_size < 1 << 20
    assert "exists already" in limited.refused("import", str(file))
    assert limited.ok("import", str(file), "--name", "web2", "--id", "444") == "web2"
    limited.ok("start", "web2")
    assert limited.sh("web2", LOOK) == before
    assert limited.ok("get", "web2", "boot.stop_timeout") == "33"
    assert limited.ok("list", "-H", "-o", "id,name").split() == ["333", "web1", "444", "web2"]


def test_an_archive_through_a_pipe_is_the_same_tree(plain: Tenants, tmp_path: Path) -> None:
    plain.create("web1")
    plain.ok("start", "web1")
    plain.sh("web1", FILES)
    plain.ok("stop", "--fast", "web1")
    file = tmp_path / "a.tar"
    with file.open("wb") as out:
        command = [*plain.world.command, "tenant", "export", "web1", "-"]
        subprocess.run(command, env=plain.environment, stdout=out, check=True, timeout=60)
    before = upper(plain, "web1")
    plain.ok("destroy", "web1")
    assert plain.ok("import", "-", input=file.read_bytes()) == "web1"
    assert upper(plain, "web1") == before
    plain.ok("start", "web1")
    assert plain.sh("web1", "cat /data").startswith("one")


def archive(
    facts: dict[str, Any], settings: str, members: list[tuple[tarfile.TarInfo, bytes]], more: bytes = b""
) -> bytes:
    """more: what comes in the place of the archive's end."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (("tenant.json", json.dumps(facts).encode()), ("settings.toml", settings.encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for entry, data in members:
            tar.addfile(entry, io.BytesIO(data))
        if not more:
            tar.addfile(tarfile.TarInfo("tenant.end"))
        else:
            return out.getvalue() + more
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    data = b"hostile" if kind == tarfile.REGTYPE else b""
    entry.size = len(data)
    for key, value in more.items():
        setattr(entry, key, value)
    return entry, data


def sparse(size: int, table: str) -> tuple[tarfile.TarInfo, bytes]:
    """A file of GNU's format 1.0 with a map of its parts."""
    entry = tarfile.TarInfo("root/sparse")
    data = table.encode() + bytes(-len(table) % 512)
    entry.size = len(data)
    facts = {"major": "1", "minor": "0", "name": entry.name, "realsize": str(size)}
    entry.pax_headers = {f"GNU.sparse.{key}": value for key, value in facts.items()}
    return entry, data


SETTINGS = f'version = 1\ntemplate = "{TEMPLATE}"\nnetwork = []\n'

HOSTILE = {
    "dots": ([member("root/../../out")], "leads out"),
    "absolute": ([member("/etc/out")], "is not below root/"),
    "beside": ([member("rootout")], "is not below root/"),
    "through a link": ([member("root/a", tarfile.SYMTYPE, "{out}"), member("root/a/out")], "cannot extract"),
    "a link as directory": ([member("root/a", tarfile.SYMTYPE, "{out}"), member("root/a", tarfile.DIRTYPE)], "cannot"),
    "hard link out": ([member("root/h", tarfile.LNKTYPE, "{out}/secret")], "hard link"),
    "hard link up": ([member("root/h", tarfile.LNKTYPE, "root/../../x")], "leads out"),
    "hard link through": (
        [member("root/a", tarfile.SYMTYPE, "{out}"), member("root/h", tarfile.LNKTYPE, "root/a/secret")],
        "cannot extract",
    ),
    "owner": ([member("root/o", uid=1 << 40)], "of the owner"),
    "a part beyond all numbers": ([sparse(100, f"1\n{1 << 70}\n3\n")], "a part that is not in it"),
    "a part before its beginning": ([sparse(100, "1\n-5\n3\n")], "a part that is not in it"),
    "a capability that is none": (
        [member("root/c", pax_headers={"SCHILY.xattr.security.capability": "x"})],
        "root/c: Invalid argument",
    ),
    "opaque of another value": (
        [member("root/d", tarfile.DIRTYPE, pax_headers={"SCHILY.xattr.trusted.overlay.opaque": "z"})],
        "whose",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_of_a_hostile_archive_comes_outside(plain: Tenants, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "secret").write_text("secret")
    members, said = HOSTILE[name]
    real = []
    for entry, data in members:
        copy = tarfile.TarInfo.frombuf(entry.tobuf(tarfile.GNU_FORMAT), "utf-8", "surrogateescape")
        copy.linkname, copy.pax_headers = entry.linkname.replace("{out}", str(out)), entry.pax_headers
        copy.name, copy.uid = entry.name, entry.uid
        real.append((copy, data))
    before = digest(out)
    facts = {"version": 1, "name": "evil", "image": TEMPLATE, "image_id": "0" * 24}
    done = plain("import", "-", "--template", TEMPLATE, input=archive(facts, SETTINGS, real))
    assert done.returncode == 125 and said in done.stderr and "Traceback" not in done.stderr, done
    assert digest(out) == before
    assert plain.ok("list", "-H") == "" and not list(plain.world.root.glob("containers/*"))


def test_attributes_of_overlayfs_do_not_come_in(plain: Tenants) -> None:
    redirect = {"SCHILY.xattr.trusted.overlay.redirect": "/etc"}
    metacopy = {"SCHILY.xattr.trusted.overlay.metacopy": ""}
    members = [
        member("root/d", tarfile.DIRTYPE, pax_headers=redirect),
        member("root/f", pax_headers=metacopy | {"SCHILY.xattr.user.good": "2"}),
    ]
    facts = {"version": 1, "name": "evil", "image": TEMPLATE, "image_id": "0" * 24}
    done = plain("import", "-", "--template", TEMPLATE, input=archive(facts, SETTINGS, members))
    assert done.returncode == 0, done
    assert "trusted.overlay.redirect is left out" in done.stderr, done
    root = plain.container("evil") / "upper"
    assert not {name for name in os.listxattr(root / "d") if name.startswith("trusted.overlay.redirect")}
    assert set(os.listxattr(root / "f")) - LOCAL == {"user.good"}


def test_what_an_archive_may_not_bring_is_left_out(plain: Tenants, tmp_path: Path) -> None:
    marker = tmp_path / "hooked"
    settings = (
        SETTINGS.replace("network = []\n", "")
        + f'[hooks]\npre-start = ["touch {marker}"]\n[rights]\nprivileged_ids = true\n'
        + '[boot]\nonboot = "yes"\norder = 1000000\ndelay = 60\nstop_timeout = 33\n'
        + '[[network]]\naddresses = ["8.8.8.8"]\nmac = "02:00:00:00:00:09"\nrate = "1M"\n'
    )
    members = [
        member("root/disk", tarfile.BLKTYPE, devmajor=8, devminor=0),
        member("root/mem", tarfile.CHRTYPE, devmajor=1, devminor=1),
        member("root/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("root/x", pax_headers={"SCHILY.xattr.trusted.evil": "1", "SCHILY.xattr.user.good": "2"}),
    ]
    facts = {"version": 1, "name": "evil", "image": TEMPLATE, "image_id": "0" * 24}
    done = plain("import", "-", "--template", TEMPLATE, input=archive(facts, settings, members))
    assert (done.returncode, done.stdout) == (0, "evil\n"), done
    for text in (
        "root/disk: left out",
        "root/mem: left out",
        "trusted.evil is left out",
        "hooks: left out",
        "rights: left",
        "boot.onboot: left out",
        "boot.order: left out",
        "boot.delay: left out",
        "network.0.addresses: left out",
        "network.0.mac: left out",
    ):
        assert text in done.stderr, done
    root = plain.container("evil") / "upper"
    assert sorted(path.name for path in root.iterdir()) == ["null", "x"]
    assert os.listxattr(root / "x") == ["user.good"]
    kept = json.loads(plain.ok("get", "evil", "--format", "json"))
    assert kept["boot"]["onboot"] == "no" and kept["boot"]["order"] == kept["boot"]["delay"] == 0, kept
    assert kept["boot"]["stop_timeout"] == 33 and kept["network"][0]["rate"] == "1M", kept
    assert kept["network"][0]["addresses"] == [] and kept["network"][0]["mac"] == "", kept
    plain.ok("set", "evil", "network=[]")
    plain.ok("start", "evil")
    assert not marker.exists()
    assert plain.ok("get", "evil", "rights.privileged_ids") == "false"


def test_archives_that_are_none(plain: Tenants, tmp_path: Path) -> None:
    facts = {"version": 1, "name": "web1", "image": "nothing-here", "image_id": "0" * 24}
    good = archive(facts, SETTINGS, [])
    said = plain.refused("import", "-", input=good)
    assert "its template nothing-here" in said and "pycontain image build nothing-here" in said
    there = archive({**facts, "image": TEMPLATE}, SETTINGS, [])
    assert f"give --template {TEMPLATE}" in plain.refused("import", "-", input=there)
    for data in (b"", b"no archive", b"\x28\xb5\x2f\xfdbroken", archive({}, "", []), good[:700]):
        done = plain("import", "-", input=data)
        assert done.returncode == 125 and "Traceback" not in done.stderr, done
    large, content = member("root/large")
    large.size = 1 << 50
    endless = archive(facts, SETTINGS, [], large.tobuf(tarfile.GNU_FORMAT) + content)
    done = plain("import", "-", "--template", TEMPLATE, input=endless)
    assert done.returncode == 125 and "Traceback" not in done.stderr, done
    assert "No such file" in plain.refused("import", str(tmp_path / "nothing"))
    assert plain.ok("list", "-H") == ""


def test_an_archive_with_more_than_its_disk_is_refused(plain: Tenants) -> None:
    entry, _ = member("root/large")
    entry.size = 12 << 20
    facts = {"version": 1, "name": "web1", "image": TEMPLATE, "image_id": "0" * 24}
    data = archive(facts, SETTINGS + '[disk]\nspace = "8M"\n', [(entry, bytes(12 << 20))])
    done = plain("import", "-", "--template", TEMPLATE, input=data)
    assert done.returncode == 125 and ("No space" in done.stderr or "disk.space" in done.stderr), done
    assert plain.ok("list", "-H") == ""


def test_where_the_archive_cannot_be_written_nothing_is_left(plain: Tenants, tmp_path: Path) -> None:
    plain.create("web1")
    assert "No such file" in plain.refused("export", "web1", str(tmp_path / "no" / "file"))
    small = tmp_path / "small"
    small.mkdir()
    disk_world.run("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(small))
    try:
        assert "No space left" in plain.refused("export", "web1", str(small / "a.tar"))
        assert list(small.iterdir()) == []
    finally:
        disk_world.run("umount", str(small))
