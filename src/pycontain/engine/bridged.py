"""A container on the bridge: what connect.py does for ``--network bridge``."""

from __future__ import annotations

import os

from pycontain.engine import state
from pycontain.engine.connect import publish
from pycontain.launch.ops import (
    GUEST,
    HOST,
    Netlink,
    NetnsFd,
    Sysctl,
    Unlink,
)
from pycontain.network import bridge, lease, settings, veth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.connect import Connection
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record

_ROUTE = 0


def connect(paths: Paths, record: Record, result: Connection) -> None:
    """Take an address, see that the bridge is there, prepare the device and the ports. Raises Error."""
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
    if settings.has_ipv6():  # whether or not it gets an address
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
    if record.ports:
        publish(paths, record, taken, result)
    result.leave.append(Unlink(taken.path))
