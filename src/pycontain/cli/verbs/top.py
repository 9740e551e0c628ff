"""top: the processes of a container."""

from __future__ import annotations

from pycontain.cli.args import Options, Verb
from pycontain.cli.verbs import shared
from pycontain.engine.paths import Paths

TOP = Verb(
    "top",
    "List the processes of a container",
    (shared.FORMAT,),
    (shared.CONTAINER,),
    description="List the container's processes with the host's PIDs and users.",
    epilog="""
pycontain top web
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """List the processes."""
    import time

    from pycontain.cli import table
    from pycontain.engine import access, top

    paths = Paths(options.root, options.run_root)
    access.check(paths)
    found, now = top.rows(paths, options.text("container")), time.time()
    table.show_list(
        options.text("format"), top.HEADERS, [row.cells(now) for row in found], [row.record() for row in found]
    )
    return 0
