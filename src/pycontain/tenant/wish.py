"""From settings to what the engine is asked for: pure, but that devices and paths of the host are looked at later."""

from __future__ import annotations

from pycontain.cgroup.limits import weight_of_shares
from pycontain.engine.limits import CPU_PERIOD, Limits
from pycontain.engine.request import Device, MountRequest, Request
from pycontain.kernel.errors import Error, UsageError
from pycontain.tenant import words
from pycontain.tenant.place import container_name
from pycontain.tenant.settings import signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pycontain.tenant.settings import Io, Network, Settings
    from pycontain.tenant.template import Template

#: What the root of a guest with an init of its own needs beside the capabilities of an ordinary container. In a user
#: namespace of its own they are for what belongs to that namespace only.
CAPABILITIES = (
    "CAP_DAC_READ_SEARCH",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_TTY_CONFIG",
    "CAP_LEASE",
)
#: Devices that a feature is.
_FUSE, _TUN = ("/dev/fuse", "/dev/fuse", "rwm"), ("/dev/net/tun", "/dev/net/tun", "rwm")
#: cpu.units of everybody, which is cpu.weight 100.
_UNITS = 1000
_IO_WEIGHT = 100
#: io setting → member of linux.resources.blockIO
_THROTTLES = {
    "read_bps": "throttleReadBpsDevice",
    "write_bps": "throttleWriteBpsDevice",
    "read_iops": "throttleReadIOPSDevice",
    "write_iops": "throttleWriteIOPSDevice",
}
RESTART = "on-reboot"


def request(name: str, settings: Settings, template: Template, disk: str = "") -> Request:
    """What the container of a tenant is to be. disk: the device that the store lies on, for limits of I/O.

    Raises Error for what this version cannot do.
    """
    init = settings.boot.init or template.init
    found = Request(template.image, init[1:])
    found.entrypoint = init[0]
    found.name, found.tenant = container_name(name), name
    found.hostname = hostname(name, settings)
    found.user = "0:0"
    found.terminal = found.interactive = True
    found.env = {"container": "pycontain", **settings.environment}
    found.stop_signal = signal_number(settings.boot.stop_signal or template.stop_signal)
    found.stop_timeout = settings.boot.stop_timeout
    found.restart = RESTART
    found.sysctls = dict(settings.sysctls)
    # what this host cannot enforce is said at each start, and by doctor: a guest is not kept from running by it
    found.missing_controllers = "warn"
    if settings.rights.privileged_ids and template.ready == "notify" and not settings.boot.init:
        raise Error(
            f"rights.privileged_ids: template {template.image} boots systemd, which needs a user namespace of its own"
            " to have its cgroup to itself: leave it out, or take a template with another init"
        )
    # with another user namespace than its own it gets no more than what it is given here
    found.systemd = "true" if settings.rights.privileged_ids else "always"
    found.network_files = False
    found.limits = limits(settings, disk)
    _network(found, settings)
    _mounts(found, settings)
    _rights(found, settings)
    return found


def rescue(found: Request, command: Sequence[str]) -> None:
    """Another command than its init, on its console, for this once: what does not boot can be put right by it."""
    found.entrypoint, found.command = command[0], list(command[1:])
    found.systemd, found.restart = "false", "no"
    found.stop_signal = 9  # a shell that is PID 1 is asked in vain


def hostname(name: str, settings: Settings) -> str:
    """What a tenant calls itself."""
    return settings.hostname or name.replace("_", "-")


# --- limits -------------------------------------------------------------------------------------------------------


def limits(settings: Settings, disk: str = "", explicit: Collection[str] = ()) -> Limits:
    """The limits of a new container; for one that runs, ``explicit`` names the keys that are to be set in any case,
    also where they say "no limit". Raises Error.
    """
    found = Limits()
    _memory(found, settings, explicit)
    _cpu(found, settings, explicit)
    if settings.processes.max or "processes.max" in explicit:
        found.pids = settings.processes.max or -1
    if settings.io.weight != _IO_WEIGHT or "io.weight" in explicit:
        found.blkio_weight = io_weight(settings.io.weight)
    for key, member in _THROTTLES.items():
        rate = _rate(settings.io, key)
        if rate or f"io.{key}" in explicit:
            if not disk:
                raise Error(
                    f"io.{key}: the store lies on no disk of its own (a tmpfs, a network): there is nothing to limit"
                )
            found.throttles[member] = [(disk, rate)]
    return found


def _rate(io: Io, key: str) -> int:
    value = getattr(io, key)
    if isinstance(value, str):
        return words.size(value) if value else 0
    return int(value)


def _memory(found: Limits, settings: Settings, explicit: Collection[str]) -> None:
    memory = settings.memory
    if memory.limit:
        limit = words.size(memory.limit)
        found.memory = limit
        found.memory_swap = limit + (words.size(memory.swap) if memory.swap else limit)
    elif "memory.limit" in explicit:
        found.memory = found.memory_swap = -1
    if memory.guarantee or "memory.guarantee" in explicit:
        found.memory_reservation = (words.size(memory.guarantee) if memory.guarantee else 0) or -1


def _cpu(found: Limits, settings: Settings, explicit: Collection[str]) -> None:
    cpu = settings.cpu
    quotas = [share for share in (cpu.cpus, words.percent(cpu.limit) if cpu.limit else 0) if share]
    if quotas:
        # the kernel takes no quota below a millisecond
        found.cpu_quota, found.cpu_period = max(1000, round(min(quotas) * CPU_PERIOD)), CPU_PERIOD
    elif {"cpu.cpus", "cpu.limit"} & set(explicit):
        found.cpu_quota, found.cpu_period = -1, CPU_PERIOD
    if cpu.units != _UNITS or "cpu.units" in explicit:
        found.cpu_shares = shares_of_units(cpu.units)
    if cpu.mask:
        found.cpuset_cpus = cpu.mask
    if cpu.nodes:
        found.cpuset_mems = cpu.nodes


def shares_of_units(units: int) -> int:
    """cpu.shares, for the cpu.weight that is in proportion: 1000 units are 100. Rounded, and 1 to 10000."""
    weight = min(10000, max(1, round(units / 10)))
    low, high = 2, 262144
    while low < high:
        middle = (low + high) // 2
        if weight_of_shares(middle) < weight:
            low = middle + 1
        else:
            high = middle
    return 1024 if weight == 100 else low


def io_weight(weight: int) -> int:
    """io.weight, 1 to 10000, as OCI's 10 to 1000."""
    return 10 + round((weight - 1) * 990 / 9999)


# --- the others ---------------------------------------------------------------------------------------------------


def _network(found: Request, settings: Settings) -> None:
    found.dns, found.dns_search = list(settings.dns.servers), list(settings.dns.search)
    if not settings.network:
        found.network = "none"
        return
    first, *others = [_wished(number, device) for number, device in enumerate(settings.network)]
    found.network, found.interface, found.ip = first.network, first.interface, first.ip
    found.mac, found.rate = first.mac, first.rate
    found.networks = others
    if others:
        from pycontain.engine import several

        try:
            several.check(found)
        except UsageError as error:
            raise Error(f"network: {error.message}") from None


def _wished(number: int, device: Network) -> Device:
    """A device as the engine is asked for it. Raises Error."""
    where = f"network.{number}"
    if device.type == "routed":
        if device.gateway:
            raise Error(f"{where}.gateway: with routed addresses the way out is the host: leave it out")
        rate = words.rate(device.rate) if device.rate else 0
        return Device(device.type, device.name, ",".join(device.addresses), device.mac, rate)
    for key in ("gateway", "mac", "rate"):
        if getattr(device, key):
            raise Error(f'{where}.{key}: on the bridge it is not set by hand: leave it out, or give type = "routed"')
    if len(device.addresses) > 1:
        raise Error(f'{where}.addresses: on the bridge there is one, IPv4; IPv6 comes by itself: or type = "routed"')
    if any(":" in address for address in device.addresses):
        raise Error(f"{where}.addresses.0: on the bridge it is IPv4; IPv6 comes by itself")
    return Device(device.type, device.name, ",".join(device.addresses))


def _mounts(found: Request, settings: Settings) -> None:
    targets = {mount.target for mount in settings.mounts}
    for target, options in (
        ("/run", ["mode=755", "exec"]),
        ("/run/lock", ["mode=1777"]),
        ("/tmp", ["mode=1777", "exec"]),
    ):
        if target not in targets and settings.rights.privileged_ids:
            found.mounts.append(MountRequest("tmpfs", "", target, options))
    found.mounts += [MountRequest("bind", one.source, one.target, list(one.options)) for one in settings.mounts]


def _rights(found: Request, settings: Settings) -> None:
    rights, features = settings.rights, settings.features
    minus = {_plain(text) for text in rights.capabilities if text[0] == "-"}
    plus = {_plain(text) for text in rights.capabilities if text[0] == "+"}
    found.cap_drop = sorted(minus)
    found.cap_add = sorted(({*CAPABILITIES} | plus) - minus)
    found.userns = "host" if rights.privileged_ids else "auto"
    found.devices = [_device(text) for text in rights.devices]
    for wanted, device in ((features.fuse, _FUSE), (features.tun, _TUN)):
        if wanted and device[0] not in [one[0] for one in found.devices]:
            found.devices.append(device)
    if features.nesting:
        # a container in it mounts a proc of its own: the kernel refuses it where ours is covered in places
        found.unmask = ["ALL"]


def _plain(text: str) -> str:
    name = text[1:].upper()
    return name if name.startswith("CAP_") else f"CAP_{name}"


def _device(text: str) -> tuple[str, str, str]:
    path, _, access = text.partition(":")
    return path, path, access or "rwm"
