"""/etc/hostname, /etc/hosts, /etc/resolv.conf: what the guest is called, and whom it asks."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.setup.root import Root
    from pycontain.tenant.setup.wanted import Wanted

#: Lines between these two are the host's, all others are the guest's own.
BEGIN, END = "# pycontain: begin", "# pycontain: end"
_LOCAL = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)


def with_block(text: str, lines: list[str]) -> str:
    """A text whose block of the host's lines is this one; at its end where it has none yet."""
    kept: list[str] = []
    at = -1
    inside = False
    for line in text.splitlines():
        if line == BEGIN and at < 0:
            at, inside = len(kept), True
        elif inside and line == END:
            inside = False
        elif not inside:
            kept.append(line)
    if at < 0:
        at = len(kept)
    kept[at:at] = [BEGIN, *lines, END]
    return "\n".join(kept) + "\n"


def write(root: Root, wanted: Wanted) -> None:
    """Raises OSError."""
    if wanted.hostname:
        root.write("/etc/hostname", f"{wanted.hostname}\n")
        root.write("/etc/hosts", hosts(root.text("/etc/hosts"), wanted))
    # a link is a resolver's of the guest's own (resolvconf, systemd-resolved), which is told by the network's files
    if wanted.servers is not None and not root.is_link("/etc/resolv.conf"):
        root.write("/etc/resolv.conf", resolv_conf(wanted.servers, wanted.search))


def hosts(text: str, wanted: Wanted) -> str:
    """The hosts file with the guest's own name in it."""
    short = wanted.hostname.partition(".")[0]
    names = f"{wanted.hostname} {short}" if short != wanted.hostname else short
    # 127.0.1.1: where a host without an address of its own is, as Debian has it
    return with_block(text or _LOCAL, [f"{address}\t{names}" for address in wanted.addresses or ["127.0.1.1"]])


def resolv_conf(servers: list[str], search: list[str]) -> str:
    """A resolv.conf."""
    lines = ["# pycontain writes this at each start, from [dns] of the tenant's settings."]
    lines += [f"nameserver {server}" for server in servers]
    if search:
        lines.append(f"search {' '.join(search)}")
    return "\n".join(lines) + "\n"
