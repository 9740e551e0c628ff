"""What is kept of an OCI container under --root, and what it is doing (runtime.md, "State").

```
ROOT/ID/
    state.json   ociVersion, id, bundle, annotations, created, cgroup
    config.json  the spec as it was at create: later edits of the bundle's change nothing
    pid          init: ``pid start-time``
    start        the socket at which init waits; gone when it was started
    plan         the launch plan, for the words of an error
```
"""

from __future__ import annotations

import os

from pycontain.kernel import files
from pycontain.kernel.errors import Error, InUse, NotFound, os_text
from pycontain.oci.arguments import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_ROOT = "/run/pycontain-oci"
#: What is compiled once.
CACHE = "/run/pycontain-oci-cache"
CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"


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
            raise InUse(f"container with id exists: {self.id}") from None
        except OSError as error:
            raise Error(f"cannot create {self.directory}: {os_text(error)}") from None

    def init(self) -> tuple[int, str]:
        """PID and start time of init; (0, "") where there is none."""
        try:
            words = files.read_text(self.path("pid")).split()
            return int(words[0]), words[1]
        except (OSError, ValueError, IndexError):
            return 0, ""

    def pidfd(self) -> int:
        """A pidfd of init, -1 when it has ended."""
        pid, started = self.init()
        if not pid:
            return -1
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return -1
        # with the pidfd in hand the number is not given to another process, so now is the time to compare
        fields = _stat(pid)
        if fields[19:20] != [started] or fields[:1] in (["Z"], ["X"]):
            os.close(fd)
            return -1
        return fd

    def status(self) -> str:
        fd = self.pidfd()
        if fd < 0:
            return STOPPED if os.path.exists(self.path("pid")) else CREATING
        os.close(fd)
        if os.path.exists(self.path("start")):
            return CREATED
        return PAUSED if self._frozen() else RUNNING

    def _frozen(self) -> bool:
        directory = self.facts.get("cgroup")
        try:
            return bool(directory) and files.read_bytes(f"{directory}/cgroup.freeze").strip() == b"1"
        except OSError:
            return False

    def document(self) -> dict[str, Any]:
        """runtime.md, "State"."""
        status = self.status()
        pid = 0 if status == STOPPED else self.init()[0]
        keys = ("ociVersion", "bundle", "annotations", "created")
        facts = {key: self.facts[key] for key in keys if key in self.facts}
        return {"ociVersion": facts.pop("ociVersion", "1.2.0"), "id": self.id, "pid": pid, "status": status, **facts}


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
    if type(facts) is not dict:
        raise Error(f"container {container_id}: its state.json is damaged: delete it with --force")
    container.facts = facts
    return container
