"""inspect: all that is known of containers."""

from __future__ import annotations

from pycontain.cli.args import Flag, Options, Verb, text
from pycontain.cli.verbs import shared
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import Error, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def format(value: str) -> str:
    """``json``; Docker's Go templates are refused with what to do instead."""
    if value == "json":
        return text(value)
    if "{{" in value:
        raise UsageError(f"{value!r} is a Go template, which is not supported: pick from the JSON with jq")
    raise UsageError(f"{value!r} is not json, the only format there is")


#: For ``image inspect`` and ``network inspect`` as well.
FORMAT = Flag("-f, --format", "json, the only format there is; pick from it with jq.", format, "json", default="json")

INSPECT = Verb(
    "inspect",
    "Show all that is known of containers, as JSON",
    (FORMAT,),
    (shared.CONTAINERS,),
    description="Print one JSON array with an object for each container: what it was made from, its state,"
    " process, addresses, mounts and limits, and where its bundle lies.",
    epilog="""
pycontain inspect web | jq '.[0].State'
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Print one array of all containers that were named."""
    from pycontain.engine import access, inspect

    paths = Paths(options.root, options.run_root)
    access.check(paths)
    return show_all(options.many("containers"), lambda text: inspect.inspect(paths, text))


def show_all(names: list[str], look: Callable[[str], dict[str, Any]]) -> int:
    """Print what ``look`` gives for each name, as one JSON array; 1 where one of several cannot be looked at.

    The array is printed also then, as Docker does it. Raises Error where it is the only one.
    """
    import sys

    from pycontain.cli import table

    found, problems = [], []
    for name in names:
        try:
            found.append(look(name))
        except Error as error:
            if len(names) == 1:
                raise
            problems.append(error)
    table.show(table.json_pretty(found))
    sys.stdout.flush()
    for problem in problems:
        print(f"pycontain: {table.printable(problem.message)}", file=sys.stderr)
    return 1 if problems else 0
