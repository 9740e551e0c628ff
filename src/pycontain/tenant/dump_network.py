"""What of a tenant's network a dump does not have: it is made anew by the host, as at each start.

So a guest that has made something of its own there is not saved: it would go on without its firewall.
"""

from __future__ import annotations

import errno
import os

from pycontain.engine import several
from pycontain.kernel import files, netns, nfnl
from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record


def check(pid: int, record: Record) -> None:
    """Whether a guest has nothing but what the host has given it. Raises Error."""
    given = {one.interface for one in several.devices(record)}
    others = sorted(_devices(pid) - _devices(os.getpid()) - {"lo"} - given)
    if others:
        raise Error(f"it has made the network device {others[0]}, which would be lost")
    for name in ("ip_tables_names", "ip6_tables_names"):
        try:
            known = files.read_text(f"/proc/{pid}/net/{name}").split()
        except OSError:
            continue
        if known:
            raise Error("it has a firewall of its own (iptables), which would be lost")
    if _has_tables(pid):
        raise Error("it has a firewall of its own (nftables), which would be lost")


def _devices(pid: int) -> set[str]:
    try:
        lines = files.read_text(f"/proc/{pid}/net/dev").splitlines()[2:]
    except OSError:
        return set()
    return {line.partition(":")[0].strip() for line in lines}


def _has_tables(pid: int) -> bool:
    """Whether there are tables of nftables in its network namespace. Raises Error."""
    try:
        with netns.Inside(pid):
            link = nfnl.open_socket()  # it stays in the namespace that it was made in
        with link:
            return nfnl.has_tables(link)
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.EINVAL):
            return False  # a kernel without nf_tables
        raise Error(f"its network cannot be looked at: {os_text(error)}") from None


def addresses(paths: Paths, container: str, record: Record) -> dict[str, str]:
    """Addresses that the host has chosen for this life, by the name of their device inside, as Request.ip has them."""
    open_ones = [
        one for one in several.devices(record) if not one.ip and one.network in (several.BRIDGE, several.ROUTED)
    ]
    if not open_ones:
        return {}
    from pycontain.network import lease, routed, settings

    known = routed.load_all(paths.run_root, settings.load(paths.root), container)[0]
    found = {one.interface: ",".join(one.addresses) for one in known}
    elsewhere = {address for one in known for address in one.addresses}
    own = [address for address, owner in lease.leases(paths.run_root).items() if owner == container]
    # of a bridge's the one for IPv6 is made of the other
    bridged = ",".join(address for address in own if address not in elsewhere and ":" not in address)
    return {
        one.interface: bridged if one.network == several.BRIDGE else found.get(one.interface, "") for one in open_ones
    }


def ask_again(record: Record, known: dict[str, str]) -> None:
    """Have a record ask for what ``addresses`` has found."""
    for one in several.devices(record):
        wanted = known.get(one.interface, "")
        if not one.ip and wanted and one.number == 0:
            record.ip = wanted
        elif not one.ip and wanted:
            record.networks[one.number - 1] = {**record.networks[one.number - 1], "ip": wanted}
