"""How many guests this host has room for: its limits one by one, and what raises them.

``limits(proc="/proc", ...) -> list[Limit]``
    those that this kernel has, the first to bite first.
``plan(found, guests) -> list[Change]``
    the sysctls that have to be higher for so many guests; nothing is ever lowered.
``apply(changes, proc="/proc")``, ``text(changes, found, guests)``, ``save(text, path)``

What a guest takes is counted for one that does next to nothing: its program, its monitor and its relay, one network
device, one address of each family. A guest with an init of its own takes more of some of it; ``plan`` doubles.
"""

from __future__ import annotations

import os

from pycontain.kernel import config, files
from pycontain.kernel.errors import Error, os_text
from pycontain.storage import idpool

#: Where sysctl.d(5) finds what is to last.
SAVED = "/etc/sysctl.d/90-pycontain.conf"
#: linux/net/bridge/br_private.h: BR_MAX_PORTS is 1 << 10, and port 0 is none.
BRIDGE_PORTS = 1023
#: KiB that an idle guest costs, kernel, monitor and relay included (docs/many-guests.md).
GUEST_MEMORY = 700


class Need:
    """What guests take of a sysctl. spare: for all else on the host. most: what the kernel takes, 0 for any.

    why: in words, what one guest takes. only: "bridge" or "host" where only guests with that network, or without a user
    namespace of their own, take of it.
    """

    __slots__ = ("each", "most", "name", "only", "spare", "why")

    def __init__(self, name: str, each: int, spare: int, why: str, only: str = "", most: int = 0) -> None:
        self.name = name
        self.each = each
        self.spare = spare
        self.why = why
        self.only = only
        self.most = most

    def room(self, value: int) -> int:
        """For how many guests a value is enough."""
        return max(value - self.spare, 0) // self.each

    def wanted(self, guests: int) -> int:
        """A value for so many: twice what they need, a power of two."""
        return 1 << (2 * (self.spare + self.each * guests) - 1).bit_length()


#: sysctl names as the kernel has them below /proc/sys, with dots.
NEEDS = (
    Need("kernel.pid_max", 3, 1024, "3 processes: program, monitor, relay", most=1 << 22),
    Need("kernel.threads-max", 3, 1024, "3 threads: program, monitor, relay"),
    Need("kernel.pty.max", 1, 64, "a pseudo-terminal, where it has a terminal"),
    Need("kernel.keys.root_maxkeys", 1, 200, "a session keyring"),
    Need("fs.inotify.max_user_instances", 6, 16, "6 instances under an init such as systemd", "host"),
    Need("fs.inotify.max_user_watches", 128, 8192, "128 watches under an init such as systemd", "host"),
    Need("fs.file-max", 64, 8192, "64 open files"),
    Need("net.ipv4.neigh.default.gc_thresh3", 1, 256, "a neighbour", "bridge"),
    Need("net.ipv6.neigh.default.gc_thresh3", 2, 256, "2 neighbours", "bridge"),
    Need("net.netfilter.nf_conntrack_max", 16, 4096, "16 tracked connections"),
    Need("user.max_user_namespaces", 1, 16, "a user namespace"),
    Need("user.max_net_namespaces", 1, 16, "a network namespace"),
    Need("user.max_mnt_namespaces", 2, 64, "2 mount namespaces"),
    Need("user.max_pid_namespaces", 1, 16, "a PID namespace"),
    Need("user.max_cgroup_namespaces", 1, 16, "a cgroup namespace"),
)
_ONLY = {"": "", "bridge": "with --network bridge", "host": "with --userns host: they share root's"}


class Limit:
    """One limit of this host. value: as it is now. guests: for how many that is enough. need: None for what no sysctl
    raises; how: the way around then."""

    __slots__ = ("guests", "how", "name", "need", "value", "why")

    def __init__(self, name: str, value: int, guests: int, why: str, need: Need | None = None, how: str = "") -> None:
        self.name = name
        self.value = value
        self.guests = guests
        self.why = why
        self.need = need
        self.how = how


class Change:
    """One sysctl that is to be higher."""

    __slots__ = ("name", "need", "new", "old")

    def __init__(self, need: Need, old: int, new: int) -> None:
        self.name = need.name
        self.need = need
        self.old = old
        self.new = new


# --- what there is ------------------------------------------------------------------------------------------------


def path(name: str, proc: str = "/proc") -> str:
    """The file of a sysctl."""
    return f"{proc}/sys/{name.replace('.', '/')}"


def _number(name: str, proc: str) -> int | None:
    try:
        text = files.read_bytes(path(name, proc)).decode("ascii", "replace").strip()
    except OSError:
        return None  # not in this kernel, or the host's alone
    return int(text) if text.isdigit() else None


def limits(proc: str = "/proc", ranges: int | None = None) -> list[Limit]:
    """All of this host's, the first to bite first. ranges: of IDs, for user namespaces; None: of the configuration."""
    found = []
    for need in NEEDS:
        value = _number(need.name, proc)
        if value is not None:
            why = ", ".join(part for part in (f"{need.why} each", _ONLY[need.only]) if part)
            found.append(Limit(need.name, value, need.room(value), why, need))
    how = "--network routed has no such limit"
    found.append(Limit("ports of a bridge", BRIDGE_PORTS, BRIDGE_PORTS, "a port each, with --network bridge", how=how))
    free = _available(proc)
    if free is not None:
        each = f"{GUEST_MEMORY} KiB each where it is idle"
        found.append(Limit("available memory, KiB", free, free // GUEST_MEMORY, each, how="more memory"))
    ranges = _ranges() if ranges is None else ranges
    if ranges >= 0:
        how = "a larger id_pool in the configuration file"
        found.append(Limit("ranges of IDs", ranges, ranges, "a range each, with --userns auto", how=how))
    return sorted(found, key=lambda limit: limit.guests)


def _available(proc: str) -> int | None:
    try:
        lines = files.read_text(f"{proc}/meminfo").splitlines()
    except OSError:
        return None
    words = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(words[0][1]) if words and words[0][1].isdigit() else None


def _ranges() -> int:
    try:
        return idpool.find(config.load()).size
    except Error:
        return -1


# --- what raises it -----------------------------------------------------------------------------------------------


def plan(found: list[Limit], guests: int) -> list[Change]:
    """What has to be higher for so many guests."""
    changes = []
    for limit in found:
        if limit.need is not None and limit.guests < guests:
            new = limit.need.wanted(guests)
            changes.append(Change(limit.need, limit.value, min(new, limit.need.most) if limit.need.most else new))
    return sorted([change for change in changes if change.new > change.old], key=lambda change: change.name)


def text(changes: list[Change], found: list[Limit], guests: int) -> str:
    """The changes in the form of sysctl.d(5); what no sysctl raises as comments."""
    lines = [f"# pycontain system tune --guests {guests}"]
    for change in changes:
        lines.append(f"# was {change.old}: enough for {change.need.room(change.old)} guests, {change.need.why} each")
        lines.append(f"{change.name} = {change.new}")
    for limit in found:
        if limit.need is None and limit.guests < guests:
            lines.append(f"# not a sysctl: {limit.name} {limit.value}: enough for {limit.guests} guests: {limit.how}")
        elif limit.need and limit.need.most and limit.need.room(limit.need.most) < guests:
            lines.append(f"# at most {limit.need.most}: {limit.name} is enough for {limit.need.room(limit.need.most)}")
    return "\n".join(lines) + "\n"


def apply(changes: list[Change], proc: str = "/proc") -> None:
    """Set them, all or none. Raises Error naming the one that the kernel refused."""
    done: list[Change] = []
    for change in changes:
        try:
            _write(change.name, change.new, proc)
            done.append(change)
        except OSError as error:
            for earlier in reversed(done):
                try:
                    _write(earlier.name, earlier.old, proc)
                except OSError:
                    pass
            who = "" if os.geteuid() == 0 else ": be root"
            raise Error(f"cannot set sysctl {change.name} to {change.new}: {os_text(error)}{who}") from None


def _write(name: str, value: int, proc: str) -> None:
    fd = os.open(path(name, proc), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d\n" % value)
    finally:
        os.close(fd)


def save(content: str, path: str = SAVED) -> None:
    """Write the file that sets them at each boot. Raises Error."""
    temporary = f"{path}.{os.getpid()}.new"
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        files.create(temporary, content.encode(), 0o644, sync=True)
        os.rename(temporary, path)
    except OSError as error:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise Error(f"cannot write {path}: {os_text(error)}") from None
