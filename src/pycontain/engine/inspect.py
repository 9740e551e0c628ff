"""inspect: all that is known of a container, under the names that Docker has for it."""

from __future__ import annotations

import os

from pycontain.engine import load, names, oomkills, ports, repair, state
from pycontain.kernel import capability, rootless
from pycontain.kernel.errors import Error
from pycontain.network import lease, port, routed, ruleset, settings
from pycontain.storage import volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.oomkills import Kill
    from pycontain.engine.paths import Paths
    from pycontain.engine.ports import Binding
    from pycontain.engine.record import Record
    from pycontain.engine.state import State
    from pycontain.network.lease import Lease
    from pycontain.network.routed import Routed

_SYSTEM_TYPES = ("proc", "sysfs", "cgroup", "devpts", "mqueue")
_SYSTEM_TARGETS = ("/dev", "/dev/shm", "/dev/mqueue")
#: Docker's name → member of linux.resources.blockIO
_THROTTLES = {
    "BlkioDeviceReadBps": "throttleReadBpsDevice",
    "BlkioDeviceWriteBps": "throttleWriteBpsDevice",
    "BlkioDeviceReadIOps": "throttleReadIOPSDevice",
    "BlkioDeviceWriteIOps": "throttleWriteIOPSDevice",
}
_PROPAGATION = ("private", "slave", "shared", "unbindable")


def inspect(paths: Paths, text: str) -> dict[str, Any]:
    """One container as a JSON-able object. Raises NotFound; Error for a damaged one."""
    container_id = names.find(paths, text)
    repair.repair(paths, container_id)
    record = load.read_record(paths, container_id)
    spec = load.read_spec(paths, container_id)
    try:
        return _object(paths, record, spec)
    except (KeyError, TypeError, ValueError, AttributeError):
        # written by us, so somebody has changed it
        path = f"{paths.container(container_id)}/config.json"
        raise Error(f"{path}: damaged: not the OCI spec of a container of pycontain") from None


def _object(paths: Paths, record: Record, spec: dict[str, Any]) -> dict[str, Any]:
    found = state.read(paths, record.id)
    directory = paths.container(record.id)
    return {
        "Id": record.id,
        "Name": record.name,
        "Created": record.created,
        "Path": record.command[0] if record.command else "",
        "Args": record.command[1:],
        "State": _state(found, oomkills.read(paths, record.id)),
        "Image": record.image,
        "ImageID": record.image_id,
        "ResolvConfPath": f"{directory}/etc/resolv.conf",
        "HostnamePath": f"{directory}/etc/hostname",
        "HostsPath": f"{directory}/etc/hosts",
        "LogPath": f"{directory}/log" if record.log_size else "",
        "Bundle": directory,
        "CgroupPath": record.cgroup,
        "RestartCount": record.restart_count,
        "Platform": "linux",
        "Warnings": record.warnings,
        "HostConfig": _host_config(record, spec),
        "GraphDriver": _graph_driver(paths, record),
        "Mounts": _mounts(paths, record, spec),
        "Config": _config(record, spec),
        "NetworkSettings": _network(paths, record, found),
    }


# --- state --------------------------------------------------------------------------------------------------------


def _state(found: State, kills: list[Kill]) -> dict[str, Any]:
    last = found.exit
    started = found.started or (last.started if last else 0.0)
    lost = not found.alive and last is not None and last.code < 0
    return {
        "Status": found.status,
        "Running": found.status in (state.RUNNING, state.PAUSED),
        "Paused": found.status == state.PAUSED,
        "Restarting": found.status == state.RESTARTING,
        "OOMKilled": any(kill.time >= started for kill in kills) or bool(last and last.oom and not found.alive),
        "OOMKills": [kill.record() for kill in kills],
        "Dead": found.status == state.DEAD,
        "Pid": found.pid,
        "ExitCode": last.code if last and found.status not in (state.RUNNING, state.PAUSED) else 0,
        "Error": "nobody saw its end: its monitor was killed, or the host went down" if lost else "",
        "StartedAt": state.moment(started),
        "FinishedAt": state.moment(last.finished if last else 0.0),
    }


# --- what was asked for -------------------------------------------------------------------------------------------


def _config(record: Record, spec: dict[str, Any]) -> dict[str, Any]:
    process = spec.get("process") or {}
    user = process.get("user") or {}
    return {
        "Hostname": record.hostname,
        "User": f"{user.get('uid', 0)}:{user.get('gid', 0)}",
        "Tty": record.terminal,
        "OpenStdin": record.interactive,
        "Env": process.get("env", []),
        "Cmd": record.command,
        "Image": record.image,
        "WorkingDir": process.get("cwd", "/"),
        "Labels": record.labels,
        "StopSignal": _signal_name(record.stop_signal),
        "StopTimeout": record.stop_timeout,
    }


def _signal_name(number: int) -> str:
    """``SIGTERM``; real-time signals have numbers only."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _host_config(record: Record, spec: dict[str, Any]) -> dict[str, Any]:
    process, linux = spec.get("process") or {}, spec["linux"]
    private = {space.get("type") for space in linux.get("namespaces", ())}
    return {
        "NetworkMode": record.network,
        "PortBindings": _port_map(ports.bindings(port.from_records(record.ports), ipv6=False)),
        "RestartPolicy": {"Name": record.restart, "MaximumRetryCount": record.restart_max},
        "AutoRemove": record.auto_remove,
        "Init": record.init,
        "LogConfig": {
            "Type": "k8s-file" if record.log_size else "none",
            "Config": {"max-size": str(record.log_size), "max-file": str(record.log_files)} if record.log_size else {},
        },
        "CapAdd": sorted(set(record.capabilities).difference(capability.DEFAULT)),
        "CapDrop": sorted(set(capability.DEFAULT).difference(record.capabilities)),
        "Dns": record.dns,
        "DnsSearch": record.dns_search,
        "ExtraHosts": [f"{name}:{address}" for name, address in record.hosts],
        "IpcMode": "private" if "ipc" in private else "host",
        "PidMode": "private" if "pid" in private else "host",
        "UTSMode": "private" if "uts" in private else "host",
        "UsernsMode": record.userns,
        "IDMappings": {"UidMap": _map(record.uid_map), "GidMap": _map(record.gid_map)},
        "Privileged": {"allow": True, "access": "rwm"} in ((linux.get("resources") or {}).get("devices") or []),
        "ReadonlyRootfs": bool((spec.get("root") or {}).get("readonly")),
        "SecurityOpt": _security(record, process),
        "Sysctls": linux.get("sysctl", {}),
        "StorageOpt": {key: str(record.disk[key]) for key in ("size", "inodes") if record.disk.get(key)},
        "ShmSize": _shm_size(spec),
        "OomScoreAdj": process.get("oomScoreAdj", 0),
        "CgroupParent": os.path.dirname(record.cgroup),
        **_limits(linux.get("resources") or {}),
        "Ulimits": [
            {"Name": one["type"].removeprefix("RLIMIT_").lower(), "Soft": one["soft"], "Hard": one["hard"]}
            for one in process.get("rlimits", ())
        ],
        "Devices": _devices(linux),
        "Supervise": record.supervise,
        "MaskedPaths": linux.get("maskedPaths", []),
        "ReadonlyPaths": linux.get("readonlyPaths", []),
    }


def _map(extents: list[list[int]]) -> list[str]:
    """As podman writes it: first inside, first on the host, how many."""
    return [":".join([str(number) for number in one]) for one in extents]


def _security(record: Record, process: dict[str, Any]) -> list[str]:
    found = [] if record.seccomp == "default" else [f"seccomp={record.seccomp}"]
    for key, name in (("apparmorProfile", "apparmor"), ("selinuxLabel", "label")):
        if process.get(key):
            found.append(f"{name}={process[key]}")
    return [*found, "no-new-privileges"] if process.get("noNewPrivileges") else found


def _limits(resources: dict[str, Any]) -> dict[str, Any]:
    """As Docker: 0 is "not limited"; memory in bytes, times in microseconds."""
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    disks = resources.get("blockIO") or {}
    quota, period = cpu.get("quota", 0), cpu.get("period", 0)
    return {
        "Memory": memory.get("limit", 0),
        "MemorySwap": memory.get("swap", 0),
        "MemoryReservation": memory.get("reservation", 0),
        "NanoCpus": quota * 1_000_000_000 // period if quota > 0 and period else 0,
        "CpuQuota": quota,
        "CpuPeriod": period,
        "CpuShares": cpu.get("shares", 0),
        "CpusetCpus": cpu.get("cpus", ""),
        "CpusetMems": cpu.get("mems", ""),
        "PidsLimit": (resources.get("pids") or {}).get("limit", 0),
        "BlkioWeight": disks.get("weight", 0),
        **{name: _rates(disks.get(key)) for name, key in _THROTTLES.items()},
    }


def _rates(entries: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Limits of disks. Path: the one that the kernel has for the numbers."""
    return [
        {"Path": f"/dev/block/{one['major']}:{one['minor']}", "Rate": one["rate"]}
        for one in entries or ()
        if one["rate"]
    ]


def _devices(linux: dict[str, Any]) -> list[dict[str, Any]]:
    rules = (linux.get("resources") or {}).get("devices") or []
    access = {(rule.get("type"), rule.get("major"), rule.get("minor")): rule.get("access", "") for rule in rules}
    return [
        {
            "PathInContainer": node["path"],
            "Type": node["type"],
            "Major": node["major"],
            "Minor": node["minor"],
            "CgroupPermissions": access.get((node["type"], node["major"], node["minor"]), ""),
        }
        for node in linux.get("devices", ())
    ]


# --- files --------------------------------------------------------------------------------------------------------


def _graph_driver(paths: Paths, record: Record) -> dict[str, Any]:
    """The overlay; it is mounted in the container only, so there is no merged directory on the host."""
    own = paths.container(record.id) + ("/disk" if record.disk else "")
    return {
        "Name": "overlay",
        "Data": {
            "LowerDir": ":".join(f"{paths.root}/layers/{layer}" for layer in reversed(record.layers)),
            "UpperDir": f"{own}/upper",
            "WorkDir": f"{own}/work",
        },
    }


def _mounts(paths: Paths, record: Record, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The mounts that the image or the user wants, without those that every container has."""
    directory = paths.container(record.id)
    volumes = {volume.directory(paths.root, name): name for name in record.volumes}
    found = []
    for mount in spec.get("mounts", ()):
        source, target, kind = mount.get("source", ""), mount["destination"], mount.get("type", "bind")
        if kind in _SYSTEM_TYPES or (target in _SYSTEM_TARGETS and source in ("tmpfs", target)):
            continue
        if source.startswith(f"{directory}/etc/"):
            continue
        found.append(_mount(volumes, kind, source, target, mount.get("options", [])))
    return found


def _mount(volumes: dict[str, str], kind: str, source: str, target: str, options: list[str]) -> dict[str, Any]:
    """volumes: their names by directory."""
    result: dict[str, Any] = {"Type": kind}
    if source in volumes:
        result = {"Type": "volume", "Name": volumes[source]}
    spread = [option for option in options if option.removeprefix("r") in _PROPAGATION]
    return {
        **result,
        "Source": source,
        "Destination": target,
        "Mode": ",".join(options),
        "RW": not {"ro", "rro"}.intersection(options),
        "Propagation": spread[-1] if spread else "",
    }


def _shm_size(spec: dict[str, Any]) -> int:
    for mount in spec.get("mounts", ()):
        if mount["destination"] == "/dev/shm":
            sizes = [option[5:] for option in mount.get("options", ()) if option.startswith("size=")]
            return int(sizes[0]) if sizes and sizes[0].isdigit() else 0
    return 0


# --- network ------------------------------------------------------------------------------------------------------


def _port_map(found: list[Binding]) -> dict[str, list[dict[str, str]]]:
    result: dict[str, list[dict[str, str]]] = {}
    for one in found:
        result.setdefault(one.container, []).append({"HostIp": one.host_ip, "HostPort": str(one.host_port or "")})
    return result


def _network(paths: Paths, record: Record, found: State) -> dict[str, Any]:
    publication = port.load(paths.run_root, record.id)
    if record.networks:
        each = _several(paths, record, found)
        first = next(iter(each.values()))
        return _settings(found, publication, {key: first[key] for key in first if key != "InterfaceName"}, each)
    taken = None
    if record.network == "bridge" and settings.exists(paths.root):
        taken = lease.find(paths.run_root, settings.load(paths.root), record.id)
    addresses = _addresses(taken)
    if record.network == "bridge" and found.pid and rootless.user() >= 0:
        from pycontain.network import usermode

        addresses |= {"IPAddress": usermode.ADDRESS, "IPPrefixLen": usermode.PREFIX, "Gateway": usermode.GATEWAY}
    if record.network == "routed" and settings.exists(paths.root):
        addresses |= _routed(routed.load(paths.run_root, settings.load(paths.root), record.id))
    return _settings(found, publication, addresses, {record.network.partition(":")[0]: addresses})


def _settings(
    found: State, publication: port.Publication | None, addresses: dict[str, Any], each: dict[str, Any]
) -> dict[str, Any]:
    return {
        "SandboxKey": f"/proc/{found.pid}/ns/net" if found.pid else "",
        "Ports": _port_map(ports.bindings(publication.ports, publication.address6 is not None)) if publication else {},
        **addresses,
        "Networks": each,
    }


def _several(paths: Paths, record: Record, found: State) -> dict[str, dict[str, Any]]:
    """Of several devices by the name of the network; the second of a network with that of its device behind it."""
    from pycontain.engine import several

    each: dict[str, dict[str, Any]] = {}
    guests: dict[int, Routed] = {}
    taken = None
    if found.pid and settings.exists(paths.root):
        chosen = settings.load(paths.root)
        guests = {max(one.place, 0): one for one in routed.load_all(paths.run_root, chosen, record.id)[0]}
        taken = lease.find(paths.run_root, chosen, record.id)
    for device in several.devices(record):
        values = _addresses(taken if device.network == several.BRIDGE else None)
        if device.network == several.ROUTED:
            values |= _routed(guests.get(device.number))
        name = f"{device.network}:{device.interface}" if device.network in each else device.network
        each[name] = {"InterfaceName": device.interface, **values}
    return each


def _routed(found: Routed | None) -> dict[str, Any]:
    """As Docker says it: the first address of a family, the others beside."""
    if found is None:
        return {}
    four, six = [[item for item in found.addresses if (":" in item) == v6] for v6 in (False, True)]
    return {
        "IPAddress": found.address,
        "IPPrefixLen": 32 if four else 0,
        "Gateway": ruleset.GATEWAY if four else "",
        "GlobalIPv6Address": found.address6 or "",
        "GlobalIPv6PrefixLen": 128 if six else 0,
        "IPv6Gateway": routed.GATEWAY6 if six else "",
        "MacAddress": found.mac,
        "SecondaryIPAddresses": [{"Addr": item, "PrefixLen": 32} for item in four[1:]],
        "SecondaryIPv6Addresses": [{"Addr": item, "PrefixLen": 128} for item in six[1:]],
    }


def _addresses(taken: Lease | None) -> dict[str, Any]:
    return {
        "IPAddress": taken.address if taken else "",
        "IPPrefixLen": taken.prefix if taken else 0,
        "Gateway": taken.gateway if taken else "",
        "GlobalIPv6Address": (taken.address6 or "") if taken else "",
        "GlobalIPv6PrefixLen": taken.prefix6 if taken and taken.address6 else 0,
        "IPv6Gateway": (taken.gateway6 or "") if taken else "",
        "MacAddress": taken.mac if taken else "",
    }
