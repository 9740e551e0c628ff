"""attach: a terminal to a container that runs in the background."""

from __future__ import annotations

from pycontain.cli.args import Flag, Options, Verb
from pycontain.cli.verbs import shared
from pycontain.engine.paths import Paths

ATTACH = Verb(
    "attach",
    "Connect to the input and output of a running container",
    (
        shared.DETACH_KEYS,
        Flag("--no-stdin", "Do not pass standard input on.", group=shared.TERMINAL),
        shared.SIG_PROXY,
    ),
    (shared.CONTAINER,),
    description="Connect this terminal to the container's command until it ends (the exit status is then the"
    " command's) or the detach keys are typed.",
    epilog="""
pycontain attach web
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Become the client of a container's monitor."""
    from pycontain.engine.attach import attach

    keys = options.one("detach-keys", bytes) or b""
    paths = Paths(options.root, options.run_root)
    attach(paths, options.text("container"), not options.flag("no-stdin"), keys, options.flag("sig-proxy"))
