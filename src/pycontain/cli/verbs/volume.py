"""volume: what outlives containers."""

from __future__ import annotations

from pycontain.cli.args import Argument, Flag, Options, Verb
from pycontain.cli.verbs import shared
from pycontain.engine.paths import Paths

LS = Verb(
    "volume ls",
    "List volumes",
    (shared.FORMAT, Flag("-q, --quiet", "Print names only.")),
    (),
    handler="ls",
    epilog="""
pycontain volume ls
""",
)

RM = Verb(
    "volume rm",
    "Remove volumes with what is in them",
    (Flag("-f, --force", "That a volume does not exist is no error."),),
    (Argument("volumes", "Names of volumes.", metavar="VOLUME", many=True),),
    handler="rm",
    description="Remove each volume and print its name. One that a container mounts, running or not, is refused.",
    epilog="""
pycontain volume rm data
""",
)

PRUNE = Verb(
    "volume prune",
    "Remove the volumes that no container uses",
    (Flag("-f, --force", "Do not ask."),),
    (),
    handler="prune",
    epilog="""
pycontain volume prune
""",
)


# --- what they do -------------------------------------------------------------------------------------------------


def ls(options: Options) -> int:
    """List the volumes."""
    from pycontain.cli import table
    from pycontain.engine import access, volumes

    paths = Paths(options.root, options.run_root)
    access.check(paths)
    found = volumes.volumes(paths)
    if options.flag("quiet"):
        table.show("".join(f"{one.name}\n" for one in found))
        return 0
    rows = ([one.name, table.human_size(one.size), str(len(one.users)), one.directory] for one in found)
    objects = ({"Name": one.name, "Mountpoint": one.directory, "Size": one.size, "UsedBy": one.users} for one in found)
    table.show_list(options.text("format"), ("VOLUME", "SIZE", "CONTAINERS", "DIRECTORY"), rows, objects)
    return 0


def rm(options: Options) -> int:
    """Remove volumes, print their names."""
    from pycontain.cli.verbs.each import each
    from pycontain.engine import access, volumes
    from pycontain.kernel.errors import NotFound

    paths = Paths(options.root, options.run_root)
    access.check(paths)

    def remove(name: str) -> None:
        try:
            volumes.remove(paths, name)
        except NotFound:
            if not options.flag("force"):
                raise

    return each(options.many("volumes"), remove)


def prune(options: Options) -> int:
    """Remove the unused, print their names."""
    from pycontain.cli import confirm, table
    from pycontain.engine import access, volumes

    paths = Paths(options.root, options.run_root)
    access.check(paths)
    if not confirm.confirmed(options, "all volumes that no container uses, with what is in them"):
        return 1
    table.show("".join(f"{name}\n" for name in volumes.prune(paths)))
    return 0
