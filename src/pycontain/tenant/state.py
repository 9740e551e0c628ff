"""state.json: what is known of a tenant beside its settings."""

from __future__ import annotations

from pycontain.kernel import files, jsontext
from pycontain.kernel.errors import Error, os_text
from pycontain.tenant import file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
#: What is being done; "": nothing. See docs/tenants.md, "Crashes".
NONE, CREATING, DESTROYING, RENAMING, SETTING = "", "creating", "destroying", "renaming", "setting"
IMPORTING, SNAPSHOTTING, RESTORING, REINSTALLING = "importing", "snapshotting", "restoring", "reinstalling"
SUSPENDING = "suspending"

_FIELDS: dict[str, type] = {
    "id": int,
    "container": str,
    "directory": str,
    "phase": str,
    "detail": dict,
    "running": dict,
    "wanted": str,
    "doing": str,
    "failure": str,
}


class State:
    """One tenant's state.

    id: its number. container: ID of its container, "" while there is none. directory: where its settings file
    lies, for the monitor that starts it again. phase: what is being done, "" for nothing;
    detail: of it. running: the settings (``Settings.plain``) that the container was started with last. wanted:
    "running" or "stopped": what somebody has asked for last. doing: "starting" or "stopping", by who holds the lock.
    failure: why its last start did not come about, "" where it did.
    """

    id: int
    container: str
    directory: str
    phase: str
    detail: dict[str, Any]
    running: dict[str, Any]
    wanted: str
    doing: str
    failure: str

    def __init__(self, **values: Any) -> None:
        for key, kind in _FIELDS.items():
            setattr(self, key, values[key] if key in values else kind())

    def to_json(self) -> dict[str, Any]:
        return {"version": VERSION, **{key: getattr(self, key) for key in _FIELDS}}


def read(path: str) -> State | None:
    """None where there is none. Raises Error for one that is damaged."""
    try:
        value = files.read_json(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Error(f"{path}: {os_text(error)}") from None
    if type(value) is not dict or value.get("version") != VERSION:
        raise Error(f"{path}: is not a state of version {VERSION}: 'pycontain tenant doctor' says what can be done")
    for key, kind in _FIELDS.items():
        if type(value.setdefault(key, kind())) is not kind:
            raise Error(f"{path}: {key} is not what it should be: 'pycontain tenant doctor' says what can be done")
    return State(**{key: value[key] for key in _FIELDS})


def write(path: str, state: State) -> None:
    """Replace it. Raises Error."""
    try:
        file.replace(path, jsontext.dumps(state.to_json()).encode() + b"\n", 0o644)
    except OSError as error:
        raise Error(f"cannot write {path}: {os_text(error)}") from None
