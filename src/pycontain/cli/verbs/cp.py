"""cp: files into and out of a container."""

from __future__ import annotations

from pycontain.cli.args import Argument, Options, Verb
from pycontain.cli.values import Value
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import UsageError


class Place(Value):
    """A path of the host (``container`` empty), of a container, or "-" for a tar stream."""

    __slots__ = ("container", "path")

    def __init__(self, container: str, path: str) -> None:
        self.container = container
        self.path = path


def place(value: str) -> Place:
    """``PATH``, ``CONTAINER:PATH`` or ``-``; a path of the host with a colon begins with / or ./ (docker-cp(1))."""
    container, colon, path = value.partition(":")
    if not value:
        raise UsageError("the value is empty: give PATH, CONTAINER:PATH or -")
    if not colon or value.startswith(("/", ".")):
        return Place("", value)
    if not container or not path:
        raise UsageError(f"{value!r} is not a place: give PATH, CONTAINER:PATH or -")
    return Place(container, path)


CP = Verb(
    "cp",
    "Copy files between a container and the host",
    (),
    (
        Argument("source", "What to copy: PATH, CONTAINER:PATH, or - for a tar archive on standard input.", place),
        Argument("target", "Where to: PATH, CONTAINER:PATH, or - for a tar archive on standard output.", place),
    ),
    description="Copy a file or a directory tree into or out of a container, whether it runs or not."
    " A relative path of a container begins at its root.",
    epilog="""
pycontain cp web:/var/log/app.log .
pycontain cp ./site web:/srv
pycontain cp web:/etc - | tar t
""",
)


def main(options: Options) -> int:
    """Copy between a container and the host."""
    from pycontain.engine.copy import Job, copy

    source, target = options.one("source", Place), options.one("target", Place)
    assert source is not None and target is not None
    if bool(source.container) == bool(target.container):
        raise UsageError("one of SOURCE and TARGET is CONTAINER:PATH, the other a path of the host or -")
    if target.container:
        job = Job(target.container, target.path, source.path, into=True)
    else:
        job = Job(source.container, source.path, target.path, into=False)
    copy(Paths(options.root, options.run_root), job)
    return 0
