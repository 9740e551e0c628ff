"""ps: a container's processes, as process IDs or by the host's ps(1)."""

from __future__ import annotations

import os
import subprocess
import sys

from pycontain.cgroup import group, hierarchy
from pycontain.kernel import jsontext
from pycontain.kernel.errors import Error, NotFound, UsageError, os_text
from pycontain.oci import state
from pycontain.oci.state import STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.oci.arguments import Call
    from pycontain.oci.state import Container


def ps(root: str, call: Call) -> int:
    """Print them. The words after the ID are ps(1)'s, -ef where there are none. Raises Error."""
    if not call.words:
        raise UsageError("ps: a container ID is needed", 1)
    form = call.text("format", "table")
    if form not in ("table", "json"):
        raise UsageError(f"ps: --format: invalid format option {form!r}: it is table or json", 1)
    pids = _processes(state.find(root, call.words[0]))
    if form == "json":
        print(jsontext.dumps(pids or None))  # as Go prints an empty list
        return 0
    arguments = call.words[1:] or ["-ef"]
    try:
        done = subprocess.run(["ps", *arguments], capture_output=True, check=False)
    except OSError as error:
        raise Error(f'exec: "ps": {os_text(error)}: install procps, or give --format json', 1) from None
    if done.returncode:
        said = os.fsdecode(done.stderr).strip().partition("\n")[0]
        raise Error(f"ps {' '.join(arguments)}: {said or f'exit status {done.returncode}'}", 1)
    sys.stdout.write(chosen(os.fsdecode(done.stdout), pids))
    return 0


def _processes(container: Container) -> list[int]:
    """Host-side process IDs, none for a container that has ended."""
    if container.without_cgroup():
        return members(container.init()[0]) if container.status() != STOPPED else []
    directory = container.known_cgroup()
    tree = hierarchy.find()
    try:
        with group.find(tree, tree.path(directory)) as found:
            return sorted(set(found.processes()))
    except NotFound:
        return []


def members(init: int) -> list[int]:
    """The processes of the PID namespace that ``init`` is the first of."""
    try:
        wanted = os.stat(f"/proc/{init}/ns/pid").st_ino
    except OSError:
        return []
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}/ns/pid").st_ino == wanted:
                found.append(int(name))
        except OSError:
            continue  # it has ended, or is none of ours
    return sorted(found)


def chosen(text: str, pids: list[int]) -> str:
    """The header of ps(1) and the lines of these processes. Raises Error where there is no column PID."""
    lines = text.splitlines()
    header = lines[0].split() if lines else []
    if "PID" not in header:
        raise Error("ps: couldn't find PID field in ps output: let its arguments have one", 1)
    at = header.index("PID")
    wanted = set(map(str, pids))
    rows = [line for line in lines[1:] if line.split(maxsplit=at + 1)[at : at + 1] and line.split()[at] in wanted]
    return "\n".join([lines[0], *rows]) + "\n"
