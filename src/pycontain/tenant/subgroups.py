"""The groups that a guest has made below its own cgroup: as they are, and made again for one that is restored.

CRIU makes those that processes are in; an init watches the empty ones, too. Limits that the guest has set itself come
with them. The group of the tenant's own is the host's, which has its limits from the settings.
"""

from __future__ import annotations

import os
import stat

from pycontain.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    Groups = list[tuple[str, tuple[int, int], dict[str, str]]]

_CONTROL = "cgroup.subtree_control"
#: What is written to do something, and is no setting.
_ACTS = frozenset(("cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "memory.reclaim", "memory.peak"))
_MOST = 4096


def read(directory: str) -> Groups:
    """All of them, the upper ones first: path below the tenant's own ("" for that one), whose it is, what is set."""
    found: Groups = []
    for top, names, entries in os.walk(directory):
        names.sort()
        path = os.path.relpath(top, directory) if top != directory else ""
        wanted = entries if path else [_CONTROL]
        settings = {name: value for name in sorted(wanted) if (value := _setting(f"{top}/{name}"))}
        try:
            owner = os.stat(top)
        except FileNotFoundError:
            continue  # it has just gone
        found.append((path, (owner.st_uid, owner.st_gid), settings))
        if len(found) == _MOST:
            break
    return found


def _setting(path: str) -> str:
    """The value of a file that can be written, "" for what is none."""
    name = os.path.basename(path)
    try:
        if name in _ACTS or name.endswith(".pressure") or not os.stat(path).st_mode & stat.S_IWUSR:
            return ""
        return files.read_text(path).strip()
    except OSError:
        return ""


def make(directory: str, groups: Groups) -> None:
    """Make them below a group that exists. What this host does not have (a controller, a file of a newer kernel's) is
    left out. Raises OSError.
    """
    for path, owner, settings in groups:
        parts = path.split("/") if path else []
        if ".." in parts or path.startswith("/"):
            continue
        top = f"{directory}/{path}" if path else directory
        if path:
            os.makedirs(top, 0o755, exist_ok=True)
            for entry in ("", *os.listdir(top)):
                os.chown(f"{top}/{entry}" if entry else top, *owner, follow_symlinks=False)
        _enable(top, settings.get(_CONTROL, ""))
    for path, _, settings in groups:
        for name, value in settings.items():
            if path and name != _CONTROL and "/" not in name:
                _put(f"{directory}/{path}/{name}", value)


def _enable(top: str, names: str) -> None:
    for name in names.split():
        _put(f"{top}/{_CONTROL}", f"+{name}")


def _put(path: str, value: str) -> None:
    """A value that is there already is left alone: a write may be refused that changes nothing."""
    try:
        if files.read_text(path).strip() == value:
            return
        for line in value.splitlines():
            files.create(path, line.encode(), 0o644)
    except OSError:
        pass
