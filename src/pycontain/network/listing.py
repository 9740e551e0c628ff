"""What there is, for ``pycontain network ls`` and ``inspect``: JSON-able values.

``networks(root, run_root) -> list[dict]``
    one a network (today: the bridge), with ``name driver subnet gateway subnet6 gateway6 mtu up table addresses``;
    each of ``addresses`` has ``container address address6 mac device rx_bytes tx_bytes ports``. ``device`` is the
    host's end, null where none is there; the counters are the container's view.
"""

from __future__ import annotations

from pycontain.kernel import nfnl, rtnl
from pycontain.kernel.errors import Error, os_text
from pycontain.network import bridge, lease, port, routed, ruleset, settings, veth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def networks(root: str, run_root: str) -> list[dict[str, Any]]:
    """All networks of a state directory; none where nobody has used one. Raises Error."""
    if not settings.exists(root):
        return []
    chosen = settings.load(root)
    try:
        up, devices = _devices(run_root, chosen)
        with nfnl.open_socket() as link:
            table = bool(nfnl.fingerprint(link, chosen.table))
    except OSError as error:
        raise Error(f"cannot list the network {chosen.bridge}: {os_text(error)}") from None
    gateway6 = chosen.address6(1)
    return [
        *_routed(run_root, chosen, table),
        {
            "name": chosen.bridge,
            "driver": "bridge",
            "subnet": chosen.subnet,
            "gateway": settings.printed(chosen.address(1)),
            "subnet6": chosen.subnet6,
            "gateway6": settings.printed(gateway6) if gateway6 else None,
            "mtu": chosen.mtu,
            "up": up,
            "table": chosen.table if table else None,
            "addresses": _addresses(run_root, chosen, devices),
        },
    ]


def _routed(run_root: str, chosen: settings.Settings, table: bool) -> list[dict[str, Any]]:
    """The containers without a bridge, where there are any: one line an address."""
    guests = routed.saved(run_root, chosen)
    if not guests:
        return []
    pool, owners = chosen.pool(), lease.leases(run_root)
    with rtnl.Socket() as route:
        devices = {link.name for link in rtnl.links(route)}
    published = {item.container_id: item.ports for item in port.saved(run_root)}
    return [
        {
            "name": "routed",
            "driver": "routed",
            "subnet": pool.subnet,
            "gateway": ruleset.GATEWAY,
            "subnet6": pool.subnet6,
            "gateway6": routed.GATEWAY6 if pool.subnet6 else None,
            "mtu": chosen.mtu,
            "up": True,
            "table": chosen.table if table else None,
            "addresses": [
                {
                    "container": guest.container_id,
                    "address": address,
                    "address6": address if ":" in address else None,
                    "mac": guest.mac,
                    "device": guest.name if guest.name in devices else None,
                    "rx_bytes": 0,
                    "tx_bytes": 0,
                    "ports": port.records(published.get(guest.container_id, [])),
                }
                for guest in guests
                for address in sorted(guest.addresses, key=lambda item: ":" in item)
                if owners.get(address) == guest.container_id
            ],
        }
    ]


def _devices(run_root: str, chosen: settings.Settings) -> tuple[bool, dict[str, dict[str, Any]]]:
    """Whether our bridge is up, and its ports by what their names begin with."""
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        found = [link for link in ip.get_links() if link.get_attr("IFLA_IFNAME") == chosen.bridge]
        if not found or found[0].get_attr("IFLA_IFALIAS") != bridge.alias(run_root):
            return False, {}
        index = found[0]["index"]
        ports = [link for link in ip.get_links() if link.get_attr("IFLA_MASTER") == index]
    devices = {}
    for link in ports:
        name, statistics = link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_STATS64") or {}
        devices[name[: len(veth.prefix("0" * 64))]] = {
            "device": name,
            # What the host's end received is what the container sent.
            "rx_bytes": statistics.get("tx_bytes", 0),
            "tx_bytes": statistics.get("rx_bytes", 0),
        }
    return bool(found[0]["flags"] & 1), devices


def _addresses(run_root: str, chosen: settings.Settings, devices: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    published = {item.container_id: item.ports for item in port.saved(run_root)}
    lines = []
    for address, owner in lease.leases(run_root).items():
        offset = int.from_bytes(settings.packed(address), "big") - chosen.base
        if not 0 <= offset < chosen.size:
            continue
        item = lease.Lease(chosen, offset, owner, "")
        lines.append(
            {
                "container": owner,
                "address": address,
                "address6": item.address6,
                "mac": item.mac,
                **devices.get(veth.prefix(owner), {"device": None, "rx_bytes": 0, "tx_bytes": 0}),
                "ports": port.records(published.get(owner, [])),
            }
        )
    return lines
