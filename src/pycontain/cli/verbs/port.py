"""port: the published ports of a container."""

from __future__ import annotations

from pycontain.cli.args import Argument, Verb
from pycontain.cli.verbs import shared

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
