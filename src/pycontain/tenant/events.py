"""What happens to tenants, as it happens: by inotify(7) on settings and state, and by the monitors' ends.

A notice is a reason to look, no more: what is told is the difference between what was seen before and what is seen
now. So nothing is told twice, and what was missed of notices (the kernel's queue may overflow) is made up for by the
next look.
"""

from __future__ import annotations

import os
import select

from pycontain.engine import follow, oomkills
from pycontain.engine import state as states
from pycontain.kernel import files, inotify
from pycontain.kernel.errors import Error
from pycontain.tenant import dumps
from pycontain.tenant import state as tenant_states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pycontain.engine.paths import Paths
    from pycontain.tenant.place import Tenants

_ENTRIES = inotify.CREATE | inotify.MOVED_TO | inotify.MOVED_FROM | inotify.DELETE
_CONTENTS = _ENTRIES | inotify.CLOSE_WRITE
#: What an init's end by reboot(2) looks like outside (pid_namespaces(7)).
_SIGHUP = 1


class Life:
    """One life of a tenant's container. key: its init's number and start time. ready: its init says that it is up."""

    __slots__ = ("frozen", "key", "ready")

    def __init__(self, key: str, frozen: bool = False, ready: bool = False) -> None:
        self.key = key
        self.frozen = frozen
        self.ready = ready


class Seen:
    """A tenant at one moment. number: its ID. settings: dotted key → value, None while they cannot be read. life: None
    where it does not run. ending: its init is gone, and its monitor is not: it stops or starts again. end: the last
    one. kills: how many of its processes the kernel has killed for want of memory, in all lives. saved: it is suspended
    on the disk.
    """

    __slots__ = ("end", "ending", "kills", "life", "number", "saved", "settings")

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.settings: dict[str, Any] | None = None
        self.life: Life | None = None
        self.ending = False
        self.end: states.Exit | None = None
        self.kills = 0
        self.saved = False


def differences(before: Seen | None, now: Seen | None) -> list[dict[str, Any]]:
    """What has happened between two looks at a tenant; None: it was not there."""
    if before is None:
        return [] if now is None else [{"event": "created"}, *_lives(Seen(now.number), now)]
    if now is None:
        stopped = [_stopped(before.end)] if before.life else []
        return [*stopped, {"event": "destroyed"}]
    found = _settings(before, now)
    if now.kills > before.kills:
        found.append({"event": "oom", "killed": now.kills - before.kills})
    return found + _lives(before, now)


def _settings(before: Seen, now: Seen) -> list[dict[str, Any]]:
    if before.settings is None or now.settings is None or before.settings == now.settings:
        return []
    keys = sorted(key for key in {*before.settings, *now.settings} if before.settings.get(key) != now.settings.get(key))
    return [{"event": "settings", "changed": keys}]


def _lives(before: Seen, now: Seen) -> list[dict[str, Any]]:
    old, new = before.life, now.life
    if old and new and old.key == new.key:
        return _same_life(old, new)
    found: list[dict[str, Any]] = []
    if old and new and now.end is not None and now.end.signal == _SIGHUP:
        return [{"event": "rebooted"}, *_same_life(Life(new.key), new)]
    if old:
        found.append({"event": "suspended", "disk": True} if now.saved and not new else _stopped(now.end))
    if new:
        begun: dict[str, Any] = {"event": "resumed", "disk": True} if before.saved and not old else {"event": "started"}
        found += [begun, *_same_life(Life(new.key), new)]
    return found


def _same_life(old: Life, new: Life) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if new.ready and not old.ready:
        found.append({"event": "ready"})
    if old.frozen != new.frozen:
        found.append({"event": "suspended" if new.frozen else "resumed"})
    return found


def _stopped(end: states.Exit | None) -> dict[str, Any]:
    """status: as a shell has it, null where nobody saw the end."""
    return {"event": "stopped", "status": None if end is None or end.code < 0 else end.code}


# --- looking ------------------------------------------------------------------------------------------------------


class Watcher:
    """Looks at all tenants when something has happened, and tells what."""

    def __init__(self, tenants: Tenants, tell: Callable[[str, int, dict[str, Any]], None]) -> None:
        """tell: takes a name, a number, and what happened. Raises Error."""
        self.tenants = tenants
        self.tell = tell
        self.seen: dict[str, Seen] = {}
        self.watch = inotify.Inotify()
        #: watch → the tenant that it is about, "" for all.
        self.about: dict[int, str] = {}
        #: pidfd of a monitor → whose.
        self.monitors: dict[int, str] = {}
        #: settings file → (what stat says of it, its settings): they are read again when they are others.
        self.read: dict[str, tuple[tuple[int, int], dict[str, Any] | None]] = {}

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.close()
        for fd in self.monitors:
            os.close(fd)

    def begin(self) -> dict[str, Seen]:
        """The tenants as they are; what happens from now on is told. Raises Error."""
        for name in self._names():
            found = self._look(name)
            if found is not None:
                self.seen[name] = found
        return self.seen

    def wait(self, also: int = -1) -> bool:
        """Until something has happened; it is told. False where ``also``, a descriptor, had something. Raises Error."""
        poll = select.poll()
        poll.register(self.watch.fd, select.POLLIN)
        for fd in self.monitors:
            poll.register(fd, select.POLLIN)
        if also >= 0:
            poll.register(also, 0)
        names: set[str] = set()
        for fd, _ in poll.poll():
            if fd == also:
                return False
            names |= self._notices() if fd == self.watch.fd else {self._monitor_gone(fd)}
        self._tell({*names, *self.seen, *self._names()} if "" in names else names)
        return True

    def _notices(self) -> set[str]:
        """Whom the kernel's notices are about; "" for everybody."""
        names: set[str] = set()
        for event in self.watch.read():
            if event.mask & inotify.IGNORED:
                self.about.pop(event.watch, None)
                continue
            names.add(self.about.get(event.watch, "") if event.watch >= 0 else "")
        return names

    def _monitor_gone(self, fd: int) -> str:
        os.close(fd)
        return self.monitors.pop(fd)

    def _names(self) -> list[str]:
        """Watched first, looked at then: nothing falls between."""
        paths = self.tenants.paths
        for directory in (self.tenants.directory, self.tenants.home, f"{paths.run_root}/containers"):
            self._watch(directory, "", _ENTRIES | inotify.CLOSE_WRITE)
        return self.tenants.kept()

    def _watch(self, directory: str, name: str, mask: int) -> None:
        watch = self.watch.add(directory, mask)
        if watch >= 0:
            self.about[watch] = name

    def _tell(self, names: set[str]) -> None:
        looks = {name: self._look(name) for name in sorted(names) if name}
        moved = _moved(self.seen, looks)
        for old in moved.values():
            del looks[old]
        for name, now in looks.items():
            before = self.seen.pop(moved.get(name, name), None)
            if now is not None:
                if now.ending and before is not None:
                    now.life = before.life  # what has become of it is not known yet
                    now.saved |= before.saved and not dumps.is_aside(self.tenants, name)
                self.seen[name] = now
            number = (now or before or Seen()).number
            if name in moved:
                self.tell(name, number, {"event": "renamed", "from": moved[name]})
            for one in differences(before, now):
                self.tell(name, number, one)

    # --- one tenant -----------------------------------------------------------------------------------------------

    def _look(self, name: str) -> Seen | None:
        """A tenant as it is now, with watches for what may happen to it. None where it is not there, or half made."""
        tenants = self.tenants
        self._watch(tenants.state_directory(name), name, _ENTRIES)
        try:
            found = tenants.state(name)
        except Error:
            found = None
        if found is None or found.phase == tenant_states.CREATING:
            return None
        seen = Seen(found.id)
        seen.settings = self._settings(tenants.settings_path(name))
        seen.saved = dumps.age(tenants, name) > 0
        if found.container:
            self._look_inside(name, found.container, seen)
        return seen

    def _look_inside(self, name: str, container: str, seen: Seen) -> None:
        paths = self.tenants.paths
        self._watch(paths.container(container), name, _CONTENTS)
        self._watch(paths.run(container), name, _CONTENTS)
        if name not in self.monitors.values():
            # asked for before the lock is looked at: its end is not missed
            owner = follow.open_monitor(paths, container)
            if owner >= 0:
                self.monitors[owner] = name
        alive = states.alive(paths, container)
        key = _init(paths, container) if alive else ""
        if key:
            group = states.cgroup_directory(paths, container)
            if group:
                self._watch(group, name, inotify.MODIFY)
            frozen = "frozen 1" in _read(f"{group}/cgroup.events") if group else False
            seen.life = Life(key, frozen, os.path.exists(f"{paths.run(container)}/ready"))
        seen.ending = alive and not key
        seen.end = states.read_exit(paths, container)
        if os.path.exists(states.unfinished(paths, container)) and not alive:
            seen.end = None  # its monitor was killed
        seen.kills = sum(kill.count for kill in oomkills.read(paths, container))

    def _settings(self, path: str) -> dict[str, Any] | None:
        from pycontain.tenant import file
        from pycontain.tenant.settings import flat

        try:
            stat = os.stat(path)
            key = (stat.st_ino, stat.st_mtime_ns)
            if self.read.get(path, ((0, 0), None))[0] != key:
                self.read[path] = (key, flat(file.read(path).plain()))
        except (OSError, Error):
            self.read.pop(path, None)
            return None
        return self.read[path][1]


def _moved(before: dict[str, Seen], looks: dict[str, Seen | None]) -> dict[str, str]:
    """New name → old name, of those that were renamed: a number stays with its tenant."""
    gone = {before[name].number: name for name, now in looks.items() if now is None and name in before}
    return {
        name: gone[now.number]
        for name, now in looks.items()
        if now is not None and name not in before and now.number and now.number in gone
    }


def _init(paths: Paths, container: str) -> str:
    """Its init's number and start time; "" where there is none, or what a killed monitor has left."""
    try:
        pid, pidfd = states.open_init(paths, container)
    except Error:
        return ""
    os.close(pidfd)
    words = _read(f"{paths.run(container)}/pid").split()
    return " ".join(words) if words[:1] == [str(pid)] else ""


def _read(path: str) -> str:
    try:
        return files.read_text(path).strip()
    except OSError:
        return ""
