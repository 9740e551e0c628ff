"""Published ports: ``-p [IP:]HOST:CONTAINER[/tcp|udp]``.

``parse(text) -> list[Port]``
    a flag's value. CONTAINER alone takes a free port of the host; ranges are 8000-8010:8000-8010.
``reserve(ports, run_root="", table="") -> list[int]``
    bind the host's ports, so that nobody else has or gets them; the descriptors are inheritable and the monitor holds
    them while the container lives. Fills in ``host_port`` where the host chose.
``publish_requests(ports, lease) -> bytes``, ``unpublish_requests(ports, lease) -> bytes``
    ready-made batches for NETLINK_NETFILTER. No ports: no bytes.
``forget_requests(ports) -> bytes``
    for NETLINK_NETFILTER too, to be sent after publishing and allowed to fail: forgets the UDP flows that the host
    tracks on these ports. A client that talks on would stay with whatever had the port before. No UDP: no bytes.
``save(run_root, container_id, ports, lease)``, ``saved(run_root) -> list[Publication]``
    RUN_ROOT/containers/ID/ports. Save before publishing: from these files ``bridge.ensure`` publishes again after
    somebody flushed the ruleset.
``withdraw(table, addresses)``
    remove what is published to addresses whose container is gone.

The order of a start: lease.acquire, bridge.ensure, reserve, save; then the plan sends publish_requests, and after the
container's end unpublish_requests, before the descriptors are closed.
"""

from __future__ import annotations

import errno
import os
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_RCVBUF,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

from pycontain.kernel import files, nfnl, rtnl
from pycontain.kernel.errors import Error, InUse, UsageError, os_text
from pycontain.network.settings import family, has_ipv6, packed, printed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from pycontain.network.lease import Lease
    from pycontain.network.routed import Routed

#: So many ports one container can publish: each costs it a descriptor, and a batch must fit a socket's buffer.
MOST = 1000
PROTOCOLS = {"tcp": 6, "udp": 17}
#: The maps of the table: for one address of the host and for any, by address family.
MAPS = ("publish4", "publish4_any", "publish6", "publish6_any")
_FORM = "[IP:]HOST:CONTAINER[/tcp|udp], such as 8080:80, 127.0.0.1:8080:80 or 5353:53/udp"


class Port:
    """One published port. host_ip: "" for all of the host's addresses. host_port: 0 while the host is to choose."""

    __slots__ = ("container_port", "host_ip", "host_port", "protocol")

    def __init__(self, host_ip: str, host_port: int, container_port: int, protocol: str) -> None:
        self.host_ip = host_ip
        self.host_port = host_port
        self.container_port = container_port
        self.protocol = protocol

    def __str__(self) -> str:
        return f"{self.place}->{self.container_port}/{self.protocol}"

    def __repr__(self) -> str:
        return f"Port({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Port) and self.record() == other.record()

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def place(self) -> str:
        """Where the host answers, as people write it: ``0.0.0.0:80``, ``[fd00::1]:80``, ``*:80`` for everywhere."""
        ip = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip or "*"
        return f"{ip}:{self.host_port}"

    def record(self) -> dict[str, Any]:
        """For inspect, ps and state files: JSON-able."""
        return {
            "host_ip": self.host_ip,
            "host_port": self.host_port,
            "container_port": self.container_port,
            "protocol": self.protocol,
        }


def records(ports: Sequence[Port]) -> list[dict[str, Any]]:
    """Ports as plain values for JSON."""
    return [port.record() for port in ports]


def from_records(values: Sequence[dict[str, Any]]) -> list[Port]:
    """The ports of ``records``."""
    return [Port(item["host_ip"], item["host_port"], item["container_port"], item["protocol"]) for item in values]


# --- flags --------------------------------------------------------------------------------------------------------


def parse(text: str) -> list[Port]:
    """The ports of one -p flag. Raises UsageError."""
    rest, slash, protocol = text.partition("/")
    protocol = protocol if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise _bad(text, f"the protocol is tcp or udp, not {protocol!r}")
    host_ip, rest = _host_ip(text, rest)
    host, colon, container = rest.rpartition(":")
    if ":" in host:
        raise _bad(text, "too many colons (an IPv6 address stands in brackets)")
    if colon and not host and not host_ip:
        raise _bad(text, "the host port is missing")
    wanted = _range(text, container, "container")
    given = _range(text, host, "host") if host else [0] * len(wanted)
    if len(given) != len(wanted):
        raise _bad(text, f"{len(given)} host ports and {len(wanted)} container ports; the ranges must be as long")
    return [Port(host_ip, one, other, protocol) for one, other in zip(given, wanted, strict=True)]


def _bad(text: str, problem: str) -> UsageError:
    return UsageError(f"-p {text!r}: {problem}; the form is {_FORM}")


def _host_ip(text: str, rest: str) -> tuple[str, str]:
    if rest.startswith("["):
        ip, bracket, after = rest[1:].partition("]")
        if not bracket or not after.startswith(":"):
            raise _bad(text, "after the address in brackets a colon and the ports are missing")
        if family(ip) != AF_INET6:
            raise _bad(text, f"{ip!r} is no IPv6 address")
        return _check_ip6(text, ip), after[1:]
    if rest.count(":") != 2:
        return "", rest
    ip, _, after = rest.partition(":")
    if ip and family(ip) != AF_INET:
        raise _bad(text, f"{ip!r} is no IPv4 address")
    return ip, after


def _check_ip6(text: str, ip: str) -> str:
    address = packed(ip)
    if address == bytes(15) + b"\x01":
        raise UsageError(
            f"-p {text!r}: the kernel lets nothing that came to ::1 leave the host, so no port can be published there; "
            f"take 127.0.0.1"
        )
    if address[0] == 0xFE and address[1] & 0xC0 == 0x80:
        raise UsageError(f"-p {text!r}: a link-local address is not forwarded; take another address of the host")
    if address[:12] == bytes(10) + b"\xff\xff":
        raise UsageError(f"-p {text!r}: {ip} is an IPv4 address in disguise; write {printed(address[12:])}")
    return printed(address)


def _range(text: str, digits: str, what: str) -> list[int]:
    first, dash, last = digits.partition("-")
    numbers = [_number(text, item, what) for item in ((first, last) if dash else (first, first))]
    if numbers[1] < numbers[0]:
        raise _bad(text, f"the {what} ports {digits} run backwards")
    if numbers[1] - numbers[0] >= MOST:
        raise UsageError(f"-p {text!r}: {numbers[1] - numbers[0] + 1} ports; a container can publish {MOST}")
    return list(range(numbers[0], numbers[1] + 1))


def _number(text: str, digits: str, what: str) -> int:
    value = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else 0
    if not 0 < value < 65536:
        raise _bad(text, f"the {what} port {digits!r} is not a number from 1 to 65535")
    return value


# --- the host's ports ---------------------------------------------------------------------------------------------


def reserve(ports: Sequence[Port], run_root: str = "", table: str = "") -> list[int]:
    """Bind the host's ports without listening, and answer inheritable descriptors, one or two a port.

    A program that has the port refuses us, and from now on we refuse it; where the host is to choose, the number is
    filled into the port. ``run_root``: to name the container that has a port. ``table`` (``Settings.table``): elements
    that a crashed container left for these ports are removed, since nobody else can have put them there. Raises InUse,
    Error.
    """
    if len(ports) > MOST:
        raise UsageError(f"{len(ports)} published ports; a container can publish {MOST}")
    _refuse_twice(ports)
    held: list[int] = []
    try:
        for port in ports:
            held.append(_bind(port, run_root))
        if table and ports:
            _remove_stale(ports, table)
    except BaseException:
        for fd in held:
            os.close(fd)
        raise
    return held


def _refuse_twice(ports: Sequence[Port]) -> None:
    seen: dict[tuple[int, str], Port] = {}
    for port in ports:
        if not port.host_port:
            continue
        for ip in {"", port.host_ip}:
            other = seen.get((port.host_port, port.protocol + ip))
            if other is not None:
                raise UsageError(f"the host's port {port.place}/{port.protocol} is given twice: {other} and {port}")
        seen[port.host_port, port.protocol + port.host_ip] = port


def _bind(port: Port, run_root: str) -> int:
    """One socket that keeps a port: dual-stack where the port is for all addresses of the host."""
    kind = SOCK_DGRAM if port.protocol == "udp" else SOCK_STREAM
    both = not port.host_ip and has_ipv6()
    address = "::" if both else port.host_ip or "0.0.0.0"
    try:
        holder = socket(AF_INET6 if ":" in address else AF_INET, kind | SOCK_CLOEXEC, 0)
        try:
            if ":" in address:
                holder.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, int(not both))
            if kind == SOCK_DGRAM:
                # Nobody reads what still arrives here (for ::1): keep the least that the kernel allows.
                holder.setsockopt(SOL_SOCKET, SO_RCVBUF, 0)
            holder.bind((address, port.host_port))
            port.host_port = holder.getsockname()[1]
            fd = holder.detach()
        finally:
            holder.close()
    except OSError as error:
        raise _refused(port, error, run_root) from None
    os.set_inheritable(fd, True)
    return fd


def _refused(port: Port, error: OSError, run_root: str) -> Error:
    name = f"{port.place}/{port.protocol}"
    if error.errno == 98:
        owner = _owner(port, run_root)
        if owner:
            return InUse(f"port {name} is published by container {owner[:12]}; take another host port or stop it")
        flag = "u" if port.protocol == "udp" else "t"
        return InUse(
            f"port {name} is in use on the host; take another one, or find who has it with "
            f"'ss -{flag}lnp sport = {port.host_port}'"
        )
    if error.errno == 99:
        return Error(f"cannot publish on {name}: no interface of the host has the address {port.host_ip}")
    if error.errno == 24:
        return Error(
            f"cannot publish on {name}: no descriptor is left for it; raise 'ulimit -n' or publish fewer ports"
        )
    return Error(f"cannot publish on {name}: {os_text(error)}")


def _owner(port: Port, run_root: str) -> str:
    for publication in saved(run_root) if run_root else []:
        for other in publication.ports:
            if (other.host_port, other.protocol) == (port.host_port, port.protocol):
                return publication.container_id
    return ""


# --- elements of the table's maps ---------------------------------------------------------------------------------


def _keys(port: Port) -> Iterator[tuple[str, bytes]]:
    """(map, key) pairs of a port."""
    protocol = nfnl.field(bytes([PROTOCOLS[port.protocol]]))
    number = nfnl.field(port.host_port.to_bytes(2, "big"))
    address = packed(port.host_ip) if port.host_ip else b""
    for version, size in (("4", 4), ("6", 16)):
        if not address or address == bytes(size):
            yield f"publish{version}_any", protocol + number
        elif len(address) == size:
            yield f"publish{version}", protocol + address + number


def elements(ports: Sequence[Port], address: str, address6: str | None) -> dict[str, list[nfnl.Element]]:
    """What publishes ports to a container's addresses: elements by map."""
    found: dict[str, list[nfnl.Element]] = {name: [] for name in MAPS}
    for port in ports:
        for name, key in _keys(port):
            target = address6 if name.startswith("publish6") else address
            if target:
                found[name].append((key, packed(target) + nfnl.field(port.container_port.to_bytes(2, "big"))))
    return found


def publish_requests(ports: Sequence[Port], lease: Lease | Routed) -> bytes:
    """The batch that publishes (NFT_MSG_NEWSETELEM). Sending it twice is no error."""
    return _publish(lease.table, elements(ports, lease.address, lease.address6))


def publish_again(table: str, publication: Publication) -> bytes:
    """The same for what ``save`` wrote."""
    return _publish(table, elements(publication.ports, publication.address, publication.address6))


def _publish(table: str, found: dict[str, list[nfnl.Element]]) -> bytes:
    return nfnl.batch([request for name in MAPS for request in nfnl.add(table, name, found[name])])


def unpublish_requests(ports: Sequence[Port], lease: Lease | Routed) -> bytes:
    """The batch that takes the ports back; also where some are gone already.

    To delete what is not there would fail the whole batch (what tolerates it needs Linux 6.3), so each element is
    added first: the same datum again is no error, and the transaction shows only its end.
    """
    found = elements(ports, lease.address, lease.address6)
    requests: list[rtnl.Request] = []
    for change in (nfnl.add, nfnl.delete):
        for name in MAPS:
            requests += change(lease.table, name, found[name])
    return nfnl.batch(requests)


def forget_requests(ports: Sequence[Port]) -> bytes:
    """Requests that delete the tracked UDP flows to these host ports (see the module's text); may be refused.

    Only the last one asks for an acknowledgement: a thousand would not fit a socket's buffer.
    """
    chosen = {(port.host_port, version) for port in ports if port.protocol == "udp" for version in _versions(port)}
    requests = [nfnl.forget_udp(number, version) for number, version in sorted(chosen)]
    return b"".join(
        [
            rtnl.message(kind, flags | rtnl.F_REQUEST | (rtnl.F_ACK if number == len(requests) else 0), number, body)
            for number, (kind, flags, body) in enumerate(requests, 1)
        ]
    )


def _versions(port: Port) -> tuple[int, ...]:
    """The address families of a port."""
    if not port.host_ip:
        return AF_INET, AF_INET6
    return (AF_INET6,) if ":" in port.host_ip else (AF_INET,)


def _remove_stale(ports: Sequence[Port], table: str) -> None:
    try:
        with nfnl.open_socket() as link:
            requests: list[rtnl.Request] = []
            for port in ports:
                for name, key in _keys(port):
                    if nfnl.lookup(link, table, name, key) is not None:
                        requests += nfnl.delete(table, name, [(key, b"")])
            if requests:
                link.send(nfnl.batch(requests))
    except OSError as error:
        raise Error(f"cannot look up published ports in the nftables table {table}: {os_text(error)}") from None


def withdraw(table: str, addresses: Sequence[bytes]) -> None:
    """Remove all that is published to these addresses (4 or 16 bytes). No table is no error. Raises Error."""
    targets = set(addresses)
    try:
        with nfnl.open_socket() as link:
            requests: list[rtnl.Request] = []
            for name in MAPS:
                dead = [item for item in nfnl.elements(link, table, name) if item[1][:-4] in targets]
                requests += nfnl.delete(table, name, dead)
            if requests:
                link.send(nfnl.batch(requests))
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            return  # a kernel without nf_tables has published nothing
        raise Error(f"cannot withdraw published ports from the nftables table {table}: {os_text(error)}") from None


# --- what is published, in files ----------------------------------------------------------------------------------


class Publication:
    """What one container publishes: its addresses and ports."""

    __slots__ = ("address", "address6", "container_id", "ports")

    def __init__(self, container_id: str, address: str, address6: str | None, ports: list[Port]) -> None:
        self.container_id = container_id
        self.address = address
        self.address6 = address6
        self.ports = ports


def save(run_root: str, container_id: str, ports: Sequence[Port], address: str, address6: str | None) -> None:
    """Write RUN_ROOT/containers/ID/ports; its directory must be there. Raises Error."""
    path = f"{run_root}/containers/{container_id}/ports"
    try:
        files.write_json(path, {"address": address, "address6": address6, "ports": records(ports)})
    except OSError as error:
        raise Error(f"cannot write the published ports {path}: {os_text(error)}") from None


def load(run_root: str, container_id: str) -> Publication | None:
    """What a container publishes, None where it publishes nothing. Raises Error for a damaged file."""
    path = f"{run_root}/containers/{container_id}/ports"
    try:
        value = files.read_json(path)
        return Publication(container_id, value["address"], value["address6"], from_records(value["ports"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Error(f"cannot read the published ports {path}: {os_text(error)}") from None
    except (KeyError, TypeError):
        raise Error(f"{path}: not a record of published ports; stop the container and remove the file") from None


def saved(run_root: str) -> list[Publication]:
    """What all containers publish; a damaged record is that container's trouble and is left out."""
    try:
        names = sorted(os.listdir(f"{run_root}/containers"))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            item = load(run_root, name)
        except Error:
            continue
        if item is not None:
            found.append(item)
    return found
