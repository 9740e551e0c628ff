"""Other addresses and another rate for a tenant that runs."""

from __future__ import annotations

from pycontain.engine import rerouted
from pycontain.tenant import words
from pycontain.tenant.setup import steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.tenant.hold import Tenant
    from pycontain.tenant.settings import Network, Settings


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
