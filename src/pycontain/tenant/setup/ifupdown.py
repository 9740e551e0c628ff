"""The network's configuration for ifupdown, Debian's and busybox's (interfaces(5)).

The host has configured the devices before init starts: ifup finds it done, and does it where ifdown has undone it.
"""

from __future__ import annotations

from pycontain.tenant.setup.names import with_block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.setup.root import Root
    from pycontain.tenant.setup.wanted import Interface, Wanted

_FILE = "/etc/network/interfaces"
_PROGRAMS = ("/sbin/ifup", "/usr/sbin/ifup")
_LOOPBACK = "auto lo\niface lo inet loopback\n"


def used(root: Root) -> bool:
    """Whether the guest has ifupdown."""
    return root.exists("/etc/network") and any(root.exists(path) for path in _PROGRAMS)


def write(root: Root, wanted: Wanted) -> None:
    """The host's block in the file; what else is in it stays. Raises OSError."""
    lines = [line for one in wanted.interfaces or () for line in stanza(one)]
    root.write(_FILE, with_block(root.text(_FILE) or _LOOPBACK, lines))


def stanza(one: Interface) -> list[str]:
    """The lines of a device. What is there already is no error: both programs would leave the device half up."""
    lines = [f"auto {one.name}", f"iface {one.name} inet manual", f"\tup ip link set dev {one.name} up"]
    lines += [f"\tup ip addr add {address} dev {one.name} 2>/dev/null || true" for address in one.addresses]
    for gateway in one.gateways:
        family = "-6 " if ":" in gateway else ""
        if one.onlink:
            lines.append(f"\tup ip {family}route add {gateway} dev {one.name} 2>/dev/null || true")
        lines.append(f"\tup ip {family}route add default via {gateway} dev {one.name} 2>/dev/null || true")
    for gateway in one.by_table:
        family = "-6 " if ":" in gateway else ""
        way = f"default via {gateway} dev {one.name} onlink table {one.table}"
        # the rules that lead to it are no device's, and stay
        lines.append(f"\tup ip {family}route add {way} 2>/dev/null || true")
    lines += [f"\tdown ip addr del {address} dev {one.name} 2>/dev/null || true" for address in one.addresses]
    return lines
