"""network: look at the bridge, remove it."""

from __future__ import annotations

from pycontain.cli.args import Argument, Flag, Options, Verb
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.inspect import FORMAT as INSPECT_FORMAT
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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


# --- what they do ------------------------------------------------------------------------------------------------

_HEADERS = ("NAME", "DRIVER", "SUBNET", "IPV6 SUBNET", "UP", "CONTAINERS")
#: What --network calls the one there is, whatever its device is called.
_BRIDGE = "bridge"


def _networks(options: Options) -> list[dict[str, Any]]:
    from pycontain.engine import access
    from pycontain.network import listing

    access.check(Paths(options.root, options.run_root))
    return listing.networks(options.root, options.run_root)


def ls(options: Options) -> int:
    """List the networks."""
    from pycontain.cli import table

    found = _networks(options)
    rows = [
        [
            one["name"],
            one["driver"],
            one["subnet"],
            one["subnet6"] or "",
            "yes" if one["up"] else "no",
            str(len(one["addresses"])),
        ]
        for one in found
    ]
    objects = [{**one, "addresses": len(one["addresses"])} for one in found]
    table.show_list(options.text("format"), _HEADERS, rows, objects)
    return 0


def inspect(options: Options) -> int:
    """Print one array of the networks that were named, or of all."""
    from pycontain.cli.verbs.inspect import show_all

    found = {name: one for one in _networks(options) for name in (one["name"], _BRIDGE)}

    def look(name: str) -> dict[str, Any]:
        if name not in found:
            raise NotFound(_missing(name, [one for one in found if one != _BRIDGE]))
        return found[name]

    return show_all(options.many("networks") or sorted(found.keys() - {_BRIDGE}), look)


def _missing(name: str, known: list[str]) -> str:
    if known:
        return f"network {name!r} does not exist: there is {', '.join(known)}, also called {_BRIDGE}"
    return f"network {name!r} does not exist: the first container that runs with --network bridge makes the bridge"


def prune(options: Options) -> int:
    """Remove the network where nobody uses it, print what is gone."""
    from pycontain.cli import confirm, table
    from pycontain.engine import access, repair, state
    from pycontain.network import prune as cleaning

    paths = Paths(options.root, options.run_root)
    access.check(paths)
    if not confirm.confirmed(options, "the bridge, its firewall rules and leases, where no container uses them"):
        return 1
    paths.prepare()
    repair.repair_all(paths)
    lines = cleaning.prune(paths.root, paths.run_root, lambda container: state.alive(paths, container))
    table.show("".join(f"{line}\n" for line in lines))
    return 0
