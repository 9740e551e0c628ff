"""A running tenant into files, by CRIU, so that it goes on from where it was when it is started next.

CRIU asks before it kills what it has saved; then `dump.new` becomes `dump` (dumps.py). Whoever dies before has done
nothing.
"""

from __future__ import annotations

import os

from pycontain.engine import control, load
from pycontain.engine import life as containers
from pycontain.engine import state as states
from pycontain.kernel import files, jsontext, libc, lock
from pycontain.kernel.cancel import Held
from pycontain.kernel.errors import Error, InUse, os_text
from pycontain.launch.namespaces import NEWNET
from pycontain.oci import criu, external
from pycontain.oci import criu_messages as messages
from pycontain.tenant import dump_console, dump_network, state, subgroups
from pycontain.tenant.dumps import FACTS, LOG, NAME, NEW, VERSION, discard, there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.record import Record
    from pycontain.oci.criu_messages import Fields
    from pycontain.tenant.hold import Tenant

#: Where CRIU looks for what an inotify watches: an overlay does not tell.
_WATCHED = ("/etc", "/usr", "/var", "/opt", "/srv", "/root", "/home")
#: So long, in seconds, a CRIU whose caller was killed may take to end.
_PATIENCE = 120.0
#: What CRIU says → what helps.
_HINTS = {
    "Can't get rlimit": "root has no CAP_SYS_RESOURCE on this host, by which CRIU asks for limits",
    "nested uts namespace": "services of its systemd have a host name of their own: 'pycontain tenant set {name}"
    " boot.shutdown=suspend', and restart it once",
}


def program() -> str:
    """CRIU. Raises Error with one line that says what is missing."""
    try:
        found = criu.find("")
        criu.check_version(found)
        return found
    except Error as error:
        raise Error(error.message.partition(", or name it with")[0]) from None


# --- the verb -------------------------------------------------------------------------------------------------------


def suspend(tenant: Tenant) -> None:
    """Save it and end it. One that is saved already is no error. Raises Error; then it goes on as it was."""
    if there(tenant):
        return
    if not tenant.alive():
        raise Error(f"tenant {tenant.name} does not run: 'pycontain tenant start {tenant.name}' starts it")
    what = f"tenant {tenant.name} cannot be suspended to the disk"
    try:
        work = _Dump(tenant, program())
    except Error as error:
        raise Error(f"{what}: {error.message}") from None
    tenant.phase(state.SUSPENDING, frozen=work.frozen)
    try:
        work.run()
    except BaseException as error:
        if there(tenant):
            # it is saved, and has ended: what has come since (a signal that waited) changes nothing of that
            tenant.state.wanted = "stopped"
            tenant.settle()
            raise
        work.keep_log()
        undo(tenant)
        if isinstance(error, (Error, OSError, ValueError)):
            said = error.message if isinstance(error, Error) else str(error)
            raise Error(f"{what}: {said}") from None
        raise
    tenant.state.wanted = "stopped"
    tenant.settle()


class _Dump:
    """One dump. frozen: whether it was frozen before."""

    def __init__(self, tenant: Tenant, program: str) -> None:
        """All that can be checked before. Raises Error."""
        self.tenant, self.program, self.container = tenant, program, tenant.container
        self.record = load.read_record(tenant.paths, self.container)
        self.images = f"{tenant.directory}/{NEW}"
        self.pid, fd = states.open_init(tenant.paths, self.container)
        os.close(fd)
        self.group = states.need_cgroup(tenant.paths, self.container, "suspend")
        self.frozen = states.read(tenant.paths, self.container).status == states.PAUSED
        _refuse(load.read_spec(tenant.paths, self.container), self.record)
        dump_network.check(self.pid, self.record)

    def run(self) -> None:
        """Raises Error, OSError, ValueError."""
        discard(self.tenant, NEW, NAME)
        os.mkdir(self.images, 0o700)
        held = lock.open_lock(f"{self.images}/lock")
        lock.try_lock(held)
        monitor = control.connect(self.tenant.paths, self.container)
        if monitor is None:
            raise Error("it has just ended")
        directory = os.open(self.images, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

        def notice(script: str, _pid: int, _descriptors: list[int]) -> None:
            if script == "post-dump":
                self._complete(directory)
                monitor.forbid_restart()

        try:
            options = self._options(directory)
            # signals wait: half a dump would leave it frozen, and one that is whole is not to be thrown away
            with Held():
                # CRIU has the lock, too: who finds it free finds no CRIU at work
                with criu.Criu(self.program, apart=True, extra=[held], prepare=_readable) as process:
                    process.ask(messages.DUMP, [(messages.REQUEST_OPTIONS, messages.encode(options))], notice)
                monitor.wait(None)
                monitor.wait_gone()
        except criu.Failed as error:
            raise self._explained(error) from None
        finally:
            monitor.close()
            os.close(directory)
            os.close(held)

    def _options(self, directory: int) -> Fields:
        mounts = external.host_paths(self.pid)
        names, outside = external.descriptors(self.pid)
        external.save(self.images, names, mounts)
        found = [*shared_options(directory, LOG), (messages.OPTIONS["pid"], self.pid), (messages.OPTIONS["root"], "/")]
        found += [(messages.OPTIONS["freeze_cgroup"], self.group), (messages.OPTIONS["force_irmap"], 1)]
        found += [(messages.OPTIONS["irmap_scan_paths"], path) for path in _WATCHED]
        found += external.mount_options({point: point for point in mounts})
        return found + [(messages.OPTIONS["external"], name) for name in outside]

    def _complete(self, directory: int) -> None:
        """All is saved, and stands still: what CRIU does not save, then the name by which it counts."""
        dump_console.note(self.images, self.pid, _pids(self.group))
        paths = self.tenant.paths
        facts = {
            "version": VERSION,
            "groups": subgroups.read(self.group),
            "ready": os.path.exists(f"{paths.run(self.container)}/ready"),
            "addresses": dump_network.addresses(paths, self.container, self.record),
        }
        files.write_json(f"{self.images}/{FACTS}", facts)
        libc.syncfs(directory)
        os.rename(self.images, f"{self.tenant.directory}/{NAME}")

    def _explained(self, error: criu.Failed) -> Error:
        self.keep_log()
        log = f"{self.tenant.directory}/{LOG}"
        said = criu.excerpt(log) or error.message or "without a word"
        hint = next((text for words, text in _HINTS.items() if words in said), "")
        more = f": {hint.format(name=self.tenant.name)}" if hint else ""
        return Error(f"CRIU: {said}{more} (its log: {log})")

    def keep_log(self) -> None:
        for name in (NEW, NAME):
            try:
                os.replace(f"{self.tenant.directory}/{name}/{LOG}", f"{self.tenant.directory}/{LOG}")
            except OSError:
                pass


def shared_options(directory: int, log: str) -> Fields:
    """What dump and restore have in common. directory: a descriptor of the images'."""
    named: dict[str, int | str | bytes] = {
        "images_dir_fd": directory,
        "empty_ns": NEWNET,
        "log_level": 4,
        "log_file": log,
        "notify_scripts": 1,
        "orphan_pts_master": 1,
        "manage_cgroups": 1,
        "manage_cgroups_mode": messages.CGROUP_MODES["soft"],
        "network_lock": messages.NETWORK_LOCK_NFTABLES,
        "tcp_established": 1,
        "ext_unix_sk": 1,
        "file_locks": 1,
        "link_remap": 1,
    }
    found: Fields = []
    for name, value in named.items():
        found.append((messages.OPTIONS[name], value))
    return found


def _readable() -> None:
    """What CRIU writes is read by the tenant's processes that it makes, in a directory that only root can come to."""
    os.umask(0o022)


def _refuse(spec: dict[str, Any], record: Record) -> None:
    """What CRIU would bring back as something else. Raises Error."""
    for mount in spec.get("mounts", ()):
        # one whose owners are mapped alone is mapped again (revive.py)
        if "ridmap" in (mount.get("options") or ()) or mount.get("uidMappings") or mount.get("gidMappings"):
            raise Error(f"mounts: CRIU would bring {mount.get('destination')} back with other owners")
    if not record.uid_map:
        raise Error("rights.privileged_ids: CRIU would give it devices of the host's")
    if record.supervise:
        raise Error("CRIU does not save a filter of system calls that is answered from outside")
    if not record.terminal or not record.boots:
        raise Error("it was started with another command than its init")


def _pids(group: str) -> list[int]:
    found: list[int] = []
    for top, _, _ in os.walk(group):
        try:
            found += [int(word) for word in files.read_text(f"{top}/cgroup.procs").split()]
        except OSError:
            continue
    return found


# --- crashes --------------------------------------------------------------------------------------------------------


def recover(tenant: Tenant) -> None:
    """A dump whose maker was killed (hold.RECOVERIES): it counts where CRIU has ended the tenant for it."""
    _wait_for_criu(tenant)
    last = states.read_exit(tenant.paths, tenant.state.container) if not tenant.alive() else None
    if last is not None and last.signal == 9 and not last.oom and there(tenant):
        tenant.state.wanted = "stopped"
        discard(tenant, NEW)
        tenant.settle()
        return
    undo(tenant)


def undo(tenant: Tenant) -> None:
    """As if nothing had been: it goes on, where it lives. Raises Error."""
    discard(tenant, NEW, NAME)
    went_on = tenant.alive() and not tenant.state.detail.get("frozen")
    if went_on and states.read(tenant.paths, tenant.container).status == states.PAUSED:
        containers.pause(tenant.paths, tenant.container, False)
    tenant.settle()


def _wait_for_criu(tenant: Tenant) -> None:
    for name in (NEW, NAME):
        try:
            fd = os.open(f"{tenant.directory}/{name}/lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if not lock.wait_lock(fd, _PATIENCE):
                raise InUse(f"tenant {tenant.name}: CRIU saves it still: try again")
        finally:
            os.close(fd)


def read_facts(tenant: Tenant) -> dict[str, Any]:
    """Of a dump that is there. Raises Error."""
    path = f"{tenant.directory}/{NAME}/{FACTS}"
    try:
        value = files.read_json(path)
    except OSError as error:
        raise Error(f"cannot read {path}: {os_text(error)}") from None
    except jsontext.JsonError as error:
        raise Error(f"{path} is damaged: {error}") from None
    if type(value) is not dict or value.get("version") != VERSION:
        raise Error(f"{path}: is not of version {VERSION}")
    return value
