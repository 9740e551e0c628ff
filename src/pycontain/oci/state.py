"""What is kept of an OCI container under --root, and what it is doing (runtime.md, "State").

```
ROOT/ID/
    config.json  the spec as it was at create: later edits of the bundle's change nothing
    cgroup       the directory of its cgroup: one line
    python       empty; there where start or delete have more to do than the helper can: hooks, resctrl
    shared       empty; there where the PID namespace is another's too: its init's end is not everybody's
    notify/      there where a service manager waits for the program: the program's socket to it
    state.json   ociVersion, id, bundle, rootfs, annotations, created, cgroup, unit, warnings, resctrl, keyring
    head tail    the text of ``state`` before the process ID and after the status
    pid          init: ``pid start-time``
    start        the socket at which init waits; gone when it was started
    plan         the launch plan, for the words of an error
    failed       why init could not execute its program, from the helper to Python
```
"""

from __future__ import annotations

import os
import time

from pycontain.kernel import files, jsontext, rootless
from pycontain.kernel.errors import Error, InUse, NotFound, os_text
from pycontain.oci.arguments import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The newest version of the runtime specification that is followed.
SPEC_VERSION = "1.3.0"
#: src/helper/oci.c has it too.
DEFAULT_ROOT = "/run/pycontain-oci"
#: The line of the file ``cgroup`` of a container that has none.
NO_CGROUP = "none"
CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"


def default_root() -> str:
    """Where the state is without --root: in a user namespace the user's own directory, as of runc."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if rootless.inside() and base.startswith("/"):
        return f"{base}/pycontain-oci"
    return f"{rootless.run_directory()}/oci" if rootless.user() >= 0 else DEFAULT_ROOT


#: What is compiled once.
CACHE = f"{default_root()}-cache"


class Container:
    """A container's directory."""

    __slots__ = ("directory", "facts", "id")

    def __init__(self, root: str, container_id: str) -> None:
        self.id = check_id(container_id)
        self.directory = f"{root}/{container_id}"
        self.facts: dict[str, Any] = {}

    def path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def make(self) -> None:
        """Raises InUse where it exists."""
        try:
            os.makedirs(os.path.dirname(self.directory), 0o711, exist_ok=True)
            os.mkdir(self.directory, 0o711)
        except FileExistsError:
            raise InUse(f"container with given ID already exists: {self.id}", 1) from None
        except OSError as error:
            raise Error(f"cannot create {self.directory}: {os_text(error)}") from None

    def init(self) -> tuple[int, str]:
        """PID and start time of init; (0, "") where there is none."""
        try:
            words = files.read_text(self.path("pid")).split()
            return int(words[0]), words[1]
        except (OSError, ValueError, IndexError):
            return 0, ""

    def living(self) -> tuple[int, int]:
        """PID and pidfd of init; (0, -1) when it has ended."""
        pid, started = self.init()
        if not pid:
            return 0, -1
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return 0, -1
        # with the pidfd in hand the number is not given to another process, so now is the time to compare
        fields = _stat(pid)
        if fields[19:20] != [started] or fields[:1] in (["Z"], ["X"]):
            os.close(fd)
            return 0, -1
        return pid, fd

    def pidfd(self) -> int:
        """A pidfd of init, -1 when it has ended."""
        return self.living()[1]

    def status(self) -> str:
        fd = self.pidfd()
        if fd >= 0:
            os.close(fd)
        return self.status_of(fd)

    def status_of(self, fd: int) -> str:
        """Its status, where living has found this pidfd."""
        if fd < 0:
            return STOPPED if os.path.exists(self.path("pid")) else CREATING
        if self._frozen():
            return PAUSED
        return CREATED if os.path.exists(self.path("start")) else RUNNING

    def _group_line(self) -> str:
        try:
            return files.read_text(self.path("cgroup"))
        except OSError:
            return ""

    def cgroup(self) -> str:
        """The directory of its cgroup, "" where nobody knows it: a file that was cut off names another group."""
        line = self._group_line()
        return line[:-1] if line.startswith("/") and line.endswith("\n") else ""

    def without_cgroup(self) -> bool:
        """Whether it was created without one (--rootless)."""
        return self._group_line() == f"{NO_CGROUP}\n"

    def known_cgroup(self) -> str:
        """As cgroup. Raises Error where nobody knows it."""
        directory = self.cgroup()
        if not directory and self.without_cgroup():
            raise Error(f"container {self.id}: it has no cgroup: where it was created no group could be made", 1)
        # what is to be done to all of a container is never done to all of a host, or of a cgroup namespace
        if not directory or os.path.ismount(directory):
            raise Error(f"container {self.id}: its state is damaged (cgroup): delete it with --force", 1)
        return directory

    def _frozen(self) -> bool:
        directory = self.cgroup()
        try:
            return bool(directory) and files.read_bytes(f"{directory}/cgroup.freeze").strip() == b"1"
        except OSError:
            return False

    def document(self, owner: str = "") -> dict[str, Any]:
        """runtime.md, "State", with runc's additions."""
        status = self.status()
        pid = 0 if status == STOPPED else self.init()[0]
        facts = self.facts
        found = {"ociVersion": facts.get("ociVersion", SPEC_VERSION), "id": self.id, "pid": pid, "status": status}
        for key in ("bundle", "rootfs", "created"):
            found[key] = facts.get(key, "")
        if facts.get("annotations"):
            found["annotations"] = facts["annotations"]
        return {**found, "owner": owner}

    def write(self, spec: dict[str, Any], bundle: str, **more: object) -> None:
        """What the verbs need to know later; config.json and cgroup are there already. Raises OSError.

        more: unit (systemd's name of the scope), warnings, resctrl (directories made there), keyring (whether it has a
        session keyring of its own).
        """
        hooks = spec.get("hooks") or {}
        if more.get("resctrl") or hooks.get("poststart") or hooks.get("poststop"):
            files.create(self.path("python"), b"", 0o600)
        spaces = (spec.get("linux") or {}).get("namespaces") or []
        if not any(space.get("type") == "pid" and not space.get("path") for space in spaces):
            files.create(self.path("shared"), b"", 0o600)
        now = time.time_ns()
        self.facts = {
            "ociVersion": spec["ociVersion"],
            "bundle": bundle,
            "rootfs": root_path(spec, bundle),
            "annotations": spec.get("annotations") or {},
            "created": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09}Z",
            "cgroup": self.cgroup(),
            **more,
        }
        head, _, tail = pretty(self.document()).partition('0,\n  "status": "creating"')
        files.create(self.path("head"), head.encode(), 0o600)
        files.create(self.path("tail"), tail.encode(), 0o600)
        files.write_json(self.path("state.json"), self.facts)


def root_path(spec: dict[str, Any], bundle: str) -> str:
    """``root.path`` as an absolute path; the bundle where there is none, which the compiler refuses."""
    root = spec.get("root")
    path = root.get("path") if type(root) is dict else None
    return os.path.normpath(os.path.join(bundle, path if type(path) is str else ""))


def pretty(document: dict[str, Any]) -> str:
    """JSON with one member a line, as runc prints a state."""
    return "{\n" + ",\n".join([f'  "{key}": {jsontext.dumps(value)}' for key, value in document.items()]) + "\n}\n"


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on; none where the process is gone."""
    try:
        return files.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return []


def find(root: str, container_id: str) -> Container:
    """A container that exists. Raises NotFound, Error for a damaged state."""
    container = Container(root, container_id)
    try:
        facts = files.read_json(container.path("state.json"))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"container does not exist: {container_id}", 1) from None
    except OSError as error:
        raise Error(f"container {container_id}: cannot read its state: {os_text(error)}") from None
    except jsontext.JsonError:
        facts = None
    if type(facts) is not dict:
        raise Error(f"container {container_id}: its state.json is damaged: delete it with --force", 1)
    container.facts = facts
    return container
