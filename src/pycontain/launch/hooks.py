"""config.json ``hooks`` to records, and the state that a hook reads (runtime-spec config.md, runtime.md)."""

from __future__ import annotations

from pycontain.kernel import jsontext
from pycontain.kernel.errors import SpecError
from pycontain.launch import reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.launch.ops import Op

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
#: Stands for the container's process ID in a state text; JSON writes this character as an escape, so it is no other's.
PID_MARK = "\x01"
#: What a container is while its hooks of a kind are executed.
STATUS = {
    "prestart": "creating",
    "createRuntime": "creating",
    "createContainer": "creating",
    "startContainer": "created",
    "poststart": "running",
    "poststop": "stopped",
}
#: Seconds: what poll(2) can wait for.
_LONGEST = (1 << 31) // 1000 - 1


class Identity:
    """What a state says of a container besides its status and process: see state_text."""

    __slots__ = ("annotations", "bundle", "id", "version")

    def __init__(self, container_id: str, bundle: str, version: str, annotations: dict[str, str]) -> None:
        self.id = container_id
        self.bundle = bundle
        self.version = version
        self.annotations = annotations


def state_text(who: Identity, status: str) -> str:
    """The state of runtime.md as JSON, PID_MARK for the process ID."""
    rest = jsontext.dumps(
        {
            "ociVersion": who.version,
            "id": who.id,
            "status": status,
            "bundle": who.bundle,
            "annotations": who.annotations,
        }
    )
    return f'{{"pid": {PID_MARK}, {rest[1:]}'


class Entry:
    """One hook, checked."""

    __slots__ = ("argv", "env", "path", "timeout")

    def __init__(self, path: str, argv: list[str], env: list[str], timeout: int) -> None:
        self.path = path
        self.argv = argv
        self.env = env
        self.timeout = timeout


def _entry(hook: dict[str, Any], where: str) -> Entry:
    path = reader.absolute(reader.text(hook, "path", where), f"{where}.path")
    argv = reader.texts(hook, "args", where)
    env = reader.environment(hook, where)
    timeout = reader.optional_number(hook, "timeout", where, 1, _LONGEST)
    return Entry(path, argv, env, timeout or 0)


def compile_hooks(spec: dict[str, Any]) -> dict[str, list[Entry]]:
    """All hooks by their kind, in their order. Raises SpecError."""
    section = reader.table(spec, "hooks", "")
    return {
        kind: [
            _entry(hook, f"hooks.{kind}[{index}]") for index, hook in enumerate(reader.tables(section, kind, "hooks"))
        ]
        for kind in KINDS
    }


def hook_ops(hooks: dict[str, list[Entry]], kind: str, who: Identity, warn: bool = False) -> list[Op]:
    """The records of one kind. A hook inside the root begins in it, the others in the bundle."""
    entries = hooks.get(kind)
    if not entries:
        return []
    from pycontain.launch.ops_spec import Hook

    state = state_text(who, STATUS[kind])
    cwd = "/" if kind == "startContainer" else who.bundle
    return [Hook(kind, entry.path, entry.argv, entry.env, entry.timeout, state, cwd, warn) for entry in entries]


def identity(spec: dict[str, Any], container_id: str, bundle: str) -> Identity:
    """Raises SpecError for an ociVersion or annotations that cannot be."""
    return Identity(container_id, bundle, version(spec), annotations_of(spec))


def version(spec: dict[str, Any]) -> str:
    """``ociVersion``, checked: any of 1.x, since what a later minor version adds may be ignored. Raises SpecError."""
    text = reader.text(spec, "ociVersion", "")
    numbers = text.partition("-")[0].partition("+")[0].split(".")
    if len(numbers) != 3 or numbers[0] != "1" or not all(part.isascii() and part.isdigit() for part in numbers):
        raise SpecError("ociVersion", f"{text!r} is not a version 1.x.y of the runtime specification")
    return text


def annotations_of(spec: dict[str, Any]) -> dict[str, str]:
    """``annotations``: names and texts. Raises SpecError."""
    section = reader.table(spec, "annotations", "")
    for key in section:
        if not key:
            raise SpecError("annotations", "an annotation without a name")
        reader.text(section, key, "annotations")
    return section
