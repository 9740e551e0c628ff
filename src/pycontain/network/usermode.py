"""The network of an ordinary user's container: a tap device, and a program of the host that carries what goes over it.

``find() -> Carrier``: pasta(1), else slirp4netns(1). Both give the same addresses, which no other container sees: each
has a network of its own. They end with the container (src/helper/nethelper.c).
"""

from __future__ import annotations

import os

from pycontain.kernel import jsontext
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.network.port import Port

#: What slirp4netns has by default, and pasta is told. DNS forwards to the host's resolver, wherever that listens.
ADDRESS, PREFIX, GATEWAY, DNS = "10.0.2.100", 24, "10.0.2.2", "10.0.2.3"
#: Where administrators have programs, beside the user's own path.
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin"
PACKAGES = {"pasta": "passt", "slirp4netns": "slirp4netns"}
_TUN = "/dev/net/tun"


class Carrier:
    """A command line for launch.ops_rootless.NetHelper, with what belongs to it.

    stays: it tells that it is ready and stays, instead of going to the background. requests: for its socket.
    """

    __slots__ = ("argv", "requests", "socket", "stays")

    def __init__(self, argv: list[str], stays: bool = False, socket: str = "", requests: Sequence[str] = ()) -> None:
        self.argv = argv
        self.stays = stays
        self.socket = socket
        self.requests = list(requests)


def locate(name: str) -> str:
    """The path of a program, "" where it is not installed."""
    for directory in f"{os.environ.get('PATH', '')}:{_PATH}".split(":"):
        path = f"{directory}/{name}"
        if directory.startswith("/") and os.access(path, os.X_OK):
            return path
    return ""


def tun_problem() -> str:
    """Why this user cannot make a tap device, "" where it is possible."""
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"{_TUN} is missing: as root: modprobe tun"
    except OSError:
        return f"{_TUN} cannot be opened by this user: as root: chmod 666 {_TUN}"
    return ""


def carrier(ports: Sequence[Port], place: str, socket: str) -> Carrier:
    """The program that is installed, with all that it is told. Raises Error where there is none, or it cannot work.

    place: as in NetHelper. socket: a path for the one of slirp4netns.
    """
    pasta, slirp = locate("pasta"), locate("slirp4netns")
    if not pasta and not slirp:
        raise Error(
            "the network of a user who is not root needs pasta or slirp4netns: install the package passt (apt-get "
            "install passt), or give --network none or host"
        )
    if problem := tun_problem():
        raise Error(f"the network of a user who is not root needs a tap device: {problem}")
    if pasta:
        return Carrier(_pasta(pasta, ports, place))
    argv = [slirp, "--configure", "--mtu=65520", "--disable-host-loopback", "--ready-fd=3"]
    argv += [f"--api-socket={socket}"] if ports else []
    argv += ["--netns-type=path", f"{place}/net", "eth0"]
    return Carrier(argv, True, socket if ports else "", [_forward(port) for port in ports])


def _pasta(program: str, ports: Sequence[Port], place: str) -> list[str]:
    argv = [program, "--quiet", "--config-net", "--no-map-gw", "--dns-forward", DNS]
    argv += ["-a", ADDRESS, "-n", str(PREFIX), "-g", GATEWAY, "-I", "eth0", "-T", "none", "-U", "none"]
    for flag, protocol in (("-t", "tcp"), ("-u", "udp")):
        wanted = [port for port in ports if port.protocol == protocol]
        for port in wanted:
            address = f"{port.host_ip}/" if port.host_ip else ""
            argv += [flag, f"{address}{port.host_port}:{port.container_port}"]
        if not wanted:
            argv += [flag, "none"]
    # it would make a user namespace of its own, where it has no power over the container's network
    return [*argv, "--netns-only", "--netns", f"{place}/net"]


def _forward(port: Port) -> str:
    """A request of slirp4netns(1), "API socket"."""
    given = {"proto": port.protocol, "host_addr": port.host_ip or "0.0.0.0", "host_port": port.host_port}
    arguments = {**given, "guest_port": port.container_port}
    return jsontext.dumps({"execute": "add_hostfwd", "arguments": arguments})
