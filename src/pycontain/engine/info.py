"""info: this pycontain, what it keeps, and the host under it. Changes nothing, and says of what it may not see so."""

from __future__ import annotations

import errno
import os

from pycontain import __version__
from pycontain.engine import capacity, host, ordinary, state, version
from pycontain.engine.facts import Fact, Section
from pycontain.engine.remove import all_records
from pycontain.image import store
from pycontain.kernel import config, files, mountinfo, probe, rootless
from pycontain.kernel.errors import Error, os_text
from pycontain.launch.plan import VERSION as PROTOCOL
from pycontain.storage import idpool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths

#: In the order of a container's life.
_STATES = (
    state.CREATED,
    state.STARTING,
    state.RUNNING,
    state.PAUSED,
    state.RESTARTING,
    state.EXITED,
    state.DEAD,
)
#: So many guests every host should have room for.
_MANY = 1000
_OTHER_ROOT = "give --root on ext4, xfs, btrfs or tmpfs"


def gather(paths: Paths) -> list[Section]:
    """All sections."""
    return [
        Section("Pycontain", _own(paths)),
        Section("Containers", _containers(paths)),
        Section("Storage", _storage(paths)),
        *([Section("User IDs", _ids(paths))] if rootless.user() < 0 else []),
        *ordinary.sections(),
        *host.sections(),
        *([Section("Guests", _guests())] if rootless.user() < 0 else []),
    ]


def _guests() -> list[Fact]:
    """How many guests each limit of this host is enough for, the first to bite first."""
    found = capacity.limits()
    problem = ""
    if found[0].guests < _MANY:
        short = [f"{one.name} at {one.guests}" for one in found if one.guests < _MANY]
        problem = f"not enough for {_MANY}: {', '.join(short)}; see 'pycontain system tune --dry-run'"
    first = Fact("First to bite", found[0].name, problem, f"{found[0].name}, at {found[0].guests}")
    return [first] + [
        Fact(one.name, {"limit": one.value, "guests": one.guests}, text=f"{one.value}: {one.guests} guests: {one.why}")
        for one in found
    ]


def _own(paths: Paths) -> list[Fact]:
    problem = version.check_helper()
    root = os.geteuid() == 0
    return [
        Fact("Version", __version__),
        Fact("Root", paths.root),
        Fact("Run root", paths.run_root),
        Fact("Helper", not problem, problem, "" if problem else f"yes (protocol {PROTOCOL})"),
        Fact("Superuser", root and rootless.user() < 0, "", _whose(root)),
    ]


def _whose(root: bool) -> str:
    if rootless.user() < 0:
        return "yes" if root else "no"
    return f"no: the containers of user {rootless.user()}"


def _containers(paths: Paths) -> list[Fact]:
    if not _visible(paths):
        text = "unknown: only root may look"
        return [Fact("States", None, text=text), Fact("Total", None, text=text), Fact("Images", None, text=text)]
    counts = dict.fromkeys(_STATES, 0)
    damaged = []
    records = all_records(paths)
    for container_id, found in records:
        counts[state.read(paths, container_id).status] += 1
        if found is None:
            damaged.append(container_id[:12])
    problem = ""
    if damaged:
        problem = f"the records of {', '.join(damaged)} are damaged: remove them with 'pycontain rm -f'"
    elif counts[state.DEAD]:
        problem = "some have lost their monitor: 'pycontain ps -a' puts them right"
    try:
        images: int | None = len(store.list_images(paths.root))
    except Error:
        images = None
    return [
        Fact(
            "States", counts, problem, ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"
        ),
        Fact("Total", len(records)),
        Fact("Images", images),
    ]


def _ids(paths: Paths) -> list[Fact]:
    """The ranges of user namespaces, and how many containers have taken."""
    try:
        settings = config.load()
        pool = idpool.find(settings)
    except Error as error:
        return [Fact("Pool", None, error.message)]
    ranges = [f"{uid}:{count * idpool.SLOT}" for uid, _, count in pool.parts]
    facts = [Fact("Default", settings["userns"]), Fact("Pool", ranges, text=f"{', '.join(ranges)} ({pool.source})")]
    if not _visible(paths):
        return [*facts, Fact("Ranges", None, text="unknown: only root may look")]
    taken = len(idpool.leases(paths.root))
    free = max(pool.size - taken, 0)
    problem = "" if free else "none is left: remove containers, or give a larger id_pool in the configuration file"
    return [*facts, Fact("Ranges", {"taken": taken, "free": free}, problem)]


def _visible(paths: Paths) -> bool:
    """Whether this user may see which containers there are; a store that is not there yet has none."""
    try:
        os.stat(paths.root)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return os.geteuid() == 0 or os.access(f"{paths.root}/names", os.R_OK | os.X_OK)


# --- storage ------------------------------------------------------------------------------------------------------


def _storage(paths: Paths) -> list[Fact]:
    place = _existing(paths.root)
    try:
        kind = _filesystem(place)
        room = os.statvfs(place)
    except OSError as error:
        return [Fact("File system", None, f"{place}: {os_text(error)}")]
    known = "\toverlay\n" in files.read_text("/proc/filesystems")
    problem = (
        ""
        if known
        else "the kernel has no overlayfs (CONFIG_OVERLAY_FS), or its module is not loaded: modprobe overlay"
    )
    able, why = _upper(place, kind)
    return [
        Fact("Driver", "overlay", problem),
        Fact("File system", kind, text=f"{kind} (of {place})"),
        Fact("Upper directories", able, why),
        _disks(place),
        Fact("Free bytes", room.f_bavail * room.f_frsize, text=f"{room.f_bavail * room.f_frsize / 1e9:.1f} GB"),
    ]


def _disks(place: str) -> Fact:
    """What keeps a limit of a container's disk (--storage-opt, tenants), and why not something better."""
    from pycontain.storage import disk

    if os.geteuid() != 0:
        return Fact("Disk limits", None)
    try:
        found = disk.offer(place)
    except OSError as error:
        return Fact("Disk limits", None, f"{place}: {os_text(error)}")
    return Fact("Disk limits", found.kind or "none", text=f"{found.kind or 'none'} ({found.why})")


def _existing(path: str) -> str:
    """A directory, or the nearest one above it that is there."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path) or "/"
    return path


def _filesystem(path: str) -> str:
    """Type of the file system that a directory is on, by mount ID: a btrfs subvolume has a device of its own."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        text = files.read_text(f"/proc/self/fdinfo/{fd}")
    finally:
        os.close(fd)
    number = int(text.partition("mnt_id:")[2].split()[0])
    return next((mount.type for mount in mountinfo.parse(mountinfo.read()) if mount.number == number), "unknown")


def _upper(place: str, kind: str) -> tuple[bool | None, str]:
    """Whether the directory can hold upper directories of overlays, and why not."""
    if kind == "overlay":
        return False, f"{place} is on an overlay, which cannot hold another one's upper directory: {_OTHER_ROOT}"
    if os.geteuid() != 0:
        return None, ""
    space = "user" if rootless.inside() else "trusted"
    code = probe.overlay_attributes(place, space)
    if code == errno.EROFS:
        return False, f"{place} is mounted read-only: {_OTHER_ROOT}"
    if code:
        return False, f"{place} is on {kind}: no {space} extended attributes ({os.strerror(code)}): {_OTHER_ROOT}"
    return True, ""
