"""When a tenant's root is set up, and with what: at its creation, at each start, and for a password or keys."""

from __future__ import annotations

import sys

from pycontain.kernel.errors import Error
from pycontain.network import files as names_files
from pycontain.network import routed, ruleset
from pycontain.tenant import wish
from pycontain.tenant.setup import carry
from pycontain.tenant.setup.wanted import Interface, Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.tenant.hold import Tenant
    from pycontain.tenant.settings import Network, Settings
    from pycontain.tenant.template import Template

#: The next hop of routed addresses, which is no address of any network.
GATEWAYS = {4: ruleset.GATEWAY, 6: routed.GATEWAY6}


def wanted(name: str, settings: Settings, template: Template, host_resolv: str = "", bridge6: bool = True) -> Wanted:
    """What the settings say of the root's files: pure. host_resolv: the host's resolv.conf. bridge6: whether the bridge
    has IPv6.
    """
    found = Wanted(template.distribution)
    found.hostname = wish.hostname(name, settings)
    found.addresses = [address.partition("/")[0] for one in settings.network for address in one.addresses]
    text = names_files.resolv_conf(host_resolv, settings.dns.servers, settings.dns.search)
    lines = [line.split() for line in text.splitlines() if line and line[0] != "#"]
    found.servers = [words[1] for words in lines if words[0] == "nameserver"]
    found.search = [word for words in lines if words[0] == "search" for word in words[1:]]
    found.interfaces = _interfaces(settings.network, bridge6)
    found.saved = settings.boot.shutdown == "suspend"
    return found


def _interfaces(devices: Sequence[Network], bridge6: bool) -> list[Interface]:
    """A routed device's addresses are known; a bridge's come from the host, which keeps them."""
    if len(devices) == 1:
        return [_interface(devices[0])]
    from pycontain.network import several, veth

    ways = several.ways_out([_families(one, bridge6) for one in devices])
    return [
        _interface(device, way_out, veth.GUEST_INDEX + at)
        for at, (device, way_out) in enumerate(zip(devices, ways, strict=True))
    ]


def _families(device: Network, bridge6: bool) -> tuple[bool, bool]:
    """Whether it has IPv4 and IPv6."""
    if device.type == "routed" and device.addresses:
        return any(":" not in one for one in device.addresses), any(":" in one for one in device.addresses)
    return True, bridge6


def _interface(device: Network, way_out: tuple[bool, bool] = (True, True), table: int = 0) -> Interface:
    if device.type != "routed":
        return Interface(device.name, [], [])
    plain = [address.partition("/")[0] for address in device.addresses]
    families = sorted({6 if ":" in address else 4 for address in plain})
    with_prefix = [f"{address}/{128 if ':' in address else 32}" for address in plain]
    gateways = [GATEWAYS[family] for family in families if way_out[family == 6]]
    by_table = [GATEWAYS[family] for family in families] if table else []
    return Interface(device.name, with_prefix, gateways, onlink=True, table=table, by_table=by_table)


def _of(tenant: Tenant, settings: Settings, template: Template) -> Wanted:
    """What this host makes of the settings. Raises Error."""
    from pycontain.network import settings as networks

    root = tenant.paths.root
    bridge6 = networks.load(root).base6 is not None if networks.exists(root) else networks.has_ipv6()
    return wanted(tenant.name, settings, template, names_files.host_resolv_conf(), bridge6)


def at_creation(tenant: Tenant, settings: Settings, template: Template, keys: list[str]) -> None:
    """Give a root that nobody has started an identity of its own. Raises Error."""
    found = _of(tenant, settings, template)
    found.first, found.keys = True, keys
    _carry(tenant, found)


def at_start(tenant: Tenant, settings: Settings, template: Template) -> None:
    """Write what the settings say, just before it starts: the container's lock is the caller's.

    Files that cannot be written (its disk is full, it has made something else of them) keep nobody from a start, in
    which they could be put right.
    """
    try:
        _carry(tenant, _of(tenant, settings, template), locked=True)
    except Error as error:
        _warn(tenant, f"its files could not be set up, it starts with those that it has: {error.message}")


def in_running(tenant: Tenant, settings: Settings) -> None:
    """The same while it runs, when its addresses have changed; a failure is a warning: its next start does it."""
    try:
        _in_running(tenant, settings)
    except Error as error:
        _warn(tenant, f"its files about the network are as they were: {error.message}")


def _in_running(tenant: Tenant, settings: Settings) -> None:
    from pycontain.tenant import life

    template = life.template_of(tenant, settings)
    _carry(tenant, _of(tenant, settings, template))


def change(tenant: Tenant, old: Settings, new: Settings, keys: Sequence[str]) -> list[str]:
    """Other name servers for a tenant that runs (change.LIVE). A root whose own user has seen to it that they cannot be
    written keeps nobody from changing the settings: a warning, and they wait for its next start.
    """
    try:
        _in_running(tenant, new)
    except Error as error:
        _warn(tenant, f"its name servers are as they were: {error.message}")
        return []
    return list(keys)


def password(tenant: Tenant, hashed: str) -> None:
    """Raises Error."""
    found = Wanted()
    found.password = hashed
    _carry(tenant, found)


def _carry(tenant: Tenant, found: Wanted, locked: bool = False) -> None:
    for line in carry.apply(tenant.paths, tenant.container, found, locked):
        _warn(tenant, line)


def _warn(tenant: Tenant, text: str) -> None:
    sys.stderr.write(f"pycontain: warning: tenant {tenant.name}: {text}\n")
