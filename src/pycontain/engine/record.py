"""container.json: what a person asked for. The bundle's config.json beside it is what was made of it."""

from __future__ import annotations

import os

from pycontain.kernel import files
from pycontain.kernel.errors import Error, NotFound, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.paths import Paths

VERSION = 1
#: Where containers' cgroups are made where nobody says otherwise; it comes and goes with them.
CGROUP_PARENT = "/pycontain"
#: The same under systemd: the slice of machines and containers (systemd.special(7)), and what its scopes begin with.
SLICE = "machine.slice"
#: The same in the systemd of an ordinary user.
USER_SLICE = "user.slice"
SCOPE_PREFIX = "pycontain"
#: The container's group in its scope (cgroup/systemd.py).
SCOPE_GROUP = "container"

#: key → type; every record has all of them.
_FIELDS: dict[str, type] = {
    "id": str,
    "name": str,
    "image": str,
    "image_id": str,
    "created": str,
    "command": list,
    "labels": dict,
    "layers": list,
    "terminal": bool,
    "interactive": bool,
    "auto_remove": bool,
    "init": bool,
    "restart": str,
    "restart_max": int,
    "restart_count": int,
    "stop_signal": int,
    "stop_timeout": int,
    "network": str,
    "ip": str,
    "mac": str,
    "interface": str,
    "rate": int,
    "networks": list,
    "ports": list,
    "hostname": str,
    "dns": list,
    "dns_search": list,
    "hosts": list,
    "cgroup": str,
    "missing_controllers": str,
    "seccomp": str,
    "capabilities": list,
    "log_size": int,
    "log_files": int,
    "detach_keys": str,
    "warnings": list,
    "volumes": list,
    "userns": str,
    "uid_map": list,
    "gid_map": list,
    "id_leases": list,
    "supervise": list,
    "disk": dict,
    "boots": bool,
    "tenant": str,
}
#: Those that a container of an older pycontain has not; what it has is as if they were empty.
_LATER = ("mac", "interface", "rate", "networks", "supervise", "disk", "boots", "tenant")


class Record:
    """One container as it was asked for.

    id: 64 hexadecimal digits. created: RFC 3339. command: argv. layers: of the image, bottom first. stop_timeout:
    seconds, -1 for ever. network: bridge, routed, none, host or container:ID. ip: comma-separated. rate: bits a second,
    0 for none. networks: devices beside the one that these are of, as engine.request.Device has them.
    ports: network.port.records(). hosts: [name, address] pairs. cgroup: path in the hierarchy, or
    slice:prefix:name for a scope of systemd. missing_controllers: error, or warn for limits that are left out.
    seccomp: default, unconfined or custom (then config.json has it).
    userns: host, auto, keep-id, private or container:ID. uid_map, gid_map: [first inside, first on the host, how many];
    empty in the host's user namespace. id_leases: its links of storage/idpool.py.
    supervise: as launch.supervise.parse has it. disk: as storage.disk.Disk has it, empty without a limit.
    boots: a system boots in it (engine/booted.py).
    tenant: whose container it is, "" for one of its own.
    volumes: names of those it mounts. log_size: bytes, 0 for no log. detach_keys: hexadecimal.
    """

    id: str
    name: str
    image: str
    image_id: str
    created: str
    command: list[str]
    labels: dict[str, str]
    layers: list[str]
    terminal: bool
    interactive: bool
    auto_remove: bool
    init: bool
    restart: str
    restart_max: int
    restart_count: int
    stop_signal: int
    stop_timeout: int
    network: str
    ip: str
    mac: str
    interface: str
    rate: int
    networks: list[dict[str, Any]]
    ports: list[dict[str, Any]]
    hostname: str
    dns: list[str]
    dns_search: list[str]
    hosts: list[list[str]]
    cgroup: str
    missing_controllers: str
    seccomp: str
    capabilities: list[str]
    log_size: int
    log_files: int
    detach_keys: str
    warnings: list[str]
    volumes: list[str]
    userns: str
    uid_map: list[list[int]]
    gid_map: list[list[int]]
    id_leases: list[str]
    supervise: list[str]
    disk: dict[str, Any]
    boots: bool
    tenant: str

    def __init__(self, **values: Any) -> None:
        for key, kind in _FIELDS.items():
            setattr(self, key, values[key] if key in values else kind())

    def to_json(self) -> dict[str, Any]:
        return {"version": VERSION, **{key: getattr(self, key) for key in _FIELDS}}


def path(paths: Paths, container_id: str) -> str:
    return f"{paths.container(container_id)}/container.json"


def write(paths: Paths, record: Record) -> None:
    """Replace the record: whoever reads sees the old one or the new one. Raises OSError."""
    files.write_json(path(paths, record.id), record.to_json(), sync=True)


def write_first(paths: Paths, record: Record) -> None:
    """As write, for a container that nobody knows yet: what a crash loses of it is removed as half-made."""
    files.write_json(path(paths, record.id), record.to_json())


class Lock:
    """While it is held (a context manager) nobody else changes the record or the name of a container that runs.

    The container's own lock is its monitor's then. Raises FileNotFoundError where the container is gone, OSError.
    """

    __slots__ = ("fd",)

    def __init__(self, paths: Paths, container_id: str) -> None:
        import fcntl

        self.fd = os.open(paths.container(container_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        except OSError:
            os.close(self.fd)
            raise

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def change_count(paths: Paths, container_id: str, add: int) -> Record:
    """The record after one more restart by its policy, or (``add`` 0) with none yet. Raises as read, and OSError."""
    with Lock(paths, container_id):
        found = read(paths, container_id)
        count = found.restart_count + add if add else 0
        if count != found.restart_count:
            found.restart_count = count
            write(paths, found)
        return found


def change_warnings(paths: Paths, container_id: str, warnings: list[str]) -> None:
    """What its last start had to leave out. Raises as read, and OSError."""
    with Lock(paths, container_id):
        found = read(paths, container_id)
        found.warnings = warnings
        write(paths, found)


def read_known(paths: Paths, container_id: str) -> Record:
    """As read; NotFound where the container, which was there before, is gone."""
    try:
        return read(paths, container_id)
    except FileNotFoundError:
        raise NotFound(f"no container {container_id[:12]}: it was removed, or is not complete yet") from None


def read(paths: Paths, container_id: str) -> Record:
    """Raises FileNotFoundError where the container is half-made or gone, Error for a damaged record."""
    file = path(paths, container_id)
    try:
        value = files.read_json(file)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Error(f"cannot read {file}: {os_text(error)}") from None
    except Error as error:
        raise _damaged(error.message, container_id) from None
    if type(value) is not dict or value.get("version") != VERSION:
        raise _damaged(f"{file}: not a record of version {VERSION}", container_id)
    if "userns" not in value:  # a container of before there were user namespaces is in the host's
        value.update(userns="host", uid_map=[], gid_map=[], id_leases=[])
    for key in _LATER:
        value.setdefault(key, _FIELDS[key]())
    for key, kind in _FIELDS.items():
        if type(value.get(key)) is not kind:
            raise _damaged(f"{file}: {key} is missing or not what it should be", container_id)
    return Record(**value)


def _damaged(problem: str, container_id: str) -> Error:
    return Error(f"{problem}; the container cannot be used: remove it with 'pycontain rm -f {container_id[:12]}'")
