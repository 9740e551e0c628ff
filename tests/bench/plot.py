"""Two pictures of one figure: how long the verbs take, and how many starts there are in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench.rates import CALLERS, Rate
from tests.bench.timing import Failed, Row

#: Names, colours of those that everybody has; others take what comes.
_COLOURS = {"cold": "#2b6cb0", "warm": "#63b3ed", "crun": "#dd6b20", "runc": "#718096"}
_LABELS = {"cold": "pycontain-oci", "warm": "pycontain-oci with a planner"}


def _bars(axes: Any, rows: list[Row]) -> None:
    names = list(dict.fromkeys(who for row in rows for who in row.columns))
    height = 0.8 / max(len(names), 1)
    for number, who in enumerate(names):
        places = [at + number * height for at in range(len(rows))]
        medians = [row.median(who) or 0.0 for row in rows]
        columns = [row.columns.get(who) for row in rows]
        spread: list[list[float]] = [[], []]
        for middle, column in zip(medians, columns, strict=True):
            low, high = column.middle if column and column.times and middle else (middle, middle)
            spread[0].append(middle - low)
            spread[1].append(high - middle)
        bars = axes.barh(places, medians, height, color=_COLOURS.get(who), label=_LABELS.get(who, who), xerr=spread,
                         error_kw={"linewidth": 0.7})  # fmt: skip
        axes.bar_label(bars, [f"{value:.1f}" if value else "" for value in medians], padding=3, fontsize=7)
    axes.set_yticks([at + 0.4 - height / 2 for at in range(len(rows))], [row.name for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds, median and middle half", fontsize=8)
    axes.legend(fontsize=7, loc="lower right")
    axes.set_title("a static true in all namespaces with a filter: each verb, whole process", fontsize=9)


def _lines(axes: Any, rate: Rate) -> None:
    for who, found in rate.found.items():
        at = [callers for callers in CALLERS if callers in found]
        axes.plot(at, [found[callers] for callers in at], marker="o", markersize=3, label=who)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(CALLERS), [str(callers) for callers in CALLERS])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("callers at once", fontsize=8)
    axes.set_ylabel("starts a second", fontsize=8)
    if rate.found:
        axes.legend(fontsize=7)


def draw(rows: list[Row], rate: Rate, path: Path) -> list[Path]:
    """path.svg and path.png. Raises Failed where there is no matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise Failed("matplotlib is not installed: pip install pycontain[bench]") from None
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["svg.hashsalt"] = "pycontain"
    from matplotlib import pyplot

    figure, (bars, lines) = pyplot.subplots(1, 2, figsize=(12, 6), width_ratios=(2, 1))
    _bars(bars, [row for row in rows if row.known()])
    _lines(lines, rate)
    figure.tight_layout()
    written = [path.with_suffix(".svg"), path.with_suffix(".png")]
    figure.savefig(written[0], metadata={"Date": None})
    figure.savefig(written[1], dpi=90)
    pyplot.close(figure)
    return written
