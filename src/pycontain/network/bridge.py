"""The bridge that containers hang on, with the sysctls and the nftables table that belong to it.

``ensure(run_root, settings) -> int``
    the bridge's interface index. The start road: looks with a few netlink requests whether all is as it has to be,
    in less than a millisecond. What is missing or damaged is made, by pyroute2 and nft, once however many start.
``remove(run_root, settings) -> list[str]``
    delete bridge and table; answers what was there.

The bridge's alias (ip-link(8)) names the run directory whose leases it serves: so a device of somebody else, or of a
pycontain with another state directory, is never taken for ours.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_INET, AF_INET6

from pycontain.kernel import files, nfnl, rtnl
from pycontain.kernel.errors import Error, InUse, os_text
from pycontain.network import lease, ruleset
from pycontain.network.lock import Lock
from pycontain.network.settings import Settings, has_ipv6, packed, printed
from pycontain.network.veth import PREFIX, prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_SYS = "/proc/sys/net"
#: linux/rtnetlink.h RT_TABLE_MAIN
_TABLE_MAIN = 254


def ensure(run_root: str, settings: Settings) -> int:
    """Make sure that bridge, forwarding and table are there; answer the bridge's index.

    Raises Error: a device of this name or a subnet that is somebody else's, nft is missing, the kernel refuses.
    """
    try:
        index = _sound(run_root, settings)
        if index and ruleset.intact(run_root, settings):
            return index
    except OSError as error:
        raise Error(f"cannot look at the bridge {settings.bridge}: {os_text(error)}") from None
    with Lock(run_root):
        return _repair(run_root, settings)


# --- looking ------------------------------------------------------------------------------------------------------


def alias(run_root: str) -> str:
    """The bridge's alias: who it belongs to."""
    return f"pycontain {run_root}"[:255]  # IFALIASZ


def _sound(run_root: str, settings: Settings) -> int:
    """The index of the bridge where device, addresses and sysctls are right, else 0."""
    with rtnl.Socket() as route:
        link = rtnl.link(route, settings.bridge)
        if link is None or not link.up or link.kind != "bridge":
            return 0
        if link.alias != alias(run_root) or link.mtu != settings.mtu:
            return 0
        if (settings.address(1), settings.prefix) not in rtnl.addresses(route, link.index, AF_INET):
            return 0
        gateway6 = settings.address6(1)
        if gateway6 is not None and (gateway6, 64) not in rtnl.addresses(route, link.index, AF_INET6):
            return 0
    for path, value in _watched(settings):
        if _sysctl(path) != value:
            return 0
    return link.index


def _watched(settings: Settings) -> list[tuple[str, str]]:
    """The sysctls that the start road looks at: without one of them nothing works."""
    found = [("ipv4/ip_forward", "1")]
    found += [(f"ipv4/conf/{settings.bridge}/{name}", "1") for name in ("forwarding", "route_localnet")]
    if settings.base6 is not None:
        found.append(("ipv6/conf/all/forwarding", "1"))
    return found


def _sysctl(path: str) -> str:
    try:
        return files.read_bytes(f"{_SYS}/{path}").decode("ascii", "replace").strip()
    except OSError:
        return ""


# --- repairing ----------------------------------------------------------------------------------------------------


def _repair(run_root: str, settings: Settings) -> int:
    """Make what is missing; where the bridge itself was and this fails, nothing is left of it."""
    from pycontain.network import tables

    index, made = _sound(run_root, settings), False
    try:
        if not index:
            tables.nft_path()
            index, made = _make_device(run_root, settings)
        if not ruleset.intact(run_root, settings):
            tables.make(run_root, settings)
        _set_forwarding(settings)  # last: the table keeps out whom forwarding would let in
    except BaseException:
        if made:
            _undo(run_root, settings)
        raise
    return index


def _undo(run_root: str, settings: Settings) -> None:
    try:
        remove(run_root, settings)
    except Error:
        pass  # the first failure is the one to tell


def _make_device(run_root: str, settings: Settings) -> tuple[int, bool]:
    """The bridge's index, and whether it was made now."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    if settings.base6 is not None and not has_ipv6():
        raise Error(f'{settings.path}: subnet6: this kernel has no IPv6; set it to null: "subnet6": null')
    try:
        with IPRoute() as ip:
            _refuse_clash(ip, settings)
            index, made = _device(ip, run_root, settings)
            try:
                _configure(ip, index, settings)
                _reattach(run_root, settings, index)
            except BaseException:
                if made:
                    ip.link("del", index=index)
                raise
    except NetlinkError as error:
        raise _refused(settings, error.code) from None
    except OSError as error:
        raise _refused(settings, error.errno or 0) from None
    return index, made


def _refused(settings: Settings, code: int) -> Error:
    hint = ""
    if code == errno.EOPNOTSUPP:
        hint = ": this kernel has no bridge devices (CONFIG_BRIDGE, module bridge); use --network host or none"
    return Error(f"cannot set up the bridge {settings.bridge}: {os.strerror(code)}{hint}")


def _configure(ip: Any, index: int, settings: Settings) -> None:
    ip.link("set", index=index, mtu=settings.mtu)
    set_sysctls(_of_device(settings))
    _set_addresses(ip, index, settings)
    ip.link("set", index=index, state="up")


def _device(ip: Any, run_root: str, settings: Settings) -> tuple[int, bool]:
    """The device, made where it is missing, and whether it was; never one that is not ours."""
    with rtnl.Socket() as route:
        link = rtnl.link(route, settings.bridge)
    if link is not None:
        _refuse_foreign(link, run_root, settings)
        ip.link("set", index=link.index, ifalias=alias(run_root))
        return link.index, False
    # A MAC address of its own: else the bridge takes the lowest of its ports', and it changes with the containers.
    # Nobody asks the containers what they listen to, so that a bridge that snoops sends everything to everybody all the
    # same; and it has timers for each port, which all begin anew with each port that is added.
    mac = lease.mac(settings.address(1)).hex(":")
    ip.link("add", ifname=settings.bridge, kind="bridge", address=mac, br_mcast_snooping=0)
    index = int(ip.link_lookup(ifname=settings.bridge)[0])
    ip.link("set", index=index, ifalias=alias(run_root))
    return index, True


def _ours(link: rtnl.Link, run_root: str, settings: Settings) -> bool:
    """Whether we made a device. The alias is set after the making: who was killed in between left the MAC address."""
    if link.kind != "bridge":
        return False
    return link.alias == alias(run_root) or (not link.alias and link.mac == lease.mac(settings.address(1)))


def _refuse_foreign(link: rtnl.Link, run_root: str, settings: Settings) -> None:
    if _ours(link, run_root, settings):
        return
    owner = link.alias.removeprefix("pycontain ") if link.kind == "bridge" else ""
    if owner != link.alias:
        raise InUse(
            f"bridge {settings.bridge} belongs to the containers of --run-root {owner}; "
            f'give these another "bridge" and "subnet" in {settings.path}'
        )
    what = f"a {link.kind}" if link.kind and link.kind != "bridge" else "a device"
    raise InUse(
        f"{settings.bridge} is {what} that pycontain did not make; rename or delete it, or set another "
        f'"bridge" in {settings.path}'
    )


def _refuse_clash(ip: Any, settings: Settings) -> None:
    """Our subnets must overlap no other interface's, and hold no route that leads elsewhere."""
    subnets = {AF_INET: (settings.base, settings.prefix, "subnet", settings.subnet)}
    if settings.base6 is not None:
        subnets[AF_INET6] = (settings.base6, 64, "subnet6", settings.subnet6 or "")
    for family, (base, bits, key, text) in subnets.items():
        width = 32 if family == AF_INET else 128
        for address, prefix_length, name, is_route in _others(ip, settings.bridge, family):
            shift = width - (bits if is_route else min(bits, prefix_length))
            if prefix_length < bits and is_route:
                continue  # a wider route, such as that of a VPN: ours is the more specific
            if int.from_bytes(address, "big") >> shift == base >> shift:
                what = "contains the route to" if is_route else "overlaps"
                raise InUse(
                    f"{text} {what} {printed(address)}/{prefix_length} of interface {name}; "
                    f'set another "{key}" in {settings.path}'
                )


def _others(ip: Any, bridge: str, family: int) -> Iterator[tuple[bytes, int, str, bool]]:
    """(address, prefix length, interface, whether it is a route) of all interfaces but the bridge."""
    names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in ip.get_links()}
    for item in ip.get_addr(family=family):
        name = names.get(item["index"], "")
        if name != bridge:
            yield packed(item.get_attr("IFA_LOCAL") or item.get_attr("IFA_ADDRESS")), item["prefixlen"], name, False
    for item in ip.get_routes(family=family, table=_TABLE_MAIN):
        name = names.get(item.get_attr("RTA_OIF"), "none")
        if item.get_attr("RTA_DST") and name != bridge:
            yield packed(item.get_attr("RTA_DST")), item["dst_len"], name, True


def _set_addresses(ip: Any, index: int, settings: Settings) -> None:
    with rtnl.Socket() as route:
        there = rtnl.addresses(route, index, AF_INET) + rtnl.addresses(route, index, AF_INET6)
    if (settings.address(1), settings.prefix) not in there:
        ip.addr(
            "add",
            index=index,
            address=printed(settings.address(1)),
            prefixlen=settings.prefix,
            broadcast=printed(settings.address(settings.size - 1)),
        )
    gateway6 = settings.address6(1)
    if gateway6 is not None and (gateway6, 64) not in there:
        # Without duplicate address detection (IFA_F_NODAD): containers start before it would be over.
        ip.addr("add", index=index, family=AF_INET6, address=printed(gateway6), prefixlen=64, flags=0x02)


def _of_device(settings: Settings) -> dict[str, str]:
    """The bridge's own sysctls: nothing that containers announce is believed."""
    name = settings.bridge
    found = {f"ipv4/conf/{name}/accept_redirects": "0"}
    if has_ipv6():
        found |= {f"ipv6/conf/{name}/accept_ra": "0", f"ipv6/conf/{name}/accept_redirects": "0"}
    if settings.base6 is not None:
        found |= {
            f"ipv6/conf/{name}/disable_ipv6": "0",
            # Its link-local address asks for neighbours, and is not usable while it is looked for twice: 2 seconds.
            f"ipv6/conf/{name}/accept_dad": "0",
        }
    return found


def _set_forwarding(settings: Settings) -> None:
    if settings.base6 is not None:
        _keep_router_advertisements(settings.bridge)
    set_sysctls(dict(_watched(settings)))


def set_forwarding(settings: Settings, paths: list[str]) -> None:
    """Have the host forward, without a bridge: sysctls below /proc/sys/net. Raises Error."""
    if any(path.startswith("ipv6") for path in paths):
        _keep_router_advertisements(settings.bridge)
    set_sysctls(dict.fromkeys(paths, "1"))


def set_sysctls(wanted: dict[str, str]) -> None:
    """Give sysctls below /proc/sys/net their values. Raises Error."""
    for path, value in wanted.items():
        if _sysctl(path) != value:
            _set_sysctl(path, value)


def _keep_router_advertisements(bridge: str) -> None:
    """A host that forwards ignores router advertisements (accept_ra 1), and would lose its own default route: say 2."""
    if _sysctl("ipv6/conf/all/forwarding") == "1":
        return
    for name in os.listdir(f"{_SYS}/ipv6/conf"):
        path = f"ipv6/conf/{name}/accept_ra"
        if name not in ("all", "default", "lo", bridge) and _sysctl(path) == "1":
            _set_sysctl(path, "2")


def _set_sysctl(path: str, value: str) -> None:
    try:
        with open(f"{_SYS}/{path}", "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        name = "net." + path.replace(".", "\0").replace("/", ".").replace("\0", "/")
        raise Error(f"cannot set sysctl {name} to {value}, which the bridge needs: {os_text(error)}") from None


def _reattach(run_root: str, settings: Settings, index: int) -> None:
    """Give back their bridge to the containers that run: who deletes a bridge leaves its ports without one."""
    from pycontain.network import tables

    macs = {
        prefix(owner): lease.mac(packed(address))
        for address, owner in lease.leases(run_root).items()
        if owner and settings.holds(address)  # it may have others, on devices without a bridge
    }
    publishing = {prefix(owner) for owner in tables.living(run_root)}
    with rtnl.Socket() as route:
        for link in rtnl.links(route):
            name = link.name[: len(PREFIX) + 10]
            if link.kind == "veth" and not link.master and name in macs:
                # down until it is locked: a port that is up forwards, and the bridge learns from it
                again = [rtnl.link_down(link.index), rtnl.set_master(link.index, index)]
                again.append(rtnl.bridge_port(link.index, hairpin=name in publishing, link_local=True))
                again += [rtnl.forwarding_entry(link.index, macs[name]), rtnl.port_up(link.index)]
                route.send(rtnl.batch(again))


# --- removing -----------------------------------------------------------------------------------------------------


def remove(run_root: str, settings: Settings) -> list[str]:
    """Delete the bridge, if it is ours, and the table; answer what was there, in words.

    Forwarding stays on: nobody knows who else relies on it by now. Raises Error.
    """
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    removed = []
    try:
        with rtnl.Socket() as route, nfnl.open_socket() as netfilter:
            link = rtnl.link(route, settings.bridge)
            table = nfnl.fingerprint(netfilter, settings.table)
            bridged = nfnl.fingerprint(netfilter, settings.table, nfnl.BRIDGE)
        if link is not None and _ours(link, run_root, settings):
            with IPRoute() as ip:
                ip.link("del", index=link.index)
            removed.append(f"bridge {settings.bridge}")
    except NetlinkError as error:
        raise Error(f"cannot delete the bridge {settings.bridge}: {os.strerror(error.code)}") from None
    except OSError as error:
        raise Error(f"cannot delete the bridge {settings.bridge}: {os_text(error)}") from None
    if table and (link is None or removed):
        from pycontain.network import tables

        families = ("inet", "bridge") if bridged else ("inet",)
        tables.nft(
            "".join(
                [f"table {family} {settings.table}\ndelete table {family} {settings.table}\n" for family in families]
            )
        )
        removed.append(f"nftables table inet {settings.table}")
    ruleset.forget(run_root)
    return removed
