"""What of a tenant's network a dump does not have: it is made anew by the host, as at each start.

So a guest that has made something of its own there is not saved: it would go on without its firewall.
"""

from __future__ import annotations

import os
from _socket import AF_NETLINK, SOCK_RAW, socket

from pycontain.kernel import files, libc
from pycontain.kernel.errors import Error
from pycontain.launch.namespaces import NEWNET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record

# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
_NETFILTER, _DONE, _ERROR = 12, 3, 2
_GET_TABLES = 10 << 8 | 1
_REQUEST_DUMP = 0x1 | 0x300


def check(pid: int, device: str) -> None:
    """Whether a guest has nothing but what the host has given it. device: that. Raises Error."""
    others = sorted(_devices(pid) - _devices(os.getpid()) - {"lo", device})
    if others:
        raise Error(f"it has made the network device {others[0]}, which would be lost")
    for name in ("ip_tables_names", "ip6_tables_names"):
        try:
            known = files.read_text(f"/proc/{pid}/net/{name}").split()
        except OSError:
            continue
        if known:
            raise Error("it has a firewall of its own (iptables), which would be lost")
    if _has_tables(pid):
        raise Error("it has a firewall of its own (nftables), which would be lost")


def _devices(pid: int) -> set[str]:
    try:
        lines = files.read_text(f"/proc/{pid}/net/dev").splitlines()[2:]
    except OSError:
        return set()
    return {line.partition(":")[0].strip() for line in lines}


def _has_tables(pid: int) -> bool:
    """Whether there are tables of nftables in its network namespace. Raises Error."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc.setns(theirs, NEWNET)
        finally:
            os.close(theirs)
        try:
            link = socket(AF_NETLINK, SOCK_RAW, _NETFILTER)
        finally:
            libc.setns(own, NEWNET)
    except OSError as error:
        raise Error(f"its network cannot be looked at: {error.strerror}") from None
    finally:
        os.close(own)
    try:
        text = _GET_TABLES.to_bytes(2, "little") + _REQUEST_DUMP.to_bytes(2, "little") + bytes(8) + bytes(4)
        link.send((len(text) + 4).to_bytes(4, "little") + text)
        answer = link.recv(1 << 16)
        return int.from_bytes(answer[4:6], "little") not in (_DONE, _ERROR)
    finally:
        link.close()


def addresses(paths: Paths, container: str, record: Record) -> str:
    """Addresses that the host has chosen for this life, as Request.ip has them; "" where the settings say them."""
    if record.ip or record.network not in ("routed", "bridge"):
        return ""
    from pycontain.network import lease

    found = [address for address, owner in lease.leases(paths.run_root).items() if owner == container]
    if record.network == "bridge":
        found = [address for address in found if ":" not in address]  # the other is made of it
    return ",".join(found)
