"""docs/benchmarks.md: page.md with the tables in it."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from tests.bench.crowded import Crowded, median
from tests.bench.memory import Beside
from tests.bench.operations import Operation
from tests.bench.peers import COLD, WARM
from tests.bench.rates import CALLERS, Rate
from tests.bench.timing import Column, Row

TEMPLATE = Path(__file__).with_name("page.md")
_NAMES = {COLD: "pycontain-oci", WARM: "with a planner"}
#: (row, whose, at most times, of whom)
TARGETS = (
    ("run", COLD, 1.5, "crun"),
    ("run", COLD, 0.4, "runc"),
    ("run", WARM, 0.5, "crun"),
    ("create + start + delete", COLD, 1.0, "crun"),
    ("create + start + delete", WARM, 0.4, "crun"),
    ("exec", COLD, 0.7, "runc"),
    ("exec", WARM, 0.6, "crun"),
    ("state", COLD, 0.4, "crun"),
    ("start", COLD, 0.4, "crun"),
    ("kill", COLD, 0.4, "crun"),
    ("delete", COLD, 0.4, "crun"),
)
#: The whole command beside podman with crun.
PODMAN = 0.15


class Results:
    """What has been measured; a part that is missing says why in ``trouble``."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.rounds = 0
        self.verbs: list[Row] = []
        self.none, self.network = Row("without a network"), Row("with a network")
        self.names: dict[tuple[str, bool], str] = {}
        self.rate = Rate()
        self.beside: dict[str, Beside] = {}
        self.crowded: dict[str, Crowded] = {}
        self.operations: list[Operation] = []
        self.trouble: dict[str, str] = {}
        self.began = time.monotonic()
        self.load = os.getloadavg()[0]


def _table(heads: list[str], lines: list[list[str]]) -> str:
    ruler = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, ruler, *lines])


def _spread(column: Column | None) -> str:
    if column is None or column.trouble or not column.times:
        return "–"
    low, high = column.middle
    return f"{column.median:.1f} ({low:.1f} – {high:.1f})"


def machine() -> str:
    model = memory = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            memory = f"{int(line.split()[1]) / 1048576:.0f} GiB"
    return (
        f"{platform.machine()}, {os.cpu_count()} processors ({model or 'of an unknown kind'}), {memory}, "
        f"Linux {platform.release().partition('-')[0]}, cgroup v2 alone"
    )


def _verbs(results: Results) -> str:
    whos = list(dict.fromkeys(who for row in results.verbs for who in row.columns))
    heads = ["ms", *[_NAMES.get(who, who) for who in whos]]
    return _table(heads, [[row.name, *[_spread(row.columns.get(who)) for who in whos]] for row in results.verbs])


def targets(results: Results) -> list[tuple[str, float, float]]:
    """(what, what was wanted, what was seen), those that could be measured."""
    rows = {row.name: row for row in results.verbs}
    found = []
    for name, who, wanted, other in TARGETS:
        ours, theirs = (rows[name].median(one) if name in rows else None for one in (who, other))
        if ours and theirs:
            found.append((f"`{name}`, {'cold' if who == COLD else 'warm'}, to {other}", wanted, ours / theirs))
    for row in (results.none, results.network):
        theirs = row.median("podman with crun")
        for who in (f"pycontain {COLD}", f"pycontain {WARM}"):
            if theirs and (ours := row.median(who)):
                found.append(
                    (f"`{who.replace(' ', ' run --rm`, ')}, {row.name}, to podman with crun", PODMAN, ours / theirs)
                )
    return found


def _targets(results: Results) -> str:
    lines = [
        [what, f"{wanted:.2f}", f"{seen:.2f}", "yes" if seen <= wanted else "**no**"]
        for what, wanted, seen in targets(results)
    ]
    return _table(["ratio", "at most", "seen", "met"], lines)


def _programs(results: Results) -> str:
    base = results.none.median(f"pycontain {COLD}")
    lines = []
    for row, network in ((results.none, False), (results.network, True)):
        for who, column in row.columns.items():
            ratio = f"{column.median / base:.2f}" if base and column.times and not column.trouble else "–"
            name = results.names.get((who, network), who)
            lines.append([name, _spread(column), ratio])
    return _table(["whole command, ms", "median (middle half)", "ratio"], lines)


def _rates(results: Results) -> str:
    lines = [
        [who, *[f"{found[callers]:.0f}" if callers in found else "–" for callers in CALLERS]]
        for who, found in results.rate.found.items()
    ]
    return _table(["starts a second, callers:", *[str(callers) for callers in CALLERS]], lines)


def _memory(results: Results) -> str:
    lines = [
        [who, f"{one.count:.1f}", ", ".join(one.names) or "none", f"{one.private:.0f}", f"{one.resident:.0f}"]
        for who, one in results.beside.items()
    ]
    return _table(["beside an idle guest", "processes", "which", "private, KiB", "resident, KiB"], lines)


def _crowded(results: Results) -> str:
    lines = []
    for who, crowded in results.crowded.items():
        for level in crowded.levels:
            lines.append([f"{level.guests}, {who}", f"{median(level.stays):.1f}", f"{median(level.ends):.1f}"])
    text = [_table(["guests that run", "`run -d`, ms", "`run --rm … true`, ms"], lines)]
    for who, crowded in results.crowded.items():
        if crowded.guests:
            more = f"; stopped by: {crowded.trouble}" if crowded.trouble else ""
            memory = f", each took {crowded.memory:.0f} KiB of the machine's memory" if crowded.memory else ""
            text.append(f"{crowded.guests} guests {who}{memory}; all gone in {crowded.gone:.1f} s{more}.")
        elif crowded.trouble:
            text.append(f"{who}: {crowded.trouble}")
    return "\n\n".join(text)


def _operations(results: Results) -> str:
    lines = [[one.words.strip(), f"{one.began:.0f}", f"{one.took:.0f}"] for one in results.operations]
    return _table(["side, operation", "began, µs", "took, µs"], lines)


def _left_out(results: Results) -> str:
    reasons = dict(results.trouble)
    for row in [*results.verbs, results.none, results.network]:
        for who, column in row.columns.items():
            if column.trouble:
                reasons.setdefault(f"{who}, {row.name}", column.trouble)
    for who, reason in results.rate.trouble.items():
        reasons.setdefault(f"{who}, rate", reason)
    return "\n".join(f"- {what}: {why}" for what, why in reasons.items()) or "Nothing."


def text(results: Results, pictures: bool) -> str:
    """The page."""
    minutes = (time.monotonic() - results.began) / 60
    values = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "load": f"{results.load:.1f}",
        "rounds": str(results.rounds),
        "minutes": f"{minutes:.0f}",
        "versions": "; ".join(f"{name}: {text}" for name, text in results.versions.items()),
        "plot": "![Start latency and starts a second](benchmarks.svg)" if pictures else "(No picture: no matplotlib.)",
        "targets": _targets(results),
        "verbs": _verbs(results),
        "programs": _programs(results),
        "rates": _rates(results),
        "memory": _memory(results),
        "crowd": _crowded(results),
        "operations": _operations(results),
        "left-out": _left_out(results),
    }
    page = TEMPLATE.read_text()
    for name, value in values.items():
        page = page.replace("{{" + name + "}}", value)
    return page
