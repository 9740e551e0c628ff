"""``linux.netDevices``: devices of the host that move into the container (runtime-spec 1.3, config-linux.md)."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6

from pycontain.kernel import rtnl
from pycontain.kernel.errors import SpecError
from pycontain.launch import reader
from pycontain.launch.namespaces import NEWNET, Namespaces
from pycontain.launch.ops import (
    GUEST,
    HOST,
    Netlink,
    NetnsFd,
)
from pycontain.launch.ops_spec import NameFree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.launch.ops import Op

#: The helper opens the container's network namespace under this number, which no caller's descriptor has.
NETNS_FD = 1000
#: linux/if.h, IFNAMSIZ with its NUL
_NAME_SIZE = 16


def _name(name: str, where: str) -> str:
    if not 0 < len(name.encode("utf-8", "surrogateescape")) < _NAME_SIZE:
        raise SpecError(where, f"{name!r} is not a device's name: expected 1 to {_NAME_SIZE - 1} bytes")
    if name in (".", "..") or any(char in "/:" or char.isspace() for char in name):
        raise SpecError(where, f"{name!r} is not a device's name")
    return name


def _wanted(linux: dict[str, Any], spaces: Namespaces) -> list[tuple[str, str]]:
    """(name on the host, name in the container) pairs."""
    section = reader.table(linux, "netDevices", "linux")
    if section and not spaces.has(NEWNET):
        raise SpecError("linux.netDevices", "the container has no network namespace of its own")
    result: list[tuple[str, str]] = []
    for host in section:
        where = f"linux.netDevices.{host}"
        _name(host, where)
        entry = reader.table(section, host, "linux.netDevices")
        inside = _name(reader.text(entry, "name", where, "") or host, f"{where}.name")
        if "%" in inside.replace("%d", "", 1):
            raise SpecError(f"{where}.name", f"{inside!r}: a name may have one %d and no other %")
        if inside in [name for _, name in result] and "%" not in inside:
            raise SpecError(f"{where}.name", f"a second device {inside}")
        result.append((host, inside))
    return result


def compile_devices(linux: dict[str, Any], spaces: Namespaces) -> list[tuple[int, Op]]:
    """The records that move the devices, with the addresses that they have now. Raises SpecError."""
    wanted = _wanted(linux, spaces)
    if not wanted:
        return []
    records: list[tuple[int, Op]] = [(HOST, NetnsFd(NETNS_FD))]
    with rtnl.Socket() as route:
        for host, inside in wanted:
            device = rtnl.link(route, host)
            if device is None:
                raise SpecError(f"linux.netDevices.{host}", "the host has no such device")
            kept = [
                pair for family in (AF_INET, AF_INET6) for pair in rtnl.permanent_addresses(route, device.index, family)
            ]
            move = rtnl.batch([rtnl.move_link(device.index, inside, NETNS_FD)])
            settings = rtnl.batch(
                [*[rtnl.new_address(device.index, *pair) for pair in kept], rtnl.link_up(device.index)]
            )
            if "%" not in inside:
                records.append((GUEST, NameFree(inside)))
            records.append((HOST, Netlink(rtnl.ROUTE, move, f"move the network device {host} into the container")))
            records.append((GUEST, Netlink(rtnl.ROUTE, settings, f"set up the network device {inside}")))
    return records
