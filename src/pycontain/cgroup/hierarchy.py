"""Where cgroup v2 is on this host, and what it offers (cgroups(7); Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import os

from pycontain.kernel import files, mountinfo
from pycontain.kernel.errors import Error

#: Where systemd and everybody else mounts it: on a unified host, on a hybrid host.
USUAL = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")

#: The process whose cgroup is "our own": in a planner that of the command which asked.
PROCESS = "/proc/self"

#: What cgroup v1 calls a controller, and the kernel option that builds it in; for the error text.
_CONFIG = {
    "cpu": ("cpu", "CONFIG_CGROUP_SCHED"),
    "cpuset": ("cpuset", "CONFIG_CPUSETS"),
    "dmem": ("dmem", "CONFIG_CGROUP_DMEM"),
    "hugetlb": ("hugetlb", "CONFIG_CGROUP_HUGETLB"),
    "io": ("blkio", "CONFIG_BLK_CGROUP"),
    "memory": ("memory", "CONFIG_MEMCG"),
    "misc": ("misc", "CONFIG_CGROUP_MISC"),
    "perf_event": ("perf_event", "CONFIG_CGROUP_PERF"),
    "pids": ("pids", "CONFIG_CGROUP_PIDS"),
    "rdma": ("rdma", "CONFIG_CGROUP_RDMA"),
}


class Hierarchy:
    """The cgroup v2 hierarchy as this process sees it.

    mount: the mount point. root: the cgroup that is mounted there, relative to the root of this process's cgroup
    namespace; "/" but for bind mounts. controllers: what the root can distribute; on a hybrid host those that are not
    bound to cgroup v1.
    """

    __slots__ = ("controllers", "mount", "root")

    def __init__(self, mount: str, root: str, controllers: frozenset[str]) -> None:
        self.mount = mount
        self.root = root
        self.controllers = controllers

    def __repr__(self) -> str:
        return f"Hierarchy({self.mount}, root {self.root}, {' '.join(sorted(self.controllers)) or 'no controllers'})"

    def directory(self, path: str) -> str:
        """The directory of a cgroup. Raises Error for one that the mount does not show."""
        if self.root == "/":
            return self.mount if path == "/" else self.mount + path
        if path == self.root or path.startswith(self.root + "/"):
            return self.mount + path[len(self.root) :]
        raise Error(
            f"cgroup {path}: {self.mount} shows only the cgroups below {self.root}: "
            f"choose a cgroup there, or mount the whole hierarchy (mount -t cgroup2 none DIRECTORY)"
        )

    def path(self, directory: str) -> str:
        """The cgroup whose directory this is: the opposite of ``directory``. Raises Error for one that is not here."""
        if directory == self.mount:
            return self.root
        if not directory.startswith(self.mount + "/"):
            raise Error(f"{directory}: lies outside cgroup v2, which is mounted on {self.mount}")
        return directory[len(self.mount) :] if self.root == "/" else self.root + directory[len(self.mount) :]

    def own(self) -> str:
        """The cgroup of this process. Raises Error on a kernel without cgroups."""
        data = b"\n" + files.read_bytes(f"{PROCESS}/cgroup")
        at = data.find(b"\n0::")
        if at < 0:
            raise Error("/proc/self/cgroup: this process is in no cgroup v2 hierarchy: none was ever mounted here")
        path = os.fsdecode(data[at + 4 : data.index(b"\n", at + 4)])
        return path.removesuffix(" (deleted)")

    @property
    def hybrid(self) -> bool:
        """Whether cgroup v1 has some of the controllers."""
        return bool(self.bound())

    def bound(self) -> list[str]:
        """The controllers that are bound to cgroup v1, under their v1 names (blkio, memory, …)."""
        return sorted(name for name, (number, _) in _kernel_controllers().items() if number)

    def why_missing(self, controller: str) -> str:
        """Why the root does not have a controller, and what to do: the end of a sentence. Not for the start road."""
        name, config = _CONFIG.get(controller, (controller, ""))
        if not config:
            return f"cgroup v2 knows no such controller; this host has {self._words()}"
        row = _kernel_controllers().get(name)
        if row is None:
            return f"the kernel is built without it ({config})"
        number, enabled = row
        if number:
            return (
                "it is bound to cgroup v1 (hybrid layout); boot with systemd.unified_cgroup_hierarchy=1 "
                "or cgroup_no_v1=all"
            )
        if not enabled:
            return f"it is switched off on the kernel's command line; boot without cgroup_disable={name}"
        if self._is_real_root():
            return f"the root of the hierarchy offers only {self._words()}"
        return (
            "it is not delegated to this cgroup namespace; the host has to enable it in cgroup.subtree_control "
            "of the cgroups above"
        )

    def _words(self) -> str:
        return ", ".join(sorted(self.controllers)) or "none"

    def _is_real_root(self) -> bool:
        # Only the root of the whole hierarchy has no cgroup.events.
        return not os.path.exists(f"{self.mount}/cgroup.events")


def _kernel_controllers() -> dict[str, tuple[int, bool]]:
    """/proc/cgroups: controller → (number of its v1 hierarchy, 0 for none or v2; not switched off)."""
    try:
        text = files.read_text("/proc/cgroups")
    except OSError:
        return {}
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {row[0]: (int(row[1]), row[3] == "1") for row in rows if len(row) >= 4}


def find() -> Hierarchy:
    """The cgroup v2 hierarchy. Raises Error that says how to get one.

    The usual places are tried before the mount table, whose reading takes milliseconds on a host with thousands of
    mounts.
    """
    for mount in USUAL:
        controllers = _probe(mount, real_root=True)
        if controllers is not None:
            return Hierarchy(mount, "/", controllers)
    return from_mounts(mountinfo.read())


def _probe(mount: str, real_root: bool) -> frozenset[str] | None:
    """The controllers of the cgroup2 mounted at ``mount``; None where there is none or, with real_root, only a part."""
    try:
        fd = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = files.read_bytes("cgroup.controllers", dir_fd=fd)
        if real_root:
            # Only the real root has no cgroup.events; a part may be a bind mount, of which mountinfo knows the root.
            try:
                os.stat("cgroup.events", dir_fd=fd)
                return None
            except FileNotFoundError:
                pass
        return frozenset(text.decode().split())
    except OSError:
        return None
    finally:
        os.close(fd)


def from_mounts(table: bytes) -> Hierarchy:
    """As find, from a mount table. Of several mounts it takes the first that can be reached and shows the whole."""
    mounts = [mount for mount in mountinfo.of_type(table, "cgroup2") if mount.reachable()]
    mounts.sort(key=lambda mount: (mount.root != "/", mount.read_only, mount.point not in USUAL))
    for mount in mounts:
        controllers = _probe(mount.point, real_root=False)
        if controllers is not None and not mount.root.startswith("/.."):
            return Hierarchy("" if mount.point == "/" else mount.point, mount.root, controllers)
    raise Error(_nothing(bool(mounts)))


def _nothing(outside: bool) -> str:
    if outside:
        return (
            "cgroup v2: what is mounted here lies outside this process's cgroup namespace: "
            "mount it again inside (mount -t cgroup2 none /sys/fs/cgroup)"
        )
    try:
        known = "\tcgroup2\n" in files.read_text("/proc/filesystems")
    except OSError:
        known = True
    if not known:
        return "cgroup v2: this kernel has none: it is older than 4.5 or built without CONFIG_CGROUPS"
    return (
        "cgroup v2 is not mounted: mount it (mkdir -p /sys/fs/cgroup/unified && "
        "mount -t cgroup2 none /sys/fs/cgroup/unified) or boot with systemd.unified_cgroup_hierarchy=1"
    )
