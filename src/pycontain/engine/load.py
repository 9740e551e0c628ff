"""A container that exists, taken for a start: its record, spec and filter from the disk."""

from __future__ import annotations

import os

from pycontain.engine import record as records
from pycontain.engine import repair, state
from pycontain.engine.claim import Claim, claim_or_refuse
from pycontain.engine.create import Made
from pycontain.kernel import files
from pycontain.kernel.errors import Error, InUse, os_text
from pycontain.launch import seccomp
from pycontain.launch.profile import default_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record


def filter_of(paths: Paths, record: Record, spec: dict[str, Any]) -> bytes:
    """The container's seccomp program, empty for none; from the cache where it has it."""
    machine = os.uname().machine
    if record.seccomp == "default":
        return default_filter(frozenset(record.capabilities), machine, paths.cache)[1]
    section = spec["linux"].get("seccomp")
    return seccomp.cached_filter(section, machine, paths.cache) if section else b""


def read_spec(paths: Paths, container_id: str) -> dict[str, Any]:
    """config.json of a container. Raises Error for one that is damaged."""
    path = f"{paths.container(container_id)}/config.json"
    try:
        spec = files.read_json(path)
    except OSError as error:
        raise Error(f"cannot read {path}: {os_text(error)}") from None
    if not _whole(spec):
        raise Error(f"{path}: not an OCI spec; remove the container with 'pycontain rm -f {container_id[:12]}'")
    found: dict[str, Any] = spec
    return found


def _whole(spec: Any) -> bool:
    """Whether it has what every spec of ours has; what is in it is checked where it is compiled."""
    if type(spec) is not dict or type(spec.get("linux")) is not dict or type(spec.get("process")) is not dict:
        return False
    resources, process = spec["linux"].get("resources"), spec["process"]
    if type(resources) is not dict or type(resources.get("devices")) is not list:
        return False
    return type(process.get("args")) is list and type(process.get("env")) is list


read_record = records.read_known


def _count_anew(paths: Paths, container_id: str) -> Record:
    """A start by a person: what the restart policy has done before does not count any more."""
    try:
        return records.change_count(paths, container_id, 0)
    except OSError as error:
        path = records.path(paths, container_id)
        raise Error(f"cannot write {path}: {os_text(error)}") from None


def load(paths: Paths, container_id: str, held: Claim | None = None) -> Made:
    """Take a stopped container. Raises InUse where it is alive, NotFound, Error."""
    repair.repair(paths, container_id)
    by_policy = held is not None
    if held is None:
        if state.read(paths, container_id).alive:
            raise InUse(f"container {container_id[:12]} is running already")
        held = claim_or_refuse(paths, container_id, "start")
    try:
        record = read_record(paths, container_id)
        if record.restart_count and not by_policy:
            record = _count_anew(paths, container_id)
        spec = read_spec(paths, container_id)
        return Made(record, spec, filter_of(paths, record, spec), held)
    except BaseException:
        held.release()
        raise
