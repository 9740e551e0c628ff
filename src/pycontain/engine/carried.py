"""A container of an ordinary user on its network: what connect.py does for ``--network bridge`` there."""

from __future__ import annotations

import os

from pycontain.kernel.errors import Error
from pycontain.launch.ops import HOST
from pycontain.launch.ops_rootless import NetHelper
from pycontain.network import usermode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.connect import Connection
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record
    from pycontain.network.port import Port


def connect(paths: Paths, record: Record, result: Connection) -> None:
    """See that the ports are free, and plan the program that carries the network. Raises Error."""
    if record.ip:
        raise Error(
            "--ip: a user who is not root has no bridge: each container has a network and an address of its own"
        )
    from pycontain.network import port

    ports = port.from_records(record.ports)
    try:
        held = port.reserve(ports, paths.run_root)
    except Error as error:
        raise Error(error.message + _low(ports), error.status) from None
    for fd in held:
        os.close(fd)  # the program binds them itself
    # the empty mount point of its root: it is hidden from nobody but the program
    place = f"{paths.container(record.id)}/root"
    found = usermode.carrier(ports, place, f"{paths.run(record.id)}/net")
    result.records.append((HOST, NetHelper(found.argv, place, found.stays, found.socket, found.requests)))
    result.addresses = [usermode.ADDRESS]
    result.text = usermode.ADDRESS
    result.nameserver = usermode.DNS
    if ports:
        port.save(paths.run_root, record.id, ports, usermode.ADDRESS, None)


def _low(ports: list[Port]) -> str:
    """What to do about a port that only root may have."""
    if all(one.host_port >= 1024 for one in ports):
        return ""
    return ": ports below 1024 are root's (sysctl net.ipv4.ip_unprivileged_port_start): take a higher one"
