"""rm: remove containers."""

from __future__ import annotations

from pycontain.cli.args import Flag, Options, Verb
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.each import each, show
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import NotFound, UsageError


def check(options: Options) -> None:
    """Either containers or --all. Raises UsageError."""
    if options.flag("all") == bool(options.many("containers")):
        raise UsageError("give the containers to remove, or --all for all of them")


RM = Verb(
    "rm",
    "Remove containers",
    (
        Flag("-f, --force", "Kill what runs; that a container does not exist is no error."),
        Flag("-a, --all", "All containers that do not run; with --force all. Tenants' are left out."),
    ),
    (shared.SOME_CONTAINERS,),
    check=check,
    description="Remove each container with the files it has written and its log, and print its name.",
    epilog="""
pycontain rm web
pycontain rm -f db
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Remove containers, print what they were called."""
    from pycontain.engine import names, owned, remove, repair, state

    paths = Paths(options.root, options.run_root)
    force = options.flag("force")
    if not options.flag("all"):
        return each(options.many("containers"), lambda text: _remove(paths, text, force))
    repair.repair_all(paths)
    ids = [one for one in names.all_ids(paths) if force or not state.alive(paths, one)]
    ids = [one for one in ids if not owned.tenant_of(paths, one)]
    return show(remove.remove_all(paths, ids, force), len(ids))


def _remove(paths: Paths, text: str, force: bool) -> None:
    from pycontain.engine import owned, remove

    try:
        owned.refuse(paths, text, "rm")
    except NotFound:
        pass  # with --force that is no error
    remove.remove_named(paths, text, force)
