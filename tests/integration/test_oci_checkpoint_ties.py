"""checkpoint and restore of what ties a container to others: pipes, files, locks, connections, terminals."""

from __future__ import annotations

import array
import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import oci_bundle
from oci_saved import Saved
from world import PYCONTAIN_OCI, eventually, reap


@pytest.fixture
def saved(criu_programs: Path, debian_root: Path, tmp_path: Path) -> Iterator[Saved]:
    """A bundle whose root has Python: a Debian, read-only."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    runtime = oci_bundle.Oci(bundle, tmp_path / "state")
    runtime.spec["root"] = {"path": str(debian_root), "readonly": True}
    runtime.spec["process"]["env"] = ["PATH=/usr/bin:/bin:/usr/sbin"]
    found = Saved(runtime, tmp_path, criu_programs)
    # the root has no directory for it, and stays as it is
    runtime.spec["mounts"][-1]["destination"] = "/tmp"
    yield found
    oci_bundle.check_nothing_left(runtime)
    reap()


def run(saved: Saved, code: str, **streams: Any) -> None:
    """Start a Python program, and wait for its file /tmp/ready."""
    saved.oci.spec["process"]["args"] = ["python3", "-c", code]
    saved.begin("run", "-d", "-b", str(saved.oci.bundle), "c", **streams)
    assert eventually(lambda: Path(f"/proc/{saved.pid()}/root/tmp/ready").exists())


def refused(saved: Saved, *options: str) -> str:
    """checkpoint fails in one line, and the container goes on."""
    done = saved("checkpoint", "--image-path", str(saved.images), *options, "c")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    assert saved.oci.state("c")["status"] == "running"
    assert str(saved.images / "dump.log") in done.stderr
    return done.stderr


ECHO = """
import sys
open("/tmp/ready", "w").close()
seen = 0
for line in sys.stdin:
    seen += 1
    print(seen, line, end="", flush=True)
"""


def test_pipes_are_those_of_who_restores(saved: Saved) -> None:
    near_in, far_in = os.pipe()
    far_out, near_out = os.pipe()
    run(saved, ECHO, stdin=near_in, stdout=near_out, stderr=near_out)
    os.write(far_in, b"one\n")
    assert os.read(far_out, 100) == b"1 one\n"
    saved.checkpoint()
    for fd in (near_in, far_in, far_out, near_out):
        os.close(fd)
    near_in, far_in = os.pipe()
    far_out, near_out = os.pipe()
    saved.begin(*saved.restore_line(), "c", stdin=near_in, stdout=near_out, stderr=near_out)
    os.close(near_in)
    os.close(near_out)
    os.write(far_in, b"two\n")
    assert os.read(far_out, 100) == b"2 two\n"
    # the end of input is seen: nobody else has kept the pipe
    os.close(far_in)
    assert os.read(far_out, 100) == b""
    os.close(far_out)


def test_a_file_of_the_host_goes_on_where_it_was(saved: Saved, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    log = tmp_path / "log"
    with log.open("w") as file:
        run(saved, ECHO, stdin=reader, stdout=file)
    os.write(writer, b"one\n")
    assert eventually(lambda: log.read_text() == "1 one\n")
    saved.checkpoint()
    with log.open("a") as file:
        saved.begin(*saved.restore_line(), "c", stdin=reader, stdout=file)
    os.write(writer, b"two\n")
    assert eventually(lambda: log.read_text() == "1 one\n2 two\n")
    os.close(reader)
    os.close(writer)


LOCKS = """
import fcntl, time
file = open("/tmp/locked", "w")
fcntl.flock(file, fcntl.LOCK_EX)
open("/tmp/ready", "w").close()
time.sleep(1000)
"""


def test_file_locks(saved: Saved) -> None:
    run(saved, LOCKS)
    assert "--file-locks" in refused(saved)
    saved.checkpoint("--file-locks")
    saved.restore("--file-locks")
    assert saved("exec", "c", "flock", "--nonblock", "/tmp/locked", "true").returncode == 1
    assert saved("exec", "c", "flock", "--nonblock", "/tmp/other", "true").returncode == 0


LOOP = """
import socket, threading, time
server = socket.create_server(("127.0.0.1", 5000))
client = socket.create_connection(("127.0.0.1", 5000))
peer, _ = server.accept()
number = 0
while True:
    number += 1
    client.sendall(b"%08d" % number)
    assert peer.recv(8, socket.MSG_WAITALL) == b"%08d" % number
    with open("/tmp/ready.new", "w") as file:
        file.write(str(number))
    import os
    os.rename("/tmp/ready.new", "/tmp/ready")
    time.sleep(0.02)
"""


def test_a_connection_within_the_container(saved: Saved) -> None:
    """The network namespace is a new one: create has brought its loopback device up, and so does restore."""
    run(saved, LOOP)
    assert "--tcp-established" in refused(saved)
    before = int(saved.inside("tmp/ready"))
    saved.checkpoint("--tcp-established")
    saved.restore("--tcp-established")
    assert eventually(lambda: int(saved.inside("tmp/ready")) > before + 5)


SERVE = """
import socket
server = socket.create_server(("10.99.0.2", 5000))
open("/tmp/ready", "w").close()
peer, _ = server.accept()
number = 0
while True:
    text = peer.recv(100)
    if not text:
        break
    number += 1
    peer.sendall(b"%d %s" % (number, text))
"""


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with a name, with a cable to ours."""
    script = """
    ip netns add criu-test
    ip link add criu-near type veth peer name criu-far netns criu-test
    ip address add 10.99.0.1/24 dev criu-near
    ip link set criu-near up
    ip -n criu-test address add 10.99.0.2/24 dev criu-far
    ip -n criu-test link set criu-far up
    ip -n criu-test link set lo up
    """
    subprocess.run(["sh", "-ec", script], check=True, timeout=60)
    yield "/run/netns/criu-test"
    subprocess.run(["ip", "link", "delete", "criu-near"], check=True, timeout=60)
    subprocess.run(["ip", "netns", "delete", "criu-test"], check=True, timeout=60)


def test_a_connection_to_another_namespace(saved: Saved, namespace: str) -> None:
    """The peer is not saved, sends meanwhile, and sees nothing but a pause."""
    for entry in saved.oci.spec["linux"]["namespaces"]:
        if entry["type"] == "network":
            entry["path"] = namespace
    run(saved, SERVE)
    with socket.create_connection(("10.99.0.2", 5000), timeout=30) as peer:
        peer.sendall(b"one")
        assert peer.recv(100) == b"1 one"
        saved.checkpoint("--tcp-established")
        peer.sendall(b"two")
        saved.restore("--tcp-established")
        assert peer.recv(100) == b"2 two"
        inside = os.stat(f"/proc/{saved.pid()}/ns/net").st_ino
        assert inside == os.stat(namespace).st_ino
        # the rules that have locked the connection meanwhile are gone
        peer.sendall(b"three")
        assert peer.recv(100) == b"3 three"


CUT = """
import os, socket, time
server = socket.create_server(("127.0.0.1", 5000))
client = socket.create_connection(("127.0.0.1", 5000))
peer, _ = server.accept()
client.sendall(b"before")
assert peer.recv(6, socket.MSG_WAITALL) == b"before"
open("/tmp/ready", "w").close()
try:
    while True:
        client.sendall(b"1")
        peer.recv(1)
        time.sleep(0.02)
except OSError as error:
    text = error.strerror
# who listens goes on, and takes others
again = socket.create_connection(("127.0.0.1", 5000))
other, _ = server.accept()
again.sendall(b"again")
with open("/tmp/new", "w") as file:
    file.write(f"{text}; {other.recv(5).decode()}")
os.rename("/tmp/new", "/tmp/end")
time.sleep(1000)
"""


def test_tcp_close(saved: Saved) -> None:
    """Connections are closed after restore; without the option they are what they were."""
    run(saved, CUT)
    saved.checkpoint("--tcp-established", "--leave-running")
    saved.restore("--tcp-established", name="twin")
    assert not eventually(lambda: Path(f"/proc/{saved.pid('twin')}/root/tmp/end").exists(), seconds=1)
    saved.ok("delete", "--force", "twin")
    saved.restore("--tcp-close", name="twin")
    assert eventually(lambda: Path(f"/proc/{saved.pid('twin')}/root/tmp/end").exists())
    assert re.fullmatch(r"(Broken pipe|Transport endpoint is not connected); again", saved.inside("tmp/end", "twin"))


WAITING = """
import os, socket, time
server = socket.create_server(("127.0.0.1", 5000))
client = socket.create_connection(("127.0.0.1", 5000))
client.close()
open("/tmp/ready", "w").close()
while not os.path.exists("/tmp/go"):
    time.sleep(0.02)
server.settimeout(0.5)
try:
    server.accept()
    text = "there"
except TimeoutError:
    text = "left out"
server.settimeout(None)
again = socket.create_connection(("127.0.0.1", 5000))
server.accept()
with open("/tmp/new", "w") as file:
    file.write(text)
os.rename("/tmp/new", "/tmp/end")
time.sleep(1000)
"""


def test_connections_that_nobody_has_accepted(saved: Saved) -> None:
    """CRIU cannot save them: with --tcp-skip-in-flight they are left out, and who listens goes on."""
    run(saved, WAITING.replace("client.close()\n", ""))
    assert "In-flight connection" in refused(saved, "--tcp-established")
    saved.ok("delete", "--force", "c")
    run(saved, WAITING)
    assert "In-flight connection" in refused(saved, "--tcp-established")
    saved.checkpoint("--tcp-established", "--tcp-skip-in-flight")
    saved.restore("--tcp-established")
    saved.ok("exec", "c", "touch", "/tmp/go")
    assert eventually(lambda: Path(f"/proc/{saved.pid()}/root/tmp/end").exists())
    assert saved.inside("tmp/end") == "left out"


REMOVED = """
import os, time
file = open("/tmp/first", "w+")
file.write("a word")
file.flush()
os.link("/tmp/first", "/tmp/second")
os.unlink("/tmp/first")
open("/tmp/ready", "w").close()
while not os.path.exists("/tmp/go"):
    time.sleep(0.02)
file.write(" and another")
file.flush()
os.rename("/tmp/go", "/tmp/end")
time.sleep(1000)
"""


def test_a_file_whose_name_was_removed(saved: Saved) -> None:
    """It has another link, with which it is to be one file still."""
    run(saved, REMOVED)
    assert "link-remap" in refused(saved)
    saved.checkpoint("--link-remap")
    saved.restore("--link-remap")
    saved.ok("exec", "c", "touch", "/tmp/go")
    assert eventually(lambda: Path(f"/proc/{saved.pid()}/root/tmp/end").exists())
    assert saved.inside("tmp/second") == "a word and another"
    # the link that CRIU has made for the time is gone, and the name stays removed
    assert saved.ok("exec", "c", "ls", "-A", "/tmp").split() == ["end", "ready", "second"]


DATAGRAMS = """
import socket, time
link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
link.connect("\\0criu-test")
open("/tmp/ready", "w").close()
while True:
    try:
        link.send(b"hello")
    except OSError:
        pass
    time.sleep(0.05)
"""


def test_a_unix_socket_of_the_host(saved: Saved) -> None:
    """CRIU sees the other end in its own network namespace alone, and finds it again by its name."""
    saved.oci.spec["linux"]["namespaces"].remove({"type": "network"})
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.settimeout(30)
    server.bind("\0criu-test")
    run(saved, DATAGRAMS)
    assert server.recv(100) == b"hello"
    assert "--ext-unix-sk" in refused(saved)
    saved.checkpoint("--ext-unix-sk")
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        while server.recv(100):
            pass
    saved.restore("--ext-unix-sk")
    server.settimeout(30)
    assert server.recv(100) == b"hello"
    server.close()


TERMINAL = """
import os, sys
open("/tmp/ready", "w").close()
word = ""
while word != "end":
    word = input("? ")
    print("said", word, os.ttyname(0), flush=True)
"""


class Console:
    """A console socket, and the terminals that come over it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()

    def accept(self) -> int:
        link, _ = self.listener.accept()
        with link:
            _, control, _, _ = link.recvmsg(4096, socket.CMSG_SPACE(4))
        fds = array.array("i")
        fds.frombytes(control[0][2][:4])
        return fds[0]


def until(terminal: int, pattern: str) -> str:
    """What is read until a pattern has come."""
    text, end = "", time.monotonic() + 30
    while not re.search(pattern, text):
        ready, _, _ = select.select([terminal], [], [], end - time.monotonic())
        assert ready, text
        text += os.read(terminal, 4096).decode()
    return text


def at_a_terminal(saved: Saved, tmp_path: Path) -> tuple[Console, int]:
    """A container that reads lines from a terminal; the terminal's master is ours."""
    saved.oci.spec["process"]["terminal"] = True
    console = Console(tmp_path / "console")
    saved.oci.spec["process"]["args"] = ["python3", "-c", TERMINAL]
    saved.begin("run", "-d", "-b", str(saved.oci.bundle), "--console-socket", str(console.path), "c")
    terminal = console.accept()
    until(terminal, r"\? ")
    return console, terminal


def test_a_terminal_goes_to_the_console_socket(saved: Saved, tmp_path: Path) -> None:
    console, terminal = at_a_terminal(saved, tmp_path)
    os.write(terminal, b"one\n")
    until(terminal, r"said one /dev/pts/0")
    saved.checkpoint()
    os.close(terminal)
    saved.restore("--console-socket", str(console.path))
    terminal = console.accept()
    os.write(terminal, b"two\n")
    until(terminal, r"said two /dev/pts/0")
    os.write(terminal, b"end\n")
    assert eventually(lambda: saved.oci.state("c")["status"] == "stopped")
    os.close(terminal)
    console.listener.close()


def test_a_terminal_in_the_foreground(saved: Saved, tmp_path: Path) -> None:
    console, terminal = at_a_terminal(saved, tmp_path)
    saved.checkpoint()
    os.close(terminal)
    master, slave = os.openpty()
    process = subprocess.Popen(
        [PYCONTAIN_OCI, "--root", str(saved.oci.root), *saved.restore_line(), "--detach=false", "c"],
        env=saved.environment, stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    os.write(master, b"two\n")
    until(master, r"said two /dev/pts/0")
    os.write(master, b"end\n")
    until(master, r"said end")
    assert process.wait(timeout=30) == 0
    os.close(master)
    console.listener.close()
