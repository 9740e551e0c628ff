"""A container's network: what is prepared on the host, what the plan does, what is given back at the end."""

from __future__ import annotations

import os

from pycontain.engine import names, state
from pycontain.kernel import files, rootless
from pycontain.kernel.errors import Error
from pycontain.launch.ops import HOST, Netlink
from pycontain.network import files as texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record
    from pycontain.launch.ops import Op
    from pycontain.network.lease import Lease
    from pycontain.network.routed import Routed

_NETFILTER = 12


class Connection:
    """records: for the middle of the plan. end: what takes it out of use at the end of a life. leave: what gives its
    address back, too, when its restart policy does not start it again. Both on the AFTER and the FAIL side. nameserver:
    the network's own, "" for the host's.
    """

    __slots__ = ("addresses", "end", "gateway", "leave", "nameserver", "records", "text")

    def __init__(self) -> None:
        self.records: list[tuple[int, Op]] = []
        self.end: list[Op] = []
        self.leave: list[Op] = []
        self.addresses: list[str] = []
        self.gateway: str | None = None
        self.text = ""
        self.nameserver = ""


def connect(paths: Paths, record: Record) -> Connection:
    """Prepare the network that a record asks for. Raises Error; what was taken is found by the container's ID."""
    result = Connection()
    if record.restart_count and rootless.user() < 0:
        from pycontain.engine import former

        former.connect(paths, record, result)
    else:
        join(paths, record, result)
    return result


def join(paths: Paths, record: Record, result: Connection) -> None:
    """As connect, but for what a life before has left."""
    if record.networks:
        from pycontain.engine import several

        several.connect(paths, record, result)
    elif record.network == "bridge":
        if rootless.user() >= 0:
            from pycontain.engine import carried

            carried.connect(paths, record, result)
        else:
            from pycontain.engine import bridged

            bridged.connect(paths, record, result)
    elif record.network == "routed":
        from pycontain.engine import unbridged

        unbridged.connect(paths, record, result)


def reserve_number() -> int:
    """A descriptor's number, which the helper fills with the container's network namespace."""
    number = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(number, True)  # or the helper has given it to something else by then
    return number


def publish(paths: Paths, record: Record, taken: Lease | Routed, result: Connection) -> None:
    """Prepare the ports of a container that has these addresses. Raises Error."""
    from pycontain.network import port

    ports = port.from_records(record.ports)
    for fd in port.reserve(ports, paths.run_root, taken.table):
        os.set_inheritable(fd, True)  # held by the monitor
    port.save(paths.run_root, record.id, ports, taken.address, taken.address6)
    result.records.append((HOST, Netlink(_NETFILTER, port.publish_requests(ports, taken), "publish the ports")))
    forget = port.forget_requests(ports)
    if forget:
        result.records.append((HOST, Netlink(_NETFILTER, forget, "forget old UDP flows", optional=True)))
    result.end.append(Netlink(_NETFILTER, port.unpublish_requests(ports, taken), "withdraw the ports", optional=True))


def target_of(paths: Paths, record: Record) -> tuple[str, int]:
    """ID and init's PID of the container whose network ``container:ID`` joins. Raises NotFound, Error."""
    return _running(paths, "--network", record.network)


def _running(paths: Paths, flag: str, text: str) -> tuple[str, int]:
    container_id = names.find(paths, text.partition(":")[2])
    found = state.read(paths, container_id)
    if not found.pid:
        raise Error(f"{flag} container:{container_id[:12]}: it is not running: start it first")
    return container_id, found.pid


def namespace_of(paths: Paths, flag: str, text: str, kind: str) -> str:
    """A namespace that ``container:ID`` joins, as the path of a descriptor. kind: as /proc/PID/ns has it.

    Raises NotFound, Error naming ``flag``.
    """
    from _signal import pidfd_send_signal

    container_id, _ = _running(paths, flag, text)
    pid, pidfd = state.open_init(paths, container_id)
    try:
        fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
        # it is alive, so what was opened by its number is its own
        pidfd_send_signal(pidfd, 0)
    except OSError:
        raise Error(f"{flag} container:{container_id[:12]}: it has ended") from None
    finally:
        os.close(pidfd)
    return f"/proc/self/fd/{fd}"


def _host_file(path: str) -> str:
    try:
        return files.read_text(path)
    except OSError:
        return ""


def _own(connection: Connection) -> list[str]:
    return [connection.nameserver] if connection.nameserver else []


def write_files(paths: Paths, record: Record, connection: Connection) -> None:
    """hostname, hosts and resolv.conf of the container, for this start. Raises OSError, UsageError."""
    directory = f"{paths.container(record.id)}/etc"
    if record.network.startswith("container:"):
        other = f"{paths.container(target_of(paths, record)[0])}/etc"
        contents = {name: _host_file(f"{other}/{name}") for name in ("hostname", "hosts", "resolv.conf")}
    elif record.network == "host":
        extra = "".join(f"{address}\t{name}\n" for name, address in record.hosts)
        contents = {
            "hostname": record.hostname + "\n",
            "hosts": _host_file("/etc/hosts") + extra,
            "resolv.conf": texts.resolv_conf(_host_file("/etc/resolv.conf"), record.dns, record.dns_search)
            if record.dns or record.dns_search
            else _host_file("/etc/resolv.conf"),
        }
    else:
        extra_hosts = [texts.extra_host(f"{name}:{address}", connection.gateway) for name, address in record.hosts]
        contents = {
            "hostname": record.hostname + "\n",
            "hosts": texts.hosts(record.hostname, connection.addresses, extra_hosts),
            "resolv.conf": texts.resolv_conf(
                texts.host_resolv_conf(), record.dns or _own(connection), record.dns_search
            ),
        }
    for name, text in contents.items():
        # written in place: a bind mount of the last run may hold the file
        files.create(f"{directory}/{name}", text.encode("utf-8", "surrogateescape"), 0o644)
