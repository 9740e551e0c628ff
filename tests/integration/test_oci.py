"""pycontain-oci: a bundle's life by OCI's verbs, and its launch plan."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from oci_bundle import Oci
from world import eventually
from worlds import disk


def test_run_ends_with_the_status(oci: Oci) -> None:
    done = oci("run", "-b", str(oci.bundle), "one")
    assert (done.returncode, done.stdout, done.stderr) == (5, "hello\n", "")


def test_life(oci: Oci, tmp_path: Path) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    assert oci.ok("create", "--bundle", str(oci.bundle), "--pid-file", str(tmp_path / "pid"), "life") == ""
    state = oci.state("life")
    pid = int((tmp_path / "pid").read_text())
    assert (state["status"], state["pid"], state["bundle"]) == ("created", pid, str(oci.bundle))
    assert "sleep" not in Path(f"/proc/{pid}/cmdline").read_text()
    assert "not created" not in oci.ok("start", "life")
    # empty as long as its execve(2) is under way
    assert eventually(lambda: Path(f"/proc/{pid}/cmdline").read_text() == "sleep\x001000\x00")
    assert oci.state("life")["status"] == "running"
    assert oci("start", "life").returncode == 1
    assert "not stopped" in oci("delete", "life").stderr
    oci.ok("kill", "life", "KILL")
    assert eventually(lambda: oci.state("life")["status"] == "stopped")
    assert oci("kill", "life", "9").returncode == 1
    oci.ok("delete", "life")
    assert "does not exist" in oci("state", "life").stderr


def test_a_missing_program_is_known_at_create(oci: Oci) -> None:
    for program, words in (
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("/no/such", 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        ("/etc", 'exec: "/etc": is a directory'),
    ):
        oci.spec["process"]["args"] = [program]
        done = oci("create", "-b", str(oci.bundle), "bad")
        assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1, done
        assert not (oci.root / "bad").exists()


def test_a_broken_program_is_known_at_start(oci: Oci) -> None:
    script = oci.bundle / "rootfs/bin/broken"
    script.write_text("#!/no/interpreter\n")
    script.chmod(0o755)
    oci.spec["process"]["args"] = ["broken"]
    oci.ok("create", "-b", str(oci.bundle), "broken")
    done = oci("start", "broken")
    assert done.returncode == 1 and "no such file or directory" in done.stderr, done


def test_console_socket(oci: Oci, tmp_path: Path) -> None:
    oci.spec["process"].update(terminal=True, args=["sh", "-c", "tty; read x; echo got $x"])
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(20)
        oci.ok("create", "-b", str(oci.bundle), "--console-socket", path, "tty")
        link, _ = listener.accept()
        _, (master, *_), _, _ = socket.recv_fds(link, 100, 4)
    oci.ok("start", "tty")
    os.write(master, b"word\n")
    output = b""
    while b"got word" not in output:
        output += os.read(master, 1000)
    assert b"/dev/pts/0" in output
    os.close(master)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"process": {"args": []}}, "process.args: is required"),
        ({"process": {"args": ["true"], "cwd": "x"}}, "process.cwd: 'x' is not an absolute path"),
        ({"linux": {"namespaces": [{"type": "moon"}]}}, "linux.namespaces[0].type: 'moon' is unknown"),
        ({"linux": {"namespaces": [{"type": "mount"}], "sysctl": {"kernel.panic": "1"}}}, "linux.sysctl.kernel.panic"),
        ({"root": None}, "root: is required"),
        ({"ociVersion": "0.9"}, "ociVersion"),
        ({"mounts": [{"destination": "/x", "options": ["rbind"]}]}, "mounts[0].source"),
        ({"root": {"path": "nowhere"}}, "nowhere: no such file or directory"),
    ],
)
def test_bad_bundles(oci: Oci, change: dict[str, Any], words: str) -> None:
    oci.spec.update(change)
    done = oci("create", "-b", str(oci.bundle), "bad")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and words in done.stderr, done
    assert not (oci.root / "bad").exists()


@pytest.mark.parametrize("kind", ["fifo", "socket", "zero", "loop", "directory"])
def test_a_configuration_that_is_no_file(oci: Oci, tmp_path: Path, kind: str) -> None:
    """Whoever fills a bundle holds nobody up."""
    bundle = tmp_path / "other"
    bundle.mkdir()
    path = bundle / "config.json"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, 0o140644)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "zero" else "config.json")
    done = oci("create", "-b", str(bundle), "bad")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and str(path) in done.stderr, done
    assert not (oci.root / "bad").exists()


def test_plan_prints_and_does_nothing(oci: Oci) -> None:
    (oci.bundle / "config.json").write_text(json.dumps(oci.spec))
    lines = oci.ok("plan", str(oci.bundle))
    assert "clone" in lines and "mount proc on /proc" in lines and "execute 'sh'" in lines
    rows = json.loads(oci.ok("plan", "--format", "json", str(oci.bundle)))
    assert rows[-1]["op"] == "exec" and rows[-1]["fields"]["argv"][0] == "sh"
    assert not oci.root.exists()


def test_ids_and_usage(oci: Oci) -> None:
    for arguments in (("state", "../x"), ("state",), ("state", "a", "b"), ("frobnicate",), ("state", "--moon", "x")):
        done = oci(*arguments)
        assert done.returncode == 1 and done.stderr.startswith("pycontain-oci: ") and done.stderr.count("\n") == 1


def test_log_is_json(oci: Oci, tmp_path: Path) -> None:
    oci("--log", str(tmp_path / "log"), "--log-format", "json", "state", "nobody")
    entry = json.loads((tmp_path / "log").read_text())
    assert entry["level"] == "error" and entry["msg"] == "container does not exist: nobody"


def test_a_start_that_was_killed_half_way_is_known(oci: Oci) -> None:
    """It has opened the gate and not unlinked the socket: the next one says so, and puts it right."""
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.ok("create", "-b", str(oci.bundle), "half")
    gate = oci.root / "half" / "start"
    with socket.socket(socket.AF_UNIX) as link:
        directory = os.open(gate.parent, os.O_PATH)
        link.connect(f"/proc/self/fd/{directory}/start")
        assert link.recv(100) == b""  # the end: it has executed its program
        os.close(directory)
    assert gate.exists()
    done = oci("start", "half")
    assert done.returncode == 1 and "cannot start an already running container" in done.stderr, done
    assert not gate.exists()
    assert oci.state("half")["status"] == "running"


def test_what_the_caller_has_open_does_not_wait_at_the_gate(oci: Oci, tmp_path: Path) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    with (tmp_path / "secret").open("w") as secret:
        oci.ok("create", "-b", str(oci.bundle), "gate", pass_fds=[secret.fileno()])
    descriptors = Path(f"/proc/{oci.state('gate')['pid']}/fd")
    opened = {os.readlink(path) for path in descriptors.iterdir()}
    assert not any("secret" in text or text.startswith("/sys/fs/cgroup") for text in opened), opened
    assert sum(text.startswith("socket:") for text in opened) == 2, opened  # the baton's end, its gate
    oci.ok("start", "gate")
    # an execve(2) closes one after the other
    assert eventually(lambda: sorted(path.name for path in descriptors.iterdir()) == ["0", "1", "2"])


@pytest.mark.parametrize("change", [{"linux": [1]}, {"hooks": [1]}, {"linux": {"seccomp": [1]}}, {"process": [1]}])
def test_another_type_of_a_section_is_one_line(oci: Oci, change: dict[str, Any]) -> None:
    oci.spec.update(change)
    done = oci("create", "-b", str(oci.bundle), "bad")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and next(iter(change)) in done.stderr, done
    assert not (oci.root / "bad").exists()


def test_a_full_state_directory_is_one_line(oci: Oci, tmp_path: Path) -> None:
    with disk(tmp_path / "small", "16k") as point:
        (point / "filler").write_bytes(b"x" * 4096)
        oci.root = point / "state"
        done = oci("create", "-b", str(oci.bundle), "full")
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and "No space left on device" in done.stderr, done
        assert not (oci.root / "full").exists()
        oci.root = tmp_path / "state"
