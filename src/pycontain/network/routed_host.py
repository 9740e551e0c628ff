"""What the host needs for containers without a bridge: forwarding, the table, the gateway's addresses.

``ensure(run_root, settings)``
    the start road: looks with three netlink requests and two files; what is missing is made under a lock.
``remove(settings) -> list[str]``
    take the gateway's addresses away; ``bridge.remove`` takes the table.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6

from pycontain.kernel import files, rtnl, rtroute
from pycontain.kernel.errors import Error, InUse, os_text
from pycontain.network import routed, ruleset
from pycontain.network.lock import Lock
from pycontain.network.ruleset import GATEWAY, PREFIX
from pycontain.network.settings import Settings, packed, printed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.network.routed import Routed

_SYS = "/proc/sys/net"


def ensure(run_root: str, settings: Settings) -> None:
    """Make sure that the host forwards, answers as the gateway, and keeps guests apart. Raises Error."""
    try:
        if _sound(settings) and ruleset.intact(run_root, settings):
            return
    except OSError as error:
        raise Error(f"cannot look at the routed network: {os_text(error)}") from None
    with Lock(run_root):
        _repair(run_root, settings)


def answer_for(found: Routed) -> None:
    """Have the devices on which the host answers for IPv6 addresses do so at all. Raises Error."""
    from pycontain.network import bridge

    with rtnl.Socket() as route:
        devices = {index: rtroute.device(route, index) for index, address in found.proxies if ":" in address}
    bridge.set_sysctls({f"ipv6/conf/{item.name}/proxy_ndp": "1" for item in devices.values() if item is not None})


def _forwarding(settings: Settings) -> list[str]:
    return ["ipv4/ip_forward"] + (["ipv6/conf/all/forwarding"] if settings.routed[2] is not None else [])


def _gateways(settings: Settings) -> list[bytes]:
    """The host's addresses that guests know: the IPv4 gateway's, and one by which the host speaks IPv6 to them."""
    six = settings.pool().address6(1)
    return [packed(GATEWAY)] + ([six] if six else [])


def _sound(settings: Settings) -> bool:
    for path in _forwarding(settings):
        try:
            if files.read_bytes(f"{_SYS}/{path}").strip() != b"1":
                return False
        except OSError:
            return False
    with rtnl.Socket() as route:
        return not _missing(route, settings)


def _missing(route: rtnl.Socket, settings: Settings) -> list[bytes]:
    there = [pair[0] for kind in (AF_INET, AF_INET6) for pair in rtnl.addresses(route, rtnl.LOOPBACK, kind)]
    return [address for address in _gateways(settings) if address not in there]


def _repair(run_root: str, settings: Settings) -> None:
    from pycontain.network import bridge, tables

    tables.nft_path()
    try:
        with rtnl.Socket() as route:
            _refuse_foreign(route, run_root, settings)
            for address in _missing(route, settings):
                route.send(rtnl.batch([rtroute.local_address(address)]))
    except OSError as error:
        raise Error(f"cannot set up the routed network: {os_text(error)}") from None
    if not ruleset.intact(run_root, settings):
        tables.make(run_root, settings)
    bridge.set_forwarding(settings, _forwarding(settings))  # last: the table keeps out whom forwarding would let in


def _refuse_foreign(route: rtnl.Socket, run_root: str, settings: Settings) -> None:
    """The table is named by the bridge: that of another run directory is not ours to replace."""
    for link in rtnl.links(route):
        owner = link.alias.removeprefix("pycontain ")
        if owner == link.alias or link.alias == routed.alias(run_root):
            continue
        if link.name == settings.bridge:
            raise InUse(
                f"bridge {settings.bridge}, by which the table of the network is named, belongs to the containers of "
                f'--run-root {owner}; give these another "bridge", "subnet" and "routed" in {settings.path}'
            )
        if link.name.startswith(PREFIX) and settings.table == "pycontain":
            raise InUse(
                f"containers of --run-root {owner} have the table {settings.table}; "
                f'give these another "bridge", "subnet" and "routed" in {settings.path}'
            )


def remove(settings: Settings) -> list[str]:
    """Take the gateway's addresses from the loopback device; answers what was there. Raises Error."""
    removed = []
    try:
        with rtnl.Socket() as route:
            missing = _missing(route, settings)
            for address in _gateways(settings):
                if address not in missing:
                    route.send(rtnl.batch([rtroute.delete_address(rtnl.LOOPBACK, address)]))
                    removed.append(f"gateway {printed(address)}")
    except OSError as error:
        raise Error(f"cannot take the gateway's addresses from lo: {os_text(error)}") from None
    return removed
