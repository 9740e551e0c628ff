"""SCMP_ACT_NOTIFY: the listener gets the notification descriptor and the state, and decides (config-linux.md)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oci_bundle import Oci, refused
from world import eventually

# linux/seccomp.h: struct seccomp_notif (id, pid, flags, nr, arch, ip, args[6]) and seccomp_notif_resp
NOTIF, RESPONSE = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
RECV, SEND = 0xC0502100, 0xC0182101
CONTINUE = 1
EXDEV = 18


class Listener:
    """Accepts connections, and answers every notification: mkdir with EXDEV, all others by going on."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.states: list[dict[str, Any]] = []
        self.calls: list[int] = []
        self.denied = 83 if os.uname().machine == "x86_64" else 34
        self.stop, self._wake = os.pipe()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        open_fds: list[int] = []
        while True:
            poll = select.poll()
            for fd in (self.stop, self.socket.fileno(), *open_fds):
                poll.register(fd, select.POLLIN)
            events = dict(poll.poll(30_000))
            ready = [self.socket if fd == self.socket.fileno() else fd for fd in events]
            if self.stop in ready or not ready:
                return
            if self.socket in ready:
                link, _ = self.socket.accept()
                link.settimeout(30)
                open_fds += self._receive(link)
            for fd in [fd for fd in open_fds if fd in ready]:
                # POLLHUP: nobody has this filter any more
                if not events[fd] & select.POLLIN or not self._answer(fd):
                    open_fds.remove(fd)
                    os.close(fd)

    def _receive(self, link: socket.socket) -> list[int]:
        data, fds, _, _ = socket.recv_fds(link, 1 << 20, 4)
        if not data:
            return []
        while not self._whole(data):
            data += link.recv(1 << 20)
        self.states.append(json.loads(data))
        return fds

    def _whole(self, data: bytes) -> bool:
        try:
            json.loads(data)
        except ValueError:
            return False
        return True

    def _answer(self, fd: int) -> bool:
        buffer = bytearray(NOTIF.size)
        try:
            fcntl.ioctl(fd, RECV, buffer)
        except OSError as error:
            return error.errno == errno.ENOENT
        number, _, _, call, *_ = NOTIF.unpack(buffer)
        self.calls.append(call)
        if call == self.denied:
            answer = RESPONSE.pack(number, 0, -EXDEV, 0)
        else:
            answer = RESPONSE.pack(number, 0, 0, CONTINUE)
        try:
            fcntl.ioctl(fd, SEND, bytearray(answer))
        except OSError as error:
            # a signal has interrupted the call: it begins again
            return error.errno == errno.ENOENT
        return True

    def close(self) -> None:
        os.write(self._wake, b"x")
        self.thread.join(20)
        self.socket.close()


@pytest.fixture
def listener(oci: Oci, tmp_path: Path) -> Iterator[Listener]:
    path = tmp_path / "listener"
    served = Listener(path)
    oci.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
        "listenerPath": str(path),
        "listenerMetadata": 'some "metadata"',
    }
    oci.spec["process"]["args"] = ["mkdir", "/made"]
    yield served
    served.close()


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_the_listener_decides(oci: Oci, listener: Listener, no_new_privileges: bool) -> None:
    oci.spec["process"]["noNewPrivileges"] = no_new_privileges
    oci.spec["annotations"] = {"a": "b"}
    done = oci("run", "-b", str(oci.bundle), "noted")
    assert done.returncode == 1 and "ross-device link" in done.stderr, done
    assert not (oci.bundle / "rootfs/made").exists()
    (state,) = listener.states
    assert state["fds"] == ["seccompFd"] and state["metadata"] == 'some "metadata"'
    assert (
        state["ociVersion"] == "1.2.0"
        and state["state"]["id"] == "noted"
        and state["state"]["annotations"] == {"a": "b"}
    )
    assert state["pid"] == state["state"]["pid"] > 1 and state["state"]["bundle"] == str(oci.bundle)
    assert state["state"]["status"] == "creating"


def test_the_pid_is_the_hosts(oci: Oci, listener: Listener) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.ok("create", "-b", str(oci.bundle), "noted")
    oci.ok("start", "noted")
    assert eventually(lambda: bool(listener.states))
    assert listener.states[0]["pid"] == oci.state("noted")["pid"]
    assert listener.states[0]["state"]["status"] == "created"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_every_call_may_be_notified(oci: Oci, listener: Listener, no_new_privileges: bool) -> None:
    oci.spec["process"]["noNewPrivileges"] = no_new_privileges
    section = oci.spec["linux"]["seccomp"]
    section["defaultAction"] = "SCMP_ACT_NOTIFY"
    # what is newer than all calls that the filter names gets ENOSYS (docs/seccomp.md)
    section["syscalls"][0]["names"].append("landlock_restrict_self")
    oci.spec["process"]["args"] = ["/bin/echo", "through"]
    done = oci("run", "-b", str(oci.bundle), "noted")
    assert (done.returncode, done.stdout) == (0, "through\n"), done
    assert len(listener.calls) > 5


def test_flags_go_with_it(oci: Oci, listener: Listener) -> None:
    oci.spec["linux"]["seccomp"]["flags"] = [
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ]
    assert "ross-device" in oci("run", "-b", str(oci.bundle), "noted").stderr


def test_a_listener_that_is_not_there(oci: Oci, tmp_path: Path) -> None:
    section = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}
    oci.spec["linux"]["seccomp"] = section
    refused(oci, "linux.seccomp", "SCMP_ACT_NOTIFY needs somebody to notify: set linux.seccomp.listenerPath")
    section["listenerPath"] = str(tmp_path / "nobody")
    refused(oci, "linux.seccomp.listenerPath: cannot connect to", "No such file or directory")


def test_a_listener_that_goes_ends_the_launch(oci: Oci, tmp_path: Path) -> None:
    path = tmp_path / "gone"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        oci.spec["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
            "listenerPath": str(path),
        }
        oci.ok("create", "-b", str(oci.bundle), "noted")
        server.accept()[0].close()
    done = oci("start", "noted")
    assert done.returncode == 1 and "send its listener: broken pipe" in done.stderr, done
