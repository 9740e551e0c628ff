"""The container's device: the requests that make it, as ready-made bytes.

``attach_requests(settings, lease, bridge_index, container_id, netns_fd, hairpin=True) -> (host, guest, settle)``
    ``host`` is sent in the host's network namespace, where ``netns_fd`` is a descriptor of the guest's; ``guest`` then
    from inside the guest's; ``settle`` in the host's again, at any time before the container's program starts.
``GUEST_SYSCTLS``
    to be set in the guest's network namespace before ``host`` is sent, where the kernel has IPv6.

All are for NETLINK_ROUTE. Nothing has to be undone: the pair dies with the guest's network namespace.
"""

from __future__ import annotations

import os
import time

from pycontain.kernel import rtnl
from pycontain.network.lease import Lease
from pycontain.network.settings import Settings, packed

PREFIX = "vp"
GUEST_NAME = "eth0"
#: eth0's index in the guest, chosen so that addresses can be requested without asking for it: above those that the
#: kernel gives a new namespace's own devices (tunl0, sit0 …).
GUEST_INDEX = 100
#: Router advertisements come from nobody but other containers, who could make themselves the way out (CVE-2020-13401).
#: Each container's multicasts reach all that are on its bridge, so that a start would cost more the more there are. It
#: need not ask whether somebody has its addresses, which are given by us, nor say twice which groups it listens to: the
#: second time is as far away as can be (milliseconds), since nothing on the way loses the first.
GUEST_SYSCTLS = {
    "net.ipv6.conf.default.accept_ra": "0",
    "net.ipv6.conf.all.accept_ra": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.mldv2_unsolicited_report_interval": "2000000000",
}

_DIGITS = "0123456789abcdefghijklmnopqrstuv"
#: The kernel counts indexes from 1; ours are chosen far above, at random: only another of ours can have one.
_FIRST_INDEX = 1 << 24


def prefix(container_id: str) -> str:
    """What the host ends of a container's devices begin with: ``vp`` and 10 digits of its ID."""
    return PREFIX + container_id[:10]


def host_name(container_id: str, place: int = 0) -> str:
    """A name for the host's end, 15 characters: the container's prefix and a mark of the moment.

    place: number of the device, below 32, where a container has several: each has its own quarter of a second. When a
    container is started again its last network namespace may still be on its way out (the kernel does that in
    the background), and the old device with it. The marks repeat after 8 seconds.
    """
    ticks = (time.monotonic_ns() >> 18) + (place << 10)
    return prefix(container_id) + "".join([_DIGITS[ticks >> shift & 31] for shift in (10, 5, 0)])


def host_index() -> int:
    """An index for the host's end."""
    return _FIRST_INDEX + int.from_bytes(os.urandom(4), "big") % ((1 << 31) - _FIRST_INDEX)


class Place:
    """Where a device is in the guest. number: from 0. out: whether what leads nowhere else goes by it: IPv4, IPv6."""

    __slots__ = ("name", "number", "out")

    def __init__(self, name: str = GUEST_NAME, number: int = 0, out: tuple[bool, bool] = (True, True)) -> None:
        self.name = name
        self.number = number
        self.out = out

    @property
    def index(self) -> int:
        return GUEST_INDEX + self.number


def attach_requests(
    settings: Settings,
    lease: Lease,
    bridge_index: int,
    container_id: str,
    netns_fd: int,
    hairpin: bool = True,
    place: Place | None = None,
) -> tuple[bytes, bytes, bytes]:
    """Requests for the host, the guest, and the host again: a veth pair, ``eth0`` with the lease's addresses, default
    routes; then nothing but a look at what came of it, without which a program's first packet may be lost and repeated
    after a second. place: of one device of several.

    hairpin: whether the container publishes ports. Where bridged packets pass the host's NAT (sysctl
    net.bridge.bridge-nf-call-iptables, on by default with br_netfilter), a container that asks its own published port
    gets the frame back by the port that it sent it to; with IPv6 so does everyone who asks from another container.
    """
    place = place or Place()
    index, inside = host_index(), place.index
    mac = bytes.fromhex(lease.mac.replace(":", ""))
    host = [
        rtnl.new_veth(
            host_name(container_id, place.number),
            index,
            bridge_index,
            settings.mtu,
            place.name,
            inside,
            mac,
            netns_fd,
        )
    ]
    # A port needs no address, and each address costs multicast to all other ports.
    host += [rtnl.bridge_port(index, hairpin, link_local=not lease.address6), rtnl.forwarding_entry(index, mac)]
    host.append(rtnl.port_up(index))
    guest = [
        rtnl.link_up(rtnl.LOOPBACK),
        rtnl.link_up(inside),
        rtnl.new_address(inside, packed(lease.address), lease.prefix),
    ]
    if place.out[0]:
        guest.append(rtnl.default_route(inside, packed(lease.gateway)))
    if lease.address6 and lease.gateway6:
        guest.append(rtnl.new_address(inside, packed(lease.address6), lease.prefix6))
        if place.out[1]:
            guest.append(rtnl.default_route(inside, packed(lease.gateway6)))
    return rtnl.batch(host), rtnl.batch(guest), rtnl.batch([rtnl.settle(index), rtnl.settle(bridge_index)])
