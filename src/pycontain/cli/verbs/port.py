"""port: the published ports of a container."""

from __future__ import annotations

from pycontain.cli.args import Argument, Options, Verb
from pycontain.cli.verbs import shared
from pycontain.engine.paths import Paths

PORT = Verb(
    "port",
    "List the published ports of a container",
    (),
    (
        shared.CONTAINER,
        Argument(
            "port",
            "Only where this port of the container is published: 80, 53/udp.",
            metavar="PORT[/PROTO]",
            optional=True,
        ),
    ),
    epilog="""
pycontain port web
pycontain port web 80/tcp
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Print a line for each place where the host answers."""
    from pycontain.cli import table
    from pycontain.engine import access, ports

    paths = Paths(options.root, options.run_root)
    access.check(paths)
    wanted = options.text("port")
    found = ports.published(paths, options.text("container"), wanted)
    table.show("".join(f"{one.place}\n" if wanted else f"{one.container} -> {one.place}\n" for one in found))
    return 0
