"""A container's network: what is prepared on the host, what the plan does, what is given back at the end."""

from __future__ import annotations

import os

from pycontain.engine import names, state
from pycontain.kernel import files
from pycontain.kernel.errors import Error
from pycontain.launch.ops import GUEST, HOST, Netlink, NetnsFd, Op, Sysctl, Unlink
from pycontain.network import bridge, lease, port, settings, veth
from pycontain.network import files as texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record
    from pycontain.network.lease import Lease

_ROUTE, _NETFILTER = 0, 12


class Connection:
    """records: for the middle of the plan. end: what takes it out of use at the end of a life. leave: what gives its
    address back, too, when its restart policy does not start it again. Both on the AFTER and the FAIL side.
    """

    __slots__ = ("addresses", "end", "gateway", "leave", "records", "text")

    def __init__(self) -> None:
        self.records: list[tuple[int, Op]] = []
        self.end: list[Op] = []
        self.leave: list[Op] = []
        self.addresses: list[str] = []
        self.gateway: str | None = None
        self.text = ""


def connect(paths: Paths, record: Record) -> Connection:
    """Prepare the network that a record asks for. Raises Error; what was taken is found by the container's ID."""
    result = Connection()
    if record.network == "bridge":
        _bridge(paths, record, result)
    elif record.network == "none":
        result.records.append((GUEST, Netlink(_ROUTE, veth.loopback_requests(), "bring the loopback device up")))
    return result


def _bridge(paths: Paths, record: Record, result: Connection) -> None:
    chosen = settings.load(paths.root)
    # a restart keeps its address while nobody has taken it back
    taken = lease.find(paths.run_root, chosen, record.id) if record.restart_count else None
    if taken is None:
        taken = lease.acquire(
            paths.run_root, chosen, record.id, record.ip or None, lambda other: state.alive(paths, other)
        )
    index = bridge.ensure(paths.run_root, chosen)
    number = os.open("/dev/null", os.O_RDONLY)  # reserves the number, which the helper fills
    os.set_inheritable(number, True)  # or the helper has given it to something else by then
    host, guest, settle = veth.attach_requests(chosen, taken, index, record.id, number, bool(record.ports))
    if taken.address6:
        result.records += [(GUEST, Sysctl(key.replace(".", "/"), value)) for key, value in veth.GUEST_SYSCTLS.items()]
    result.records += [
        (HOST, NetnsFd(number)),
        (HOST, Netlink(_ROUTE, host, f"connect the container to {chosen.bridge}")),
        (GUEST, Netlink(_ROUTE, guest, f"configure {veth.GUEST_NAME} with {taken.address}/{taken.prefix}")),
        (HOST, Netlink(_ROUTE, settle, f"look at the container's port of {chosen.bridge}")),
    ]
    result.addresses = [taken.address] + ([taken.address6] if taken.address6 else [])
    result.gateway = taken.gateway
    result.text = taken.address
    _publish(paths, record, taken, chosen, result)
    result.leave.append(Unlink(taken.path))


def _publish(paths: Paths, record: Record, taken: Lease, chosen: settings.Settings, result: Connection) -> None:
    if not record.ports:
        return
    ports = port.from_records(record.ports)
    for fd in port.reserve(ports, paths.run_root, chosen.table):
        os.set_inheritable(fd, True)  # held by the monitor
    port.save(paths.run_root, record.id, ports, taken)
    result.records.append((HOST, Netlink(_NETFILTER, port.publish_requests(ports, taken), "publish the ports")))
    forget = port.forget_requests(ports)
    if forget:
        result.records.append((HOST, Netlink(_NETFILTER, forget, "forget old UDP flows", optional=True)))
    result.end.append(Netlink(_NETFILTER, port.unpublish_requests(ports, taken), "withdraw the ports", optional=True))


def target_of(paths: Paths, record: Record) -> tuple[str, int]:
    """ID and init's PID of the container whose network ``container:ID`` joins. Raises NotFound, Error."""
    container_id = names.find(paths, record.network.partition(":")[2])
    found = state.read(paths, container_id)
    if not found.pid:
        raise Error(f"--network {record.network}: container {container_id[:12]} is not running: start it first")
    return container_id, found.pid


def _host_file(path: str) -> str:
    try:
        return files.read_text(path)
    except OSError:
        return ""


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
            "resolv.conf": texts.resolv_conf(texts.host_resolv_conf(), record.dns, record.dns_search),
        }
    for name, text in contents.items():
        # written in place: a bind mount of the last run may hold the file
        files.create(f"{directory}/{name}", text.encode("utf-8", "surrogateescape"), 0o644)
