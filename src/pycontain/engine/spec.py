"""A request and an image to an OCI spec (runtime-spec 1.2), with the confinement that Docker's users know."""

from __future__ import annotations

import os
from _stat import S_ISBLK, S_ISCHR

from pycontain.engine import confinement
from pycontain.kernel import rootless
from pycontain.kernel.errors import EXIT_NOT_FOUND, Error, UsageError, os_text
from pycontain.kernel.idmap import to_outside
from pycontain.launch.process import DEFAULT_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.request import MountRequest, Request
    from pycontain.engine.userns import Userns
    from pycontain.image.find import Image
    from pycontain.kernel.idmap import Maps
    from pycontain.storage.users import User

VERSION = "1.2.0"

#: Commands that boot a system, as podman has them.
_INITS = (
    "systemd",
    "/sbin/init",
    "/usr/sbin/init",
    "/usr/local/sbin/init",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd",
)
#: What an ordinary user can do in it safely: ping, and ports below 1024 (network namespaces of their own only).
_PING = "net.ipv4.ping_group_range"
SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", _PING: "0 2147483647"}

_NAMESPACES = ("mount", "cgroup", "pid", "ipc", "uts")


def may_boot(request: Request, argv: list[str]) -> bool:
    """Whether a command is an init that boots a system (booted.py), by what --systemd says of that."""
    return request.systemd == "always" or (request.systemd == "true" and argv[0] in _INITS)


def command_of(request: Request, image: Image) -> list[str]:
    """argv: as Docker puts entry point and command together. Raises Error where there is nothing to run."""
    entry = image.config.get("Entrypoint") or []
    command = image.config.get("Cmd") or []
    if request.entrypoint is not None:
        # a new entry point does not get the old one's arguments
        entry, command = ([request.entrypoint] if request.entrypoint else []), []
    argv = [*entry, *(request.command or command)]
    if not argv:
        raise Error(f"image {request.image} has no command of its own: give one after its name", EXIT_NOT_FOUND)
    if not argv[0]:
        raise Error('exec: "": the command has no name: give one after the name of the image', EXIT_NOT_FOUND)
    return argv


def environment(request: Request, image: Image, user: User, hostname: str) -> list[str]:
    """PATH, HOSTNAME, TERM, HOME where nobody sets them, then the image's, then the request's."""
    result = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if request.terminal:
        result["TERM"] = "xterm"
    for entry in image.config.get("Env") or []:
        name, _, value = entry.partition("=")
        result[name] = value
    for name, given in request.env.items():
        if given is not None:
            result[name] = given
    result.setdefault("HOME", user.home)
    return [f"{name}={value}" for name, value in result.items()]


def _tmpfs(target: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options}


def _bind(source: str, target: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": "bind", "source": source, "options": options}


def _bound(source: str, target: str, options: list[str], maps: Maps | None) -> dict[str, Any]:
    """A bind whose files have the same owners in the container as on the disk, where nobody wants it otherwise."""
    wanted = "noidmap" not in options and maps is not None and not maps.identical
    options = [option for option in options if option not in ("idmap", "noidmap")]
    return _bind(source, target, [*options, "idmap"] if wanted else options)


def _tty_group(maps: Maps | None) -> list[str]:
    """Debian's group tty, where the container's user namespace has it, and this user's."""
    there = rootless.last_id("gid") >= 5 if rootless.user() >= 0 else maps is None or to_outside(maps.gids, 5) >= 0
    return ["gid=5"] if there else []


def _sysctls() -> dict[str, str]:
    if rootless.user() < 0:
        return dict(SYSCTLS)
    # the kernel takes no group that the namespace does not have
    return {**SYSCTLS, "net.ipv4.ping_group_range": f"0 {min(rootless.last_id('gid'), 2147483647)}"}


def _system_mounts(request: Request, cgroup: str, maps: Maps | None) -> list[dict[str, Any]]:
    quiet = ["nosuid", "noexec", "nodev"]
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": quiet},
        _tmpfs("/dev", ["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *_tty_group(maps)],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, "ro"]},
    ]
    if cgroup:  # a container without one would see those of its user
        options = [*quiet, "ro"]
        mounts.append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options})
    # it shows the queues of the IPC namespace, whosever that is
    mounts.append({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet})
    if "ipc" in request.host_namespaces:
        if maps and not os.path.isdir("/dev/mqueue"):
            mounts.pop()  # only the host's own mount of it can be shown there
        return [*mounts, _bind("/dev/shm", "/dev/shm", ["rbind", "rprivate"])]
    return [*mounts, _tmpfs("/dev/shm", [*quiet, "mode=1777", f"size={request.shm_size}"])]


def _volume_source(mount: MountRequest, volumes: dict[str, str]) -> str:
    """The host path of a volume; it must exist. Raises Error."""
    if mount.type == "volume":
        return volumes[mount.source]
    try:
        os.stat(mount.source)
    except OSError as error:
        raise Error(f"volume {mount.source}: {os_text(error)}: the host path must exist") from None
    return mount.source


def _user_mounts(request: Request, volumes: dict[str, str], maps: Maps | None) -> list[dict[str, Any]]:
    result = []
    for mount in request.mounts:
        if mount.type == "tmpfs":
            options = ["nosuid", "nodev"] if "dev" not in mount.options else ["nosuid"]
            if "exec" not in mount.options:
                options.append("noexec")
            if not any(option.startswith("mode=") for option in mount.options):
                options.append("mode=1777")
            result.append(_tmpfs(mount.target, options + mount.options))
            continue
        options = list(mount.options)
        if "bind" not in options and "rbind" not in options:
            options.append("rbind")
        if not any(option.lstrip("r") in ("private", "slave", "shared", "unbindable") for option in options):
            options.append("rprivate")
        if "ro" in options and "rbind" in options:
            options[options.index("ro")] = "rro"  # what lies below a read-only volume is read-only, too
        result.append(_bound(_volume_source(mount, volumes), mount.target, options, maps))
    for source, target, _ in request.devices if maps else ():
        if source != target:  # a node cannot be made there: the host's own serves, under the other name
            result.append(_bind(source, target, ["bind", "rprivate", "nosuid", "noexec"]))
    return result


def _mounts(
    request: Request, image: Image, container_dir: str, volumes: dict[str, str], cgroup: str, maps: Maps | None
) -> list[dict[str, Any]]:
    """System mounts, the image's own, the files of the container, then the user's; a user's target replaces ours."""
    system, others = _system_mounts(request, cgroup, maps), []
    for entry in image.mounts:
        options = ["rbind", "rprivate", *entry.get("options", ())]
        others.append(_bound(entry["source"], entry["target"], options, maps))
    # they are the root's own, so they cannot be written where it cannot
    options = ["bind", "rprivate", "nosuid", "nodev", *(["ro"] if request.read_only else [])]
    for name in ("resolv.conf", "hostname", "hosts") if request.network_files else ():
        others.append(_bound(f"{container_dir}/etc/{name}", f"/etc/{name}", options, maps))
    users = _user_mounts(request, volumes, maps)
    taken = {mount["destination"] for mount in users}
    if len(taken) != len(users):
        raise UsageError("--volume: two mounts have one target")
    system, others = ([mount for mount in ours if mount["destination"] not in taken] for ours in (system, others))
    # parents before what is below them, whatever the order of the flags
    return system + sorted([*others, *users], key=lambda mount: str(mount["destination"]).count("/"))


def _devices(request: Request, maps: Maps | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """``linux.devices`` and the rules of ``linux.resources.devices`` for --device; see _user_mounts for the others."""
    nodes, rules = [], []
    for source, target, access in request.devices:
        try:
            info = os.stat(source)
        except OSError as error:
            raise Error(f"device {source}: {os_text(error)}") from None
        if not S_ISCHR(info.st_mode) and not S_ISBLK(info.st_mode):
            raise UsageError(f"--device: {source} is not a device")
        kind = "c" if S_ISCHR(info.st_mode) else "b"
        major, minor = os.major(info.st_rdev), os.minor(info.st_rdev)
        rules.append({"allow": True, "type": kind, "major": major, "minor": minor, "access": access})
        if maps and source != target:
            continue
        nodes.append(
            {
                "path": target,
                "type": kind,
                "major": major,
                "minor": minor,
                "fileMode": info.st_mode & 0o777,
                "uid": info.st_uid,
                "gid": info.st_gid,
            }
        )
    return nodes, rules


def _process(request: Request, image: Image, user: User, argv: list[str], hostname: str) -> dict[str, Any]:
    caps = confinement.capabilities(request)
    process: dict[str, Any] = {
        "terminal": request.terminal,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": argv,
        "env": environment(request, image, user, hostname),
        "cwd": request.workdir or image.config.get("WorkingDir") or "/",
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        "noNewPrivileges": request.no_new_privileges,
    }
    if request.ulimits:
        process["rlimits"] = [{"type": kind, "soft": soft, "hard": hard} for kind, soft, hard in request.ulimits]
    confinement.label_process(request, process)
    if request.oom_score_adj is not None:
        process["oomScoreAdj"] = request.oom_score_adj
    return process


def _namespaces(request: Request) -> list[dict[str, Any]]:
    spaces = [{"type": kind} for kind in _NAMESPACES if kind not in request.host_namespaces]
    if request.network != "host" and not request.network.startswith("container:"):
        spaces.append({"type": "network"})
    return spaces


def _own_users(linux: dict[str, Any], joined: bool, maps: Maps) -> None:
    """What else is different in a user namespace."""
    if not joined:  # the other's is known when it is started
        linux["namespaces"].append({"type": "user"})
        linux.update(maps.spec())
    if linux["sysctl"].get(_PING) == SYSCTLS[_PING]:
        # both ends have to be groups that there are
        linux["sysctl"][_PING] = next(f"0 {size - 1}" for inside, _, size in maps.gids if inside == 0)


def build(
    request: Request,
    image: Image,
    user: User,
    hostname: str,
    container_dir: str,
    volumes: dict[str, str],
    cgroup: str,
    space: Userns | None = None,
) -> dict[str, Any]:
    """The spec of a new container. Its ``linux.seccomp`` is the caller's. Raises Error, UsageError.

    volumes: name → directory of those that the request names. space: its user namespace.
    """
    maps = space.maps if space else None
    argv = command_of(request, image)
    if request.privileged:
        named = {target for _, target, _ in request.devices}
        request.devices += [one for one in confinement.host_devices() if one[1] not in named]
    nodes, rules = _devices(request, maps)
    masked, read_only = confinement.paths(request)
    resources = request.limits.resources()
    resources["devices"] = [{"allow": False, "access": "rwm"}, *rules]
    spec: dict[str, Any] = {
        "ociVersion": VERSION,
        "process": _process(request, image, user, argv, hostname),
        "root": {"path": f"{container_dir}/root", "readonly": request.read_only},
        "mounts": _mounts(request, image, container_dir, volumes, cgroup, maps),
        "linux": {
            "namespaces": _namespaces(request),
            "cgroupsPath": cgroup,
            "resources": resources,
            "maskedPaths": masked,
            "readonlyPaths": read_only,
            "sysctl": ({} if request.network == "host" or request.network.startswith("container:") else _sysctls())
            | request.sysctls,
        },
    }
    if request.privileged:
        confinement.privileged_mounts(spec["mounts"])
        resources["devices"] = [resources["devices"][0], {"allow": True, "access": "rwm"}]
    if space and maps:
        _own_users(spec["linux"], space.joined, maps)
    if any("shared" in mount["options"] or "rshared" in mount["options"] for mount in spec["mounts"]):
        spec["linux"]["rootfsPropagation"] = "shared"
    if "uts" not in request.host_namespaces:
        spec["hostname"] = hostname
    if nodes:
        spec["linux"]["devices"] = nodes
    return spec
