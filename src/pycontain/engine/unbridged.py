"""A container without a bridge: what connect.py does for ``--network routed``."""

from __future__ import annotations

from pycontain.engine import state
from pycontain.engine.connect import publish, reserve_number
from pycontain.kernel.errors import Error
from pycontain.launch.ops import (
    GUEST,
    HOST,
    Netlink,
    NetnsFd,
    Sysctl,
)
from pycontain.launch.ops_lease import Unlease, UnleaseGiven
from pycontain.network import routed, routed_host, ruleset, settings, veth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.connect import Connection
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record
    from pycontain.launch.ops import Op
    from pycontain.network.routed import Routed
    from pycontain.network.settings import Settings

_ROUTE, _NETFILTER = 0, 12


def wish(record: Record) -> routed.Wish:
    """What a record asks for."""
    return routed.Wish([item for item in record.ip.split(",") if item], record.mac, record.interface, record.rate)


def connect(paths: Paths, record: Record, result: Connection) -> None:
    """Take the addresses, see that the host is ready, prepare the device and the ports. Raises Error."""
    chosen = settings.load(paths.root)
    taken = take(paths, record, chosen, wish(record))
    routed.save(paths.run_root, taken)
    routed_host.ensure(paths.run_root, chosen)
    prepare(paths, chosen, taken)
    number = reserve_number()
    own, host, guest, settle = attach(paths, chosen, taken, number)
    if settings.has_ipv6():
        result.records += [(GUEST, Sysctl(key.replace(".", "/"), value)) for key, value in veth.GUEST_SYSCTLS.items()]
    result.records += [(HOST, NetnsFd(number)), (HOST, own), (HOST, host), (GUEST, guest), (HOST, settle)]
    result.addresses = taken.addresses
    result.gateway = ruleset.GATEWAY
    result.text = taken.address or taken.addresses[0]
    if record.ports:
        publish(paths, record, taken, result)
    give_back(paths, record, taken, result)


def take(paths: Paths, record: Record, chosen: Settings, asked: routed.Wish) -> Routed:
    """Take the addresses of a device. Raises Error."""
    if record.restart_count and not asked.addresses:
        last, _ = routed.load_all(paths.run_root, chosen, record.id)
        mine = [item for item in last if item.interface == asked.interface]
        asked.addresses = mine[0].addresses if mine else []  # a restart keeps what nobody has taken back
    taken = routed.acquire(paths.run_root, chosen, record.id, asked, lambda other: state.alive(paths, other))
    if taken.address6 and not settings.has_ipv6():
        raise Error(f"address {taken.address6}: this kernel has no IPv6; leave it out")
    return taken


def prepare(paths: Paths, chosen: Settings, taken: Routed) -> None:
    """What the host needs beside what all such devices do. Raises Error."""
    if taken.proxies:
        routed_host.answer_for(taken)
    if routed.due(taken):
        try:
            routed.sweep(paths.run_root, chosen)
        except Error:
            pass  # what is left of others is no reason not to start; 'network prune' says it


def attach(
    paths: Paths, chosen: Settings, taken: Routed, number: int, out: tuple[bool, bool] = (True, True)
) -> tuple[Op, Op, Op, Op]:
    """What makes the device: who may send by it, the host's end, inside, and on the host again."""
    ipv6 = settings.has_ipv6()
    host, guest, settle = routed.attach_requests(chosen, paths.run_root, taken, number, ipv6, out)
    addresses = ", ".join(taken.addresses)
    return (
        Netlink(_NETFILTER, routed.own_requests(taken), f"let {addresses} of the container pass"),
        Netlink(_ROUTE, host, f"route {addresses} to the container"),
        Netlink(_ROUTE, guest, f"configure {taken.interface} with {addresses}"),
        Netlink(_ROUTE, settle, "look at the host's end of the container's device"),
    )


def give_back(paths: Paths, record: Record, taken: Routed, result: Connection) -> None:
    """What is done at the container's end."""
    # others may live on in its network namespace, and are not to speak for who gets the addresses next
    result.end.append(Netlink(_ROUTE, routed.end_requests(taken), "remove the container's device", optional=True))
    for address, path in zip(taken.addresses, taken.paths, strict=True):
        result.leave.append(Unlease(path, record.id, routed.silence_requests(taken, address)))
    # others are given nothing after their start; it is one for all devices
    if record.tenant and not any(isinstance(one, UnleaseGiven) for one in result.leave):
        directory = f"{paths.run_root}/network/leases"
        result.leave.append(UnleaseGiven(routed.given(paths.run_root, record.id), directory, record.id))
