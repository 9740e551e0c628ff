"""The steps of a recipe, carried out on a layer that is being made. Off the start road.

All that is written goes through the draft's tree, whose paths cannot leave it: a package may bring links to anywhere.
"""

from __future__ import annotations

import glob
import os
import posixpath

from pycontain.image import apt, tool
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pycontain.image.draft import Tree
    from pycontain.image.recipe import Debs, Mmdebstrap, Recipe, Sparse, Step

_MERGED_USR = "/usr/share/mmdebstrap/hooks/maybe-merged-usr"
#: Of the host or of the build, not of the image.
_HOST_TRACES = (
    "/dev/*",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/machine-id",
    "/etc/apt/apt.conf.d/99mmdebstrap",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/*",
)
#: A root's own entries that a system may keep outside /usr (file-hierarchy(7)).
_USR_NAMES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32")
#: Options of what a sparse image shares, which is bound with the mounts below it: those are read-only too.
_SHARED = ["ro", "nodev", "rro", "rnodev"]


class Build:
    """What the steps of one build work on.

    tree: the layer's. scratch: makes an empty directory for temporary files. mounts: what the steps add to the image.
    """

    def __init__(self, recipe: Recipe, tree: Tree, scratch: Callable[[], str], progress: Callable[[str], None]) -> None:
        self.recipe = recipe
        self.tree = tree
        self.scratch = scratch
        self.progress = progress
        self.mounts: list[dict[str, Any]] = []

    def run(self, step: Step) -> None:
        """Carry out one step. Raises Error without the step's name."""
        if step.debs:
            self._debs(step.debs)
        elif step.mmdebstrap:
            self._mmdebstrap(step.mmdebstrap)
        elif step.sparse:
            self._sparse(step.sparse)
        elif step.applets:
            self._applets(step.applets)
        else:
            self._plain(step)

    def _plain(self, step: Step) -> None:
        for path, directory in (step.directories or {}).items():
            self.tree.directory(path, int(directory.mode, 8), directory.uid, directory.gid)
        for path, file in (step.files or {}).items():
            self.tree.file(path, file.content.encode(), int(file.mode, 8), file.uid, file.gid)
        for path, text in (step.symlinks or {}).items():
            self.tree.symlink(path, text)
        for path, source in (step.copy_in or {}).items():
            self.tree.copy(f"{self.recipe.folder}/{source}", path)
        for pattern in step.remove or ():
            self.tree.remove(pattern)

    def _debs(self, step: Debs) -> None:
        try:
            archives = apt.download(step.packages, self.scratch(), self._tell)
        except tool.ToolError as error:
            if not step.fallback or not all(os.path.isfile(path) for path in step.fallback):
                raise
            self.progress(f"{error.message}; taking {', '.join(step.fallback)} of this host instead")
            for path in step.fallback:
                self.tree.copy(os.path.realpath(path), path)
            return
        for archive in archives:
            tool.run(["dpkg-deb", "--extract", archive, self.tree.path], os.path.dirname(archive))

    def _applets(self, program: str) -> None:
        """A link for each applet that a busybox has."""
        if not self.tree.exists(program):
            raise Error(f"{program} is not in the image yet: put the step after the one that brings it")
        try:
            lines = tool.run(["chroot", self.tree.path, program, "--list-full"])
        except tool.ToolError as error:
            raise Error(f"{error.message}: {program} must be a static busybox for {os.uname().machine}") from None
        for line in lines:
            path = f"/{line}"
            if posixpath.normpath(path) != path or path in (program, "/linuxrc"):
                continue
            self.tree.symlink(path, posixpath.relpath(program, posixpath.dirname(path)))

    def _mmdebstrap(self, step: Mmdebstrap) -> None:
        work = self.scratch()
        host = apt.release()
        sources = apt.sources_for(apt.host_sources(), host, step.suite, step.components)
        suite = step.suite or (sources[0].suites[0] if sources else host or "stable")
        with open(f"{work}/image.sources", "w", encoding="utf-8") as file:
            file.write(apt.to_text(sources))
        with open(f"{work}/apt.conf", "w", encoding="utf-8") as file:
            file.write(apt.acquire_settings())
        argv = ["mmdebstrap", "--mode=root", "--format=directory", f"--variant={step.variant}"]
        argv += [f"--components={','.join(step.components)}", f"--aptopt={work}/apt.conf"]
        argv += [f"--include={','.join(step.include)}"] if step.include else []
        argv += [f"--hook-dir={_MERGED_USR}"] if os.path.isdir(_MERGED_USR) else []
        argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in step.path_exclude]
        argv += [f"--dpkgopt=path-include={pattern}" for pattern in step.path_include]
        # Without sources of the host mmdebstrap takes the distribution's own mirror.
        tool.run([*argv, suite, self.tree.path, *([f"{work}/image.sources"] if sources else [])], work, self._tell)
        self._forget_host(sources)

    def _forget_host(self, sources: list[apt.Source]) -> None:
        """Take out of the image what mmdebstrap has put in from the host, and give it its own apt sources."""
        if sources:
            for pattern in _HOST_TRACES:
                self.tree.remove(pattern)
            text = apt.to_text(sources, secrets=False)
            self.tree.file("/etc/apt/sources.list.d/pycontain.sources", text.encode())
        else:
            for pattern in _HOST_TRACES[:-2]:
                self.tree.remove(pattern)
        for path in apt.keyrings(sources):
            if os.path.isfile(path) and not self.tree.exists(path):
                self.tree.copy(os.path.realpath(path), path, public=True)
        for path in ("/etc/hostname", "/etc/resolv.conf", "/etc/machine-id"):
            self.tree.file(path, b"")

    def _sparse(self, step: Sparse) -> None:
        for path in step.directories:
            if not os.path.isdir(path):
                raise Error(f"this host has no directory {path}")
            self._share(path)
        for name in _USR_NAMES:
            self._root_entry(name)
        for pattern in step.copy_host:
            for path in sorted(glob.glob(pattern)):
                if _is_public(path):
                    self.tree.copy(path, path, public=True)

    def _root_entry(self, name: str) -> None:
        """/bin and its like as the host has them: a link into /usr, or a directory of its own, which is shared too."""
        path = f"/{name}"
        if os.path.islink(path):
            self.tree.symlink(path, os.readlink(path).removeprefix("/"))
        elif os.path.isdir(path):
            self._share(path)

    def _share(self, path: str) -> None:
        self.tree.directory(path)
        self.mounts.append({"source": path, "target": path, "options": _SHARED})

    def _tell(self, line: str) -> None:
        """What a tool says of its progress, without what only its author needs."""
        # Nobody but root comes into the store, so apt cannot download as _apt, and says so each time.
        if line.startswith(("I: ", "Get:", "W: ")) and "unsandboxed" not in line:
            self.progress(line.removeprefix("I: "))


def _is_public(path: str) -> bool:
    """Whether every user of the host may come to ``path``; what lies below is judged when it is copied."""
    while (path := os.path.dirname(path)) != "/":
        if not os.stat(path).st_mode & 0o001:
            return False
    return True


def describe(step: Step) -> str:
    """A step in a few words, for progress and history."""
    if step.debs:
        return f"debs {' '.join(step.debs.packages)}"
    if step.mmdebstrap:
        return f"mmdebstrap {' '.join(filter(None, [step.mmdebstrap.suite, *step.mmdebstrap.include]))}".rstrip()
    if step.sparse:
        return f"sparse {' '.join(step.sparse.directories)}"
    if step.applets:
        return f"applets {step.applets}"
    things = step.directories or step.files or step.symlinks or step.copy_in or step.remove or ()
    return f"{step.kind} ({len(things)})"
