"""stop: ask containers to end, and make them."""

from __future__ import annotations

from pycontain.cli.args import Options, Verb
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.each import each
from pycontain.engine.paths import Paths

STOP = Verb(
    "stop",
    "Stop running containers",
    (shared.TIME,),
    (shared.CONTAINERS,),
    description="Send each container its stop signal, wait, and kill it when the time is over."
    " A container that is stopped is not started again by its restart policy.",
    epilog="""
pycontain stop web
pycontain stop -t 60 db
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Stop containers, print what they were called."""
    from pycontain.engine import life

    paths = Paths(options.root, options.run_root)
    seconds = options.number("timeout") if options.has("timeout") else None
    return each(options.many("containers"), lambda text: life.stop(paths, text, seconds))
