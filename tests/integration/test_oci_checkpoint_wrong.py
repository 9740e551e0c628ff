"""checkpoint and restore that fail: one line, the container goes on, nothing half-restored stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oci_saved import COUNT, Saved
from world import PYCONTAIN_OCI, cgroup_mount, eventually, reap


def line(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
    return done.stderr.removeprefix("pycontain-oci: ").rstrip("\n")


def checkpoint(saved: Saved, *options: str) -> str:
    return line(saved("checkpoint", "--image-path", str(saved.images), *options, "c"))


def restore(saved: Saved, *options: str) -> str:
    """It fails, and nothing of the container is there."""
    text = line(saved(*saved.restore_line(), *options, "c"))
    assert not (saved.oci.root / "c").exists()
    assert not (cgroup_mount() / "pycontain-oci" / "c").exists()
    assert str(saved.oci.root) not in Path("/proc/self/mountinfo").read_text()
    return text


def test_features_says_whether_it_can_be_done(saved: Saved, tmp_path: Path) -> None:
    key = "org.opencontainers.runc.checkpoint.enabled"
    assert json.loads(saved.ok("features"))["annotations"][key] == "true"
    saved.start()
    saved.checkpoint("--leave-running")
    saved.environment["PATH"] = str(tmp_path)
    assert json.loads(saved.ok("features"))["annotations"][key] == "false"
    assert "criu" in checkpoint(saved)


def test_without_criu(saved: Saved, tmp_path: Path) -> None:
    """One line with the next step, from both verbs."""
    saved.start()
    programs = saved.environment["PATH"]
    saved.environment["PATH"] = str(tmp_path)
    words = f"criu is not in PATH ({tmp_path}): install CRIU 4.1 or newer, or name it with --criu before the verb"
    assert checkpoint(saved) == words
    saved.environment["PATH"] = programs
    saved.checkpoint()
    saved.ok("delete", "c")
    saved.environment["PATH"] = str(tmp_path)
    assert restore(saved) == words
    # the setting
    program = f"{programs.partition(':')[0]}/criu"
    saved.environment["PATH"] = "/usr/bin:/bin"
    saved.begin("--criu", program, *saved.restore_line(), "c")
    done = saved("--criu", "/nowhere/criu", "checkpoint", "c")
    assert line(done).startswith("--criu /nowhere/criu: there is no such program: install CRIU 4.1")
    done = saved("--criu", "/bin/true", "checkpoint", "c")
    assert line(done).startswith("/bin/true does not say its version, as CRIU does: it has ended with status 0")
    assert saved.oci.state("c")["status"] == "running"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--manage-cgroups-mode", "hard"],
            "Invalid manage-cgroups-mode value 'hard': it is soft, full, strict or ignore",
        ),
        (["--empty-ns", "pid"], "namespace 'pid' is not supported: --empty-ns takes network"),
        (["--page-server", "host"], "Use --page-server ADDRESS:PORT to specify page server"),
        (["--page-server", "host:99999"], "Use --page-server ADDRESS:PORT to specify page server"),
        (["--status-fd", "77"], "invalid --status-fd argument 77: Bad file descriptor"),
        (["--work-path", "/proc/x"], "--work-path /proc/x: No such file or directory"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_options_that_cannot_be(saved: Saved, options: list[str], words: str) -> None:
    saved.start()
    assert words in checkpoint(saved, *options)
    assert saved.goes_on_from(1)


def test_states_that_cannot_be(saved: Saved) -> None:
    saved.oci.spec["process"]["args"] = ["true"]
    saved.ok("create", "-b", str(saved.oci.bundle), "c")
    assert checkpoint(saved) == "container c cannot be checkpointed in created state"
    saved.ok("start", "c")
    assert eventually(lambda: saved.oci.state("c")["status"] == "stopped")
    assert checkpoint(saved) == "container c cannot be checkpointed in stopped state"
    assert line(saved("checkpoint", "nobody")) == "container does not exist: nobody"


def test_what_this_kernel_cannot_do(saved: Saved) -> None:
    """Where memory is tracked it is done; else CRIU's answer is told."""
    saved.start()
    program = f"{saved.environment['PATH'].partition(':')[0]}/criu"
    able = subprocess.run([program, "check", "--feature", "mem_dirty_track"], capture_output=True, check=False)
    if able.returncode == 0:
        saved.checkpoint("--pre-dump")
        first = saved.images
        saved.images = first.with_name("second")
        saved.checkpoint("--parent-path", f"../{first.name}")
        saved.restore()
    else:
        why = "CRIU answers that it has no mem_track: this kernel does not track changed memory (CONFIG_MEM_SOFT_DIRTY)"
        assert checkpoint(saved, "--pre-dump") == f"--pre-dump: {why}"
        assert checkpoint(saved, "--parent-path", "../first") == f"--parent-path: {why}"
        assert not saved.images.exists()
    assert saved.oci.state("c")["status"] == "running"
    assert saved.goes_on_from(1)


def test_what_criu_cannot_save(saved: Saved, tmp_path: Path) -> None:
    """The line has what CRIU's log has, and the container goes on: with a file of the host that nobody told of."""
    saved.oci.spec["process"]["args"] = ["sh", "-c", COUNT]
    foreign = tmp_path / "foreign"
    saved.begin("run", "-d", "--preserve-fds", "1", "-b", str(saved.oci.bundle), "c", third=foreign)
    assert eventually(lambda: saved.count() > 1)
    text = checkpoint(saved, "--work-path", str(saved.images / "log"))
    assert text.startswith("container c: cannot checkpoint it: CRIU: Can't lookup mount=")
    assert f"{saved.images}/log/dump.log" in text and "Error (" not in text and len(text) < 1000
    assert saved.oci.state("c")["status"] == "running"
    assert saved.goes_on_from(1)


def test_images_that_are_not_there(saved: Saved, tmp_path: Path) -> None:
    saved.start()
    saved.checkpoint()
    saved.ok("delete", "c")
    good = saved.images
    saved.images = tmp_path / "none"
    assert (
        restore(saved)
        == f"{saved.images} has no checkpoint: inventory.img is missing: name its directory with --image-path"
    )
    saved.images = good
    (good / "descriptors.json").write_text('["/dev/null"')
    assert restore(saved).startswith(f"{good}/descriptors.json is damaged: ")
    (good / "descriptors.json").write_text('{"0": "/dev/null"}')
    assert restore(saved) == f"{good}/descriptors.json is damaged: expected a JSON array"
    (good / "descriptors.json").write_text("[1, 2, 3]")
    assert "is damaged: not all in it is text" in restore(saved)
    (good / "descriptors.json").write_text('["/dev/null", "/dev/null", "/dev/null", "pipe:[1]"]')
    assert "is damaged: there are three standard descriptors" in restore(saved)


@pytest.mark.parametrize("name", ["core-1.img", "mm-1.img", "pstree.img", "inventory.img"])
def test_images_that_are_damaged(saved: Saved, name: str) -> None:
    saved.oci.spec["hooks"] = {
        "poststop": [{"path": "/bin/touch", "args": ["touch", str(saved.oci.bundle / "stopped")]}]
    }
    saved.start()
    saved.checkpoint()
    saved.ok("delete", "c")
    (saved.oci.bundle / "stopped").unlink()
    file = saved.images / name
    file.write_bytes(file.read_bytes()[:25])
    text = restore(saved)
    assert text.startswith("container c: cannot restore it: CRIU: "), text
    assert str(saved.images / "restore.log") in text and "without a word" not in text
    # as after a create that has failed
    assert (saved.oci.bundle / "stopped").exists()


@pytest.mark.parametrize("what", ["cut", "gone", "no list", "list cut"])
def test_memory_that_is_not_all_there(saved: Saved, what: str) -> None:
    """CRIU would ask for it for ever."""
    saved.start()
    assert eventually(lambda: saved.count() > 1)
    saved.checkpoint()
    saved.ok("delete", "c")
    pages, listed = saved.images / "pages-1.img", saved.images / "pagemap-1.img"
    size = pages.stat().st_size
    match what:
        case "cut":
            os.truncate(pages, size - 4096)
            words = f"{pages} is damaged: it has {size - 4096} of {size} bytes of memory: make the checkpoint again"
        case "gone":
            pages.unlink()
            words = f"{pages}, memory of the container: No such file or directory"
        case "no list":
            listed.write_bytes(b"something else")
            words = f"{listed} is damaged: it is no list of pages: make the checkpoint again"
        case _:
            os.truncate(listed, listed.stat().st_size - 3)
            words = f"{listed} is damaged: it is no list of pages: make the checkpoint again"
    assert restore(saved) == words
    assert not (saved.images / "restore.log").exists()


def never_ends(saved: Saved) -> None:
    """A checkpoint whose restore does not: its memory goes while CRIU works."""
    saved.start()
    assert eventually(lambda: saved.count() > 1)
    saved.checkpoint()
    saved.ok("delete", "c")
    cut = f": >{saved.images}/pages-1.img"
    saved.oci.spec["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", cut]}]}


def hangs_in_a_hook(saved: Saved) -> None:
    never_ends(saved)
    hook = f"touch {saved.oci.bundle}/here; exec sleep 1000"
    saved.oci.spec["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", hook]}]}


@pytest.mark.parametrize("options", [["--detach"], ["--detach=false"]], ids=lambda value: str(value[0]))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_restore_that_never_ends_can_be_cancelled(saved: Saved, number: signal.Signals, options: list[str]) -> None:
    """Nothing of it is left: no process, no group, no state."""
    never_ends(saved)
    log = saved.images / "restore.log"
    # of a read that gives nothing, again and again
    cancel(saved, number, options, lambda: log.exists() and log.stat().st_size > 1 << 20)


def test_a_hook_of_restore_that_never_ends_can_be_cancelled(saved: Saved) -> None:
    hangs_in_a_hook(saved)
    cancel(saved, signal.SIGTERM, ["--detach"], (saved.oci.bundle / "here").exists)


def cancel(saved: Saved, number: signal.Signals, options: list[str], ready: Callable[[], object]) -> None:
    saved("--version")  # writes config.json
    process = subprocess.Popen(
        [PYCONTAIN_OCI, "--root", str(saved.oci.root), *saved.restore_line(), *options, "c"],
        env=saved.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert eventually(ready)
    group = cgroup_mount() / "pycontain-oci" / "c"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    pids = {int(pid) for pid in [*children, *(group / "cgroup.procs").read_text().split()]}
    assert len(pids) > 1
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said.count("\n")) == (1, 1), said
    assert said == f"pycontain-oci: container c: cannot restore it: {number.name} has come before CRIU was done\n"
    assert not group.exists() and not (saved.oci.root / "c").exists()
    reap()
    assert not any(_command(pid) for pid in pids)


def test_a_bundle_that_does_not_fit(saved: Saved) -> None:
    saved.start()
    saved.checkpoint()
    saved.ok("delete", "c")
    saved.oci.spec["linux"]["cgroupsPath"] = 5
    assert restore(saved).startswith("linux.cgroupsPath: ")
    del saved.oci.spec["linux"]["cgroupsPath"]
    shutil.move(saved.oci.bundle / "rootfs", saved.oci.bundle / "away")
    assert restore(saved) == f"root.path: {saved.oci.bundle}/rootfs is not a directory"
    (saved.oci.bundle / "rootfs").mkdir()
    assert restore(saved).startswith("container c: cannot restore it: CRIU: ")
    shutil.rmtree(saved.oci.bundle / "rootfs")
    shutil.move(saved.oci.bundle / "away", saved.oci.bundle / "rootfs")
    saved.restore()
    assert saved.goes_on_from(1)


def test_a_restore_that_is_killed(saved: Saved) -> None:
    """What it has left, delete --force removes; CRIU has gone with it."""
    saved.start()
    saved.checkpoint()
    saved.ok("delete", "c")
    here = saved.oci.bundle / "here"
    hook = f"echo $PPID >{here}.new; mv {here}.new {here}; exec sleep 1000"
    saved.oci.spec["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", hook]}]}
    saved("--version")  # writes config.json
    process = subprocess.Popen(
        [PYCONTAIN_OCI, "--root", str(saved.oci.root), *saved.restore_line(), "c"],
        env=saved.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert eventually(here.exists)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = saved("state", "c")
    assert '"status": "creating"' in done.stdout or '"status": "stopped"' in done.stdout, done
    saved.ok("delete", "--force", "c")
    hook_pids = [pid for pid in children if b"sleep" in _command(pid)]
    for pid in hook_pids:
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not any(_command(pid) for pid in children))
    assert not (cgroup_mount() / "pycontain-oci" / "c").exists()
    assert not (saved.oci.root / "c").exists()


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


PIPE_SIZE = Path("/proc/sys/fs/pipe-max-size")


@pytest.fixture
def large_pipes() -> Iterator[None]:
    """CRIU wants pipes of 4 MiB for lazy pages. The setting is the machine's: it is put back."""
    before = PIPE_SIZE.read_text()
    if int(before) < 4 << 20:
        PIPE_SIZE.write_text(str(4 << 20))
    yield
    PIPE_SIZE.write_text(before)


@pytest.mark.usefixtures("large_pipes")
def test_lazy_pages(saved: Saved) -> None:
    """The memory comes over a socket while the twin runs; the one that is saved stays until all has gone."""
    program = f"{saved.environment['PATH'].partition(':')[0]}/criu"
    saved.start()
    assert eventually(lambda: saved.count() > 3)
    ready, status = os.pipe()
    server = ["--lazy-pages", "--page-server", "127.0.0.1:27000", "--status-fd", str(status)]
    command = [
        PYCONTAIN_OCI,
        "--root",
        str(saved.oci.root),
        "checkpoint",
        "--image-path",
        str(saved.images),
        *server,
        "c",
    ]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "env": saved.environment}
    serving = subprocess.Popen(command, pass_fds=(status,), **quiet)  # type: ignore[call-overload]
    os.close(status)
    assert os.read(ready, 1) == b"\0"
    os.close(ready)
    where = ["--page-server", "--address", "127.0.0.1", "--port", "27000", "-D", str(saved.images)]
    asking = subprocess.Popen([program, "lazy-pages", *where], **quiet)  # type: ignore[call-overload]
    assert eventually((saved.images / "lazy-pages.socket").exists)
    saved.restore("--lazy-pages", name="twin")
    assert saved.goes_on_from(3, "twin")
    assert (serving.wait(timeout=60), asking.wait(timeout=60)) == (0, 0)
    assert saved.oci.state("c")["status"] == "stopped"


def test_a_signal_waits_for_the_end_of_a_dump(saved: Saved) -> None:
    """A container whose dump is interrupted is not left frozen, with CRIU in its processes."""
    saved.start()
    assert eventually(lambda: saved.count() > 1)
    words = ["checkpoint", "--leave-running", "--image-path", str(saved.images), "c"]
    for step in range(12):
        number = (signal.SIGTERM, signal.SIGKILL)[step % 2]
        command = [PYCONTAIN_OCI, "--root", str(saved.oci.root), *words]
        with subprocess.Popen(command, env=saved.environment, stderr=subprocess.PIPE) as process:
            try:
                process.wait(0.05 + step * 0.03)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
        assert eventually(lambda: saved.goes_on_from(1)), (step, number)
        shutil.rmtree(saved.images, ignore_errors=True)
