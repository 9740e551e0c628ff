"""Cleaning up: addresses without a container, and the network when nobody uses it.

``prune(root, run_root, alive) -> list[str]``
"""

from __future__ import annotations

from pycontain.network import bridge, lease, routed, routed_host, settings
from pycontain.network.lock import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: So many containers are named where the network is kept.
_NAMED = 5


def prune(root: str, run_root: str, alive: Callable[[str], bool]) -> list[str]:
    """Give back the addresses of containers that are gone, then delete bridge and table if nobody has an address.

    Answers a line for each thing removed, ``removed …``, and one that begins with ``kept`` where the network is in
    use. ``alive`` says whether a container ID is in use. The settings stay. Raises Error.
    """
    if not settings.exists(root):
        return []
    chosen = settings.load(root)
    # Whoever starts a container takes a lease first: while it is held nobody begins to use what we remove.
    with Lock(run_root), lease.LeaseLock(run_root) as held:
        lines = [f"removed address {item}" for item in lease.reclaim(run_root, chosen, alive, held)]
        owners = sorted({owner[:12] for owner in lease.leases(run_root).values()})
        swept = routed.sweep(run_root, chosen)
        lines += [f"removed {swept} elements of containers that are gone"] if swept else []
        if owners:
            return [*lines, _kept(chosen.bridge, owners)]
        removed = bridge.remove(run_root, chosen) + routed_host.remove(chosen)
        return lines + [f"removed {item}" for item in removed]


def _kept(name: str, owners: list[str]) -> str:
    rest = len(owners) - _NAMED
    names = ", ".join(owners[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    return f"kept bridge {name}: in use by {'container' if len(owners) == 1 else f'{len(owners)} containers'} {names}"
