"""NOTIFY_SOCKET: a program in a container tells the service manager outside that it is ready."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_bundle import Oci
from systemd_guest import Guest
from world import PYCONTAIN_OCI, eventually

#: What a service does by sd_notify(3), with this host's Python: busybox has nothing for datagrams.
_TELL = """
import os, socket
link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
link.connect(os.environ["NOTIFY_SOCKET"])
for text in {texts}:
    link.send(text)
"""


class Manager:
    """A service manager's end: a socket, and what has come to it."""

    def __init__(self, path: str) -> None:
        self.address = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + path[1:] if path[0] == "@" else path)
        self.socket.settimeout(20)
        self.environment = {**os.environ, "NOTIFY_SOCKET": path}

    def read(self) -> str:
        """One datagram; descriptors that come along are closed at once, as systemd does at a barrier."""
        data, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
        for fd in fds:
            os.close(fd)
        return data.decode()

    def has_nothing(self) -> bool:
        return not select.select([self.socket], [], [], 0)[0]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "manager") if request.param == "path" else f"@pycontain-test-{os.getpid()}"
    found = Manager(path)
    yield found
    found.socket.close()


def tells(oci: Oci, *texts: bytes, then: str = "sleep 1000") -> None:
    """The bundle's program sends these datagrams, and goes on as a shell does."""
    oci.spec["mounts"] += [
        {"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}
        for path in ("/usr/lib", "/usr/bin", "/lib", "/lib64")
        if Path(path).exists()
    ]
    script = _TELL.format(texts=repr(list(texts)))
    oci.spec["process"]["args"] = ["sh", "-c", f"/usr/bin/python3 -c {shlex.quote(script)}; exec {then}"]
    oci.spec["process"]["env"].append("NOTIFY_SOCKET=/somebody/elses")


def start(oci: Oci, manager: Manager, *arguments: str) -> subprocess.Popen[bytes]:
    (oci.bundle / "config.json").write_text(json.dumps(oci.spec))
    command = [PYCONTAIN_OCI, "--root", str(oci.root), *arguments]
    null = subprocess.DEVNULL
    return subprocess.Popen(command, env=manager.environment, stdin=null, stdout=null, stderr=null)


def test_run_tells_and_stays_the_main_process(oci: Oci, manager: Manager) -> None:
    tells(oci, b"STATUS=almost", b"MAINPID=1\nREADY=0", b"READY=1\nSTATUS=there\nMAINPID=1", b"STOPPING=1")
    with start(oci, manager, "run", "-b", str(oci.bundle), "c") as run:
        assert manager.read() == f"READY=1\nMAINPID={run.pid}"
        assert oci.state("c")["status"] == "running" and run.poll() is None
        oci.ok("kill", "c", "KILL")
        assert run.wait(20) == 128 + signal.SIGKILL
    # nothing else of what a container says is for the host's service manager
    assert manager.has_nothing()


def test_run_detached_waits_until_it_is_ready(oci: Oci, manager: Manager) -> None:
    fifo = oci.bundle / "rootfs/fifo"
    os.mkfifo(fifo)
    tells(oci, b"READY=1")
    oci.spec["process"]["args"][2] = f"read x < /fifo; {oci.spec['process']['args'][2]}"
    with start(oci, manager, "run", "-d", "-b", str(oci.bundle), "c") as run:
        with fifo.open("w") as gate:
            assert oci.state("c")["status"] == "running" and run.poll() is None and manager.has_nothing()
            gate.write("go\n")
        assert manager.read() == f"READY=1\nMAINPID={oci.state('c')['pid']}"
        # it stays until the manager has looked at who said so
        assert run.poll() is None
        assert manager.read() == "BARRIER=1"
        assert run.wait(20) == 0


def test_start_waits_until_it_is_ready(oci: Oci, manager: Manager) -> None:
    tells(oci, b"READY=1")
    oci.ok("create", "-b", str(oci.bundle), "c", env=manager.environment)
    with start(oci, manager, "start", "c") as begun:
        assert manager.read() == f"READY=1\nMAINPID={oci.state('c')['pid']}"
        assert manager.read() == "BARRIER=1"
        assert begun.wait(20) == 0
    # what is executed beside it is nobody's service
    script = "ls -l /run/notify; echo $NOTIFY_SOCKET; touch /run/notify/x 2>&1; true"
    seen = oci.ok("exec", "c", "sh", "-c", script)
    assert "srw-rw-rw-" in seen and "/somebody/elses" in seen and "Read-only file system" in seen, seen
    oci.ok("delete", "--force", "c")


@pytest.mark.parametrize("verb", ["start", "run"])
def test_one_that_ends_before_it_is_ready_is_not_waited_for(oci: Oci, manager: Manager, verb: str) -> None:
    oci.spec["process"]["args"] = ["true"]
    if verb == "start":
        oci.ok("create", "-b", str(oci.bundle), "c", env=manager.environment)
    with start(oci, manager, verb, *(["-d", "-b", str(oci.bundle)] if verb == "run" else []), "c") as begun:
        assert begun.wait(20) == 0
    assert manager.has_nothing()
    assert eventually(lambda: oci.state("c")["status"] == "stopped")
    oci.ok("delete", "c")


def test_a_program_that_cannot_be_run_leaves_nothing(oci: Oci, manager: Manager) -> None:
    oci.spec["process"]["args"] = ["/no/such"]
    done = oci("run", "-b", str(oci.bundle), "c", env=manager.environment)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and not (oci.root / "c").exists(), done
    oci.spec["mounts"][0]["options"] = [5]
    done = oci("create", "-b", str(oci.bundle), "c", env=manager.environment)
    assert done.returncode == 1 and "mounts[0].options[0]" in done.stderr and not (oci.root / "c").exists(), done


def test_a_manager_that_is_gone_does_not_hold_the_container(oci: Oci, tmp_path: Path) -> None:
    tells(oci, b"READY=1", then="true")
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "gone")}
    assert oci("run", "-b", str(oci.bundle), "c", env=environment).returncode == 0
    done = oci("run", "-d", "-b", str(oci.bundle), "c", env=environment)
    assert done.returncode == 0 and "No such file or directory" in done.stderr, done
    oci.ok("delete", "--force", "c")


@pytest.mark.parametrize("address", ["", "relative", "@"])
def test_what_is_no_address_is_as_if_it_were_not_there(oci: Oci, address: str) -> None:
    oci.spec["process"]["args"] = ["sh", "-c", "echo [$NOTIFY_SOCKET]; ls /run/notify"]
    done = oci("run", "-b", str(oci.bundle), "c", env={**os.environ, "NOTIFY_SOCKET": address})
    assert done.stdout == "[]\n" and "No such file" in done.stderr, done


# --- a real one ----------------------------------------------------------------------------------------------------

_UNIT = """
set -eu
bundle=$(mktemp -d); mkdir -p $bundle/rootfs/usr
for name in bin lib lib64; do ln -s usr/$name $bundle/rootfs/$name; done
cat > $bundle/config.json <<'EOF'
{config}
EOF
cat > /run/systemd/system/box.service <<EOF
[Service]
Type=notify
ExecStart={program} --root /run/box run {options} -b $bundle box
KillMode=process
TimeoutStartSec=60
EOF
systemctl daemon-reload
echo before $(systemctl show -P ActiveState box)
systemctl start box || {{ systemctl status box; journalctl -u box; exit 1; }}
echo after $(systemctl show -P ActiveState box)
echo main $(systemctl show -P MainPID box) init $(cut -d" " -f1 /run/box/box/pid)
{program} --root /run/box delete --force box
systemctl stop box || true; systemctl reset-failed box || true
rm -r $bundle
"""


@pytest.mark.parametrize("options", ["", "-d"])
def test_a_unit_of_systemd_becomes_active(systemd_guest: Guest, options: str) -> None:
    """Type=notify: `systemctl start` returns when systemd-notify(1) has spoken inside."""
    config = {
        "ociVersion": "1.2.0",
        "process": {
            "args": ["sh", "-c", "sleep 0.3; systemd-notify --ready; exec sleep 1000"],
            "cwd": "/",
            "env": ["PATH=/usr/bin"],
            "user": {"uid": 0, "gid": 0},
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
    }
    script = _UNIT.format(config=json.dumps(config), program=PYCONTAIN_OCI, options=options)
    done = systemd_guest.run(script, timeout=90)
    assert done.returncode == 0, done
    before, after, pids = done.stdout.splitlines()
    assert (before, after) == ("before inactive", "after active"), done
    _, main, _, init = pids.split()
    assert int(main) and (main == init) is bool(options), done
