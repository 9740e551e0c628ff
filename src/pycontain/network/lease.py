"""Addresses: who has which. One symbolic link an address under RUN_ROOT/network/leases: ADDRESS -> container ID.

A link is there with its owner or not at all, so a process that is killed leaves no lease of nobody.

``acquire(run_root, settings, container_id, wanted=None, alive=None) -> Lease``
    take an address. symlink(2) decides who has it; a hint says where to look next, so that it costs the same with
    thousands of leases and an address that was given back is not used again at once.
``release(run_root, settings, container_id)``
    give back, and withdraw the ports that are published to it. On the fast road the monitor sends
    ``port.unpublish_requests`` and unlinks ``Lease.path`` instead.
``leases(run_root) -> dict[address, container ID]``
``find(run_root, settings, container_id) -> Lease | None``
``reclaim(run_root, settings, alive) -> list[str]``
    give back what has no living owner; ``alive`` says whether a container ID is in use.
``LeaseLock(run_root)``
    nobody acquires while it is held (a context manager).

Take the lease before ``bridge.ensure``: ``prune`` keeps the bridge of a network that has leases.
"""

from __future__ import annotations

import os
from _socket import AF_INET

from pycontain.kernel.errors import Error, InUse, UsageError, os_text
from pycontain.network.lock import Lock
from pycontain.network.settings import Settings, family, packed, printed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: So many addresses are tried one after the other before the directory is listed.
_TRIES = 64
#: The first address that a container can have: after the network's own and the gateway's.
_FIRST = 2


class Lease:
    """A container's addresses. Texts without prefix length; IPv6 is None on a network without it.

    offset: place in the subnet. mac: text; locally administered, made of the IPv4 address, so never twice on a bridge.
    path: the lease's link, for the monitor to unlink. table: the nftables table that publishes its ports.
    """

    __slots__ = (
        "address",
        "address6",
        "container_id",
        "gateway",
        "gateway6",
        "mac",
        "offset",
        "path",
        "prefix",
        "prefix6",
        "table",
    )

    def __init__(self, settings: Settings, offset: int, container_id: str, path: str) -> None:
        address = settings.address(offset)
        address6, gateway6 = settings.address6(offset), settings.address6(1)
        self.offset = offset
        self.container_id = container_id
        self.path = path
        self.table = settings.table
        self.address = printed(address)
        self.prefix = settings.prefix
        self.gateway = printed(settings.address(1))
        self.address6 = None if address6 is None else printed(address6)
        self.prefix6 = 64
        self.gateway6 = None if gateway6 is None else printed(gateway6)
        self.mac = mac(address).hex(":")

    def record(self) -> dict[str, Any]:
        """For inspect and for state files: JSON-able."""
        return {
            "address": self.address,
            "prefix": self.prefix,
            "gateway": self.gateway,
            "address6": self.address6,
            "prefix6": self.prefix6 if self.address6 else None,
            "gateway6": self.gateway6,
            "mac": self.mac,
        }


def mac(address: bytes) -> bytes:
    """The MAC address that belongs to an IPv4 address: 02:70, then the address (02: locally administered, unicast)."""
    return b"\x02\x70" + address


class LeaseLock(Lock):
    """The lock under which addresses are given out; its file holds the hint. Raises Error."""

    def __init__(self, run_root: str) -> None:
        super().__init__(run_root, "next")
        self.directory = f"{run_root}/network/leases"
        try:
            os.mkdir(self.directory, 0o755)  # who has made the directory above may not have come to this one
        except FileExistsError:
            pass
        except OSError as error:
            self.close()
            raise Error(f"cannot make {self.directory}: {os_text(error)}") from None

    def hint(self) -> int:
        """The offset that was given out last."""
        text = os.pread(self.fd, 16, 0)
        return int(text) if text.strip().isdigit() else 0

    def set_hint(self, offset: int) -> None:
        os.pwrite(self.fd, b"%-15d\n" % offset, 0)


def acquire(
    run_root: str,
    settings: Settings,
    container_id: str,
    wanted: str | None = None,
    alive: Callable[[str], bool] | None = None,
) -> Lease:
    """Take an address for a container: the next free one, or ``wanted``.

    A ``wanted`` that the container holds already is given again (a restart). ``alive`` says whether a container ID is
    in use: where no address is left, or ``wanted`` is taken, a container that is gone loses its own. Raises InUse
    where ``wanted`` is somebody else's, UsageError where it is not in the subnet, Error where no address is left.
    """
    with LeaseLock(run_root) as lock:
        try:
            if wanted is not None:
                return _take_wanted(lock, run_root, settings, container_id, wanted, alive)
            offset = _next(lock, settings, container_id)
            if not offset and alive is not None and reclaim(run_root, settings, alive, lock, within=True):
                offset = _next(lock, settings, container_id)
            if offset:
                lock.set_hint(offset)
                return _lease(lock, settings, offset, container_id)
            used = len(_listed(lock.directory))
        except OSError as error:
            raise Error(f"cannot write an address lease in {lock.directory}: {os_text(error)}") from None
    raise Error(
        f"no address is left in {settings.subnet}: {used} are in use; remove containers, run 'pycontain network "
        f'prune\', or set a larger "subnet" in {settings.path}'
    )


def _path(lock: LeaseLock, settings: Settings, offset: int) -> str:
    return f"{lock.directory}/{printed(settings.address(offset))}"


def _lease(lock: LeaseLock, settings: Settings, offset: int, container_id: str) -> Lease:
    return Lease(settings, offset, container_id, _path(lock, settings, offset))


def _take(path: str, container_id: str) -> bool:
    try:
        os.symlink(container_id, path)
    except FileExistsError:
        return False
    return True


def _owner(path: str) -> str:
    """Whose lease it is; "" for what is no lease of ours. Raises FileNotFoundError."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        raise
    except OSError:
        return ""


def _take_wanted(
    lock: LeaseLock,
    run_root: str,
    settings: Settings,
    container_id: str,
    wanted: str,
    alive: Callable[[str], bool] | None,
) -> Lease:
    if family(wanted) != AF_INET:
        raise UsageError(f"address {wanted!r} is no IPv4 address such as {printed(settings.address(_FIRST))}")
    offset = int.from_bytes(packed(wanted), "big") - settings.base
    if not _FIRST <= offset < settings.size - 1:
        what = "is the gateway's" if offset == 1 else f"is not a host's address in {settings.subnet}"
        raise UsageError(f"address {wanted} {what}; take one from {_range(settings)}")
    path = _path(lock, settings, offset)
    if not _take(path, container_id):
        owner = _owner(path)
        if owner == container_id:
            return _lease(lock, settings, offset, container_id)
        if owner and (alive is None or alive(owner)):
            raise InUse(f"address {wanted} is in use by container {owner[:12]}; take another one")
        _remove(run_root, settings, [printed(settings.address(offset))])
        _take(path, container_id)
    return _lease(lock, settings, offset, container_id)


def _range(settings: Settings) -> str:
    return f"{printed(settings.address(_FIRST))} to {printed(settings.address(settings.size - 2))}"


def _next(lock: LeaseLock, settings: Settings, container_id: str) -> int:
    """Take the first free offset after the hint; 0 where there is none."""
    last = settings.size - 1
    count = last - _FIRST
    start = max(lock.hint() + 1, _FIRST)
    for step in range(min(count, _TRIES)):
        offset = _FIRST + (start - _FIRST + step) % count
        if _take(_path(lock, settings, offset), container_id):
            return offset
    taken = {int.from_bytes(packed(item), "big") - settings.base for item in _listed(lock.directory) if ":" not in item}
    for step in range(count):
        offset = _FIRST + (start - _FIRST + step) % count
        if offset not in taken and _take(_path(lock, settings, offset), container_id):
            return offset
    return 0


def _listed(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if family(name)]
    except FileNotFoundError:
        return []


def _order(address: str) -> tuple[int, bytes]:
    data = packed(address)
    return len(data), data


def leases(run_root: str) -> dict[str, str]:
    """The container ID of every address that is in use, in the order of the addresses."""
    directory = f"{run_root}/network/leases"
    found = {}
    for address in sorted(_listed(directory), key=_order):
        try:
            found[address] = _owner(f"{directory}/{address}")
        except FileNotFoundError:
            continue
    return found


def take_all(
    run_root: str,
    settings: Settings,
    container_id: str,
    wanted: list[str],
    alive: Callable[[str], bool] | None = None,
) -> None:
    """Take these very addresses, IPv4 and IPv6, of whatever subnet: all or none. Raises InUse naming who has one."""
    taken: list[str] = []
    with LeaseLock(run_root) as lock:
        try:
            for address in wanted:
                if _take_one(lock, run_root, settings, container_id, address, alive):
                    taken.append(address)
        except BaseException as error:
            give_back(run_root, container_id, taken)
            if isinstance(error, OSError):
                raise Error(f"cannot write an address lease in {lock.directory}: {os_text(error)}") from None
            raise


def _take_one(
    lock: LeaseLock,
    run_root: str,
    settings: Settings,
    container_id: str,
    address: str,
    alive: Callable[[str], bool] | None,
) -> bool:
    """False where the container had it already."""
    path = f"{lock.directory}/{address}"
    if _take(path, container_id):
        return True
    owner = _owner(path)
    if owner == container_id:
        return False
    if owner and (alive is None or alive(owner)):
        raise InUse(f"address {address} is in use by container {owner[:12]}; take another one")
    _remove(run_root, settings, [address])
    return _take(path, container_id)


def owned(run_root: str, container_id: str, addresses: list[str]) -> list[str]:
    """Those of the addresses that are the container's."""
    found = []
    for address in addresses:
        try:
            if _owner(f"{run_root}/network/leases/{address}") == container_id:
                found.append(address)
        except FileNotFoundError:
            continue
    return found


def give_back(run_root: str, container_id: str, addresses: list[str]) -> None:
    """Unlink these leases of a container's, which publishes nothing yet."""
    for address in owned(run_root, container_id, addresses):
        _unlink(run_root, address)


def _unlink(run_root: str, address: str) -> None:
    try:
        os.unlink(f"{run_root}/network/leases/{address}")
    except FileNotFoundError:
        pass


def find(run_root: str, settings: Settings, container_id: str) -> Lease | None:
    """The lease of a container, None where it has none in the subnet. Reads all leases: not for the start road."""
    for address, owner in leases(run_root).items():
        offset = int.from_bytes(packed(address), "big") - settings.base
        if owner == container_id and ":" not in address and _FIRST <= offset < settings.size - 1:
            return Lease(settings, offset, container_id, f"{run_root}/network/leases/{address}")
    return None


def release(run_root: str, settings: Settings, container_id: str, known: list[str] | None = None) -> None:
    """Give back all addresses of a container and withdraw its ports; none is no error. Reads all leases.

    known: all that it can have, where somebody knows: then no others are looked at.
    """
    known = _listed(f"{run_root}/network/leases") if known is None else known
    _remove(run_root, settings, owned(run_root, container_id, known))


def _remove(run_root: str, settings: Settings, addresses: list[str]) -> None:
    if not addresses:
        return
    from pycontain.network import port

    # Ports first: once the address is free the next container gets it, and must not get these with it.
    offsets = [int.from_bytes(packed(item), "big") - settings.base for item in addresses if settings.holds(item)]
    addresses6 = [settings.address6(offset) for offset in offsets]
    port.withdraw(settings.table, [packed(address) for address in addresses] + [item for item in addresses6 if item])
    for address in addresses:
        _unlink(run_root, address)


def reclaim(
    run_root: str,
    settings: Settings,
    alive: Callable[[str], bool],
    lock: LeaseLock | None = None,
    within: bool = False,
) -> list[str]:
    """Give back the addresses whose container is gone; answers "ADDRESS of container ID" each.

    Who calls it while holding the lock passes it. settings: of the bridge, whose leases stand for an IPv6 address, too;
    others (``Settings.pool``) with ``within``: the leases of their own subnet alone.
    """
    if lock is None:
        with LeaseLock(run_root) as lock:
            return reclaim(run_root, settings, alive, lock, within)
    dead = {
        address: owner
        for address, owner in leases(run_root).items()
        if (not within or settings.holds(address)) and (not owner or not alive(owner))
    }
    _remove(run_root, settings, list(dead))
    return [f"{address} of container {owner[:12] or '(nobody)'}" for address, owner in dead.items()]
