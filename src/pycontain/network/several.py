"""Several devices of one container: what one device alone does not need.

A device passes on its own addresses alone (``spoofing``, ``routed``), so what is sent from an address has to leave by
the device that has it. Inside, each device has a table of its own, of its index's number, with its subnet and its way
out; a rule (ip-rule(8)) for each of its addresses says that what is sent from it goes by that table. What has no sender
yet asks the main table, as ever: there the first device with an address of a family is the way out.

``MOST``
    so many devices one container can have.
``ways_out(families) -> list[(bool, bool)]``
    for which of them the main table leads out, IPv4 and IPv6.
``bridge_requests(lease, place)``, ``routed_requests(routed, addresses)``
    the rules and the tables, to be sent from inside.
"""

from __future__ import annotations

from pycontain.kernel import rtroute
from pycontain.network import routed as devices
from pycontain.network.ruleset import GATEWAY
from pycontain.network.settings import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.kernel.rtnl import Request
    from pycontain.network.lease import Lease
    from pycontain.network.routed import Routed
    from pycontain.network.veth import Place

#: ``veth.host_name`` tells so many apart.
MOST = 32


def ways_out(families: Sequence[tuple[bool, bool]]) -> list[tuple[bool, bool]]:
    """families: of each device, whether it has IPv4, and IPv6. The first that has a family is the way out."""
    found: list[tuple[bool, bool]] = []
    four = six = True
    for has4, has6 in families:
        found.append((four and has4, six and has6))
        four, six = four and not has4, six and not has6
    return found


def bridge_requests(lease: Lease, place: Place) -> list[Request]:
    """What is sent from the addresses on the bridge goes by this device."""
    pairs = [(lease.address, lease.prefix, lease.gateway)]
    if lease.address6 and lease.gateway6:
        pairs.append((lease.address6, lease.prefix6, lease.gateway6))
    requests = []
    for address, prefix, gateway in pairs:
        requests.append(rtroute.table_subnet(place.index, packed(address), prefix, place.index))
        requests.append(rtroute.table_default(place.index, packed(gateway), place.index))
        requests.append(rtroute.rule(packed(address), place.index))
    return requests


def routed_requests(routed: Routed, addresses: Sequence[str]) -> list[Request]:
    """What is sent from these addresses of a device without a bridge goes by it."""
    index = routed.guest_index
    requests = []
    for gateway, six in ((GATEWAY, False), (devices.GATEWAY6, True)):
        mine = [packed(item) for item in addresses if (":" in item) == six]
        if mine:
            requests.append(rtroute.table_default(index, packed(gateway), index))
            requests += [rtroute.rule(address, index) for address in mine]
    return requests
