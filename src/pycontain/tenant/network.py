"""A tenant's devices: what addresses they can have here; others, and another rate, while it runs."""

from __future__ import annotations

from pycontain.engine import rerouted
from pycontain.kernel.errors import Error
from pycontain.network import settings as networks
from pycontain.network.settings import packed, printed
from pycontain.tenant import words
from pycontain.tenant.setup import steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.tenant.hold import Tenant
    from pycontain.tenant.settings import Network, Settings


def check(root: str, settings: Settings) -> None:
    """See that addresses on the bridge are of its subnet and others are not. Raises Error."""
    chosen = networks.load(root)
    for at, device in enumerate(settings.network):
        for index, address in enumerate(device.addresses):
            where = f"network.{at}.addresses.{index}: {address}"
            if device.type == "routed" and chosen.holds(address):
                raise Error(
                    f'{where} is of the bridge\'s subnet {chosen.subnet}: give type = "bridge", or another address'
                )
            if device.type == "bridge" and not _of_a_host(chosen, address):
                some = f"{printed(chosen.address(2))} to {printed(chosen.address(chosen.size - 2))}"
                raise Error(f'{where} is no address of the bridge\'s: take one from {some}, or give type = "routed"')


def _of_a_host(chosen: networks.Settings, address: str) -> bool:
    """Neither the subnet's own address, nor the gateway's, nor the one for all."""
    return chosen.holds(address) and 2 <= int.from_bytes(packed(address), "big") - chosen.base < chosen.size - 1


def change(tenant: Tenant, old: Settings, new: Settings, keys: Sequence[str]) -> list[str]:
    """What can change at once: addresses and rate of a routed device that stays. Everything else waits for a restart.

    Raises InUse naming who has an address, UsageError, Error.
    """
    pairs = list(zip(old.network, new.network, strict=False))
    changing = [(before, after) for before, after in pairs if before != after]
    if len(old.network) != len(new.network) or not all(_stays(before, after) for before, after in changing):
        return []
    done: list[tuple[Network, Network]] = []
    try:
        for before, after in _in_order(changing):
            _reroute(tenant, before, after)
            done.append((before, after))
    except BaseException:
        for before, after in reversed(done):
            _reroute(tenant, after, before)
        raise
    if any(before.addresses != after.addresses for before, after in changing):
        steps.in_running(tenant, new)
    return list(keys)


def _in_order(changing: list[tuple[Network, Network]]) -> list[tuple[Network, Network]]:
    """Who gives an address away before who gets it: one that moves from device to device is on neither in between."""
    return sorted(changing, key=lambda pair: not set(pair[0].addresses) - set(pair[1].addresses))


def _reroute(tenant: Tenant, before: Network, after: Network) -> None:
    addresses = after.addresses if after.addresses != before.addresses else None
    rate = None if after.rate == before.rate else words.rate(after.rate) if after.rate else 0
    rerouted.change(tenant.paths, tenant.container, addresses, rate, after.name)


def _stays(before: Network, after: Network) -> bool:
    """Whether it is the same device: all but the addresses and the rate. One that has its addresses from the host's
    pool gets others by a restart.
    """
    if before.type != "routed" or not before.addresses or not after.addresses:
        return False
    return all(getattr(before, key) == getattr(after, key) for key in ("type", "name", "gateway", "mac"))
