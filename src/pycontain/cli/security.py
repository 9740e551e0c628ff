"""``--security-opt``: what a container is confined by besides its namespaces, as docker-run(1) and podman-run(1)."""

from __future__ import annotations

from pycontain.cli.args import refuse_control
from pycontain.cli.values import Pair
from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.cli.args import Options
    from pycontain.engine.request import Request

_LABEL = ("user", "role", "type", "level")
_KNOWN = "seccomp, apparmor, label, no-new-privileges, mask, unmask or systempaths"


def option(value: str) -> Pair:
    """One option, with ``=`` or a colon after its name. Raises UsageError.

    The value of no-new-privileges is "true" or "false", of label ``disable`` or ``PART:TEXT``, of mask and unmask
    paths with colons between, or ``ALL`` (unmask).
    """
    at = min((index for index in (value.find("="), value.find(":")) if index > 0), default=len(value))
    key, content = value[:at], value[at + 1 :]
    refuse_control(content)
    if key == "no-new-privileges" and at == len(value):
        return Pair(key, "true")
    read = _READERS.get(key)
    if read is None:
        raise UsageError(f"{value!r} is unknown: give {_KNOWN}")
    problem = read(content) if content else "has no value"
    if problem:
        raise UsageError(f"{value!r}: {key} {problem}")
    return Pair(key, content)


def _any(content: str) -> str:
    return ""


def _flag(content: str) -> str:
    return "" if content in ("true", "false") else "is true or false"


def _label(content: str) -> str:
    part, colon, text = content.partition(":")
    if content == "disable" or (part in _LABEL and colon and text):
        return ""
    return f"is disable, or one of {', '.join(_LABEL)} with a colon and its value"


def _paths(content: str) -> str:
    bad = [path for path in content.split(":") if not path.startswith("/") or ".." in path.split("/")]
    return f"takes absolute paths with colons between, not {bad[0]!r}" if bad else ""


def _unmask(content: str) -> str:
    return "" if content.upper() == "ALL" else _paths(content)


def _system(content: str) -> str:
    return "" if content == "unconfined" else "can only be unconfined"


_READERS = {
    "seccomp": _any,
    "apparmor": _any,
    "label": _label,
    "no-new-privileges": _flag,
    "mask": _paths,
    "unmask": _unmask,
    "systempaths": _system,
}


def read(options: Options, request: Request) -> None:
    """--privileged and all of --security-opt, in their order, into a request."""
    request.privileged = options.flag("privileged")
    if request.privileged:
        request.seccomp, request.unmask = "unconfined", ["ALL"]
        if not options.many("network")[0].startswith("container:"):
            request.userns = "host"  # in a range of its own its capabilities would be worth little
    for item in options.all("security-opt", Pair):
        content = item.value
        if item.key == "seccomp":
            request.seccomp = content
        elif item.key == "no-new-privileges":
            request.no_new_privileges = content == "true"
        elif item.key == "apparmor":
            request.apparmor = "" if content == "unconfined" else content
        elif item.key == "label":
            request.label_parts = [] if content == "disable" else [*request.label_parts, content]
        elif item.key == "mask":
            request.mask += content.split(":")
        else:
            every = item.key == "systempaths" or content.upper() == "ALL"
            request.unmask += ["ALL"] if every else content.split(":")
