"""start: run containers that exist."""

from __future__ import annotations

from pycontain.cli.args import Flag, Options, Verb
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.each import each
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import UsageError


def check(options: Options) -> None:
    """One terminal is for one container. Raises UsageError."""
    if (options.flag("attach") or options.flag("interactive")) and len(options.many("containers")) > 1:
        raise UsageError("--attach and --interactive are for one container")


START = Verb(
    "start",
    "Start containers that were created or have ended",
    (
        Flag("-a, --attach", "Stay connected to its output, pass signals on, end with its exit status."),
        Flag("-i, --interactive", "Pass standard input on; stays connected as well."),
        shared.DETACH_KEYS,
    ),
    (shared.CONTAINERS,),
    check=check,
    description="Start each container again as it was made, and print its name. With -a or -i: one container.",
    epilog="""
pycontain start web db
pycontain start -ai shell
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Start containers; with --attach become what waits for the one."""
    from pycontain.engine import run

    paths = Paths(options.root, options.run_root)
    containers = options.many("containers")
    if options.flag("attach") or options.flag("interactive"):
        keys = options.one("detach-keys", bytes) or b""
        run.start_attached(paths, containers[0], options.flag("interactive"), keys)
    return each(containers, lambda text: run.start_detached(paths, text))
