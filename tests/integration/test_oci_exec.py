"""pycontain-oci exec: one more process, confined as the container is, by runc's command line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from oci_bundle import Oci
from pycontain.cgroup import hierarchy
from world import PYCONTAIN_OCI, eventually


@pytest.fixture
def running(oci: Oci) -> Oci:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.ok("create", "-b", str(oci.bundle), "c")
    oci.ok("start", "c")
    return oci


def process_file(oci: Oci, **more: Any) -> str:
    path = oci.bundle / "process.json"
    path.write_text(json.dumps({"cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, **more}))
    return str(path)


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        yield listener


def test_output_and_status_are_the_commands(running: Oci) -> None:
    done = running("exec", "c", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert running("exec", "c", "sh", "-c", "kill -9 $$").returncode == 137


def test_input_is_passed(running: Oci) -> None:
    done = subprocess.run(
        [PYCONTAIN_OCI, "--root", str(running.root), "exec", "c", "cat"],
        input="words\n", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "words\n", "")


def test_options_of_the_process(running: Oci) -> None:
    script = "id -u; id -g; id -G; pwd; echo $A $HOME; grep NoNewPrivs /proc/self/status"
    user = ("-u", "5:6", "-g", "7", "--additional-gids=8")
    lines = running.ok("exec", *user, "-e", "A=1", "-eA=2", "--cwd", "/bin", "c", "sh", "-c", script).splitlines()
    assert lines == ["5", "6", "6 7 8", "/bin", "2 /", "NoNewPrivs:\t1"]


def test_it_is_in_the_containers_namespaces_and_cgroup(running: Oci) -> None:
    init = running.state("c")["pid"]
    links = running.ok(
        "exec", "c", "sh", "-c", "for n in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done"
    )
    assert links.splitlines() == [
        os.readlink(f"/proc/{init}/ns/{n}") for n in ("mnt", "pid", "net", "ipc", "uts", "cgroup")
    ]
    running.ok("exec", "-d", "--pid-file", str(running.bundle / "pid"), "c", "sleep", "100")
    pid = int((running.bundle / "pid").read_text())
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path(f"/proc/{init}/cgroup").read_text()


def test_capabilities_are_the_containers_and_those_of_cap(running: Oci) -> None:
    def sets(*options: str) -> str:
        return running.ok("exec", *options, "c", "grep", "Cap", "/proc/self/status")

    assert f"CapEff:\t{1 << 5:016x}" in sets() and f"CapBnd:\t{1 << 5:016x}" in sets()
    more = sets("--cap", "CAP_CHOWN")
    assert f"CapEff:\t{1 << 5 | 1:016x}" in more and f"CapBnd:\t{1 << 5 | 1:016x}" in more
    assert f"CapAmb:\t{0:016x}" in more


def test_the_filter_of_the_container_holds(oci: Oci) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    oci.ok("create", "-b", str(oci.bundle), "c")
    oci.ok("start", "c")
    assert "Operation not supported" in oci("exec", "c", "mkdir", "/tmp/x").stderr
    assert "Seccomp:\t2" in oci.ok("exec", "c", "grep", "Seccomp:", "/proc/self/status")


def test_the_device_rules_of_the_container_hold(oci: Oci) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.spec["process"]["capabilities"] = {k: ["CAP_MKNOD"] for k in ("bounding", "effective", "permitted")}
    oci.spec["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    oci.ok("create", "-b", str(oci.bundle), "c")
    oci.ok("start", "c")
    done = oci("exec", "c", "sh", "-c", "mknod /dev/kmsg c 1 11 && : < /dev/kmsg")
    assert done.returncode == 1 and "not permitted" in done.stderr


def test_process_file_and_detach(running: Oci, tmp_path: Path) -> None:
    """As conmon and containerd's shim call it."""
    path = process_file(running, args=["sh", "-c", "echo $$ > /dev/shm-pid; exec sleep 100"])
    pid_file = tmp_path / "pid"
    assert running.ok("exec", "--pid-file", str(pid_file), "--process", path, "--detach", "c") == ""
    pid = int(pid_file.read_text())
    assert eventually(lambda: "sleep" in Path(f"/proc/{pid}/cmdline").read_text())
    assert pid in json.loads(running.ok("ps", "--format", "json", "c"))


def test_terminal_by_console_socket(running: Oci, tmp_path: Path) -> None:
    path = process_file(running, args=["sh", "-c", "tty; read x; echo got $x"], terminal=True)
    with listening(tmp_path / "console") as listener:
        running.ok("exec", "-d", "--console-socket", str(tmp_path / "console"), "-p", path, "c")
        link, _ = listener.accept()
        _, (master, *_), _, _ = socket.recv_fds(link, 100, 4)
    os.write(master, b"word\n")
    output = b""
    while b"got word" not in output:
        output += os.read(master, 1000)
    assert b"/dev/pts/" in output
    os.close(master)


def test_terminal_of_ones_own(running: Oci) -> None:
    assert running.ok("exec", "-t", "c", "sh", "-c", "tty").strip().startswith("/dev/pts/")


def test_pidfd_socket(running: Oci, tmp_path: Path) -> None:
    with listening(tmp_path / "pidfd") as listener:
        files = ("--pidfd-socket", str(tmp_path / "pidfd"), "--pid-file", str(tmp_path / "pid"))
        running.ok("exec", "-d", *files, "c", "sleep", "1000")
        link, _ = listener.accept()
        text, (fd, *_), _, _ = socket.recv_fds(link, 100, 4)
    info = Path(f"/proc/self/fdinfo/{fd}").read_text()
    assert text == b"setns" and f"Pid:\t{(tmp_path / 'pid').read_text()}\n" in info
    os.close(fd)


def test_preserved_descriptors(running: Oci) -> None:
    reader, writer = os.pipe()
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&{writer}; exec {PYCONTAIN_OCI} --root {running.root} "
         "exec --preserve-fds 1 c sh -c 'echo kept >&3; ls /proc/self/fd'"],
        pass_fds=(writer,), capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 0, done
    assert os.read(reader, 100) == b"kept\n"
    os.close(reader)
    assert done.stdout.split()[:4] == ["0", "1", "2", "3"] and len(done.stdout.split()) == 5  # and ls's own


def test_a_descriptor_that_is_not_open_cannot_be_kept(running: Oci) -> None:
    done = running("exec", "--preserve-fds", "500", "c", "true")
    assert done.returncode == 255 and "unable to stat preserved-fd" in done.stderr


def test_subgroup(running: Oci) -> None:
    group = Path(json.loads((running.root / "c/state.json").read_text())["cgroup"])
    (group / "below").mkdir()
    try:
        assert running.ok("exec", "--cgroup", "/below", "c", "cat", "/proc/self/cgroup").endswith("/below\n")
        done = running("exec", "--cgroup", "/nosuch", "c", "true")
        assert done.returncode == 255 and "no such file or directory" in done.stderr
    finally:
        (group / "below").rmdir()


@pytest.mark.skipif(not hierarchy.find().controllers, reason="cgroup v2 has no controllers here")
def test_a_container_that_divides_its_resources(running: Oci) -> None:
    """As systemd does in a container: no process may be in the container's own group any more."""
    group = Path((running.root / "c/cgroup").read_text().strip())
    controller = min(hierarchy.find().controllers)
    pid = running.state("c")["pid"]
    for level in (group.parents[1], group.parent):
        (level / "cgroup.subtree_control").write_text(f"+{controller}")
    (group / "init").mkdir()
    (group / "init/cgroup.procs").write_text(str(pid))
    (group / "cgroup.subtree_control").write_text(f"+{controller}")
    assert running.ok("exec", "c", "cat", "/proc/self/cgroup").endswith("/init\n")
    running.ok("pause", "c")
    running.ok("resume", "c")
    running.ok("delete", "--force", "c")
    assert not group.exists()


def test_paused(running: Oci) -> None:
    running.ok("pause", "c")
    done = running("exec", "c", "true")
    assert done.returncode == 255 and "cannot exec in a paused container" in done.stderr
    command = [PYCONTAIN_OCI, "--root", str(running.root), "exec", "--ignore-paused", "c", "echo", "woken"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as waiting:
        group = Path(json.loads((running.root / "c/state.json").read_text())["cgroup"])
        assert eventually(lambda: len((group / "cgroup.procs").read_text().split()) == 2)
        running.ok("resume", "c")
        assert waiting.communicate(timeout=20)[0] == "woken\n"


def test_stopped(running: Oci) -> None:
    running.ok("kill", "c", "KILL")
    assert eventually(lambda: running.state("c")["status"] == "stopped")
    done = running("exec", "c", "true")
    assert done.returncode == 255 and "cannot exec in a stopped container" in done.stderr


def test_created(oci: Oci) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.ok("create", "-b", str(oci.bundle), "c")
    assert oci.ok("exec", "c", "hostname") == "oci\n"


def test_user_namespace(oci: Oci) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.spec["linux"]["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        oci.spec["linux"][key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    # pytest's own directories are closed to the container's root
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        subprocess.run(["cp", "-a", str(oci.bundle / "rootfs"), directory], check=True)
        subprocess.run(["chown", "-R", "100000:100000", f"{directory}/rootfs"], check=True)
        oci.spec["root"]["path"] = f"{directory}/rootfs"
        oci.ok("create", "-b", str(oci.bundle), "c")
        oci.ok("start", "c")
        lines = oci.ok("exec", "-u", "5", "c", "sh", "-c", "id -u; cat /proc/self/uid_map").split()
        assert lines == ["5", "0", "100000", "65536"]
        oci.ok("delete", "--force", "c")


PHRASES = [
    ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
    ("/no/such", 'exec: "/no/such": stat /no/such: no such file or directory'),
    ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
    ("/etc", 'exec: "/etc": is a directory'),
]


@pytest.mark.parametrize(("program", "words"), PHRASES)
def test_a_program_that_cannot_be_run(running: Oci, tmp_path: Path, program: str, words: str) -> None:
    log, pid_file = tmp_path / "log", tmp_path / "pid"
    done = running(
        "--log", str(log), "--log-format=json", "exec", "-d", "--pid-file", str(pid_file), "c", program
    )  # fmt: skip
    assert done.returncode == 255 and words in done.stderr and done.stderr.count("\n") == 1, done
    entry = json.loads(log.read_text())
    assert entry["level"] == "error" and words in entry["msg"] and entry["time"].endswith("Z")
    assert not pid_file.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-u", "x", "c", "true"), "--user: 'x' is not an ID"),
        (("c",), "process args cannot be empty"),
        (("nobody", "true"), "container does not exist"),
        (("-p", "/no/such", "c"), "open /no/such: no such file or directory"),
        (("-dt", "c", "true"), "cannot allocate tty"),
        (("--console-socket", "/x", "c", "true"), "cannot use console socket"),
        (("--apparmor", "x", "c", "true"), "process.apparmorProfile"),
        (("--process-label", "x", "c", "true"), "process.selinuxLabel"),
        (("--cwd", "x", "c", "true"), "process.cwd: 'x' is not an absolute path"),
        (("--pid-file", "/no/such/file", "c", "true"), "/no/such/file"),
    ],
)
def test_what_cannot_be(running: Oci, arguments: tuple[str, ...], words: str) -> None:
    before = running.ok("ps", "-f", "json", "c")
    done = running("exec", *arguments)
    assert done.returncode == 255 and words in done.stderr and done.stderr.count("\n") == 1, done
    assert eventually(lambda: running.ok("ps", "-f", "json", "c") == before)
