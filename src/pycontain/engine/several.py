"""A container with several network devices: what connect.py does for a record that has ``networks``.

All addresses are taken before anything is written: who is killed meanwhile leaves no state file, and then all leases
are looked at for whose they are (repair.release_run_state).
"""

from __future__ import annotations

from pycontain.engine import bridged, unbridged
from pycontain.engine.connect import publish, reserve_number
from pycontain.kernel import rootless, rtnl
from pycontain.kernel.errors import Error, UsageError
from pycontain.launch.ops import GUEST, HOST, Netlink, NetnsFd, Sysctl, Unlink
from pycontain.network import routed, routed_host, ruleset, settings, veth
from pycontain.network import several as inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pycontain.engine.connect import Connection
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record
    from pycontain.engine.request import Request
    from pycontain.launch.ops import Op
    from pycontain.network.lease import Lease
    from pycontain.network.routed import Routed
    from pycontain.network.settings import Settings

_ROUTE = 0
BRIDGE, ROUTED = "bridge", "routed"
_KINDS: dict[str, type] = {"network": str, "interface": str, "ip": str, "mac": str, "rate": int}
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_NAME = _FIRST | frozenset(".-")


class Device:
    """One device as a record has it: engine.request.Device. number: from 0."""

    __slots__ = ("interface", "ip", "mac", "network", "number", "rate")

    def __init__(self, number: int, network: str, interface: str, ip: str, mac: str, rate: int) -> None:
        self.number = number
        self.network = network
        self.interface = interface or f"eth{number}"
        self.ip = ip
        self.mac = mac
        self.rate = rate

    @property
    def addresses(self) -> list[str]:
        """Those that are asked for."""
        return [item for item in self.ip.split(",") if item]


def devices(found: Record | Request) -> list[Device]:
    """All devices of a container, of one as well. Raises Error for a damaged record."""
    result = [Device(0, found.network, found.interface, found.ip, found.mac, found.rate)]
    try:
        more: Sequence[Any] = found.networks
        for number, one in enumerate(more, 1):
            value = one if isinstance(one, dict) else one.to_json()
            result.append(Device(number, **value))
            if any(type(value[key]) is not kind for key, kind in _KINDS.items()):
                raise TypeError
    except (AttributeError, TypeError):
        raise Error(f"container {found.name}: its record is damaged: networks is not what it should be") from None
    return result


def check(found: Record | Request) -> None:
    """Raises UsageError where these devices cannot be together."""
    all_of_them = devices(found)
    if len(all_of_them) > inside.MOST:
        raise UsageError(f"{len(all_of_them)} network devices; a container can have {inside.MOST}")
    for one in all_of_them:
        if one.network not in (BRIDGE, ROUTED):
            raise UsageError(f"network {one.network} cannot be with others: it is all or nothing")
    if len([one for one in all_of_them if one.network == BRIDGE]) > 1:
        raise UsageError(
            "there is one bridge: a container has one device on it; give the address with --network routed"
        )
    for one in all_of_them:
        check_interface(one.interface)
    _refuse_twice([one.interface for one in all_of_them], "two network devices are called")
    _refuse_twice([one.mac for one in all_of_them if one.mac], "two network devices have the MAC address")
    _refuse_twice([item for one in all_of_them for item in one.addresses], "two network devices have the address")


def check_interface(name: str) -> None:
    """Raises UsageError for what cannot be the name of a device beside lo."""
    good = 0 < len(name) <= 15 and _FIRST.issuperset(name[0]) and _NAME.issuperset(name)
    if not good or name == "lo":
        raise UsageError(f"{name!r} is not a name of a network device, such as eth0")


def _refuse_twice(values: Sequence[str], problem: str) -> None:
    for value in values:
        if values.count(value) > 1:
            raise UsageError(f"{problem} {value}")


def connect(paths: Paths, record: Record, result: Connection) -> None:
    """Take all addresses, see that the host is ready, prepare the devices and the ports. Raises Error."""
    if rootless.user() >= 0:
        raise Error("a user who is not root has one network: give --network once")
    check(record)
    chosen = settings.load(paths.root)
    taken = _take(paths, record, chosen)
    guests = [one for one in taken if isinstance(one, routed.Routed)]
    leases = [one for one in taken if not isinstance(one, routed.Routed)]
    if guests:
        routed.save(paths.run_root, *guests, beside=[one.address for one in leases])
        routed_host.ensure(paths.run_root, chosen)
    for guest in guests:
        unbridged.prepare(paths, chosen, guest)
    _attach(paths, record, chosen, taken, result)
    first = taken[0]
    result.gateway = ruleset.GATEWAY if isinstance(first, routed.Routed) else first.gateway
    result.text = first.address or result.addresses[0]
    if record.ports:
        publish(paths, record, first, result)
    for one in taken:
        if isinstance(one, routed.Routed):
            unbridged.give_back(paths, record, one, result)
        else:
            result.leave.append(Unlink(one.path))


def _take(paths: Paths, record: Record, chosen: Settings) -> list[Lease | Routed]:
    taken: list[Lease | Routed] = []
    for one in devices(record):
        if one.network == BRIDGE:
            taken.append(bridged.take(paths, record, chosen, one.ip))
        else:
            asked = routed.Wish(one.addresses, one.mac, one.interface, one.rate, one.number)
            taken.append(unbridged.take(paths, record, chosen, asked))
    return taken


def _attach(
    paths: Paths, record: Record, chosen: Settings, taken: Sequence[Lease | Routed], result: Connection
) -> None:
    """The records, in an order with few turns: all that is the host's, all that is the guest's, a look at it."""
    number = reserve_number()
    ways = inside.ways_out([(bool(one.address), bool(one.address6)) for one in taken])
    host: list[Op] = []
    guest: list[Op] = []
    settle: list[Op] = []
    for at, (one, device) in enumerate(zip(taken, devices(record), strict=True)):
        if isinstance(one, routed.Routed):
            own, attach, configure, look = unbridged.attach(paths, chosen, one, number, ways[at])
            host += [own, attach]
            rules = inside.routed_requests(one, one.addresses)
            result.addresses += one.addresses
        else:
            place = veth.Place(device.interface, device.number, ways[at])
            attach, configure, look = bridged.attach(paths, record, chosen, one, number, place)
            host.append(attach)
            rules = inside.bridge_requests(one, place)
            result.addresses += [one.address] + ([one.address6] if one.address6 else [])
        what = f"send by {device.interface} what is from its addresses, with ip-rule(8), CONFIG_IP_MULTIPLE_TABLES"
        guest += [configure, Netlink(_ROUTE, rtnl.batch(rules), what)]
        settle.append(look)
    if settings.has_ipv6():
        result.records += [(GUEST, Sysctl(key.replace(".", "/"), value)) for key, value in veth.GUEST_SYSCTLS.items()]
    result.records.append((HOST, NetnsFd(number)))
    result.records += [(HOST, op) for op in host]
    result.records += [(GUEST, op) for op in guest]
    result.records += [(HOST, op) for op in settle]
