"""ps: list containers."""

from __future__ import annotations

from pycontain.cli import table, times
from pycontain.cli.args import Flag, Options, Verb
from pycontain.cli.values import Pair
from pycontain.cli.verbs import shared
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.listing import Row

#: engine.state has them; "damaged" is a container whose record cannot be read.
STATUSES = ("created", "starting", "running", "paused", "restarting", "exited", "dead", "damaged")
_FILTERS = ("id", "name", "status", "label")


def filter(value: str) -> Pair:
    """``name=web``, ``id=4f5e``, ``status=running``, ``label=KEY[=VALUE]``."""
    key, equals, content = value.partition("=")
    if not equals or not content or key not in _FILTERS:
        raise UsageError(f"{value!r} is not a filter: give KEY=VALUE with one of {', '.join(_FILTERS)}")
    if key == "status" and content not in STATUSES:
        raise UsageError(f"{content!r} is not a status: give one of {', '.join(STATUSES)}")
    return Pair(key, content)


PS = Verb(
    "ps",
    "List containers",
    (
        Flag("-a, --all", "Also those that do not run."),
        Flag(
            "-f, --filter",
            "Only those that match: name=PART, id=BEGINNING, status=STATUS, label=KEY[=VALUE]."
            " Several of one key: any of them; of different keys: all of them.",
            filter,
            "KEY=VALUE",
            repeat=True,
        ),
        shared.FORMAT,
        shared.NO_TRUNC,
        shared.QUIET,
    ),
    description="List the containers that run, the newest first. --format json prints one JSON array.",
    epilog="""
pycontain ps -a --filter status=exited
pycontain rm $(pycontain ps -aq --filter label=ci)
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """List containers."""
    from pycontain.engine import listing

    filters: dict[str, list[str]] = {}
    for item in options.all("filter", Pair):
        filters.setdefault(item.key, []).append(item.value)
    rows = listing.rows(Paths(options.root, options.run_root), options.flag("all"), filters)
    long = options.flag("no-trunc")
    if options.flag("quiet"):
        table.show("".join(f"{_short(row.id, long)}\n" for row in rows))
        return 0
    table.show_list(options.text("format"), _HEADERS, (_line(row, long) for row in rows), map(_object, rows))
    return 0


_HEADERS = ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES")


def _short(text: str, long: bool) -> str:
    return text if long else text[:12]


def _status(row: Row) -> str:
    """As docker ps says it: "Up 3 minutes (Paused)", "Exited (0) 2 hours ago"."""
    span = table.human_duration(row.since())
    if row.status in ("running", "paused"):
        return f"Up {span}{' (Paused)' if row.status == 'paused' else ''}"
    if row.status == "exited" and row.state.exit:
        return f"Exited ({row.state.exit.code}) {span} ago"
    return row.status.capitalize()


def _age(created: str) -> str:
    return table.human_duration(max(0.0, (times.now() - times.moment(created)) / 1e9)) + " ago"


def _line(row: Row, long: bool) -> list[str]:
    if row.record is None:
        return [_short(row.id, long), "", "", "", _status(row), "", ""]
    record = row.record
    command = " ".join(record.command)
    return [
        _short(row.id, long),
        record.image,
        command if long else table.shorten(command, 30),
        _age(record.created),
        _status(row),
        row.ports,
        record.name,
    ]


def _object(row: Row) -> dict[str, object]:
    result: dict[str, object] = {"Id": row.id, "State": row.status, "Status": _status(row), "Pid": row.state.pid}
    result["ExitCode"] = row.state.exit.code if row.state.exit else None
    if row.record is not None:
        record = row.record
        result.update(
            Name=record.name,
            Image=record.image,
            ImageID=record.image_id,
            Command=record.command,
            Created=record.created,
            Labels=record.labels,
            Ports=record.ports,
            Network=",".join([record.network, *(one["network"] for one in record.networks)]),
        )
    return result
