"""rename: another name for a container."""

from __future__ import annotations

from pycontain.cli import values
from pycontain.cli.args import Argument, Options, Verb
from pycontain.cli.verbs import shared
from pycontain.engine.paths import Paths

RENAME = Verb(
    "rename",
    "Give a container another name",
    (),
    (shared.CONTAINER, Argument("name", "The new name, which nobody has.", values.name)),
    epilog="""
pycontain rename web web-old
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Rename a container."""
    from pycontain.engine import owned, remove

    paths = Paths(options.root, options.run_root)
    owned.refuse(paths, options.text("container"), "rename")
    remove.rename(paths, options.text("container"), options.text("name"))
    return 0
