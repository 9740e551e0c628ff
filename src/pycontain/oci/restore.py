"""restore: a container out of the files that checkpoint has made, through CRIU.

What create does before init is born is done here as well: state directory, cgroup with its limits and device filter,
resctrl group, session keyring. Then CRIU is put into these groups and makes the processes, with init as our child.
"""

from __future__ import annotations

import os
from _signal import SIGKILL

from pycontain.kernel import files, jsontext, libc
from pycontain.kernel.cancel import Cancellable, Cancelled
from pycontain.kernel.errors import Error, InUse, NotFound, os_text
from pycontain.launch.hooks import identity
from pycontain.launch.namespaces import NEWNET
from pycontain.oci import create, criu, delete, external, foreground, hooks, pages, restore_root, sockets, state
from pycontain.oci import criu_messages as messages
from pycontain.oci.criu_options import Options
from pycontain.oci.report import report
from pycontain.oci.state import STOPPED, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.cgroup.group import Group
    from pycontain.oci import resctrl
    from pycontain.oci.arguments import Call
    from pycontain.oci.criu_messages import Fields

_LOG = "restore.log"


def restore(root: str, call: Call) -> int:
    """Restore a container; without --detach wait for its end, and end with its status. Raises Error: nothing is left.

    A container of this name that has stopped is deleted first: checkpoint leaves it.
    """
    container = Container(root, call.id())
    bundle = os.path.abspath(call.text("bundle", "."))
    spec = create.read_bundle(bundle)
    wanted = create.Settings(spec, container.id, bundle)
    work = _Restore(container, spec, bundle, wanted, call)
    _make_room(container, call)
    # signals wait: those that end us until CRIU works and can be stopped, the others until there is somebody to send to
    foreground.hold()
    container.make()
    try:
        work.run()
    except BaseException:
        work.undo()
        raise
    if call.flag("detach"):
        return 0
    status = foreground.wait(work.pid, work.terminal)
    delete.remove(container, call)
    return status


def _make_room(container: Container, call: Call) -> None:
    """Raises InUse for a container that has not stopped."""
    try:
        found = state.find(os.path.dirname(container.directory), container.id)
    except NotFound:
        return
    if found.status() != STOPPED:
        raise InUse(f"container with given ID already exists: {container.id}", 1)
    delete.remove(found, call)


class _Restore:
    """One restore. pid: init's. terminal: the master of its terminal where we keep it, else -1."""

    def __init__(
        self, container: Container, spec: dict[str, Any], bundle: str, wanted: create.Settings, call: Call
    ) -> None:
        """All that can be checked before anything is made. Raises Error."""
        self.container, self.spec, self.bundle, self.wanted, self.call = container, spec, bundle, wanted, call
        self.what = f"container {container.id}: cannot restore it"
        self.pid = 0
        self.terminal = -1
        self.group: Group | None = None
        self.rdt: resctrl.Group | None = None
        linux = spec.get("linux") or {}
        if linux.get("netDevices"):
            raise Error("linux.netDevices: CRIU cannot restore a container with devices of the host", 1)
        self.options = Options(call, _LOG)
        self.options.labels(call)
        self.names, saved = external.load(self.options.images)
        if not call.flag("lazy-pages"):
            pages.check(self.options.images)
        self.sources = external.sources_now(spec, bundle, saved)
        self.spaces = external.namespaces(spec)
        external.refuse_ids(spec, self.spaces)
        self.rootfs = state.root_path(spec, bundle)
        if not os.path.isdir(self.rootfs):
            raise Error(f"root.path: {self.rootfs} is not a directory", 1)
        criu.check_version(self.options.program)
        if call.flag("lazy-pages"):
            criu.check_feature(self.options.program, "lazy-pages", criu.LAZY_PAGES)
        self.console = sockets.console(
            call.text("console-socket"), terminal=wanted.terminal, detached=call.flag("detach")
        )

    def run(self) -> None:
        """Raises Error; then undo is needed."""
        files.create(self.container.path("config.json"), jsontext.dumps(self.spec).encode(), 0o600)
        lacking = self._groups()
        for text in lacking:
            report(text, self.call.globals, "warning")
        self._keyring()
        made = self.rdt.made if self.rdt is not None else []
        unit = getattr(getattr(self.group, "unit", None), "name", "")
        self.container.write(self.spec, self.bundle, unit=unit, warnings=lacking, resctrl=made, keyring=True)
        top = restore_root.enter(self.container.path("criu-root"), self.rootfs)
        restore_root.mount_points(top, self.spec, self.bundle)
        try:
            self._ask(top)
        finally:
            restore_root.leave(top)
        assert self.group is not None
        placeholder = getattr(self.group, "placeholder", None)
        if placeholder is not None:
            placeholder.end()
        self.group.close()
        if self.call.text("pid-file"):
            files.replace(os.path.abspath(self.call.text("pid-file")), str(self.pid).encode())

    def _groups(self) -> list[str]:
        """The cgroup and the resctrl group, as for create; the warnings of limits that are left out."""
        from pycontain.kernel import bpf

        group, lacking = create.place_cgroup(self.wanted, self.container, self.call)
        if group is None:
            raise Error(f"container {self.container.id}: restore needs a cgroup: run it as root", 1)
        self.group = group
        files.replace(self.container.path("cgroup"), f"{self.group.directory}\n".encode(), 0o600)
        if self.wanted.delegated is not None:
            self.group.delegate(*self.wanted.delegated)
        if self.wanted.intel_rdt is not None:
            from pycontain.oci import resctrl

            self.rdt = resctrl.place(self.wanted.intel_rdt, resctrl.mount_point(), self.container.id)
        program = bpf.load_device_program(self.wanted.devices)
        try:
            bpf.attach_device(self.group.fd, program)
        except OSError as error:
            raise Error(f"{self.what}: cannot attach its device filter: {os_text(error)}", 1) from None
        finally:
            os.close(program)
        return lacking

    def _keyring(self) -> None:
        """Ours is what the processes get: CRIU saves none."""
        try:
            libc.join_session_keyring(f"_ses.{self.container.id}")
        except OSError as error:
            raise Error(f"{self.what}: cannot make a session keyring: {os_text(error)}", 1) from None

    def _join(self, pid: int) -> Fields:
        """CRIU into the groups; what it makes is in them too. The roots of its cgroups, for it."""
        assert self.group is not None
        self.group.add(pid)
        if self.rdt is not None:
            for directory in filter(None, (self.rdt.directory, self.rdt.monitor)):
                files.create(f"{directory}/tasks", str(pid).encode())
        found: Fields = []
        for line in files.read_text(f"/proc/{pid}/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            for name in controllers.split(","):
                found.append((messages.OPTIONS["cg_root"], messages.pair(name, path)))
        return found

    def _ask(self, top: str) -> None:
        options = self.options
        options.configuration(self.spec)
        options.add("root", top)
        options.add("rst_sibling", 1)
        options.add("evasive_devices", 1)
        options.extend(external.mount_options(self.sources))
        extra: list[int] = []
        options.extend(external.joined(self.spec, self.spaces, extra))
        options.extend(external.inherited(self.names, extra))
        opened = options.open()
        try:
            with criu.Criu(options.program, stdio=True, extra=extra) as process:
                options.extend(self._join(process.pid))
                try:
                    with Cancellable():
                        process.ask(messages.RESTORE, options.request(), self._notice)
                        status = process.wait()
                except Cancelled as signal:
                    process.kill()  # it may never end; what it has made is of the cgroup, and ends with that
                    raise Error(f"{self.what}: {signal.name} has come before CRIU was done", 1) from None
                if status:
                    raise criu.Failed(f"it has ended with status {status}", 1)
        except criu.Failed as error:
            raise options.explain(self.what, error) from None
        finally:
            for fd in [*opened, *extra]:
                os.close(fd)
        if not self.pid:
            raise Error(f"{self.what}: CRIU has not told the process ID of its init", 1)

    def _notice(self, script: str, pid: int, descriptors: list[int]) -> None:
        if script == "setup-namespaces":
            if self.spaces.new & NEWNET:
                restore_root.loopback_up(pid)
            who = identity(self.spec, self.container.id, self.bundle)
            for kind in ("prestart", "createRuntime"):
                hooks.run_all(self.wanted.hooks[kind], kind, who, pid)
        elif script == "post-restore":
            self._found(pid)
        elif script == "orphan-pts-master" and descriptors:
            self._terminal(descriptors[0])

    def _found(self, pid: int) -> None:
        """Init is there, and waits for the answer before it goes on: a signal from now on is the container's."""
        foreground.hold()
        self.pid = pid
        started = files.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[19]
        files.replace(self.container.path("pid"), f"{pid} {started}\n".encode(), 0o600)

    def _terminal(self, fd: int) -> None:
        """The master of a terminal whose other end was outside: to the console socket, or we keep it."""
        if self.console >= 0:
            sockets.send(self.console, fd, "/dev/ptmx")
        elif not self.call.flag("detach"):
            self.terminal = os.dup(fd)

    def undo(self) -> None:
        """Take everything back, whatever it has come to."""
        call, container = self.call, self.container
        if self.pid:
            try:
                os.kill(self.pid, SIGKILL)
            except ProcessLookupError:
                pass
        if self.group is not None:
            try:
                self.group.kill()
                self.group.remove()
                self.group.undo()
            except (Error, OSError) as error:
                report(str(error), call.globals, "warning")
        if self.rdt is not None:
            self.rdt.undo()
        if self.pid:
            os.waitpid(self.pid, 0)
        create.discard(container)
        for text in hooks.warn_all(self.wanted.hooks["poststop"], "poststop", self.wanted.who):
            report(text, call.globals, "warning")
