"""port: where the host answers for a container."""

from __future__ import annotations

from pycontain.engine import names, repair, state
from pycontain.kernel.errors import NotFound, UsageError
from pycontain.network import port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.engine.paths import Paths
    from pycontain.network.port import Port

#: What "all of the host's addresses" is, as Docker prints it.
_ANY4, _ANY6 = "0.0.0.0", "::"


class Binding:
    """One place where the host answers. container: port of the container such as ``80/tcp``."""

    __slots__ = ("container", "host_ip", "host_port")

    def __init__(self, container: str, host_ip: str, host_port: int) -> None:
        self.container = container
        self.host_ip = host_ip
        self.host_port = host_port

    @property
    def place(self) -> str:
        """``0.0.0.0:8080``, ``[::]:8080``."""
        return f"[{self.host_ip}]:{self.host_port}" if ":" in self.host_ip else f"{self.host_ip}:{self.host_port}"


def bindings(ports: Sequence[Port], ipv6: bool) -> list[Binding]:
    """The places of published ports, by container port. ipv6: whether the container has an IPv6 address."""
    found = []
    for one in sorted(ports, key=lambda item: (item.container_port, item.protocol)):
        addresses = [one.host_ip] if one.host_ip else [_ANY4, _ANY6] if ipv6 else [_ANY4]
        found += [Binding(f"{one.container_port}/{one.protocol}", address, one.host_port) for address in addresses]
    return found


def published(paths: Paths, text: str, wanted: str = "") -> list[Binding]:
    """What a container publishes now: nothing while it does not run.

    wanted: only this port of the container, ``80`` or ``53/udp``. Raises NotFound, also where that is not published;
    UsageError.
    """
    key = _key(wanted) if wanted else ""
    container_id = names.find(paths, text)
    repair.repair(paths, container_id)
    publication = port.load(paths.run_root, container_id)
    found = bindings(publication.ports, publication.address6 is not None) if publication else []
    if key:
        found = [one for one in found if one.container == key]
        if not found:
            why = "" if state.alive(paths, container_id) else ": it does not run"
            raise NotFound(f"container {text}: port {key} is not published{why}")
    return found


def _key(text: str) -> str:
    """``80`` is ``80/tcp``. Raises UsageError."""
    number, slash, protocol = text.partition("/")
    protocol = protocol if slash else "tcp"
    good = number.isascii() and number.isdigit() and len(number) <= 5 and 0 < int(number) < 65536
    if not good or protocol not in port.PROTOCOLS:
        raise UsageError(f"{text!r} is not a port of a container: give PORT[/PROTO], such as 80 or 53/udp")
    return f"{int(number)}/{protocol}"
