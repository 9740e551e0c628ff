"""stats: what containers use."""

from __future__ import annotations

from pycontain.cli import table
from pycontain.cli.args import Flag, Options, Verb
from pycontain.cli.verbs import shared
from pycontain.engine.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain.engine.beancounters import Beancounters
    from pycontain.engine.stats import Row, Watch

STATS = Verb(
    "stats",
    "Show what containers use: CPU, memory, processes, input and output",
    (
        Flag("--beancounters", "Show one table of all resources, as /proc/user_beancounters had it, once."),
        Flag("--no-stream", "Show it once and end, instead of again and again until Ctrl-C."),
        shared.FORMAT,
        shared.NO_TRUNC,
    ),
    (shared.SOME_CONTAINERS,),
    description="Show figures of the containers, or of all that run.",
    epilog="""
pycontain stats --no-stream
pycontain stats web db
pycontain stats --beancounters web
""",
)


# --- what it does ------------------------------------------------------------------------------------------------

HEADERS = ("CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS")
#: Seconds between two looks; before the first that is shown, since processor time is a difference.
_INTERVAL, _FIRST = 1.0, 0.5
#: Cursor to the first place; erase to the end of the line, of the screen (console_codes(4)).
_HOME, _LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_UNKNOWN = "--"


def main(options: Options) -> int:
    """Show the figures, until Ctrl-C."""
    from pycontain.engine import access, stats

    paths = Paths(options.root, options.run_root)
    access.check(paths)
    if options.flag("beancounters"):
        return _beancounters(options, paths)
    watch = stats.Watch(paths, options.many("containers"))
    try:
        _show(options, watch)
    except KeyboardInterrupt:
        pass  # what ends it
    return 0


def _show(options: Options, watch: Watch) -> None:
    import sys
    import time

    screen = options.text("format") == "table" and not options.flag("no-stream") and sys.stdout.isatty()
    told: list[str] = []
    watch.look()
    due = time.monotonic() + _FIRST
    while True:
        time.sleep(max(0.0, due - time.monotonic()))
        text = _text(options, watch.look())
        if screen:
            text += "".join(f"{_UNKNOWN} {line}\n" for line in watch.reasons)
            table.show(_frame(text))
        else:
            table.show(text)
            _tell(watch.reasons, told)
        sys.stdout.flush()
        if options.flag("no-stream"):
            return
        due = max(due + _INTERVAL, time.monotonic())


def _frame(text: str) -> str:
    """``text`` over what the screen shows, as many lines as there is room for."""
    import os
    import sys

    height = os.get_terminal_size(sys.stdout.fileno()).lines
    lines = text.splitlines()[: height - 1 if height > 1 else None]
    return _HOME + "".join(f"{line}{_LINE}\n" for line in lines) + _BELOW


def _tell(reasons: list[str], told: list[str]) -> None:
    """Each reason once, on standard error: the table is for somebody who reads columns."""
    import sys

    sys.stdout.flush()
    for line in reasons:
        if line not in told:
            told.append(line)
            print(f"pycontain: {_UNKNOWN} in {line}", file=sys.stderr)


def _text(options: Options, rows: list[Row]) -> str:
    if options.text("format") == "json":
        return table.json_lines(row.record() for row in rows)
    return table.columns(HEADERS, [_cells(row, options.flag("no-trunc")) for row in rows])


def _cells(row: Row, long: bool) -> list[str]:
    return [
        row.id if long else row.id[:12],
        row.name,
        _percent(row.cpu),
        _pair(row.memory, row.limit, table.binary_size),
        _percent(row.percent),
        _pair(row.received, row.sent, table.human_size),
        _pair(row.read, row.written, table.human_size),
        _UNKNOWN if row.pids is None else str(row.pids),
    ]


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}%"


def _pair(one: int | None, other: int | None, form: Callable[[int], str]) -> str:
    return _UNKNOWN if one is None or other is None else f"{form(one)} / {form(other)}"


# --- beancounters -------------------------------------------------------------------------------------------------

_COLUMNS = ("held", "maxheld", "barrier", "limit", "failcnt")
#: As the kernel of OpenVZ wrote it.
_ROW = "{:>10}  {:<16} {:>20} {:>20} {:>20} {:>20} {:>20}\n"


def _beancounters(options: Options, paths: Paths) -> int:
    from pycontain.engine import beancounters

    found = beancounters.read(paths, options.many("containers"))
    if options.text("format") == "json":
        table.show(table.json_lines(one.record() for one in found))
    else:
        table.show(_ROW.format("uid", "resource", *_COLUMNS) + "".join(_counters(one) for one in found))
    for one in found:
        if one.reason:
            _tell_of(one)
    return 0


def _counters(one: Beancounters) -> str:
    """The rows of a container; its name stands before the first."""
    lines: list[str] = []
    for row in one.rows:
        cells = ["-" if value is None else str(value) for value in (getattr(row, name) for name in _COLUMNS)]
        lines.append(_ROW.format("" if lines else f"{one.name}:", row.resource, *cells))
    return "".join(lines)


def _tell_of(one: Beancounters) -> None:
    import sys

    sys.stdout.flush()
    print(f"pycontain: {table.printable(one.name)}: {one.reason}", file=sys.stderr)
