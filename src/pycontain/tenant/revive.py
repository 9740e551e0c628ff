"""A tenant out of its dump: CRIU makes its processes, and this process becomes their monitor.

What a start does outside of the guest is done here as well: cgroup with limits and device filter, addresses, the host's
end of its devices, the sockets that it knows. CRIU works in a mount namespace where the root is mounted; the init is a
child of this process, since CRIU makes it as a sibling of its own.
"""

from __future__ import annotations

import os
import stat
from _signal import SIGKILL
from _socket import AF_UNIX, SOCK_DGRAM, socket

from pycontain.engine import control, interpreter, load, userns
from pycontain.engine import record as records
from pycontain.engine.start import Attachment, adopt, root_ops
from pycontain.kernel import bpf, files, libc
from pycontain.kernel.errors import Error, os_text
from pycontain.launch import namespaces as ns
from pycontain.launch import start as helper
from pycontain.launch.ops import FAIL, GUEST, HOST, Clone, Exec, Gate, Handover, IdMap, LoopbackUp, Op, Setns, Sysctl
from pycontain.launch.ops_restore import Adopt, MapPlace, PlaceRoot
from pycontain.oci import criu, external
from pycontain.oci import criu_messages as messages
from pycontain.tenant import dump, dump_mounts, dump_network, dumps, subgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from pycontain.cgroup.group import Group
    from pycontain.engine.connect import Connection
    from pycontain.engine.create import Made
    from pycontain.engine.record import Record
    from pycontain.oci.criu_messages import Fields
    from pycontain.tenant.hold import Tenant

_LOG = "restore.log"
#: One of them is hidden, in a namespace of its own, by what is mounted.
_TOPS = ("/mnt", "/media", "/srv", "/opt", "/home")


def become(tenant: Tenant, how: Attachment, parent: str = "") -> NoReturn:
    """Restore a tenant that is suspended on the disk, and become its monitor. parent: the cgroup that it is to be in.

    Raises Error; then nothing of it runs. The dump is there still where nothing has gone on from it.
    """
    facts = dump.read_facts(tenant)
    program = dump.program()
    made = load.load(tenant.paths, tenant.container)
    record = made.record
    if parent and ":" not in record.cgroup and os.path.dirname(record.cgroup) != parent:
        record.cgroup = f"{parent}/{record.id}"
        try:
            records.write(tenant.paths, record)
        except BaseException:
            made.claim.release()
            raise
    dump_network.ask_again(record, facts.get("addresses") or {})
    work = _Revival(tenant, made, program, facts)
    how.service = True
    try:
        adopt(tenant.paths, made, how, work.make)
    except BaseException:
        work.undo()
        raise


class _Revival:
    """One restore. pid: of the init that CRIU has made, 0 before."""

    def __init__(self, tenant: Tenant, made: Made, program: str, facts: dict[str, Any]) -> None:
        self.tenant, self.made, self.program, self.facts = tenant, made, program, facts
        self.images = f"{tenant.directory}/{dumps.NAME}"
        self.pid = 0
        self.terminal = -1
        self.network: Connection | None = None

    def make(self, group: Group | None, network: Connection) -> list[Op]:
        """What ``adopt`` asks for. Raises Error."""
        self.network = network
        paths, record = self.tenant.paths, self.made.record
        if group is None:
            raise Error("its cgroup is missing")
        subgroups.make(group.directory, self.facts.get("groups") or [])
        self._filter_devices(group)
        ready = self._ready_socket(paths.run(record.id))
        self._restore(group)
        if self.terminal < 0:
            raise Error("CRIU has not brought its console back")
        init = os.pidfd_open(self.pid)
        for fd in (init, self.terminal, ready):
            os.set_inheritable(fd, True)
        dumps.discard(self.tenant, dumps.USED, dumps.FAILED, dumps.LOG)
        self.tenant.state.doing = self.tenant.state.failure = ""
        self.tenant.save()
        _leave_streams()
        return [Adopt(self.pid, init, self.terminal, ready)]

    def _filter_devices(self, group: Group) -> None:
        from pycontain.cgroup import devices

        rules = self.made.spec["linux"]["resources"].get("devices")
        program = bpf.load_device_program(devices.program(devices.compile(rules)))
        try:
            bpf.attach_device(group.fd, program)
        except OSError as error:
            raise Error(f"its device filter cannot be attached: {os_text(error)}") from None
        finally:
            os.close(program)

    def _ready_socket(self, directory: str) -> int:
        """As ready_socket makes it (ready.c): CRIU mounts it."""
        link = socket(AF_UNIX, SOCK_DGRAM)
        link.setblocking(False)
        at = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            link.bind(f"/proc/self/fd/{at}/notify")
        finally:
            os.close(at)
        os.chmod(f"{directory}/notify", 0o666)  # anybody in the guest may write, as ready.c has it
        if self.facts.get("ready"):
            files.create(f"{directory}/ready", b"", 0o600)
        return link.detach()

    # --- CRIU -------------------------------------------------------------------------------------------------------

    def _restore(self, group: Group) -> None:
        directory = -1
        extra: list[int] = []
        try:
            base = self.tenant.paths.container(self.made.record.id)
            names, saved = external.load(self.images)
            # where they were says the guest's own mount table: what is mounted is by the bundle alone
            sources = dump_mounts.sources(self.made.spec, base, saved)
            with _Stage(self.tenant, self.made.record, self.program, sources) as root:
                # CRIU mounts below it, and it has to be of the same mount namespace for that
                path = f"/proc/{root.pid}/root{self.images}"
                directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                # read by the tenant's processes on their way; nobody else comes through the directory above
                os.fchmod(directory, 0o711)
                options = self._options(directory, group, root)
                options += external.inherited(names, extra)
                name = f"pycontain-{self.made.record.id[:12]}"

                def prepare() -> None:
                    libc.setns(root.namespace, ns.NEWNS)
                    libc.join_session_keyring(name)

                with criu.Criu(self.program, extra=extra, prepare=prepare) as process:
                    process.ask(messages.RESTORE, [(messages.REQUEST_OPTIONS, messages.encode(options))], self._notice)
                    status = process.wait()
            if status or not self.pid:
                raise criu.Failed(f"it has ended with status {status}", 1)
        except criu.Failed as error:
            log = f"{self.images}/{_LOG}"
            said = criu.excerpt(log) or error.message or "without a word"
            raise Error(f"CRIU: {said}") from None
        finally:
            for fd in (directory, *extra):
                if fd >= 0:
                    os.close(fd)

    def _options(self, directory: int, group: Group, stage: _Stage) -> Fields:
        found = dump.shared_options(directory, _LOG)
        found += [(messages.OPTIONS["root"], f"{stage.top}/root"), (messages.OPTIONS["rst_sibling"], 1)]
        found += [(messages.OPTIONS["evasive_devices"], 1)]
        found += external.mount_options(stage.places)
        for line in files.read_text("/proc/self/cgroup").splitlines():
            number, controllers, path = line.split(":", 2)
            for name in controllers.split(","):
                where = group.path if number == "0" else path
                found.append((messages.OPTIONS["cg_root"], messages.pair(name, where)))
        return found

    def _notice(self, script: str, pid: int, descriptors: list[int]) -> None:
        if script == "setup-namespaces":
            self.pid = pid
            self._connect(pid)
        elif script == "orphan-pts-master" and descriptors:
            self.terminal = os.dup(descriptors[0])
        elif script == "post-restore":
            self.pid = pid
            # it goes on when this is answered: from here on there is nothing to go back to
            os.rename(self.images, f"{self.tenant.directory}/{dumps.USED}")
            self.images = f"{self.tenant.directory}/{dumps.USED}"

    def _connect(self, pid: int) -> None:
        """Its network, by the records that a start has for it, in the namespace that CRIU has made."""
        assert self.network is not None
        spec = self.made.spec["linux"]
        target = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        os.set_inheritable(target, True)
        inside: list[Op] = [Setns(target, ns.NEWNET, "its network namespace"), LoopbackUp()]
        for key, value in (spec.get("sysctl") or {}).items():
            if key.startswith("net."):
                inside.append(Sysctl(key.replace(".", "/"), value))
        try:
            _carry_out(
                self.tenant,
                [(HOST, Clone(0, die=True)), *((GUEST, op) for op in inside), *self.network.records],
            )
        finally:
            os.close(target)

    def undo(self) -> None:
        """What CRIU has made ends. Its cgroup was emptied; nobody else waits for the init."""
        if self.pid:
            try:
                os.kill(self.pid, SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


def _leave_streams() -> None:
    """What stays has nothing of the caller's, but where a service manager has given it that."""
    if "INVOCATION_ID" in os.environ:
        return
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


# --- what is mounted ------------------------------------------------------------------------------------------------


class _Stage:
    """A mount namespace that ends with this context, with all that CRIU mounts for a tenant: its root, and what comes
    from the host. It stands below ``top``, where the tenant's own root can come to: that is who mounts it.

    namespace: a descriptor of it. pid: who holds it. places: names of sources → where they are there.
    """

    def __init__(self, tenant: Tenant, record: Record, program: str, sources: dict[str, str]) -> None:
        """Raises Error."""
        self.tenant, self.record, self.sources = tenant, record, sources
        self.namespace = -1
        used = (tenant.paths.root, tenant.paths.run_root, os.path.realpath(program), *files_of(program))
        self.top = next((top for top in _TOPS if os.path.isdir(top) and not any(_is_in(one, top) for one in used)), "")
        if not self.top:
            raise Error(f"there is no directory to mount its parts on: one of {', '.join(_TOPS)}")
        self.places = {name: f"{self.top}/{number}" for number, name in enumerate(sources)}

    def __enter__(self) -> _Stage:
        wait, self.leave = os.pipe()
        answer, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._hold(told, wait)
        os.close(wait)
        os.close(told)
        said = _all(answer)
        if said != b"\0":
            self.__exit__()
            raise Error(said.decode("utf-8", "replace") or "its root cannot be mounted")
        self.namespace = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        if self.namespace >= 0:
            os.close(self.namespace)
        os.close(self.leave)
        os.waitpid(self.pid, 0)

    def _hold(self, told: int, wait: int) -> NoReturn:
        try:
            os.close(self.leave)
            libc.die_with_parent(SIGKILL)
            text = self._fill()
            os.write(told, text.encode("utf-8", "replace") or b"\0")
            os.close(told)
            if not text:
                os.read(wait, 1)
        finally:
            os._exit(0)

    def _fill(self) -> str:
        """What has gone wrong, "" for nothing."""
        try:
            libc.unshare(libc.NEWNS)
            libc.mount("none", "/", libc.SLAVE | libc.REC)
            # opened before one of them is hidden
            opened = {self.places[name]: os.open(path, os.O_PATH | os.O_CLOEXEC) for name, path in self.sources.items()}
            libc.mount("none", self.top, 0, "tmpfs")
            for place, fd in opened.items():
                _bind(fd, place)
            _carry_out(self.tenant, self._records())
            root = os.open(f"{self.tenant.paths.container(self.record.id)}/root", os.O_PATH | os.O_CLOEXEC)
            _bind(root, f"{self.top}/root")
            os.chmod(self.top, 0o755)  # seen in this namespace alone
        except Error as error:
            return error.message
        except OSError as error:
            return f"{error.filename or 'its root'}: {os_text(error)}"
        return ""

    def _records(self) -> list[tuple[int, Op]]:
        maps = userns.of_record(self.record)
        assert maps is not None
        before, root = root_ops(self.tenant.paths, self.record, [])
        mounted = before.pop().values[1] if before else -1
        spec = load.read_spec(self.tenant.paths, self.record.id)
        spaces = ns.compile_namespaces(spec["linux"])
        mapped = [
            self.places[external.mount_point(mount["destination"])]
            for mount in spec["mounts"]
            if "idmap" in (mount.get("options") or ())
        ]
        return [
            (HOST, Clone(ns.NEWUSER, die=True, owner=maps.root)),
            (HOST, IdMap(spaces.uids, spaces.gids)),
            (HOST, PlaceRoot(root.values[:-1], maps.root, mounted)),
            *((HOST, MapPlace(place)) for place in mapped),
        ]


def _bind(fd: int, place: str) -> None:
    """Mount what a descriptor is of at a path that is not there yet. Raises OSError."""
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.mkdir(place, 0o755)
    else:
        files.create(place, b"")
    libc.mount(f"/proc/self/fd/{fd}", place, libc.BIND)


def files_of(program: str) -> list[str]:
    """Where a program and what stands beside it are."""
    return [os.path.abspath(program), os.path.dirname(os.path.realpath(program))]


def _is_in(path: str, top: str) -> bool:
    return f"{path}/".startswith(f"{top}/")


def _all(fd: int) -> bytes:
    """What is written to a pipe, which is closed then."""
    said = b""
    while chunk := os.read(fd, 4096):
        said += chunk
    os.close(fd)
    return said


def _carry_out(tenant: Tenant, records: list[tuple[int, Op]]) -> None:
    """A plan in a process of its own, which is over when its records are. Raises Error."""
    output, complaints = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(complaints, 2)
            gate = socket(AF_UNIX, 5)  # SOCK_SEQPACKET
            gate.bind(b"")
            gate.listen(1)
            os.set_inheritable(gate.fileno(), True)
            plan = helper.plan_fd()
            failed = interpreter.argv("pycontain.engine.explain", str(plan), f"tenant {tenant.name}", tenant.paths.root)
            # the guest's part ends in exec, and waits before that until it dies with this process
            ends: list[tuple[int, Op]] = [(GUEST, Gate(gate.fileno())), (GUEST, Exec(["-"], []))]
            helper.launch([*records, *ends, (FAIL, Handover(failed))], plan)
        except Error as error:
            os.write(2, error.message.encode("utf-8", "replace"))
        finally:
            os._exit(125)
    os.close(complaints)
    said = _all(output)
    if os.waitpid(pid, 0)[1]:
        text = said.decode("utf-8", "replace").strip().removeprefix("pycontain: ")
        raise Error(text or "a plan was not carried out")


# --- without a service manager --------------------------------------------------------------------------------------


def start(tenant: Tenant) -> None:
    """Restore it in a process of its own, which becomes its monitor; back when that is there. Raises Error."""
    ready, slot = os.pipe()
    output, complaints = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.chdir("/")
            os.close(ready)
            how = Attachment(False)
            os.set_inheritable(slot, True)
            how.slot = slot
            become(tenant, how)
        except Error as error:
            os.write(complaints, error.message.encode("utf-8", "replace"))
        except OSError as error:
            os.write(complaints, os_text(error).encode("utf-8", "replace"))
        finally:
            os._exit(1)
    os.close(slot)
    os.close(complaints)
    os.read(ready, 1)  # the monitor gives it back, or it ends with the process
    os.close(ready)
    said = _all(output)
    # it listens before it gives that back
    monitor = None if said else control.connect(tenant.paths, tenant.container)
    if monitor is None:
        os.waitpid(pid, 0)
        raise Error(said.decode("utf-8", "replace") or "its monitor was killed, or could not be started")
    monitor.close()
