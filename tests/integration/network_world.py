"""A small world of network namespaces for the tests: a host, an outside, containers; all gone with their descriptors.

The test's own process moves into a namespace and back, so the machine's is never touched, however a test ends.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pycontain.kernel import rtnl
from pycontain.network import bridge, lease, port, settings, veth

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

HOST4, HOST6 = "198.51.100.1", "2001:db8::1"
OUTSIDE4, OUTSIDE6 = "198.51.100.2", "2001:db8::2"


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def run(*command: str, text: str = "") -> str:
    """A command's output; its errors fail the test."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def until(look: Callable[[], str], has: str = "", lacks: str = "\0", seconds: float = 60) -> str:
    """What is seen once it has the one and lacks the other: for what the kernel does in the background."""
    end = time.monotonic() + seconds
    while has not in (seen := look()) or lacks in seen:
        assert time.monotonic() < end, f"still: {seen}"
        time.sleep(0.01)
    return seen


class Namespace:
    """A network namespace of its own with ``lo`` up, and servers in it."""

    def __init__(self) -> None:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.unshare(_CLONE_NEWNET))
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _check(_libc.setns(home, _CLONE_NEWNET))
            os.close(home)
        self._servers: list[socket.socket] = []

    @contextmanager
    def entered(self) -> Iterator[None]:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(self.fd, _CLONE_NEWNET))
            yield
        finally:
            _check(_libc.setns(home, _CLONE_NEWNET))
            os.close(home)

    def ip(self, *arguments: str) -> str:
        with self.entered():
            return run("ip", *arguments)

    def serve(self, number: int, name: str, kind: str = "tcp", address: str = "::") -> None:
        """Answer ``name`` and the client's address to everyone who asks."""
        with self.entered():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            server = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, number))
        if kind == "tcp":
            server.listen(16)
        self._servers.append(server)
        threading.Thread(target=_answer, args=(server, name, kind), daemon=True).start()

    def ask(self, address: str, number: int, kind: str = "tcp", timeout: float = 20) -> str:
        """What the server there answers. Raises OSError: refused, no route, no answer in time."""
        with self.entered():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            client = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        with client:
            client.settimeout(timeout)
            client.connect((address, number))
            client.send(b"?")
            return client.recv(256).decode()

    def close(self) -> None:
        for server in self._servers:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        os.close(self.fd)


def _answer(server: socket.socket, name: str, kind: str) -> None:
    with suppress(OSError):
        while True:
            if kind == "udp":
                _, peer = server.recvfrom(256)
                if not peer:
                    return  # shut down
                server.sendto(f"{name} {_plain(peer[0])}".encode(), peer)
                continue
            client, peer = server.accept()
            with client, suppress(OSError):
                client.recv(256)
                client.send(f"{name} {_plain(peer[0])}".encode())


def _plain(address: str) -> str:
    return address.removeprefix("::ffff:")


class Guest(Namespace):
    """A container as far as the network goes: lease, device, published ports; what the engine and the helper do."""

    def __init__(self, world: World, flags: Sequence[str] = (), container_id: str | None = None) -> None:
        super().__init__()
        self.world = world
        self.id = container_id or secrets.token_hex(32)
        self.ports = [item for flag in flags for item in port.parse(flag)]
        self.held: list[int] = []
        os.makedirs(f"{world.run_root}/containers/{self.id}", exist_ok=True)
        self.lease = lease.acquire(world.run_root, world.settings, self.id)
        index = bridge.ensure(world.run_root, world.settings)
        if self.ports:
            self.held = port.reserve(self.ports, world.run_root, world.settings.table)
            port.save(world.run_root, self.id, self.ports, self.lease.address, self.lease.address6)
        host, guest, settle = veth.attach_requests(
            world.settings, self.lease, index, self.id, self.fd, bool(self.ports)
        )
        with self.entered():
            for key, value in veth.GUEST_SYSCTLS.items():
                Path("/proc/sys", key.replace(".", "/")).write_text(value)
        rtnl.send(host)
        with self.entered():
            rtnl.send(guest)
        rtnl.send(settle)
        if self.lease.address6:  # the kernel's work queue makes it local, a moment after it is acknowledged
            until(lambda: self.ip("-6", "route", "show", "table", "local"), has=f"local {self.lease.address6}")
        if self.ports:
            rtnl.send(port.publish_requests(self.ports, self.lease), 12)
        if forget := port.forget_requests(self.ports):
            with suppress(rtnl.Refused):  # by kernels up to 6.8
                rtnl.send(forget, 12)

    def device(self) -> rtnl.Link | None:
        """The host's end."""
        with rtnl.Socket() as route:
            found = [link for link in rtnl.links(route) if link.name.startswith(veth.prefix(self.id))]
        return found[0] if found else None

    def stop(self) -> None:
        """What the monitor does at the end."""
        if self.ports:
            rtnl.send(port.unpublish_requests(self.ports, self.lease), 12)
        os.unlink(self.lease.path)
        self.crash()

    def crash(self) -> None:
        """The processes are gone, nobody cleans up."""
        for fd in self.held:
            os.close(fd)
        self.held = []
        self.close()
        self.world.guests.remove(self)


class World:
    """The host (where the test is), somebody outside behind its uplink, and the containers made in the test."""

    def __init__(self, directory: Path) -> None:
        self.root, self.run_root = str(directory / "root"), str(directory / "run")
        self.host, self.outside = Namespace(), Namespace()
        self.guests: list[Guest] = []
        self.host.ip("link", "set", "lo", "up")
        self.outside.ip("link", "set", "lo", "up")
        # Were the indexes of both ends the same, the kernel would take the device for one without a peer, and be slow.
        pair = "link add uplink index 50 type veth peer name eth0 netns"
        self.host.ip(*pair.split(), str(self._outside_pid()))
        for space, device, addresses in (
            (self.host, "uplink", (HOST4 + "/24", HOST6 + "/64")),
            (self.outside, "eth0", (OUTSIDE4 + "/24", OUTSIDE6 + "/64")),
        ):
            with space.entered():  # an address that is being looked for twice asks nobody for a second
                Path(f"/proc/sys/net/ipv6/conf/{device}/accept_dad").write_text("0")
            space.ip("address", "add", addresses[0], "dev", device)
            space.ip("address", "add", addresses[1], "dev", device, "nodad")
            space.ip("link", "set", device, "up")
        self.host.ip("route", "add", "default", "via", OUTSIDE4)
        self.host.ip("route", "add", "default", "via", OUTSIDE6)
        self._entered = self.host.entered()
        self._entered.__enter__()
        self.settings = settings.load(self.root)

    def _outside_pid(self) -> int:
        # ip(8) wants a process or a name for a namespace, so it gets a short-lived process.
        with self.outside.entered():
            self._holder = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        return self._holder.pid

    def guest(self, *flags: str, container_id: str | None = None) -> Guest:
        guest = Guest(self, flags, container_id)
        self.guests.append(guest)
        return guest

    def route_in(self) -> None:
        """Somebody outside sends what is for containers to the host."""
        self.outside.ip("route", "add", self.settings.subnet, "via", HOST4)
        self.outside.ip("route", "add", str(self.settings.subnet6), "via", HOST6)

    def close(self) -> None:
        self._entered.__exit__(None, None, None)
        for guest in list(self.guests):
            guest.crash()
        self._holder.communicate()
        self.host.close()
        self.outside.close()
