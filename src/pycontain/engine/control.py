"""Talking to a container's monitor over its attach socket (src/helper/packet.h)."""

from __future__ import annotations

import os
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket
from select import select

from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths

_SIGNAL, _NO_RESTART, _POLICY, _EXIT = b"K", b"Q", b"P", b"X"
_PACKET = 1 << 16


class Monitor:
    """A connection to the monitor of a container that is alive."""

    __slots__ = ("_exit", "link")

    def __init__(self, link: socket) -> None:
        self.link = link
        self._exit: int | None = None

    def close(self) -> None:
        self.link.close()

    def send_signal(self, number: int) -> None:
        """A signal for the container's init. One that has ended meanwhile does not mind."""
        self._send(_SIGNAL + bytes([number]))

    def forbid_restart(self) -> bool:
        """Its restart policy is not to start it again. True when the monitor knows that, False when it is gone."""
        self._send(_NO_RESTART)
        return self._receive(None, until=_NO_RESTART)

    def tell_no_restart(self) -> None:
        """As forbid_restart, without an answer."""
        self._send(_NO_RESTART)

    def set_policy(self, policy: int, maximum: int) -> bool:
        """Another restart policy, as the plan has it. True when the monitor knows it, False when it is gone."""
        self._send(_POLICY + bytes([policy]) + maximum.to_bytes(4, "little"))
        return self._receive(None, until=_POLICY)

    def _send(self, packet: bytes) -> None:
        try:
            self.link.send(packet)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def wait(self, seconds: float | None) -> int | None:
        """The exit status when the container has ended and is cleaned up; None when time is over or nobody says.

        seconds: None waits for ever.
        """
        if self._exit is None:
            self._receive(seconds, until=_EXIT)
        return self._exit

    def wait_gone(self) -> None:
        """Until the monitor itself has ended, and with it has given the container's lock back."""
        self._receive(None, until=b"")

    def _receive(self, seconds: float | None, until: bytes) -> bool:
        """Whether a packet of this type has come (b"": the end of the connection)."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select([self.link.fileno()], [], [], left)[0]:
                return False
            try:
                packet = self.link.recv(_PACKET)
            except ConnectionResetError:
                packet = b""
            if packet[:1] == _EXIT and len(packet) == 5:
                self._exit = int.from_bytes(packet[1:], "little", signed=True)
            if not packet or packet[:1] == until:
                return packet[:1] == until


def socket_path(paths: Paths, container_id: str) -> str:
    return f"{paths.run(container_id)}/attach"


def dial(paths: Paths, container_id: str, name: str, kind: int) -> socket | None:
    """A connection with a socket of the container's run directory; None where nobody is there. Raises OSError."""
    try:
        directory = os.open(paths.run(container_id), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    link = socket(AF_UNIX, kind | SOCK_CLOEXEC)
    try:
        # by the descriptor: the path may be longer than a socket address
        link.connect(f"/proc/self/fd/{directory}/{name}")
        return link
    except (FileNotFoundError, ConnectionRefusedError):
        link.close()
        return None
    except OSError:
        link.close()
        raise
    finally:
        os.close(directory)


def connect(paths: Paths, container_id: str) -> Monitor | None:
    """A connection, None where the container has no monitor. Raises Error."""
    try:
        link = dial(paths, container_id, "attach", SOCK_SEQPACKET)
    except OSError as error:
        raise Error(f"container {container_id[:12]}: cannot reach its monitor: {os_text(error)}") from None
    return Monitor(link) if link is not None else None
