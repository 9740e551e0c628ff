"""The recipes that ship, built for real and entered; builds that fail, are interrupted or killed."""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_world import (
    build_command,
    build_process,
    in_namespace,
    is_online,
    left_in,
    mount,
    needs_root,
    write_recipe,
)
from pycontain.image import build, recipe, store, tool
from pycontain.kernel.errors import Error
from pycontain.storage import layers, lookup, overlay

pytestmark = needs_root

MS_RDONLY, MS_NODEV, MS_BIND, MS_REC, MS_REMOUNT = 1, 4, 4096, 16384, 32


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("images") / "root"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def online() -> None:
    if not is_online():
        pytest.skip("the host's apt sources cannot be reached: run it without scripts/isolated")


def _build(root: Path, name: str) -> store.Image:
    done = build_process(root, name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("step 1/")
    assert [entry for entry in os.listdir(root / "layers") if entry.startswith(".tmp")] == []
    image = store.lookup(str(root), name)
    assert image and done.stdout.splitlines()[-1] == f"image {image.id}"
    return image


@pytest.fixture(scope="module")
def busybox(root: Path) -> store.Image:
    return _build(root, "busybox")


@pytest.fixture(scope="module")
def sparse(root: Path) -> store.Image:
    return _build(root, "sparse")


@pytest.fixture(scope="module")
def debian(root: Path, online: None) -> store.Image:
    return _build(root, "debian")


def _enter(root: Path, image: store.Image, script: str) -> str:
    """Run a script with the image's own shell on an overlay of the layer, in namespaces that end with it."""
    place = root.parent / "enter"
    place.mkdir(exist_ok=True)
    reader, writer = os.pipe()

    def body() -> None:
        top = f"{place}/root"
        mount("tmpfs", str(place), "tmpfs")
        for name in ("root", "upper", "work"):
            os.mkdir(f"{place}/{name}")
        os.chdir(root)
        mount(
            "overlay",
            top,
            "overlay",
            0,
            f"lowerdir={overlay.lower(image.layers)},upperdir={place}/upper,workdir={place}/work",
        )
        for entry in image.mounts:
            target = f"{top}{entry['target']}"
            mount(entry["source"], target, "", MS_BIND | MS_REC)
            assert {"ro", "nodev", "rro", "rnodev"} <= set(entry["options"])
            mount("none", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NODEV)
        mount("proc", f"{top}/proc", "proc")
        os.mknod(f"{top}/dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        environment = dict(value.split("=", 1) for value in image.config["Env"])
        done = subprocess.run(
            ["chroot", top, *image.config["Cmd"], "-c", script],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
        )  # fmt: skip
        os.write(writer, done.stdout)
        assert done.returncode == 0, done.stdout.decode()

    try:
        in_namespace(body)
    finally:
        os.close(writer)
        with open(reader, "rb") as file:
            output = file.read().decode()
    return output


def _mode(root: Path, image: store.Image, path: str) -> int:
    return stat.S_IMODE(os.lstat(f"{root}/layers/{image.layers[0]}{path}").st_mode)


def test_busybox(root: Path, busybox: store.Image) -> None:
    assert busybox.names == ["busybox:latest"] and busybox.mounts == [] and len(busybox.layers) == 1
    assert 500_000 < busybox.size < 4_000_000
    script = (
        "set -e; id; echo $PATH; ls -l /bin/ls; vi --help; touch /tmp/x; rm /tmp/x; ps | head -1; cat /etc/os-release"
    )
    output = _enter(root, busybox, script)
    assert "uid=0(root) gid=0(root)" in output and "PID" in output and "ID=busybox" in output
    modes = {path: _mode(root, busybox, path) for path in ("", "/tmp", "/root", "/etc/shadow", "/etc/passwd")}
    assert modes == {"": 0o755, "/tmp": 0o1777, "/root": 0o700, "/etc/shadow": 0o600, "/etc/passwd": 0o644}
    # Every applet that it has can be called.
    count = int(
        _enter(root, busybox, "busybox --list | wc -l; for n in $(busybox --list); do type $n; done").split()[0]
    )
    assert count > 200
    assert not os.path.exists(f"{root}/layers/{busybox.layers[0]}/usr/share/man")
    assert lookup.find_file(str(root), busybox.layers, "etc/passwd", 10000) is not None


def test_busybox_history(root: Path, busybox: store.Image) -> None:
    (entry,) = store.history(str(root), "busybox")
    assert entry["size"] == busybox.size and "recipe busybox: debs busybox-static" in entry["created_by"]
    assert layers.facts(str(root), busybox.layers[0])["created_by"] == entry["created_by"]


def test_sparse(root: Path, sparse: store.Image) -> None:
    assert sparse.size < 8_000_000
    assert sparse.mounts[0]["target"] == "/usr"
    output = _enter(
        root,
        sparse,
        "set -e; bash -c 'echo bash works'; ps -e | head -1; ip -V; python3 -c 'import ssl; print(6 * 7)'; id; "
        "ldd /usr/bin/ls > /dev/null; ls /bin /lib* > /dev/null; "
        "touch /tmp/x /var/tmp/y /etc/z; rm /tmp/x /var/tmp/y /etc/z; "
        "if touch /usr/x; then exit 9; fi; . /etc/os-release; echo $NAME",
    )
    assert "bash works" in output and "PID" in output and "\n42\n" in output and "uid=0(root)" in output
    assert "Read-only file system" in output
    assert not os.path.exists("/usr/x")


def test_sparse_has_nothing_secret(root: Path, sparse: store.Image) -> None:
    top = Path(f"{root}/layers/{sparse.layers[0]}")
    assert (top / "etc/machine-id").read_bytes() == b"" and (top / "etc/hostname").read_bytes() == b""
    for line in (top / "etc/shadow").read_text().splitlines():
        assert line.split(":")[1] == "*"
    hidden = [path for path in top.rglob("*") if stat.S_IMODE(path.lstat().st_mode) & 0o007 == 0]
    assert {str(path.relative_to(top)) for path in hidden} == {"root", "etc/shadow", "etc/gshadow"}
    for path in (top / "etc").rglob("*"):
        name = str(path.relative_to(top))
        assert not any(word in name for word in ("ssh", "private", "sudoers", ".key", "krb5", "cron")), name
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        if content and os.path.isfile(f"/{name}") and content == Path(f"/{name}").read_bytes():
            assert os.stat(f"/{name}").st_mode & 0o004, f"{name} is not for everybody on the host"
    hostname = os.uname().nodename
    if len(hostname) > 3:
        found = subprocess.run(["grep", "-rlF", hostname, str(top)], capture_output=True, text=True, check=False)
        assert found.stdout == ""


def test_sparse_copies_only_what_everybody_may_read(tmp_path: Path, reachable: Path) -> None:
    host = reachable / "host"
    for name, mode in (("open/f", 0o644), ("open/secret", 0o640), ("closed/f", 0o644), ("closed/sub/f", 0o644)):
        (host / name).parent.mkdir(parents=True, exist_ok=True)
        (host / name).write_text(name)
        os.chmod(host / name, mode)
    os.chmod(host / "closed", 0o710)
    text = f'[[step]]\nsparse = {{ directories = ["/usr"], copy_host = ["{host}/*", "{host}/*/f", "{host}/*/*/f"] }}\n'
    found = recipe.load(write_recipe(tmp_path / "recipe", text))
    image = build.build(f"{tmp_path}/root", found, lambda line: None, layers)
    top = Path(f"{tmp_path}/root/layers/{image.layers[0]}{host}")
    assert [str(path.relative_to(top)) for path in sorted(top.rglob("*"))] == ["open", "open/f"]


@pytest.mark.slow
def test_debian(root: Path, debian: store.Image) -> None:
    assert 40_000_000 < debian.size <= 130_000_000
    output = _enter(
        root,
        debian,
        "set -e; dpkg -l apt bash | tail -2; apt-get --version | head -1; perl -e 'print 6*7'; cat /etc/os-release",
    )
    assert "ii  apt" in output and "42" in output and "Debian" in output
    top = Path(f"{root}/layers/{debian.layers[0]}")
    for path in ("dev", "var/cache/apt/archives/partial", "tmp", "var/tmp", "usr/share/man", "usr/share/locale"):
        names = os.listdir(top / path) if (top / path).exists() else []
        assert [name for name in names if name != "locale.alias"] == [], path
    lists = [path for path in (top / "var/lib/apt/lists").rglob("*") if path.is_file() and path.name != "lock"]
    assert lists == []
    for name in ("hostname", "resolv.conf", "machine-id"):
        assert (top / "etc" / name).read_bytes() == b""
    assert sorted(os.listdir(top / "etc/apt/sources.list.d")) == ["pycontain.sources"]
    assert not (top / "etc/apt/apt.conf.d/99mmdebstrap").exists()
    # The directory of the build is nowhere in it.
    found = subprocess.run(["grep", "-rlF", str(root), str(top)], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    assert (top / "usr/share/doc/bash/copyright").exists()


# --- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a recipe, with a static busybox in it."""
    if not os.path.exists("/bin/busybox"):
        pytest.skip("the host has no /bin/busybox")
    folder = tmp_path / "recipe"
    folder.mkdir()
    shutil.copy("/bin/busybox", folder / "busybox")
    return folder


def _one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 125, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("pycontain: "), done.stderr
    return lines[0]


def test_no_network_and_a_fallback(tmp_path: Path, folder: Path) -> None:
    done = build_process(tmp_path / "root", "busybox", "unshare", "--net")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "taking /bin/busybox of this host" in line]
    assert "apt-get failed" in line
    image = store.lookup(f"{tmp_path}/root", "busybox")
    assert image and "uid=0" in _enter(tmp_path / "root", image, "id")


@pytest.mark.parametrize(
    ("step", "program"),
    [('debs = { packages = ["busybox-static"] }', "apt-get"), ("mmdebstrap = {}", "mmdebstrap")],
)
def test_no_network(tmp_path: Path, step: str, program: str) -> None:
    path = write_recipe(tmp_path / "recipe", f"[[step]]\n{step}\n")
    line = _one_line(build_process(tmp_path / "root", path, "unshare", "--net"))
    assert f"cannot build image test:latest: step[0].{step.split()[0]}: {program} failed (exit status" in line
    assert len(line) < 1500
    assert left_in(tmp_path / "root") == []


def test_no_such_package(tmp_path: Path, online: None) -> None:
    path = write_recipe(tmp_path / "recipe", '[[step]]\ndebs = { packages = ["no-such-package-here"] }\n')
    line = _one_line(build_process(tmp_path / "root", path))
    assert "step[0].debs: apt-get failed" in line and "no-such-package-here" in line
    assert left_in(tmp_path / "root") == []


@pytest.mark.parametrize(
    ("there", "step", "words"),
    [
        ((), 'debs = { packages = ["x"] }', "unshare is not installed: install the package util-linux"),
        (("unshare",), 'debs = { packages = ["x"] }', "apt-config is not installed: install the package apt"),
        (("unshare", "apt-config"), "mmdebstrap = {}", "mmdebstrap is not installed: install the package mmdebstrap"),
    ],
)
def test_missing_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], step: str, words: str
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in there:
        (programs / name).symlink_to(str(shutil.which(name, path=tool._PATH)))
    monkeypatch.setattr(tool, "_PATH", str(programs))
    found = recipe.load(write_recipe(tmp_path / "recipe", f"[[step]]\n{step}\n"))
    with pytest.raises(Error, match=words):
        build.build(f"{tmp_path}/root", found, lambda line: None, layers)
    assert left_in(tmp_path / "root") == []


def test_not_root(reachable: Path) -> None:
    done = build_process(reachable / "root", "busybox", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    if "Permission denied" in done.stderr or "ModuleNotFoundError" in done.stderr:
        pytest.skip("the checkout cannot be read by other users")
    assert "needs root" in _one_line(done)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ('applets = "/bin/busybox"', "step[0].applets: /bin/busybox is not in the image yet"),
        ('files = { "/bin/busybox" = "" }\n[[step]]\napplets = "/bin/busybox"', "step[1].applets: chroot failed"),
        ('copy = { "/x" = "none" }', "step[0].copy: "),
        ('files = { "/a" = "", "/a/b" = "" }', "step[0].files: /a/b: Not a directory"),
        ('directories = { "/a" = "755" }\n[[step]]\nfiles = { "/a" = "" }', "step[1].files: /a: Is a directory"),
        ('sparse = { directories = ["/no/such"] }', "step[0].sparse: this host has no directory /no/such"),
    ],
)
def test_step_fails(tmp_path: Path, step: str, words: str) -> None:
    path = write_recipe(tmp_path / "recipe", f"[[step]]\n{step}\n")
    line = _one_line(build_process(tmp_path / "root", path))
    assert f"cannot build image test:latest: {words}" in line
    assert left_in(tmp_path / "root") == []


def test_links_of_a_layer_do_not_lead_to_the_host(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "f").write_text("of the host")
    text = f"""
[[step]]
symlinks = {{ "/etc" = "{victim}", "/up" = "../../../../../../../../..{victim}" }}
[[step]]
directories = {{ "{victim}" = "755" }}
[[step]]
files = {{ "/etc/f" = "new", "/up/g" = "new" }}
[[step]]
remove = ["/etc/f", "/up/*"]
"""
    found = recipe.load(write_recipe(tmp_path / "recipe", text))
    image = build.build(f"{tmp_path}/root", found, lambda line: None, layers)
    assert (victim / "f").read_text() == "of the host" and os.listdir(victim) == ["f"]
    assert os.listdir(f"{tmp_path}/root/layers/{image.layers[0]}{victim}") == []


def test_rebuild(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    found = recipe.load(write_recipe(tmp_path / "recipe", '[[step]]\nfiles = { "/f" = "x" }\n'))
    first = build.build(root, found, lambda line: None, layers)
    second = build.build(root, found, lambda line: None, layers)
    assert second.id != first.id and [image.id for image in store.list_images(root)] == [second.id]
    assert layers.committed(root) == second.layers
    store.hold(root, second.id, "c1")
    third = build.build(root, found, lambda line: None, layers, "test")
    assert {image.id: image.names for image in store.list_images(root)} == {second.id: [], third.id: ["test:latest"]}
    other = build.build(root, found, lambda line: None, layers, "other:2")
    assert other.names == ["other:2"]


# --- interrupted ----------------------------------------------------------------------------------------------------


@pytest.fixture
def endless(folder: Path) -> str:
    """A recipe whose second step never ends: busybox called as "yes" prints what it is asked."""
    (folder / "busybox").rename(folder / "yes")
    return write_recipe(folder, '[[step]]\ncopy = { "/bin/yes" = "yes" }\n[[step]]\napplets = "/bin/yes"\n')


def _descendants(pid: int) -> list[int]:
    """The processes below ``pid``."""
    found: list[int] = []
    todo = [pid]
    while todo:
        try:
            with open(f"/proc/{todo[0]}/task/{todo[0]}/children") as file:
                children = [int(word) for word in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            children = []  # it has ended
        todo = todo[1:] + children
        found += children
    return found


def _pidfds(pids: list[int]) -> list[int]:
    """Those of them that have not ended yet."""
    found = []
    for pid in pids:
        try:
            found.append(os.pidfd_open(pid))
        except ProcessLookupError:
            continue
    return found


def _wait_for_program(builder: subprocess.Popen[str], program: str) -> list[int]:
    """pidfds of the builder's descendants, once ``program`` is one of them."""
    deadline = threading.Event()
    timer = threading.Timer(60, deadline.set)
    timer.start()
    try:
        while not deadline.is_set():
            pids = _descendants(builder.pid)
            try:
                if any(program in os.readlink(f"/proc/{pid}/exe") for pid in pids):
                    return _pidfds(pids)
            except (FileNotFoundError, ProcessLookupError):
                continue
    finally:
        timer.cancel()
    raise AssertionError(f"{program} did not come")


def _all_end(pidfds: list[int]) -> bool:
    for pidfd in pidfds:
        ready, _, _ = select.select([pidfd], [], [], 60)
        os.close(pidfd)
        if not ready:
            return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_interrupted(tmp_path: Path, endless: str, number: signal.Signals) -> None:
    root = tmp_path / "root"
    kept = write_recipe(tmp_path / "kept", '[[step]]\nfiles = { "/f" = "x" }\n', "kept")
    assert build_process(root, kept).returncode == 0
    before = left_in(root)
    builder = subprocess.Popen(
        build_command(root, endless), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        pidfds = _wait_for_program(builder, "/bin/yes")
        assert len(pidfds) >= 2
        assert len(left_in(root)) > len(before)
        builder.send_signal(number)
        builder.communicate(timeout=60)
        assert builder.returncode == -number
        assert _all_end(pidfds)
    finally:
        builder.kill()
        builder.wait()
    if number == signal.SIGINT:
        assert left_in(root) == before
    else:
        assert len(left_in(root)) > len(before)
        # Also a build that fails cleans up first.
        _one_line(build_process(root, write_recipe(tmp_path / "bad", '[[step]]\ncopy = { "/x" = "none" }\n')))
        assert left_in(root) == before


@pytest.mark.slow
def test_killed_while_mmdebstrap_runs(tmp_path: Path, online: None) -> None:
    root = tmp_path / "root"
    command = build_command(root, "debian")
    builder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert builder.stdout is not None
        for line in builder.stdout:
            if "installing essential packages" in line:
                break
        pidfds = _pidfds(_descendants(builder.pid))
        assert len(pidfds) >= 3
        builder.kill()
        assert _all_end(pidfds)
    finally:
        builder.kill()
        builder.communicate()
    assert str(root) not in Path("/proc/self/mountinfo").read_text()
    assert left_in(root)
    store.prune(str(root), lambda container: True, layers)
    assert left_in(root) == []


def test_two_builds_at_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    path = write_recipe(tmp_path / "recipe", '[[step]]\nfiles = { "/f" = "x" }\n')
    builders = [subprocess.Popen(build_command(root, path), stdout=subprocess.PIPE, text=True) for _ in range(6)]
    ids = []
    for builder in builders:
        output, _ = builder.communicate(timeout=60)
        assert builder.returncode == 0
        ids.append(output.split()[-1])
    image = store.lookup(str(root), "test")
    assert image and image.id in ids
    store.prune(str(root), lambda container: True, layers)
    assert [image.id for image in store.list_images(str(root))] == [image.id]
    assert layers.committed(str(root)) == image.layers


# --- no room --------------------------------------------------------------------------------------------------------


def test_full_disk(tmp_path: Path, folder: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    path = write_recipe(folder, '[[step]]\ncopy = { "/bin/busybox" = "busybox" }\n')

    def body() -> None:
        mount("tmpfs", str(root), "tmpfs", 0, "size=1m")
        line = _one_line(build_process(root, path))
        assert (
            "step[0].copy: " in line and "No space left on device: the file system of the image store is full" in line
        )
        assert left_in(root) == []
        with open(f"{root}/filler", "wb") as filler:
            filler.write(bytes(900_000))
        line = _one_line(build_process(root, "sparse"))
        assert "No space left" in line
        os.unlink(f"{root}/filler")
        assert left_in(root) == []
        mount("tmpfs", str(root), "tmpfs", MS_REMOUNT, "size=8m")
        assert build_process(root, path).returncode == 0

    in_namespace(body)


def test_every_point_at_which_inodes_run_out(tmp_path: Path) -> None:
    """A build that fails for lack of room at any point leaves nothing; when it succeeds all of it is there."""
    root = tmp_path / "root"
    root.mkdir()
    found = recipe.load(write_recipe(tmp_path / "recipe", '[[step]]\nfiles = { "/a" = "x", "/d/b" = "y" }\n'))

    def body() -> None:
        outcomes = []
        for inodes in range(2, 24):
            mount("tmpfs", str(root), "tmpfs", 0, f"size=1m,nr_inodes={inodes}")
            try:
                image = build.build(str(root), found, lambda line: None, layers)
                assert store.lookup(str(root), "test").id == image.id  # type: ignore[union-attr]
                assert layers.committed(str(root)) == image.layers
                outcomes.append(True)
            except Error as error:
                assert "No space left on device" in error.message and "\n" not in error.message
                assert left_in(root) == []
                outcomes.append(False)
            subprocess.run(["umount", str(root)], check=True)
        assert outcomes == sorted(outcomes) and not outcomes[0] and outcomes[-1] and outcomes.count(False) > 5

    in_namespace(body)


def test_read_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    found = recipe.load(write_recipe(tmp_path / "recipe", '[[step]]\nfiles = { "/a" = "x" }\n'))

    def body() -> None:
        mount("tmpfs", str(root), "tmpfs", MS_RDONLY)
        with pytest.raises(
            Error, match="Read-only file system: give --root on a file system that is mounted for writing"
        ):
            build.build(str(root), found, lambda line: None, layers)

    in_namespace(body)


def test_something_mounted_in_a_leftover_is_not_emptied(tmp_path: Path) -> None:
    root, host = tmp_path / "root", tmp_path / "host"
    host.mkdir()
    (host / "f").write_text("stays")
    draft = layers.create(str(root))
    draft.tree.directory("/usr")
    draft.release()

    def body() -> None:
        mount(str(host), f"{draft.path}/usr", "", MS_BIND)
        with pytest.raises(Error, match="busy: something is mounted on usr: unmount it first"):
            layers.sweep(str(root))
        # It is no reason not to build.
        found = recipe.load(write_recipe(tmp_path / "recipe", '[[step]]\nfiles = { "/a" = "x" }\n'))
        lines: list[str] = []
        image = build.build(str(root), found, lines.append, layers)
        assert store.lookup(str(root), image.id) and any(line.startswith("warning: ") for line in lines)

    in_namespace(body)
    assert (host / "f").read_text() == "stays"
    assert layers.sweep(str(root)) == 1
    assert (host / "f").read_text() == "stays"
