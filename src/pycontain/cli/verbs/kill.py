"""kill: send containers a signal."""

from __future__ import annotations

from pycontain.cli import values
from pycontain.cli.args import Flag, Options, Verb
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.each import each
from pycontain.engine.paths import Paths

KILL = Verb(
    "kill",
    "Send a signal to running containers",
    (Flag("-s, --signal", "Name or number of the signal.", values.signal, "SIGNAL", default="KILL"),),
    (shared.CONTAINERS,),
    description="Send a signal to the first process of each container.",
    epilog="""
pycontain kill -s HUP web
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Signal containers, print what they were called."""
    from pycontain.engine import life

    paths = Paths(options.root, options.run_root)
    return each(options.many("containers"), lambda text: life.kill(paths, text, options.number("signal")))
