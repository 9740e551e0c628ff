"""restart: stop and start."""

from __future__ import annotations

from pycontain.cli.args import Options, Verb
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.each import each
from pycontain.engine.paths import Paths

RESTART = Verb(
    "restart",
    "Stop containers and start them again",
    (shared.TIME,),
    (shared.CONTAINERS,),
    description="Stop each container as stop does, where it runs, and start it.",
    epilog="""
pycontain restart web
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Stop containers and start them again."""
    from pycontain.engine import life, owned, run

    paths = Paths(options.root, options.run_root)
    seconds = options.number("timeout") if options.has("timeout") else None

    def again(text: str) -> None:
        owned.refuse(paths, text, "restart")
        life.stop(paths, text, seconds)
        run.start_detached(paths, text)

    return each(options.many("containers"), again)
