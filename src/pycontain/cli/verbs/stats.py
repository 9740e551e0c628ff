"""stats: what containers use."""

from __future__ import annotations

from pycontain.cli.args import Flag, Verb
from pycontain.cli.verbs import shared

STATS = Verb(
    "stats",
    "Show what containers use: CPU, memory, processes, input and output",
    (
        Flag("--no-stream", "Show it once and end, instead of again and again until Ctrl-C."),
        shared.FORMAT,
        shared.NO_TRUNC,
    ),
    (shared.SOME_CONTAINERS,),
    description="Show figures of the containers, or of all that run.",
    epilog="""
pycontain stats --no-stream
pycontain stats web db
""",
)
