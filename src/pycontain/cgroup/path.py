"""Names of cgroups: what users write, checked.

A path here is what /proc/PID/cgroup says (cgroups(7)): absolute, "/" is the root of the hierarchy as this process sees
it.
"""

from __future__ import annotations

from pycontain.kernel.errors import SpecError

#: NAME_MAX; and what is left of PATH_MAX for the mount point and a file's name.
_NAME_MAX = 255
_PATH_MAX = 3500


def check(text: object, where: str = "cgroup path") -> str:
    """A cgroup path from a user or a spec in its normal form, absolute and without a trailing slash.

    ``where`` names its origin (a flag, a JSON path). Raises SpecError: empty, a control character, ``..``, too long.
    """
    if not isinstance(text, str):
        raise SpecError(where, f"must be a string, not {type(text).__name__}")
    if not text:
        raise SpecError(where, "is empty: give a path such as /pycontain/web")
    for character in text:
        if character < " " or character == "\x7f":
            raise SpecError(where, f"has a control character: {text!r}")
    parts = [part for part in text.split("/") if part and part != "."]
    for part in parts:
        if part == "..":
            raise SpecError(where, f"must not have ..: {text!r} would leave the container's part of the hierarchy")
        if len(part.encode("utf-8", "surrogateescape")) > _NAME_MAX:
            raise SpecError(where, f"has a name longer than {_NAME_MAX} bytes: {part[:40]!r}…")
    path = "/" + "/".join(parts)
    if len(path.encode("utf-8", "surrogateescape")) > _PATH_MAX:
        raise SpecError(where, f"is longer than {_PATH_MAX} bytes")
    return path


def resolve(text: object, base: str, where: str = "cgroup path") -> str:
    """As check, a relative path being taken below ``base``; it must name a group below the root."""
    path = check(text, where)
    if isinstance(text, str) and not text.startswith("/"):
        path = check(base + path, where)
    if path == "/":
        raise SpecError(where, "is the root of the hierarchy: name a group below it, such as /pycontain/web")
    return path


def parents(path: str) -> list[str]:
    """The ancestors of a normal path, the root first: ``/a/b/c`` gives ``/``, ``/a``, ``/a/b``."""
    found = []
    at = path.find("/", 1)
    while at > 0:
        found.append(path[:at])
        at = path.find("/", at + 1)
    return ["/", *found] if path != "/" else []
