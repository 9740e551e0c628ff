"""logs: what a container has written."""

from __future__ import annotations

from pycontain.cli.args import Flag, Options, Verb, is_number
from pycontain.cli.times import moment
from pycontain.cli.verbs import shared
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import UsageError


def tail(value: str) -> int:
    """A number of lines; -1 for "all"."""
    if value == "all":
        return -1
    if not is_number(value):
        raise UsageError(f"{value!r} is not a number of lines: give a number or all")
    return int(value)


LOGS = Verb(
    "logs",
    "Show what a container has written",
    (
        Flag("-f, --follow", "Go on with what it writes, until it ends."),
        Flag("-n, --tail", "Only the last lines.", tail, "NUMBER", default="all"),
        Flag("--since", "Only what was written since then: 10m, 2026-01-02T15:04:05Z or a Unix time.", moment, "TIME"),
        Flag("--until", "Only what was written before then.", moment, "TIME"),
        Flag("-t, --timestamps", "Begin each line with the time at which it was written (RFC 3339, UTC)."),
    ),
    (shared.CONTAINER,),
    description="Show the container's standard output and standard error, each on the stream of that name."
    " A container with a terminal has one stream, standard output.",
    epilog="""
pycontain logs -f --tail 20 web
pycontain logs --since 1h -t web
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Write the log to standard output and standard error."""
    from pycontain.engine import access, logs

    paths = Paths(options.root, options.run_root)
    access.check(paths)
    wanted = logs.Wanted(
        since=options.number("since") if options.has("since") else None,
        until=options.number("until") if options.has("until") else None,
        tail=options.number("tail"),
        timestamps=options.flag("timestamps"),
    )
    logs.show(paths, options.text("container"), wanted, options.flag("follow"))
    return 0
