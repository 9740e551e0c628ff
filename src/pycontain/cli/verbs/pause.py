"""pause and unpause: the cgroup freezer."""

from __future__ import annotations

from pycontain.cli.args import Options, Verb
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.each import each
from pycontain.engine.paths import Paths

PAUSE = Verb(
    "pause",
    "Freeze all processes of containers",
    (),
    (shared.CONTAINERS,),
    description="Freeze each container: its processes keep their memory and get no CPU time until unpause.",
    epilog="""
pycontain pause web
""",
)

UNPAUSE = Verb(
    "unpause",
    "Let frozen containers go on",
    (),
    (shared.CONTAINERS,),
    handler="unpause",
    epilog="""
pycontain unpause web
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def _freeze(options: Options, frozen: bool) -> int:
    from pycontain.engine import life

    paths = Paths(options.root, options.run_root)
    return each(options.many("containers"), lambda text: life.pause(paths, text, frozen))


def main(options: Options) -> int:
    """Freeze containers."""
    return _freeze(options, True)


def unpause(options: Options) -> int:
    """Thaw containers."""
    return _freeze(options, False)
