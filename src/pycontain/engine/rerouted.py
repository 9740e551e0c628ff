"""Other addresses, another rate, for a container with a routed network: at once where it runs, and for its next start.

``change(paths, container_id, addresses=None, rate=None, interface="")``
    all of it or nothing; None leaves as it is. interface: which device, of several.
"""

from __future__ import annotations

import errno

from pycontain.engine import record, state
from pycontain.kernel import nfnl, rtnl, rtroute
from pycontain.kernel.errors import Error, UsageError, os_text
from pycontain.network import lease, port, routed, routed_host, settings, veth
from pycontain.network.lock import Lock
from pycontain.network.settings import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record
    from pycontain.network.routed import Routed


def change(
    paths: Paths,
    container_id: str,
    addresses: list[str] | None = None,
    rate: int | None = None,
    interface: str = "",
) -> None:
    """Give a device of a container's these addresses, this rate. Raises InUse naming who has an address, UsageError,
    Error.
    """
    with record.Lock(paths, container_id):
        found = record.read_known(paths, container_id)
        place = _place(found, interface)
        wanted = None if addresses is None else routed.check_addresses(addresses)
        if wanted == []:
            raise UsageError(f"container {found.name}: give at least one address")
        before = _recorded(found, place)
        new = dict(before)
        if wanted is not None:
            new["ip"] = ",".join(wanted)
        if rate is not None:
            new["rate"] = rate
        _record(found, place, new)
        if found.networks:
            from pycontain.engine import several

            several.check(found)
        _write(paths, found)
        try:
            now = state.read(paths, container_id)
            if now.pid:
                with Lock(paths.run_root):  # who replaces the table reads first what there is to be in it
                    _live(paths, found, now.pid, wanted, rate, place)
        except BaseException:
            _record(found, place, before)
            _write(paths, found)
            raise


def _place(found: Record, interface: str) -> int:
    """Which device is meant: its number. Raises UsageError where it has no such device, or another kind of it."""
    kind, place = found.network, 0
    if interface and found.networks:
        from pycontain.engine import several

        mine = [one for one in several.devices(found) if one.interface == interface]
        if not mine:
            raise UsageError(f"container {found.name}: it has no network device {interface}")
        kind, place = mine[0].network, mine[0].number
    if kind != "routed":
        raise UsageError(f"container {found.name}: addresses and rates change with --network routed alone")
    return place


def _recorded(found: Record, place: int) -> dict[str, Any]:
    """What the record says of a device's addresses and rate."""
    if place:
        return {key: found.networks[place - 1][key] for key in ("ip", "rate")}
    return {"ip": found.ip, "rate": found.rate}


def _record(found: Record, place: int, values: dict[str, Any]) -> None:
    if place:
        found.networks[place - 1] |= values
    else:
        found.ip, found.rate = values["ip"], values["rate"]


def _write(paths: Paths, found: Record) -> None:
    try:
        record.write(paths, found)
    except OSError as error:
        raise Error(f"cannot write the record of container {found.name}: {os_text(error)}") from None


def _live(paths: Paths, found: Record, pid: int, wanted: list[str] | None, rate: int | None, place: int) -> None:
    """Do it to the container that runs; what a failure leaves half done is taken back. The network's lock is held."""
    chosen = settings.load(paths.root)
    kept = _Kept(paths, chosen, found, place)
    old, new = kept.old, kept.new
    if wanted is not None:
        kept.refuse_twice(wanted)
        _keep_published(paths, found, old, wanted)
        new.addresses = wanted
    if rate is not None:
        new.rate = rate
    added = [item for item in new.addresses if item not in old.addresses]
    removed = [item for item in old.addresses if item not in new.addresses]
    asked = routed.Wish(added, place=old.place)
    taken = routed.acquire(paths.run_root, chosen, found.id, asked, _alive(paths)) if added else None
    proxies = taken.proxies if taken else []
    new.proxies = [pair for pair in old.proxies if pair[1] not in removed] + proxies
    steps = _Steps(new, pid)
    try:
        kept.save(new)
        routed_host.answer_for(new)
        steps.add(added, proxies)
        if new.rate != old.rate:
            steps.rate(old, new)
        steps.remove(removed, [pair for pair in old.proxies if pair[1] in removed])
        if found.networks:
            steps.lead_out(kept.ways_out(new, found, chosen))
    except BaseException as error:
        steps.undo()
        if found.networks:
            steps.lead_out(kept.ways_out(old, found, chosen))
        kept.save(old)
        lease.give_back(paths.run_root, found.id, added)
        if isinstance(error, OSError):
            raise Error(f"container {found.name}: cannot change its addresses: {os_text(error)}") from None
        raise
    lease.give_back(paths.run_root, found.id, removed)


class _Kept:
    """The state file of a container that runs: one device of it, as it is (old) and as it is to be (new)."""

    def __init__(self, paths: Paths, chosen: settings.Settings, found: Record, place: int) -> None:
        self.run_root, self.name, self.tenant = paths.run_root, found.name, found.tenant
        self.all, self.beside = routed.load_all(paths.run_root, chosen, found.id)
        mine = [at for at, one in enumerate(self.all) if max(one.place, 0) == place]
        if not mine:
            raise Error(f"container {found.name}: what it has for a network is not recorded: restart it")
        self.at = mine[0]
        self.old = self.all[self.at]
        self.new = routed.load_all(paths.run_root, chosen, found.id)[0][self.at]

    def save(self, one: Routed) -> None:
        devices = [one if at == self.at else other for at, other in enumerate(self.all)]
        if self.tenant:  # whose end looks for it; first, and with what it had: who is killed here has changed nothing
            routed.save_given(self.run_root, [*self.all, one])
        routed.save(self.run_root, *devices, beside=self.beside)

    def ways_out(self, one: Routed, found: Record, chosen: settings.Settings) -> list[rtnl.Request]:
        """The ways out of the guest, as a start would make them now: who was it may have lost its last address.

        one: the device that is changed, as it is to be or as it was.
        """
        from pycontain.engine import several
        from pycontain.network import several as inside

        guests = {max(one.place, 0): one for at, one in enumerate(self.all) if at != self.at}
        guests[max(one.place, 0)] = one
        places = [one.number for one in several.devices(found)]
        six = chosen.address6(1)
        families = [
            (bool(guests[at].address), bool(guests[at].address6)) if at in guests else (True, six is not None)
            for at in places
        ]
        requests: list[rtnl.Request] = []
        for at, (out4, out6) in zip(places, inside.ways_out(families), strict=True):
            index = veth.GUEST_INDEX + at
            if at in guests:
                requests += routed.gateway_requests(index, [four for four, out in ((True, out4), (False, out6)) if out])
            else:
                requests += [rtnl.default_route(index, chosen.address(1))] if out4 else []
                requests += [rtnl.default_route(index, six)] if out6 and six else []
        return requests

    def refuse_twice(self, wanted: list[str]) -> None:
        """What another device of its own has, given by itself or by the pool."""
        others = [item for at, other in enumerate(self.all) if at != self.at for item in other.addresses]
        for address in wanted:
            if address in others + self.beside:
                raise UsageError(f"container {self.name}: another device of it has the address {address}")


def _alive(paths: Paths) -> Callable[[str], bool]:
    return lambda other: state.alive(paths, other)


def _keep_published(paths: Paths, found: Record, old: Routed, wanted: list[str]) -> None:
    """Its published ports lead to the first addresses of its first device."""
    publication = port.load(paths.run_root, found.id)
    if publication is None:
        return
    for address in (publication.address, publication.address6):
        if address in old.addresses and address not in wanted:
            raise UsageError(
                f"container {found.name}: its published ports lead to {address}; keep it, or stop the container first"
            )


class _Steps:
    """What is done to a container that runs, and how it is taken back."""

    def __init__(self, guest: Routed, pid: int) -> None:
        self.guest, self.pid = guest, pid
        self.done: list[Callable[[], None]] = []

    def add(self, addresses: list[str], proxies: list[tuple[int, str]]) -> None:
        """Addresses: first who may send them, last the guest's own."""
        if not addresses:
            return
        guest = self.guest
        had_six = any(":" in item for item in guest.addresses if item not in addresses)
        own = addresses + ([] if had_six else [item for item in (_link_local(guest),) if item])
        self._netfilter(routed.own_requests(guest, own), lambda: rtnl.send(routed.disown_requests(guest, own), 12))
        forth = [request for item in addresses for request in routed.address_requests(guest, item)]
        forth += [rtroute.proxy(device, packed(item)) for device, item in proxies]
        self.done.append(lambda: self._forget(addresses, proxies))
        _send(forth)
        self.done.append(lambda: self._take_inside(addresses))
        inside = [rtnl.new_address(self.guest.guest_index, packed(item), 8 * len(packed(item))) for item in addresses]
        self._inside(inside)
        fours = [":" not in item for item in addresses]
        for four in (True, False):
            if four in fours:
                self._add_inside(self._gateways([four]))
        self._add_inside(self._by_device(addresses))

    def remove(self, addresses: list[str], proxies: list[tuple[int, str]]) -> None:
        """The other way round: the guest's first. Nothing of it has to be there: its root may have changed it."""
        if not addresses:
            return
        self.done.append(lambda: self._again_inside(addresses))
        for request in self._by_device(addresses, False):
            self._quietly(self._inside, [request])
        for item in addresses:
            self._quietly(self._inside, [rtroute.delete_address(self.guest.guest_index, packed(item))])
        self.done.append(lambda: self._again_outside(addresses, proxies))
        self._forget(addresses, proxies)
        guest = self.guest
        self._netfilter(
            routed.disown_requests(guest, addresses), lambda: rtnl.send(routed.own_requests(guest, addresses), 12)
        )

    def _by_device(self, addresses: list[str], there: bool = True) -> list[rtnl.Request]:
        """What is sent from addresses goes by their device, or no more; where it is the only one there is no need."""
        if self.guest.place < 0:
            return []
        from pycontain.network import several

        if there:
            return several.routed_requests(self.guest, addresses)
        return [rtroute.rule(packed(item), self.guest.guest_index, False) for item in addresses]

    def _gateways(self, fours: list[bool]) -> list[rtnl.Request]:
        """The way out by the device; of several in its own table alone: which is the guest's is for all to say."""
        if self.guest.place < 0:
            return routed.gateway_requests(self.guest.guest_index, fours)
        return [routed.known_gateway(self.guest.guest_index, four) for four in fours]

    def lead_out(self, requests: list[rtnl.Request]) -> None:
        """Ways out that are there already stay."""
        for request in requests:
            self._quietly(self._inside, [request])

    def rate(self, old: Routed, new: Routed) -> None:
        """Another rate, each way; 0: none."""
        self._netfilter(_limit(old, new), lambda: rtnl.send(_limit(new, old), 12))
        _send([_bucket(new)])
        self.done.append(lambda: _send([_bucket(old)]))

    def undo(self) -> None:
        for step in reversed(self.done):
            self._quietly(step)

    def _netfilter(self, data: bytes, back: Callable[[], None]) -> None:
        """A batch takes effect as a whole or not at all."""
        rtnl.send(data, 12)
        self.done.append(back)

    def _take_inside(self, addresses: list[str]) -> None:
        self._inside(
            [rtroute.delete_address(self.guest.guest_index, packed(item)) for item in addresses]
            + self._by_device(addresses, False)
        )

    def _again_outside(self, addresses: list[str], proxies: list[tuple[int, str]]) -> None:
        forth = [request for item in addresses for request in routed.address_requests(self.guest, item)]
        _send(forth + [rtroute.proxy(device, packed(item)) for device, item in proxies])

    def _again_inside(self, addresses: list[str]) -> None:
        """The ways out went with the last address of a family; what is there is refused, and nothing else with it."""
        fours = {":" not in item for item in addresses}
        again = [rtnl.new_address(self.guest.guest_index, packed(item), 8 * len(packed(item))) for item in addresses]
        again += self._gateways(sorted(fours))
        self._inside(again + self._by_device(addresses))

    def _forget(self, addresses: list[str], proxies: list[tuple[int, str]]) -> None:
        for item in addresses:
            self._quietly(_send, [rtroute.delete_route(self.guest.index, packed(item))])
        for device, item in proxies:
            self._quietly(_send, [rtroute.proxy(device, packed(item), False)])

    def _add_inside(self, requests: list[rtnl.Request]) -> None:
        """What is there already is refused, and nothing else with it: ours, or its own."""
        try:
            if requests:
                self._inside(requests)
        except rtnl.Refused as error:
            if error.errno != errno.EEXIST:
                raise

    def _inside(self, requests: list[rtnl.Request]) -> None:
        """Send requests from inside the guest's network namespace."""
        from pycontain.kernel import netns

        with netns.Inside(self.pid):
            rtnl.send(rtnl.batch(requests))

    def _quietly(self, step: Callable[..., None], *arguments: list[rtnl.Request]) -> None:
        try:
            step(*arguments)
        except OSError:
            pass


def _send(requests: list[rtnl.Request]) -> None:
    rtnl.send(rtnl.batch(requests))


def _limit(old: Routed, new: Routed) -> bytes:
    """What the guest sends is held to another rate."""
    requests = routed.unrate_requests(old) if old.rate else []
    return nfnl.batch(requests + (routed.rate_requests(new) if new.rate else []))


def _bucket(guest: Routed) -> rtnl.Request:
    return routed.rate_request(guest.index, guest.rate) if guest.rate else rtroute.no_token_bucket(guest.index)


def _link_local(guest: Routed) -> str:
    return settings.printed(routed.link_local(guest.mac)) if guest.address6 else ""
