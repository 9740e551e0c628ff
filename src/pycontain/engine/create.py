"""Making a container: a directory, a name, a bundle. What fails takes back what it has made."""

from __future__ import annotations

import os
import time

from pycontain.cgroup import path as cgroup_path
from pycontain.engine import confinement, names, record, repair, userns
from pycontain.engine.claim import Claim, claim_or_refuse
from pycontain.engine.record import Record
from pycontain.engine.spec import build, command_of, may_boot
from pycontain.image import find
from pycontain.kernel import config, files, jsontext, rootless
from pycontain.kernel.errors import Error, NotFound, UsageError, os_text
from pycontain.launch import seccomp
from pycontain.launch.profile import default_filter
from pycontain.storage import container_dir, lookup, volume
from pycontain.storage.users import User, resolve_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.paths import Paths
    from pycontain.engine.request import Request
    from pycontain.engine.userns import Userns
    from pycontain.image.find import Image

#: passwd and group files larger than this are nobody's.
_ACCOUNTS_LIMIT = 1 << 20
_SIGTERM = 15


class Made:
    """A container that exists: its record, spec and filter, its lock, held, and the memfd that its plan goes into.

    cidfile: the file that tells the caller its ID, "" for none; it goes again where the container does not start.
    """

    __slots__ = ("cidfile", "claim", "filter", "plan", "record", "spec")

    def __init__(self, record: Record, spec: dict[str, Any], filter: bytes, claim: Claim) -> None:
        self.record = record
        self.spec = spec
        self.filter = filter
        self.claim = claim
        self.plan = -1
        self.cidfile = ""


def _now() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"


def find_user(request: Request, image: Image, root: str) -> User:
    """Who its command runs as, by the image's accounts. Raises Error."""
    text = request.user or str(image.config.get("User") or "")
    passwd = lookup.find_file(root, image.layers, "/etc/passwd", _ACCOUNTS_LIMIT)
    group = lookup.find_file(root, image.layers, "/etc/group", _ACCOUNTS_LIMIT)
    user = resolve_user(text, passwd, group)
    if rootless.user() >= 0 and not rootless.may_set_groups():
        user.groups = ()  # the accounts of an image are no reason not to run it
    if request.groups:
        extra = [resolve_user(f"{user.uid}:{name}", passwd, group).gid for name in request.groups]
        user.groups = tuple(dict.fromkeys([*user.groups, *extra]))
    return user


def _hostname(paths: Paths, request: Request, network: str, container_id: str) -> str:
    if request.hostname:
        return request.hostname
    kind, _, other = network.partition(":")
    if kind == "container":
        # as its /etc/hostname and /etc/hosts, which are the other's
        try:
            return record.read(paths, other).hostname
        except FileNotFoundError:
            raise NotFound(f"--network {request.network}: the container was removed, or is not complete yet") from None
    return os.uname().nodename if request.network == "host" else container_id[:12]


def _filter(request: Request, caps: list[str], spec: dict[str, Any], cache: str) -> tuple[str, bytes]:
    """``linux.seccomp`` as JSON text ("" for none), and its program. Raises Error, SpecError."""
    machine = os.uname().machine
    if request.seccomp == "unconfined":
        return "", b""
    if request.seccomp == "default":
        return default_filter(frozenset(caps), machine, cache)
    try:
        section = files.read_json(request.seccomp)
    except OSError as error:
        raise UsageError(f"--security-opt: seccomp={request.seccomp}: {os_text(error)}") from None
    if type(section) is not dict:
        raise UsageError(f"--security-opt: seccomp={request.seccomp}: expected a JSON object")
    spec["linux"]["seccomp"] = section
    return jsontext.dumps(section), seccomp.cached_filter(section, machine, cache, request.seccomp)


def _cgroup(request: Request, manager: str, container_id: str) -> str:
    """Where it is to live: a path, or slice:prefix:name. Raises SpecError."""
    parent = request.cgroup_parent
    if rootless.user() >= 0:
        from pycontain.engine import delegation

        manager = request.cgroup_manager = delegation.manager(request, manager)
        if not manager:
            return ""
        if manager == config.CGROUPFS:
            parent = delegation.parent(parent)
        elif not parent:
            parent = record.USER_SLICE
    if (request.cgroup_manager or manager) == config.CGROUPFS:
        return cgroup_path.resolve(f"{parent or record.CGROUP_PARENT}/{container_id}", "/", "--cgroup-parent")
    from pycontain.cgroup import unit

    if parent:
        unit.check_slice(parent, "--cgroup-parent")
    return f"{parent or record.SLICE}:{record.SCOPE_PREFIX}:{container_id}"


def make_record(
    request: Request, image: Image, container_id: str, name: str, hostname: str, settings: dict[str, str]
) -> Record:
    """What the request says, without its user namespace. Raises UsageError, SpecError."""
    defaults = image.config
    return Record(
        id=container_id,
        name=name,
        image=image.names[0] if image.names else request.image,
        image_id=image.id,
        created=_now(),
        command=command_of(request, image),
        labels={**(defaults.get("Labels") or {}), **request.labels},
        layers=image.layers,
        terminal=request.terminal,
        interactive=request.interactive,
        auto_remove=request.auto_remove,
        init=request.init,
        restart=request.restart,
        restart_max=request.restart_max,
        stop_signal=request.stop_signal or image_signal(defaults.get("StopSignal")),
        stop_timeout=request.stop_timeout,
        network=request.network,
        ip=request.ip,
        mac=request.mac,
        interface=request.interface,
        rate=request.rate,
        networks=[device.to_json() for device in request.networks],
        ports=_ports(request),
        hostname=hostname,
        dns=request.dns,
        dns_search=request.dns_search,
        hosts=[list(pair) for pair in request.hosts],
        cgroup=_cgroup(request, settings["cgroup_manager"], container_id),
        missing_controllers=request.missing_controllers or settings["missing_controllers"],
        seccomp=request.seccomp if request.seccomp in ("default", "unconfined") else "custom",
        capabilities=confinement.capabilities(request),
        log_size=request.log_size,
        log_files=request.log_files,
        detach_keys=request.detach_keys.hex(),
        supervise=request.supervise,
        tenant=request.tenant,
    )


def _userns(paths: Paths, request: Request, settings: dict[str, str], found: Record, user: User) -> Userns:
    """The user namespace that it is to have, written into the record. Raises Error."""
    if rootless.user() >= 0:
        space = userns.ordinary(request.userns)
    elif (request.userns or settings["userns"]) == userns.HOST and ":" not in found.network:
        space = userns.Userns(userns.HOST)
    else:
        space = userns.choose(paths, request.userns, settings, found.network, found.id)
        userns.check_user(space, user)
    found.userns, found.id_leases = space.mode, space.leases
    if space.maps is not None:
        found.uid_map, found.gid_map = [list(one) for one in space.maps.uids], [list(one) for one in space.maps.gids]
    return space


def _ports(request: Request) -> list[dict[str, Any]]:
    if not request.ports:
        return []
    from pycontain.network import port

    return port.records([item for text in request.ports for item in port.parse(text)])


def _network(paths: Paths, text: str) -> str:
    """``container:NAME`` by ID: a name may be another container's at the next start. Raises NotFound, UsageError."""
    kind, colon, other = text.partition(":")
    return f"{kind}:{names.find(paths, other)}" if colon else text


def image_signal(text: object) -> int:
    """An image's StopSignal: a number or a name; what is neither is SIGTERM."""
    if not isinstance(text, str) or not text:
        return _SIGTERM
    if text.isdigit():
        return int(text)
    import _signal

    name = text.upper().removeprefix("SIG")
    base, plus, more = name.partition("+")
    if base == "RTMIN" and plus and more.isascii() and more.isdigit() and int(more) <= 30:
        return int(_signal.SIGRTMIN) + int(more)
    found = getattr(_signal, f"SIG{name}", None)
    return found if type(found) is int and not name.startswith("_") else _SIGTERM


def _config_text(spec: dict[str, Any], seccomp_text: str) -> bytes:
    """config.json. The filter's 10 KiB come from the cache as text and are not encoded anew for each container."""
    if not seccomp_text:
        return jsontext.dumps(spec).encode()
    linux = dict(spec["linux"])
    linux.pop("seccomp", None)
    text = jsontext.dumps({**spec, "linux": linux})
    # "linux" is not always last, but its closing brace is the only one after which nothing of it follows
    inner = jsontext.dumps(linux)
    return text.replace(inner, f'{inner[:-1]},"seccomp":{seccomp_text}}}', 1).encode()


def create(paths: Paths, request: Request) -> Made:
    """Make a container from a request; its lock is held. Raises Error; then nothing is left of it."""
    container_id = names.new_id()
    held = claim_or_refuse(paths, container_id, "make")
    name = image_id = ""
    try:
        # word of what is being made, before it is: so that whoever comes after a crash finds it (repair.facts)
        files.create(paths.pending(container_id), b"", 0o600)
        image, _ = find.acquire(paths.root, request.image, container_id)
        image_id = image.id
        name = names.take(paths, request.name, container_id)
        return _make(paths, request, image, name, held)
    except BaseException as error:
        repair.remove_files(paths, container_id, name, image_id)
        repair.unlink(paths.pending(container_id))
        held.release()
        if isinstance(error, OSError):
            raise container_dir.problem(error, error.filename or paths.root) from None
        raise


def _make(paths: Paths, request: Request, image: Image, name: str, held: Claim) -> Made:
    container_id = held.container_id
    directory = container_dir.make(paths.root, container_id, request.disk is None)
    network = _network(paths, request.network)
    hostname = _hostname(paths, request, network, container_id)
    settings = config.load(paths.cache)
    found = make_record(request, image, container_id, name, hostname, settings)
    found.network = network
    if request.disk is not None:
        from pycontain.storage import disk

        found.disk = disk.make(paths.root, directory, container_id, *request.disk).to_json()
    user = find_user(request, image, paths.root)
    space = _userns(paths, request, settings, found, user)
    spec, program, config_text = bundle(paths, request, image, found, user, space)
    files.create(f"{directory}/config.json", config_text, 0o600)
    for file in ("hostname", "hosts", "resolv.conf"):
        files.create(f"{directory}/etc/{file}", b"", 0o644)
    record.write_first(paths, found)
    made = Made(found, spec, program, held)
    if request.cidfile:
        made.cidfile = os.path.abspath(request.cidfile)
        _write_cidfile(request.cidfile, container_id)
    return made


def bundle(
    paths: Paths, request: Request, image: Image, found: Record, user: User, space: Userns
) -> tuple[dict[str, Any], bytes, bytes]:
    """The spec, the program of its filter, and config.json with both. The record gets its volumes. Raises Error."""
    container_id, directory = found.id, paths.container(found.id)
    found.volumes = sorted({mount.source for mount in request.mounts if mount.type == "volume"})
    if may_boot(request, found.command):
        from pycontain.engine import booted

        found.boots = booted.wanted(request, space)
        if found.boots:
            booted.prepare(request, image, found)
    volumes = {item: volume.hold(paths.root, item, container_id) for item in found.volumes}
    spec = build(request, image, user, found.hostname, directory, volumes, found.cgroup, space)
    if found.boots:
        booted.adapt(spec, found, paths.run(container_id))
    text, program = _filter(request, found.capabilities, spec, paths.cache)
    if found.supervise:
        from pycontain.engine import supervised

        supervised.check(found, spec)
    return spec, program, _config_text(spec, text)


def _write_cidfile(path: str, container_id: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Error(f"--cidfile {path}: {os_text(error)}") from None
    try:
        files.write_all(fd, container_id.encode())
    except OSError as error:
        os.unlink(path)
        raise Error(f"--cidfile {path}: {os_text(error)}") from None
    finally:
        os.close(fd)


def finish(paths: Paths, made: Made) -> None:
    """A container that is not started now: it is complete, and nobody's."""
    repair.unlink(paths.pending(made.record.id))
    made.claim.release()
