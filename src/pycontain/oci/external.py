"""What of a container comes from outside it: binds, standard descriptors, namespaces. CRIU saves their names alone, and
has to be told at restore what they are now.

Beside CRIU's own files an image directory has two of ours:

```
descriptors.json  what init's descriptors 0, 1 and 2 were, in CRIU's words (runc's file; those of files and terminals
                  are ours)
mounts.json       mount point → the path of the host that was mounted there
```
"""

from __future__ import annotations

import os
import stat

from pycontain.kernel import files, jsontext, mountinfo
from pycontain.kernel.errors import Error, os_text
from pycontain.launch import reader
from pycontain.launch.namespaces import (
    NEWCGROUP,
    NEWNET,
    NEWPID,
    NEWUSER,
    PROC_NAMES,
    compile_namespaces,
    open_namespace,
)
from pycontain.oci import criu_messages as messages
from pycontain.oci.criu import Criu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.kernel.mountinfo import Mount
    from pycontain.launch.namespaces import Namespaces
    from pycontain.oci.criu_messages import Fields

DESCRIPTORS = "descriptors.json"
MOUNTS = "mounts.json"
#: They are mounted anew: what a process sees in them is of its namespaces.
_OWN = frozenset(("proc", "sysfs", "mqueue", "devpts", "cgroup2", "cgroup"))
#: Major numbers of the slaves of pseudoterminals: Documentation/admin-guide/devices.txt.
_TERMINALS = range(136, 144)
_NULL, _NULL_DEVICE = "/dev/null", os.makedev(1, 3)
#: Namespaces that CRIU leaves alone, by runc's names for them.
_KEYS = {NEWNET: "extRootNetNS", NEWPID: "extRootPidNS"}


# --- mounts ---------------------------------------------------------------------------------------------------


def host_paths(pid: int) -> dict[str, str]:
    """The mounts of a container that are the host's: mount point → path here. Raises OSError."""
    here = mountinfo.parse(mountinfo.read())
    there = mountinfo.parse(mountinfo.read(f"/proc/{pid}/mountinfo"))
    return external(there, here)


def external(there: list[Mount], here: list[Mount]) -> dict[str, str]:
    """As host_paths: ``there`` is the container's mount table, ``here`` ours."""
    root = next((mount for mount in there if mount.point == "/"), None)
    known: dict[int, list[Mount]] = {}
    for mount in here:
        known.setdefault(mount.device, []).append(mount)
    found = {}
    for mount in there:
        if mount is root or mount.type in _OWN or mount.device not in known:
            continue
        if root is not None and mount.device == root.device and _below(mount.root, root.root) is not None:
            continue  # a part of the root on itself
        for candidate in reversed(known[mount.device]):
            rest = _below(mount.root, candidate.root)
            if rest is not None:
                found[mount.point] = _join(candidate.point, rest)
                break
        else:
            found[mount.point] = ""  # mounted nowhere here: the spec knows it, or nobody does
    return found


def _below(path: str, top: str) -> str | None:
    """What is left of a path below another, None where it is not below it."""
    if path == top:
        return ""
    top = top.rstrip("/") + "/"
    return path[len(top) :] if path.startswith(top) else None


def _join(directory: str, rest: str) -> str:
    return f"{directory.rstrip('/')}/{rest}" if rest else directory


def mount_point(destination: str) -> str:
    """A destination of a spec as the kernel shows it."""
    return os.path.normpath(f"/{destination.lstrip('/')}")


def bind_sources(spec: dict[str, Any], bundle: str) -> dict[str, str]:
    """The binds of a spec: destination → absolute source. Raises SpecError."""
    found = {}
    for mount in reader.tables(spec, "mounts", ""):
        options = mount.get("options") or []
        target, source = mount.get("destination"), mount.get("source")
        if type(target) is not str or type(source) is not str:
            continue
        if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
            found[mount_point(target)] = os.path.normpath(os.path.join(bundle, source))
    return found


def sources_now(spec: dict[str, Any], bundle: str, saved: dict[str, str]) -> dict[str, str]:
    """What is to be mounted at restore, by the names that checkpoint has given.

    A bind of the spec comes from where the spec says today, with what was mounted below it; else a mount comes from
    where it came from at checkpoint. Images of runc have no such list: there it is the spec's binds. Raises Error.
    """
    binds = bind_sources(spec, bundle)
    found = dict(binds)
    for point, before in saved.items():
        at = max((top for top in binds if _below(point, top) is not None), key=len, default="")
        path = _join(binds[at], _below(point, at) or "") if at else before
        if not path:
            raise Error(f"its mount {point} was of a file system that is mounted nowhere on this host, and is none of "
                        "config.json", 1)  # fmt: skip
        found[point] = path
    # runc's name for the files that it masks
    found.setdefault("/dev/null", "/dev/null")
    return found


def mount_options(paths: dict[str, str]) -> Fields:
    """criu_opts.ext_mnt: name → path, or mount point → name."""
    return [(messages.OPTIONS["ext_mnt"], messages.pair(key, value)) for key, value in paths.items()]


# --- standard descriptors -------------------------------------------------------------------------------------


def descriptors(pid: int) -> tuple[list[str], list[str]]:
    """What init's standard descriptors are, and of these what CRIU must be told of as external.

    A pipe is ``pipe:[INODE]``; CRIU leaves its other end alone by itself. Raises OSError.
    """
    inside = {mount.number for mount in mountinfo.parse(mountinfo.read(f"/proc/{pid}/mountinfo"))}
    names, outside = [], []
    for fd in (0, 1, 2):
        path = f"/proc/{pid}/fd/{fd}"
        try:
            name = os.readlink(path)
            status = os.stat(path)
        except FileNotFoundError:
            names.append("")  # closed
            continue
        number = _mount_of(pid, fd)
        if number not in inside and stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) in _TERMINALS:
            name = f"tty[{status.st_rdev:x}:{status.st_dev:x}]"
            outside.append(name)
        elif number not in inside and (stat.S_ISREG(status.st_mode) or stat.S_ISCHR(status.st_mode)):
            key = f"file[{number:x}:{status.st_ino:x}]"
            outside.append(key)
            # the host's: CRIU finds no mount for it, and it is never another's
            name = f"{_NULL} {key}" if status.st_rdev == _NULL_DEVICE else key
        names.append(name)
    return names, sorted(set(outside))


def _mount_of(pid: int, fd: int) -> int:
    """The mount that a descriptor was opened in: mnt_id of /proc/PID/fdinfo."""
    for line in files.read_text(f"/proc/{pid}/fdinfo/{fd}").splitlines():
        name, _, value = line.partition(":")
        if name == "mnt_id":
            return int(value)
    return -1


def inherited(names: list[str], extra: list[int]) -> Fields:
    """criu_opts.inherit_fd: what stands for the old descriptors are ours of the same number, but for /dev/null, which
    is that for ever. What is opened for CRIU is added to ``extra``.
    """
    found: dict[str, int] = {}
    for fd, name in enumerate(names):
        if name.startswith(f"{_NULL} file[") and name[len(_NULL) + 1 :] not in found:
            found[name[len(_NULL) + 1 :]] = Criu.EXTRA + len(extra)
            extra.append(os.open(_NULL, os.O_RDWR | os.O_CLOEXEC))
        elif name.startswith(("pipe:[", "file[", "tty[")):
            found.setdefault(name, fd)
    return [(messages.OPTIONS["inherit_fd"], messages.pair(name, fd)) for name, fd in found.items()]


# --- namespaces -----------------------------------------------------------------------------------------------


def namespaces(spec: dict[str, Any]) -> Namespaces:
    """Raises SpecError."""
    return compile_namespaces(reader.table(spec, "linux", ""))


def refuse_ids(spec: dict[str, Any], spaces: Namespaces) -> None:
    """What CRIU does not bring back as it was: IDs that are others on the host. Raises Error."""
    if NEWUSER in spaces.joined or spaces.new & NEWUSER:
        raise Error("linux.namespaces: a container with a user namespace is neither checkpointed nor restored", 1)
    for index, mount in enumerate(reader.tables(spec, "mounts", "")):
        mapped = {"idmap", "ridmap"}.intersection(mount.get("options") or [])
        if mapped or mount.get("uidMappings") or mount.get("gidMappings"):
            raise Error(f"mounts[{index}]: CRIU would restore this mount without its mappings of IDs", 1)


def left_alone(pid: int, spaces: Namespaces) -> Fields:
    """criu_opts.external of namespaces that were joined, and are at checkpoint what they are. Raises OSError."""
    found: Fields = []
    for bit, key in _KEYS.items():
        if bit in spaces.joined:
            inode = os.stat(f"/proc/{pid}/ns/{PROC_NAMES[bit]}").st_ino
            found.append((messages.OPTIONS["external"], f"{PROC_NAMES[bit]}[{inode}]:{key}"))
    return found


def joined(spec: dict[str, Any], spaces: Namespaces, extra: list[int]) -> Fields:
    """The namespaces that config.json names for restore; what is opened for CRIU is added to ``extra``.

    Raises SpecError.
    """
    found: Fields = []
    entries = spec["linux"].get("namespaces") if type(spec.get("linux")) is dict else []
    where = {entry.get("path"): f"linux.namespaces[{index}].path" for index, entry in enumerate(entries or [])}
    for bit, path in spaces.joined.items():
        fd = open_namespace(path, bit, where[path])
        if bit in _KEYS:
            found.append((messages.OPTIONS["inherit_fd"], messages.pair(_KEYS[bit], Criu.EXTRA + len(extra))))
            extra.append(fd)
            continue
        os.close(fd)
        if bit == NEWCGROUP:
            raise Error(f"{where[path]}: CRIU cannot restore into a cgroup namespace that exists", 1)
        found.append((messages.OPTIONS["join_ns"], messages.pair(PROC_NAMES[bit], path)))
    return found


# --- the two files --------------------------------------------------------------------------------------------


def save(images: str, names: list[str], mounts: dict[str, str]) -> None:
    """Raises OSError."""
    files.create(f"{images}/{DESCRIPTORS}", jsontext.dumps(names).encode(), 0o600)
    files.create(f"{images}/{MOUNTS}", jsontext.dumps(mounts).encode(), 0o600)


def load(images: str) -> tuple[list[str], dict[str, str]]:
    """Raises Error for a directory without a checkpoint, or one with another's files."""
    if not os.path.exists(f"{images}/inventory.img"):
        raise Error(f"{images} has no checkpoint: inventory.img is missing: name its directory with --image-path", 1)
    names = _read(images, DESCRIPTORS, list)
    mounts = _read(images, MOUNTS, dict) if os.path.exists(f"{images}/{MOUNTS}") else {}
    texts = [*names, *mounts, *mounts.values()]
    if any(type(text) is not str for text in texts):
        raise Error(f"{images}: {DESCRIPTORS} or {MOUNTS} is damaged: not all in it is text", 1)
    if len(names) > 3:  # CRIU's descriptors of these numbers are not what a container has had
        raise Error(f"{images}: {DESCRIPTORS} is damaged: there are three standard descriptors", 1)
    return names, mounts


def _read(images: str, name: str, kind: type) -> Any:
    try:
        value = files.read_json(f"{images}/{name}")
    except OSError as error:
        raise Error(f"cannot read {images}/{name}: {os_text(error)}", 1) from None
    except jsontext.JsonError as error:
        raise Error(f"{images}/{name} is damaged: {error}", 1) from None
    if type(value) is not kind:
        raise Error(f"{images}/{name} is damaged: expected a JSON {'array' if kind is list else 'object'}", 1)
    return value
