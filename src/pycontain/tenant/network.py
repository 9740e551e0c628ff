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
    if len(old.network) != 1 or len(new.network) != 1 or not _stays(old.network[0], new.network[0]):
        return []
    before, after = old.network[0], new.network[0]
    addresses = after.addresses if after.addresses != before.addresses else None
    rate = None if after.rate == before.rate else words.rate(after.rate) if after.rate else 0
    rerouted.change(tenant.paths, tenant.container, addresses, rate)
    if addresses is not None:
        steps.in_running(tenant, new)
    return list(keys)


def _stays(before: Network, after: Network) -> bool:
    """Whether it is the same device: all but the addresses and the rate. One that has its addresses from the host's
    pool gets others by a restart.
    """
    if before.type != "routed" or not before.addresses or not after.addresses:
        return False
    return all(getattr(before, key) == getattr(after, key) for key in ("type", "name", "gateway", "mac"))
