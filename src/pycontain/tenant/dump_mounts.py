"""What of the host's is mounted in a tenant, and is mounted again when it goes on.

A guest may mount in its own namespace. What it says of its mounts is no reason to give it anything of the host's: only
what the host has mounted there itself, as its bundle has it, comes back, from where the bundle says.
"""

from __future__ import annotations

from pycontain.kernel.errors import Error
from pycontain.launch.rootfs import DEFAULT_DEVICES
from pycontain.oci import external

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

#: Device nodes that every container has; in a user namespace they are binds of the host's.
_DEVICES = frozenset(path for path, _, _ in DEFAULT_DEVICES)
_MASK = "/dev/null"


def sources(spec: dict[str, Any], bundle: str, points: Iterable[str]) -> dict[str, str]:
    """Mount points in the guest → paths of the host's. Raises Error for one that the host has not mounted."""
    linux = spec["linux"]
    binds = external.bind_sources(spec, bundle)
    devices = _DEVICES | {str(one.get("path")) for one in linux.get("devices") or ()}
    masks = frozenset(linux.get("maskedPaths") or ())
    found = {}
    for point in points:
        if point in binds:
            found[point] = binds[point]
        elif point in devices:
            found[point] = point
        elif point in masks:
            found[point] = _MASK
        else:
            raise Error(f"{point}: a mount from the host that its settings do not have, which it would lose")
    return found
