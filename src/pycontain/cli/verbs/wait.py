"""wait: until containers have ended."""

from __future__ import annotations

from pycontain.cli.args import Options, Verb
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.each import each
from pycontain.engine.paths import Paths

WAIT = Verb(
    "wait",
    "Wait until containers have ended, print their exit statuses",
    (),
    (shared.CONTAINERS,),
    description="Wait for each container and print its exit status, one a line. The exit status of wait itself is 0.",
    epilog="""
pycontain wait job
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Wait for containers, print their exit statuses."""
    from pycontain.engine import life

    paths = Paths(options.root, options.run_root)
    return each(options.many("containers"), lambda text: str(life.wait(paths, text)))
