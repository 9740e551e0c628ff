"""pycontain-oci's other verbs: run, state, list, ps, pause, resume, kill; and create's options."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from oci_bundle import Oci
from test_oci_exec import PHRASES, listening
from test_oci_exec import running as running
from test_oci_fast import stopped
from world import PYCONTAIN_OCI, cgroup_mount, eventually


def test_state_is_printed_as_runc_does(running: Oci) -> None:
    text = running.ok("state", "c")
    state = json.loads(text)
    assert list(state) == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"]
    assert state["rootfs"] == str(running.bundle / "rootfs") and state["owner"] == ""
    assert text.startswith('{\n  "ociVersion": "1.2.0",\n  "id": "c",\n')


def test_list(running: Oci) -> None:
    row = json.loads(running.ok("list", "--format=json"))[0]
    assert (row["id"], row["status"], row["owner"]) == ("c", "running", "root")
    assert running.ok("list", "-q") == "c\n"
    header, line = running.ok("list").splitlines()
    assert header.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"] and line.split()[2] == "running"
    assert running("list", "-f", "x").returncode == 1


def test_ps(running: Oci) -> None:
    pid = running.state("c")["pid"]
    assert json.loads(running.ok("ps", "-f", "json", "c")) == [pid]
    assert eventually(Path(f"/proc/{pid}/cmdline").read_bytes)  # empty as long as its execve(2) is under way
    header, line = running.ok("ps", "c").splitlines()
    assert "PID" in header and "sleep 1000" in line
    assert running.ok("ps", "c", "-o", "pid,comm").split() == ["PID", "COMMAND", str(pid), "sleep"]
    assert "ps -o pid,moon" in running("ps", "c", "-o", "pid,moon").stderr


def test_pause_and_resume(running: Oci) -> None:
    running.ok("pause", "c")
    assert running.state("c")["status"] == "paused"
    assert "container not running" in running("pause", "c").stderr
    running.ok("resume", "c")
    assert running.state("c")["status"] == "running"
    assert "container not paused" in running("resume", "c").stderr
    running.ok("pause", "c")
    running.ok("kill", "c", "KILL")
    assert eventually(lambda: stopped(running, "c"))


def test_a_created_container_can_be_paused_and_not_started_then(oci: Oci) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.ok("create", "-b", str(oci.bundle), "c")
    oci.ok("pause", "c")
    assert oci.state("c")["status"] == "paused"
    assert "cannot start a container in the paused state" in oci("start", "c").stderr
    oci.ok("resume", "c")
    assert oci.state("c")["status"] == "created"
    oci.ok("start", "c")


def test_kill(running: Oci) -> None:
    running.ok("exec", "-d", "c", "sleep", "50")
    assert len(json.loads(running.ok("ps", "-f", "json", "c"))) == 2
    assert 'unknown signal "MOON"' in running("kill", "c", "MOON").stderr
    running.ok("kill", "c", "0")
    running.ok("kill", "--all", "c", "SIGKILL")
    # init stays until the parent of exec's process, which is not in the container, has seen its end
    assert eventually(lambda: stopped(running, "c"))
    assert "container not running" in running("kill", "c", "KILL").stderr
    running.ok("kill", "-a", "c", "9")
    running.ok("kill", "c", "9", "--all")
    assert "cannot start a container that has stopped" in running("start", "c").stderr


def test_a_session_keyring_is_the_containers_or_the_callers(oci: Oci) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    for name, options in (("own", ()), ("callers", ("--no-new-keyring",))):
        oci.ok("create", *options, "-b", str(oci.bundle), name)
        found = oci.ok("exec", name, "cat", "/proc/keys")  # root sees those of all
        assert (f"_ses.{name}:" in found) is not bool(options)
        oci.ok("delete", "--force", name)


def test_kill_of_a_created_container(oci: Oci) -> None:
    oci.ok("create", "-b", str(oci.bundle), "c")
    oci.ok("kill", "c", "KILL")
    assert eventually(lambda: oci.state("c")["status"] == "stopped")
    oci.ok("delete", "c")


def test_run_detached_and_reparented(oci: Oci, tmp_path: Path) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    assert oci.ok("run", "-d", "-b", str(oci.bundle), "--pid-file", str(tmp_path / "pid"), "--no-subreaper", "c") == ""
    pid = int((tmp_path / "pid").read_text())
    assert oci.state("c")["status"] == "running" and oci.state("c")["pid"] == pid
    assert "cannot start an already running container" in oci("start", "c").stderr
    assert "container with given ID already exists" in oci("create", "-b", str(oci.bundle), "c").stderr
    oci.ok("delete", "--force", "c")
    stat = Path(f"/proc/{pid}/stat")
    assert eventually(lambda: not stat.exists() or "Z" in stat.read_text().rpartition(")")[2][:3])


def test_run_keeps_what_it_is_asked_to(oci: Oci) -> None:
    assert oci("run", "--keep", "-b", str(oci.bundle), "c").returncode == 5
    assert oci.state("c")["status"] == "stopped"
    oci.ok("delete", "c")
    assert oci("run", "-b", str(oci.bundle), "c").returncode == 5
    assert "does not exist" in oci("state", "c").stderr


@pytest.mark.parametrize("verb", ["create", "run"])
@pytest.mark.parametrize(("program", "words"), PHRASES)
def test_a_program_that_cannot_be_run(oci: Oci, tmp_path: Path, verb: str, program: str, words: str) -> None:
    oci.spec["process"]["args"] = [program]
    log, pid_file = tmp_path / "log", tmp_path / "pid"
    done = oci(
        "--log-format", "json", f"--log={log}", verb, "-b", str(oci.bundle), "--pid-file", str(pid_file), "bad"
    )  # fmt: skip
    assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1, done
    assert words in json.loads(log.read_text())["msg"]
    assert not (oci.root / "bad").exists() and not pid_file.exists()
    assert not (cgroup_mount() / "pycontain-oci/bad").exists()


def test_a_pid_file_that_cannot_be_written_leaves_nothing(oci: Oci) -> None:
    done = oci("create", "-b", str(oci.bundle), "--pid-file", "/no/such/file", "bad")
    assert done.returncode == 1 and "/no/such/file" in done.stderr and done.stderr.count("\n") == 1
    assert not (oci.root / "bad").exists() and not (cgroup_mount() / "pycontain-oci/bad").exists()


def test_pidfd_socket(oci: Oci, tmp_path: Path) -> None:
    with listening(tmp_path / "pidfd") as listener:
        oci.ok("create", "-b", str(oci.bundle), "--pidfd-socket", str(tmp_path / "pidfd"), "c")
        link, _ = listener.accept()
        text, (fd, *_), _, _ = socket.recv_fds(link, 100, 4)
    info = Path(f"/proc/self/fdinfo/{fd}").read_text()
    os.close(fd)
    assert text == b"standard" and f"Pid:\t{oci.state('c')['pid']}\n" in info


def test_preserved_and_listening_descriptors(oci: Oci, tmp_path: Path) -> None:
    oci.spec["process"]["args"] = ["sh", "-c", "echo $LISTEN_FDS $LISTEN_PID $HOME >&4; ls /proc/self/fd >&4"]
    (oci.bundle / "config.json").write_text(json.dumps(oci.spec))
    script = (
        f"exec 3</dev/null 4>{tmp_path}/out; LISTEN_FDS=1 LISTEN_PID=$$ exec {PYCONTAIN_OCI} --root {oci.root} "
        f"run --preserve-fds 1 -b {oci.bundle} c"
    )
    subprocess.run(["sh", "-c", script], check=True, timeout=60, stdin=subprocess.DEVNULL)
    words = (tmp_path / "out").read_text().split()
    # 5 is ls's own
    assert words == ["1", "1", "/root", "0", "1", "2", "3", "4", "5"]


def test_global_options(running: Oci) -> None:
    lines = running.ok("--version").splitlines()
    assert lines[0].startswith("pycontain-oci version ") and lines[1].startswith("spec: 1.")
    running.ok("--debug", "--rootless=auto", "--systemd-cgroup=false", "--criu", "/x", "state", "c")
    for bad in (("--rootless", "maybe"), ("--log-format", "xml"), ("--moon", "x")):
        done = running(*bad, "state", "c")
        assert done.returncode == 1 and done.stderr.count("\n") == 1


def test_features_and_spec(oci: Oci, tmp_path: Path) -> None:
    assert json.loads(oci.ok("features"))["linux"]["cgroup"]["v2"] is True
    oci.ok("spec", "--bundle", str(tmp_path))
    spec = json.loads((tmp_path / "config.json").read_text())
    oci.spec = {**spec, "process": {**spec["process"], "terminal": False, "args": ["echo", "ran"]}}
    assert oci.ok("run", "-b", str(oci.bundle), "c") == "ran\n"
