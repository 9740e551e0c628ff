"""The flags of settings, which tenant create and tenant set have, and what they change in a settings file."""

from __future__ import annotations

from pycontain.cli import values
from pycontain.cli.args import Flag, Options, integer, plain, text
from pycontain.kernel.errors import UsageError
from pycontain.tenant import refused, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BOOT, LIMITS, NETWORK, RIGHTS = "Boot", "Limits", "Network", "Rights and files"
_UNLIMITED = ("", "-1", "none", "unlimited")


def _checked(read: Callable[[str], object], unlimited: bool = True) -> Callable[[str], str]:
    """A reader that keeps the text: the file has it as it was given."""

    def check(value: str) -> str:
        if unlimited and value in _UNLIMITED:
            return ""
        try:
            read(value)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return value

    return check


def _swap(value: str) -> str:
    """Nothing means "as much as memory": no word for "none" or "without end" may come to that."""
    if value in _UNLIMITED[1:]:
        raise UsageError(f"{value!r} is not a size: 0 is no swap at all, '' as much as memory")
    return _SIZE(value)


def _percent(value: str) -> str:
    return "" if value in ("0", "0%") else _checked(words.percent)(value)


def _cpus(value: str) -> float:
    if value in _UNLIMITED:
        return 0.0
    whole, point, fraction = value.partition(".")
    if not (value.isascii() and whole.isdigit() and (not point or fraction.isdigit())) or float(value) > 65536:
        raise UsageError(f"{value!r} is not a number of CPUs, such as 2 or 0.5; 0 is all")
    return float(value)


def _count(low: int, high: int) -> Callable[[str], int]:
    """A number; "unlimited", -1 and 0 are 0."""
    read = integer(low, high)
    return lambda value: 0 if value in (*_UNLIMITED, "0") else read(value)


def _switch(value: str) -> tuple[str, bool]:
    """``NAME:on``, ``NAME:off``."""
    name, _, state = value.partition(":")
    if reason := refused.reason(name) if name in ("nfs", "nfsd", "sit", "ipip", "ppp", "bridge") else "":
        raise UsageError(f"{name}: {reason}")
    if not name or state not in ("on", "off"):
        raise UsageError(f"{value!r} is not NAME:on or NAME:off")
    return name, state == "on"


def _hook(value: str) -> tuple[str, str]:
    kind, equals, command = value.partition("=")
    if not equals or kind not in ("pre-start", "post-start", "pre-stop", "post-stop"):
        raise UsageError(f"{value!r} is not KIND=COMMAND with pre-start, post-start, pre-stop or post-stop")
    return kind, command


def _assignment(value: str) -> tuple[str, str]:
    """``NAME=VALUE``; ``NAME=`` takes it away."""
    name, equals, content = value.partition("=")
    if not equals or not name:
        raise UsageError(f"{value!r} is not NAME=VALUE")
    return name, content


def _mount(value: str) -> dict[str, object]:
    parts = value.split(":")
    if value and (len(parts) not in (2, 3) or not all(parts)):
        raise UsageError(f"{value!r} is not SOURCE:TARGET or SOURCE:TARGET:OPTION,OPTION")
    if not value:
        return {}
    found: dict[str, object] = {"source": parts[0], "target": parts[1]}
    if len(parts) == 3:
        found["options"] = parts[2].split(",")
    return found


def _split(value: str) -> list[str]:
    import shlex

    try:
        return shlex.split(value)
    except ValueError as error:
        raise UsageError(f"{value!r} cannot be split into words: {error}") from None


_SIZE = _checked(words.size)

#: Flags that set one key each.
_PLAIN: tuple[tuple[Flag, str], ...] = (
    (Flag("--description", "A line about it.", text, "TEXT"), "description"),
    (Flag("--hostname", "Its host name (default: its name).", text, "NAME", group=BOOT), "hostname"),
    (
        Flag(
            "--onboot",
            "Whether it is started with the host; as-before: where it ran when the host went down.",
            choices=("yes", "no", "as-before"),
            group=BOOT,
        ),
        "boot.onboot",
    ),
    (
        Flag(
            "--boot-order, --bootorder",
            "Place among those that start with the host: higher numbers first.",
            integer(-1_000_000, 1_000_000),
            "NUMBER",
            group=BOOT,
        ),
        "boot.order",
    ),
    (
        Flag("--boot-delay", "How long the next one waits after it.", integer(0, 600), "SECONDS", group=BOOT),
        "boot.delay",
    ),
    (
        Flag("--init", "Its init and the arguments (default: the template's).", _split, "COMMAND", group=BOOT),
        "boot.init",
    ),
    (
        Flag(
            "--stop-signal",
            "Signal that asks its init to power off (default: the template's).",
            text,
            "SIGNAL",
            group=BOOT,
        ),
        "boot.stop_signal",
    ),
    (
        Flag("--stop-timeout", "How long it has to stop before SIGKILL.", integer(0, 86400), "SECONDS", group=BOOT),
        "boot.stop_timeout",
    ),
    (
        Flag(
            "--shutdown",
            "What becomes of it when the host goes down.",
            choices=("stop", "suspend"),
            group=BOOT,
        ),
        "boot.shutdown",
    ),
    (Flag("-m, --memory", "Memory that it may use.", _SIZE, "SIZE", group=LIMITS), "memory.limit"),
    (
        Flag("--swap", "Swap beside its memory; 0 for none, '' for as much as memory.", _swap, "SIZE", group=LIMITS),
        "memory.swap",
    ),
    (
        Flag("--guarantee", "Memory that is left to it when the host runs short.", _SIZE, "SIZE", group=LIMITS),
        "memory.guarantee",
    ),
    (Flag("--cpus", "How many CPUs' time it may use; 0 for all.", _cpus, "NUMBER", group=LIMITS), "cpu.cpus"),
    (
        Flag("--cpulimit", "The same in percent of one CPU; 0 for all.", _percent, "PERCENT", group=LIMITS),
        "cpu.limit",
    ),
    (
        Flag(
            "--cpuunits",
            "Weight against others when CPUs are busy, 8 to 500000; 1000 is the ordinary one.",
            integer(8, 500_000),
            "WEIGHT",
            group=LIMITS,
        ),
        "cpu.units",
    ),
    (Flag("--cpumask", "The CPUs that it may use, such as 0-2,5; '' for all.", text, "LIST", group=LIMITS), "cpu.mask"),
    (Flag("--nodemask", "The memory nodes that it may use; '' for all.", text, "LIST", group=LIMITS), "cpu.nodes"),
    (
        Flag("--processes", "How many processes and threads.", _count(1, 1 << 22), "NUMBER", group=LIMITS),
        "processes.max",
    ),
    (
        Flag(
            "--io-weight",
            "Weight against others when disks are busy, 1 to 10000; 100 is the ordinary one.",
            integer(1, 10000),
            "WEIGHT",
            group=LIMITS,
        ),
        "io.weight",
    ),
    (Flag("--read-bps", "Bytes a second that it reads from its disk.", _SIZE, "SIZE", group=LIMITS), "io.read_bps"),
    (Flag("--write-bps", "Bytes a second that it writes to it.", _SIZE, "SIZE", group=LIMITS), "io.write_bps"),
    (
        Flag("--read-iops", "Read operations a second.", _count(1, 1 << 40), "NUMBER", group=LIMITS),
        "io.read_iops",
    ),
    (
        Flag("--write-iops", "Write operations a second.", _count(1, 1 << 40), "NUMBER", group=LIMITS),
        "io.write_iops",
    ),
    (Flag("--disk", "Space for its files.", _SIZE, "SIZE", group=LIMITS), "disk.space"),
    (Flag("--inodes", "How many files it may have.", _count(1, 1 << 48), "NUMBER", group=LIMITS), "disk.inodes"),
    (
        Flag(
            "--privileged-ids",
            "Whether its users are the host's own: root in it is then root of the host.",
            choices=("yes", "no"),
            group=RIGHTS,
        ),
        "rights.privileged_ids",
    ),
)

_NETWORK = (
    Flag(
        "--network",
        "How it is connected: routed, bridge; none: not at all (default of create: routed with --ip, else bridge).",
        choices=("routed", "bridge", "none"),
        group=NETWORK,
    ),
    Flag(
        "--ifname",
        "Which of its devices the other flags of the network are about (default: the first).",
        plain,
        "NAME",
        group=NETWORK,
    ),
    Flag(
        "--netif-add",
        "A further device, which the other flags of the network are about.",
        plain,
        "NAME",
        group=NETWORK,
    ),
    Flag("--netif-del", "A device that it loses.", plain, "NAME", repeat=True, group=NETWORK),
    Flag("--ip", "Its addresses, all of them; '' for the host's choice.", text, "ADDRESS", repeat=True, group=NETWORK),
    Flag("--ip-add, --ipadd", "A further address.", plain, "ADDRESS", repeat=True, group=NETWORK),
    Flag("--ip-del, --ipdel", "An address that it loses, or all.", plain, "ADDRESS", repeat=True, group=NETWORK),
    Flag("--gateway", "Its gateway on a bridge; '' for the bridge's own.", text, "ADDRESS", group=NETWORK),
    Flag("--mac", "Its MAC address; '' for one that is made of its addresses.", text, "ADDRESS", group=NETWORK),
    Flag("--rate", "Bits a second that it sends, such as 100M.", _checked(words.rate), "RATE", group=NETWORK),
    Flag("--dns, --nameserver", "Name servers; '' for the host's.", text, "ADDRESS", repeat=True, group=NETWORK),
    Flag("--dns-search, --searchdomain", "Search domains.", text, "DOMAIN", repeat=True, group=NETWORK),
)

_RIGHTS = (
    Flag(
        "--features",
        "Switches: nesting, fuse, tun; such as fuse:on.",
        _switch,
        "NAME:on|off",
        repeat=True,
        group=RIGHTS,
    ),
    Flag(
        "--capability",
        "Give it a capability beside the usual ones, or take one away: net_raw:off.",
        _switch,
        "NAME:on|off",
        repeat=True,
        group=RIGHTS,
    ),
    Flag(
        "--device",
        "Devices of the host's, all that it has; rwm: read, write, mknod.",
        text,
        "PATH[:rwm]",
        repeat=True,
        group=RIGHTS,
    ),
    Flag(
        "--mount",
        "Directories of the host's, all that it has.",
        _mount,
        "SOURCE:TARGET[:OPTIONS]",
        repeat=True,
        group=RIGHTS,
    ),
    Flag(
        "--sysctl",
        "A sysctl of its namespaces; without VALUE it goes.",
        _assignment,
        "NAME=[VALUE]",
        repeat=True,
        group=RIGHTS,
    ),
    Flag(
        "-e, --env",
        "A variable of its init; without VALUE it goes.",
        _assignment,
        "NAME=[VALUE]",
        repeat=True,
        group=RIGHTS,
    ),
    Flag(
        "--hook",
        "A command on the host: pre-start, post-start, pre-stop, post-stop; all of that kind; without COMMAND none.",
        _hook,
        "KIND=COMMAND",
        repeat=True,
        group=RIGHTS,
    ),
)

#: In the order in which --help lists them.
FLAGS = (*(flag for flag, _ in _PLAIN), *_NETWORK, *_RIGHTS)


def unknown(name: str) -> str:
    """What is to be said of a flag of vzctl's that there is none for."""
    return refused.reason(name)


def any_given(options: Options) -> bool:
    """Whether there is anything to change."""
    return any(given(options, flag) for flag in FLAGS)


def given(options: Options, flag: Flag) -> bool:
    """Whether a flag stood on the command line, also with an empty value."""
    value = options.values[flag.key]
    return value is not None and value != []


def changes(options: Options, before: dict[str, Any], fresh: bool) -> dict[str, Any]:
    """What the flags change in what a settings file says. fresh: it is of a new tenant. Raises UsageError."""
    found: dict[str, Any] = {}
    for flag, key in _PLAIN:
        if given(options, flag):
            value = options.values[flag.key]
            if flag.key == "cpus" and value == int(value):
                value = int(value)
            found[key] = value == "yes" if flag.key == "privileged-ids" else value
    for key, target in (("dns", "dns.servers"), ("dns-search", "dns.search"), ("device", "rights.devices")):
        if options.values[key]:
            found[target] = [one for one in options.many(key) if one]
    if options.values["mount"]:
        found["mounts"] = [one for one in options.all("mount", dict) if one]
    for name, state in options.all("features", tuple):
        found[f"features.{name}"] = state
    if options.values["capability"]:
        found["rights.capabilities"] = _capabilities(before, options.all("capability", tuple))
    for key, target in (("sysctl", "sysctls"), ("env", "environment")):
        for name, value in options.all(key, tuple):
            _assign(found, before, target, name, value)
    _hooks(options, found)
    _network(options, before, fresh, found)
    return found


def _assign(found: dict[str, Any], before: dict[str, Any], target: str, name: str, value: str) -> None:
    """A name may have dots, so that the whole table is set."""
    table = found.setdefault(target, dict(before.get(target) or {}))
    if value:
        table[name] = value
    else:
        table.pop(name, None)


def _capabilities(before: dict[str, Any], switches: list[tuple[str, bool]]) -> list[str]:
    kept = list((before.get("rights") or {}).get("capabilities") or [])
    for name, state in switches:
        values.capability(name)
        bare = name.lower().removeprefix("cap_")
        kept = [one for one in kept if one[1:].lower().removeprefix("cap_") != bare]
        kept.append(f"{'+' if state else '-'}{bare}")
    return kept


def _hooks(options: Options, found: dict[str, Any]) -> None:
    for kind, command in options.all("hook", tuple):
        commands = found.setdefault(f"hooks.{kind}", [])
        if command:
            commands.append(command)


def _network(options: Options, before: dict[str, Any], fresh: bool, found: dict[str, Any]) -> None:
    """All of these flags are about one device: the first, a further one, or the one that is named."""
    keys = ("network", "ifname", "netif-add", "netif-del", "ip", "ip-add", "ip-del", "gateway", "mac", "rate")
    wanted = [key for key in keys if options.values[key] not in (None, [])]
    written = before.get("network") or []
    devices = [{"name": f"eth{at}", **one} for at, one in enumerate(written)]
    if options.values["netif-del"]:
        _refuse_beside("netif-del", wanted)
        gone = {_place(devices, "--netif-del", name) for name in options.many("netif-del")}
        # who has a name by its place keeps it; then from behind, so that the places of the others stay
        kept = [at for at, one in enumerate(written) if at not in gone and "name" not in one]
        found |= {f"network.{at}.name": devices[at]["name"] for at in kept}
        found |= {f"network.{at}": None for at in sorted(gone, reverse=True)}
        return
    if options.text("network") == "none":
        if len(wanted) > 1:
            raise UsageError(f"--{wanted[1]} cannot be with --network none, where there is nothing to set")
        found["network"] = []
        return
    if not wanted and (devices or not fresh):
        return
    if not devices and not fresh and not {"network", "ip", "ip-add", "netif-add", "ifname"} & set(wanted):
        _nothing_to_change(options, wanted)
        return
    at, device = _meant(options, devices)
    addresses = _addresses(options, list(device.get("addresses") or []))
    bridged = any(one.get("type") == "bridge" for one in devices)
    kind = options.text("network") or device.get("type") or ("routed" if addresses or bridged else "bridge")
    changed: dict[str, Any] = {"type": kind, "addresses": addresses}
    changed |= {key: options.text(key) for key in ("gateway", "mac", "rate") if options.values[key] is not None}
    if at < len(devices):
        found.update({f"network.{at}.{key}": value for key, value in changed.items() if device.get(key) != value})
        return
    new = device | {key: value for key, value in changed.items() if value}
    found |= {f"network.{at}": new} if devices else {"network": [new]}


def _meant(options: Options, devices: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    """The place of a device among these, and what is known of it. Raises UsageError."""
    added, name = options.text("netif-add"), options.text("ifname")
    if added and name:
        raise UsageError("--ifname and --netif-add cannot be together: both say which device is meant")
    if added:
        if added in [one["name"] for one in devices]:
            raise UsageError(f"--netif-add: it has a device {added}: --ifname {added} changes it")
        return len(devices), {"name": added}
    if name:
        at = _place(devices, "--ifname", name)
        return at, devices[at]
    return (0, devices[0]) if devices else (0, {"name": "eth0"})


def _place(devices: list[dict[str, Any]], flag: str, name: str) -> int:
    names = [str(one["name"]) for one in devices]
    if name not in names:
        raise UsageError(f"{flag}: {name} is not one of its devices: {', '.join(names) or 'it has none'}")
    return names.index(name)


def _refuse_beside(key: str, wanted: list[str]) -> None:
    others = [other for other in wanted if other != key]
    if others:
        raise UsageError(f"--{key} and --{others[0]} cannot be together: give them one after the other")


def _nothing_to_change(options: Options, wanted: list[str]) -> None:
    """A tenant without a network gets none by what takes something away. Raises UsageError for what gives something."""
    for key in wanted:
        if key == "ip-del":
            _addresses(options, [])
        elif options.values[key]:
            raise UsageError(f"--{key}: it has no network: give --network routed or bridge as well")


def _addresses(options: Options, addresses: list[str]) -> list[str]:
    if options.values["ip"]:
        addresses = [one for one in options.many("ip") if one]
    for one in options.many("ip-del"):
        if one == "all":
            addresses = []
            continue
        rest = [address for address in addresses if not _same(address, one)]
        if rest == addresses:
            raise UsageError(f"--ip-del: {one} is not one of its addresses: {', '.join(addresses) or 'it has none'}")
        addresses = rest
    added = [one for one in options.many("ip-add") if not any(_same(one, address) for address in addresses)]
    return addresses + added


def _same(one: str, other: str) -> bool:
    """Whether two texts are the same address: IPv6 can be written in many ways."""
    from ipaddress import ip_address

    try:
        return one == other or ip_address(one) == ip_address(other)
    except ValueError:
        return False
