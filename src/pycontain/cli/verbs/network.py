"""network: look at the bridge, remove it."""

from __future__ import annotations

from pycontain.cli.args import Argument, Flag, Verb
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.inspect import FORMAT as INSPECT_FORMAT

LS = Verb(
    "network ls",
    "List networks",
    (shared.FORMAT,),
    (),
    handler="ls",
    epilog="""
pycontain network ls
""",
)

INSPECT = Verb(
    "network inspect",
    "Show networks, their subnets and who has which address, as JSON",
    (INSPECT_FORMAT,),
    (Argument("networks", "Names of networks (default: all there are).", metavar="NETWORK", optional=True, many=True),),
    handler="inspect",
    epilog="""
pycontain network inspect
""",
)

PRUNE = Verb(
    "network prune",
    "Remove the bridge, its firewall rules and leases, when no container uses them",
    (Flag("-f, --force", "Do not ask."),),
    (),
    handler="prune",
    description="The next container that needs the bridge makes it again.",
    epilog="""
pycontain network prune
""",
)
