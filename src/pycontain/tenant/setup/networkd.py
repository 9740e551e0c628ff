"""The network's configuration for systemd-networkd (systemd.network(5)).

The host has configured the devices before init starts. What networkd is told is the same, so that it changes nothing,
and puts it back where somebody has taken it away; of what it does not know it keeps its hands off.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.setup.root import Root
    from pycontain.tenant.setup.wanted import Interface, Wanted

_DIRECTORY = "/etc/systemd/network"
_PREFIX, _SUFFIX = "05-pycontain-", ".network"
_WANTS = "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"


def used(root: Root) -> bool:
    """Whether the guest starts networkd."""
    return root.is_link(_WANTS)


def write(root: Root, wanted: Wanted) -> None:
    """A file for each device; those of devices that are no more go. Raises OSError."""
    files = {f"{_PREFIX}{one.name}{_SUFFIX}": one for one in wanted.interfaces or ()}
    for name in root.names(_DIRECTORY):
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX) and name not in files:
            root.remove(f"{_DIRECTORY}/{name}")
    for name, one in files.items():
        root.write(f"{_DIRECTORY}/{name}", text(one, wanted))


def text(one: Interface, wanted: Wanted) -> str:
    """One device's file."""
    lines = ["# pycontain writes this at each start; a file that sorts before it takes its place.", "[Match]"]
    lines.append(f"Name={one.name}")
    if not one.addresses:
        return "\n".join([*lines, "", "[Link]", "Unmanaged=yes", ""])
    lines += ["", "[Network]", "DHCP=no", "IPv6AcceptRA=no", "KeepConfiguration=yes", "ConfigureWithoutCarrier=yes"]
    lines += [f"DNS={server}" for server in wanted.servers or ()]
    if wanted.search:
        lines.append(f"Domains={' '.join(wanted.search)}")
    lines += [f"Address={address}" for address in one.addresses]
    for gateway in one.gateways:
        lines += ["", "[Route]", f"Gateway={gateway}"]
        if one.onlink:
            lines.append("GatewayOnLink=yes")
    for gateway in one.by_table:
        # the rules that lead to it are no device's, and stay
        lines += ["", "[Route]", f"Gateway={gateway}", "GatewayOnLink=yes", f"Table={one.table}"]
    return "\n".join([*lines, ""])
