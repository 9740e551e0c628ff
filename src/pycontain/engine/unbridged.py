"""A container without a bridge: what connect.py does for ``--network routed``."""

from __future__ import annotations

import os

from pycontain.engine import state
from pycontain.engine.connect import publish
from pycontain.kernel.errors import Error
from pycontain.launch.ops import (
    GUEST,
    HOST,
    Netlink,
    NetnsFd,
    Sysctl,
    Unlease,
)
from pycontain.network import routed, routed_host, ruleset, settings, veth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.connect import Connection
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record

_ROUTE, _NETFILTER = 0, 12


def wish(record: Record) -> routed.Wish:
    """What a record asks for."""
    return routed.Wish([item for item in record.ip.split(",") if item], record.mac, record.interface, record.rate)


def connect(paths: Paths, record: Record, result: Connection) -> None:
    """Take the addresses, see that the host is ready, prepare the device and the ports. Raises Error."""
    chosen = settings.load(paths.root)
    asked = wish(record)
    if record.restart_count and not asked.addresses:
        last = routed.load(paths.run_root, chosen, record.id)
        asked.addresses = last.addresses if last else []  # a restart keeps what nobody has taken back
    taken = routed.acquire(paths.run_root, chosen, record.id, asked, lambda other: state.alive(paths, other))
    ipv6 = settings.has_ipv6()
    if taken.address6 and not ipv6:
        raise Error(f"address {taken.address6}: this kernel has no IPv6; leave it out")
    routed.save(paths.run_root, taken)
    routed_host.ensure(paths.run_root, chosen)
    if taken.proxies:
        routed_host.answer_for(taken)
    if routed.due(taken):
        try:
            routed.sweep(paths.run_root, chosen)
        except Error:
            pass  # what is left of others is no reason not to start; 'network prune' says it
    number = os.open("/dev/null", os.O_RDONLY)  # reserves the number, which the helper fills
    os.set_inheritable(number, True)  # or the helper has given it to something else by then
    host, guest, settle = routed.attach_requests(chosen, paths.run_root, taken, number, ipv6)
    if ipv6:
        result.records += [(GUEST, Sysctl(key.replace(".", "/"), value)) for key, value in veth.GUEST_SYSCTLS.items()]
    addresses = ", ".join(taken.addresses)
    result.records += [
        (HOST, NetnsFd(number)),
        (HOST, Netlink(_NETFILTER, routed.own_requests(taken), f"let {addresses} of the container pass")),
        (HOST, Netlink(_ROUTE, host, f"route {addresses} to the container")),
        (GUEST, Netlink(_ROUTE, guest, f"configure {taken.interface} with {addresses}")),
        (HOST, Netlink(_ROUTE, settle, "look at the host's end of the container's device")),
    ]
    result.addresses = taken.addresses
    result.gateway = ruleset.GATEWAY
    result.text = taken.address or taken.addresses[0]
    if record.ports:
        publish(paths, record, taken, result)
    # others may live on in its network namespace, and are not to speak for who gets the addresses next
    result.end.append(Netlink(_ROUTE, routed.end_requests(taken), "remove the container's device", optional=True))
    for address, path in zip(taken.addresses, taken.paths, strict=True):
        result.leave.append(Unlease(path, record.id, routed.silence_requests(taken, address)))
