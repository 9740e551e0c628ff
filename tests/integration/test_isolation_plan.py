"""What a plan can ask for and ``run`` does not: user and time namespaces, a gate, and the order of things before exec.

The plan is compiled from a spec and executed by the installed helper, without an image or an engine around it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontain.image import store
from world import World, eventually

#: Becomes the helper with the plan of the spec on standard input. Arguments: bundle, descriptor of a gate or -1.
LAUNCH = """
import json, os, sys
from pycontain.engine import interpreter
from pycontain.kernel.errors import SpecError
from pycontain.launch import start
from pycontain.launch.compile import Surroundings, compile_spec
from pycontain.launch.ops import (
    FAIL,
    HOST,
    Gate,
    Handover,
    Wait,
)
bundle, gate = sys.argv[1], int(sys.argv[2])
spec = json.load(sys.stdin)
null = os.open("/dev/null", os.O_RDWR)
os.set_inheritable(null, True)
around = Surroundings(bundle)
around.stdio = (null, -1, -1)
around.die = True
if gate >= 0:
    around.gate = Gate(gate)
plan = start.plan_fd()
try:
    records, warnings = compile_spec(spec, around)
except SpecError as error:
    sys.exit(error.message)
records.append((HOST, Wait(False, b"")))
records.append((FAIL, Handover(interpreter.argv("pycontain.engine.explain", str(plan), "plan", "/"))))
start.launch(records, plan)
"""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture
def bundle(world: World, reachable: Path) -> Path:
    """A directory with a root to write into."""
    found = store.lookup(str(world.root), "busybox")
    assert found is not None
    # a user namespace has no rights to what root alone may enter
    subprocess.run(["cp", "-a", world.root / "layers" / found.layers[0], reachable / "rootfs"], check=True)
    return reachable


def spec(script: str, **changes: Any) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ociVersion": "1.2.0",
        "process": {"args": ["sh", "-c", script], "cwd": "/", "env": [f"PATH={PATH}"]},
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("mount", "pid", "uts", "ipc", "network")]},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            result[section][name] = value
        else:
            result[section] = value
    return result


def command(bundle: Path, gate: int = -1) -> list[str]:
    return [sys.executable, "-c", LAUNCH, str(bundle), str(gate)]


def launch(bundle: Path, value: dict[str, Any]) -> str:
    done = subprocess.run(
        command(bundle), input=json.dumps(value), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.strip()


def refused(bundle: Path, value: dict[str, Any]) -> str:
    done = subprocess.run(
        command(bundle), input=json.dumps(value), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode and done.stdout == "" and done.stderr.count("\n") == 1, done
    return done.stderr.strip()


def inode(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


# --- user namespaces ----------------------------------------------------------------------------------------------

USER: dict[str, Any] = {
    "linux__namespaces": [{"type": kind} for kind in ("mount", "pid", "uts", "ipc", "network", "user")],
    "linux__uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "linux__gidMappings": [{"containerID": 0, "hostID": 200000, "size": 65536}],
}


def test_a_user_namespace(bundle: Path) -> None:
    script = "readlink /proc/self/ns/user; id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; touch /tmp/x"
    words = launch(bundle, spec(f"chmod 777 /tmp 2>/dev/null; {script.replace('; touch /tmp/x', '')}", **USER)).split()
    assert words[0] != inode("user")
    assert words[1:] == ["0", "0", "0", "100000", "65536", "0", "200000", "65536"]


def test_its_root_is_nobody_outside(bundle: Path) -> None:
    (bundle / "rootfs" / "tmp").chmod(0o1777)
    launch(bundle, spec("touch /tmp/made; mkdir /tmp/dir", **USER))
    info = (bundle / "rootfs" / "tmp" / "made").stat()
    assert (info.st_uid, info.st_gid) == (100000, 200000)
    # and what is root's outside is nobody's inside
    assert (
        launch(bundle, spec("stat -c %u:%g /etc/passwd; echo x 2>&1 > /etc/passwd; true", **USER)).split("\n")[0]
        == "65534:65534"
    )
    assert (bundle / "rootfs" / "etc" / "passwd").read_text().startswith("root:")


def test_its_devices_are_the_hosts_own_nodes(bundle: Path) -> None:
    """mknod(2) is refused there."""
    script = "stat -c %t:%T /dev/null /dev/zero; echo x > /dev/null && head -c1 /dev/zero | wc -c"
    assert launch(bundle, spec(script, **USER)).split() == ["1:3", "1:5", "1"]


def test_its_capabilities_end_at_its_border(bundle: Path) -> None:
    full = ["CAP_SYS_ADMIN", "CAP_CHOWN", "CAP_SYS_TIME", "CAP_NET_ADMIN", "CAP_DAC_OVERRIDE"]
    sets = dict.fromkeys(("bounding", "permitted", "effective"), full)
    script = (
        "hostname inside && hostname; (dmesg -c; date -s 2000-01-01; mknod /dev/x b 7 0) 2>&1 | grep -c 'not permitted'"
    )
    words = launch(bundle, spec(script, process__capabilities=sets, **USER)).split()
    assert words == ["inside", "3"]
    assert os.uname().nodename != "inside"


def test_a_user_of_the_namespace(bundle: Path) -> None:
    value = spec("id -u; id -g; id -G", process__user={"uid": 5, "gid": 6, "additionalGids": [7]}, **USER)
    assert launch(bundle, value).split() == ["5", "6", "6", "7"]


def test_a_user_that_is_not_mapped_is_refused_in_one_line(bundle: Path) -> None:
    line = refused(bundle, spec("id", process__user={"uid": 70000, "gid": 0}, **USER))
    assert "become uid 70000 gid 0" in line and "setresuid" in line


# --- time namespaces ----------------------------------------------------------------------------------------------


def test_a_time_namespace(bundle: Path) -> None:
    spaces = [{"type": kind} for kind in ("mount", "pid", "time")]
    value = spec(
        "readlink /proc/self/ns/time; cut -d. -f1 /proc/uptime",
        linux__namespaces=spaces,
        linux__timeOffsets={"boottime": {"secs": 1000000}, "monotonic": {"secs": 5, "nanosecs": 7}},
    )
    space, uptime = launch(bundle, value).split()
    assert space != inode("time")
    here = float(Path("/proc/uptime").read_text().split()[0])
    assert 1000000 + here - 60 < int(uptime) < 1000000 + here + 60


# --- others -------------------------------------------------------------------------------------------------------


def test_a_domainname_and_a_personality(bundle: Path) -> None:
    value = spec(
        "cat /proc/sys/kernel/domainname; uname -m", domainname="home.arpa", linux__personality={"domain": "LINUX32"}
    )
    name, machine = launch(bundle, value).split()
    assert name == "home.arpa"
    assert machine == {"x86_64": "i686", "aarch64": "armv8l"}[os.uname().machine]


def test_ambient_capabilities_reach_a_users_program(bundle: Path) -> None:
    sets = {name: ["CAP_CHOWN"] for name in ("bounding", "permitted", "effective", "inheritable", "ambient")}
    value = spec("grep ^Cap /proc/self/status", process__capabilities=sets, process__user={"uid": 5, "gid": 5})
    assert {int(line.split()[1], 16) for line in launch(bundle, value).splitlines()} == {1}


@pytest.mark.parametrize(
    "word", ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"]
)
def test_no_propagation_of_the_root_shows_outside(bundle: Path, word: str) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    line = launch(
        bundle,
        spec("grep ' / / ' /proc/self/mountinfo || grep -m1 ' / ' /proc/self/mountinfo", linux__rootfsPropagation=word),
    )
    tags = line.split(" - ")[0].split()[6:]
    assert any(tag.startswith("shared:") for tag in tags) == word.endswith("shared")
    assert ("unbindable" in tags) == word.endswith("unbindable")
    assert Path("/proc/self/mountinfo").read_text() == before


def test_copying_up_what_a_directory_has(bundle: Path) -> None:
    tree = bundle / "rootfs" / "data"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_text("content\n")
    (tree / "sub" / "file").chmod(0o751)
    os.chown(tree / "sub", 5, 6)
    (tree / "link").symlink_to("/outside")
    os.mkfifo(tree / "fifo")
    mounts = [*spec("")["mounts"], {"destination": "/data", "type": "tmpfs", "options": ["tmpcopyup", "mode=700"]}]
    script = (
        "stat -f -c %T /data; cat /data/sub/file; stat -c '%a %u:%g' /data/sub/file /data/sub;"
        "readlink /data/link; ls /data; touch /data/new"
    )
    lines = launch(bundle, spec(script, mounts=mounts)).splitlines()
    assert lines == ["tmpfs", "content", "751 0:0", "755 5:6", "/outside", "link", "sub"]
    assert not (tree / "new").exists()


# --- before exec --------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(bundle: Path) -> Iterator[tuple[int, int, Path]]:
    """A guest of uid 1000 that has everything but the gate behind it: its PID, that of its parent, the gate's path."""
    path = bundle / "gate"
    guest = -1
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as gate:
        gate.bind(str(path))
        gate.listen(1)
        gate.set_inheritable(True)
        value = spec("sleep 1000", process__user={"uid": 1000, "gid": 1000}, process__noNewPrivileges=True)
        child = subprocess.Popen(command(bundle, gate.fileno()), stdin=subprocess.PIPE, pass_fds=[gate.fileno()])
    try:
        assert child.stdin
        child.stdin.write(json.dumps(value).encode())
        child.stdin.close()
        while not (pids := Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()):
            assert child.poll() is None
        pid = int(pids[0])
        guest = os.pidfd_open(pid)
        # it waits in accept(2) when it is at the gate
        while "accept" not in Path(f"/proc/{pid}/wchan").read_text() + Path(f"/proc/{pid}/syscall").read_text().replace(
            "288 ", "accept "
        ):
            assert child.poll() is None
        yield pid, child.pid, path
    finally:
        child.kill()
        child.wait()
        if guest >= 0:
            try:
                signal.pidfd_send_signal(guest, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.close(guest)


def test_before_exec_nobody_can_look_into_the_process(waiting: tuple[int, int, Path]) -> None:
    """CVE-2016-9962: it has the user's ids by now, and descriptors of ours still."""
    pid, parent, _ = waiting
    status = Path(f"/proc/{pid}/status").read_text()
    assert status.split("Uid:")[1].split()[:4] == ["1000"] * 4
    assert len(os.listdir(f"/proc/{pid}/fd")) > 3
    for process in (pid, parent):
        assert Path(f"/proc/{process}/environ").stat().st_uid == 0
    seen = subprocess.run(
        ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "ls", f"/proc/{pid}/fd"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert seen.returncode != 0 and "Permission denied" in seen.stderr


def test_before_exec_it_is_confined(waiting: tuple[int, int, Path]) -> None:
    pid, _, _ = waiting
    assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
    exe = os.stat(f"/proc/{pid}/exe")
    assert stat.S_IMODE(exe.st_mode) == 0o500 and os.readlink(f"/proc/{pid}/exe").startswith("/memfd:pycontain-helper")


def test_who_waits_at_the_gate_dies_with_its_parent(waiting: tuple[int, int, Path]) -> None:
    """The ids have taken the parent-death signal away."""
    pid, parent, _ = waiting
    pidfd = os.pidfd_open(pid)
    os.kill(parent, signal.SIGKILL)
    assert select.select([pidfd], [], [], 60)[0], "it lives on"
    os.close(pidfd)


def test_the_gate_opens_once(waiting: tuple[int, int, Path]) -> None:
    pid, _, path = waiting
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        caller.connect(str(path))
        # closed by the exec: that it is done
        assert select.select([caller], [], [], 60)[0] and caller.recv(100) == b""
    # which is in the middle of it still
    assert eventually(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().startswith((b"sleep", b"sh")))
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    assert path.exists()
