"""A container on the bridge: what connect.py does for ``--network bridge``."""

from __future__ import annotations

from pycontain.engine import state
from pycontain.engine.connect import publish, reserve_number
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
    from pycontain.launch.ops import Op
    from pycontain.network.lease import Lease
    from pycontain.network.settings import Settings
    from pycontain.network.veth import Place

_ROUTE = 0


def take(paths: Paths, record: Record, chosen: Settings, ip: str) -> Lease:
    """Take an address. Raises Error."""
    # a restart keeps its address while nobody has taken it back
    taken = lease.find(paths.run_root, chosen, record.id) if record.restart_count else None
    if taken is None:
        taken = lease.acquire(paths.run_root, chosen, record.id, ip or None, lambda other: state.alive(paths, other))
    return taken


def attach(
    paths: Paths, record: Record, chosen: Settings, taken: Lease, number: int, place: Place
) -> tuple[Op, Op, Op]:
    """See that the bridge is there; what makes the device: on the host, inside, and on the host again. Raises Error."""
    index = bridge.ensure(paths.run_root, chosen)
    host, guest, settle = veth.attach_requests(chosen, taken, index, record.id, number, bool(record.ports), place)
    return (
        Netlink(_ROUTE, host, f"connect the container to {chosen.bridge}"),
        Netlink(_ROUTE, guest, f"configure {place.name} with {taken.address}/{taken.prefix}"),
        Netlink(_ROUTE, settle, f"look at the container's port of {chosen.bridge}"),
    )


def connect(paths: Paths, record: Record, result: Connection) -> None:
    """Take an address, see that the bridge is there, prepare the device and the ports. Raises Error."""
    chosen = settings.load(paths.root)
    taken = take(paths, record, chosen, record.ip)
    number = reserve_number()
    place = veth.Place(record.interface or veth.GUEST_NAME)
    host, guest, settle = attach(paths, record, chosen, taken, number, place)
    if settings.has_ipv6():  # whether or not it gets an address
        result.records += [(GUEST, Sysctl(key.replace(".", "/"), value)) for key, value in veth.GUEST_SYSCTLS.items()]
    result.records += [(HOST, NetnsFd(number)), (HOST, host), (GUEST, guest), (HOST, settle)]
    result.addresses = [taken.address] + ([taken.address6] if taken.address6 else [])
    result.gateway = taken.gateway
    result.text = taken.address
    if record.ports:
        publish(paths, record, taken, result)
    result.leave.append(Unlink(taken.path))
