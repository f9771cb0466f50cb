"""The report as one HTML page that needs nothing else: figures, and plots as inline SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import accumulate
from typing import Final

from firsthop.load import report
from firsthop.load.measured import GAP_MS, STAGES, Instant, Measured, gap_percentile, percentile
from firsthop.load.svg import Plot, Series

#: Stages that have a curve of their own, and the class of it.
_CURVES: Final = {"answer": "c1", "ice": "c2", "connected": "c3", "channel": "c4", "audio": "c5"}
#: Where the time between packets is all told, at least.
_LEAST_GAP_MS: Final = 60.0
#: How wide the bar of those that are longer is, of the plot.
_LONGER: Final = 0.03
_DELAY_BINS: Final = 40
#: What the plot of a course is drawn with, at most.
_MAX_INSTANTS: Final = 500

_STYLE: Final = """
:root { --ground: #eef2ef; --surface: #fbfdfb; --ink: #10211c; --quiet: #4d5e57; --rule: #cdd8d2;
  --c1: #7a5195; --c2: #2f6fb0; --c3: #0b6b58; --c4: #8f4d06; --c5: #b8306a; --alarm: #a8231c;
  color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif;
  font-variant-numeric: tabular-nums }
@media (prefers-color-scheme: dark) { :root { --ground: #0d1412; --surface: #141d1a; --ink: #e7efeb;
  --quiet: #a0b1a9; --rule: #2a3833; --c1: #c9a2e4; --c2: #84b9f0; --c3: #66d3b8; --c4: #eeb264;
  --c5: #f48fb6; --alarm: #ff9389 } }
* { box-sizing: border-box }
body { max-width: 1240px; margin: 0 auto; padding: clamp(16px, 2.4vw, 28px);
  background: var(--ground); color: var(--ink) }
h1 { margin: 0; font-size: 1.5rem } h2 { margin: 0 0 .5rem; font-size: 1rem }
p { margin: .25rem 0 } .quiet { color: var(--quiet); overflow-wrap: anywhere }
.alarm { color: var(--alarm) }
main { display: grid; gap: 16px; margin-top: 20px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)) }
section { background: var(--surface); border: 1px solid var(--rule); border-radius: 12px;
  padding: 16px; min-width: 0 }
.wide { grid-column: 1 / -1; overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { padding: .25rem .75rem .25rem 0; text-align: right; white-space: nowrap }
th { color: var(--quiet); font-weight: 400 } th:first-child, td:first-child { text-align: left }
section p:first-of-type { margin-top: .75rem }
td.words { text-align: left; white-space: normal; color: var(--quiet); width: 60% }
tbody tr { border-top: 1px solid var(--rule) }
main + p { margin-top: 16px }
@media (max-width: 560px) { table { font-size: .8125rem } th, td { padding-right: .5rem }
  td:first-child { white-space: normal } }
svg { display: block; width: 100%; height: auto }
.grid { stroke: var(--rule); fill: none } .tick { fill: var(--quiet); font-size: 12px }
.label { fill: var(--quiet); font-size: 12px }
.line { fill: none; stroke-width: 2; stroke-linejoin: round } .area { fill-opacity: .18 }
ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: .5rem 0 0; padding: 0;
  list-style: none; color: var(--quiet); font-size: .875rem }
li::before { content: ""; display: inline-block; width: .75rem; height: .75rem; margin-right: .4rem;
  border-radius: 3px; background: currentColor }
li.c1::before { color: var(--c1) } li.c2::before { color: var(--c2) }
li.c3::before { color: var(--c3) } li.c4::before { color: var(--c4) }
li.c5::before { color: var(--c5) } li.alarm { color: inherit }
li.alarm::before { color: var(--alarm) }
.line.c1 { stroke: var(--c1) } .line.c2 { stroke: var(--c2) } .line.c3 { stroke: var(--c3) }
.line.c4 { stroke: var(--c4) } .line.c5 { stroke: var(--c5) } .line.alarm { stroke: var(--alarm) }
.area.c2 { fill: var(--c2) } .area.c3 { fill: var(--c3) } .area.alarm { fill: var(--alarm) }
.bar.c2 { fill: var(--c2) } .bar.c3 { fill: var(--c3) } .bar.alarm { fill: var(--alarm) }
"""


def page(measured: Measured, about: Sequence[str] = ()) -> str:
    """Return the page.

    Args:
        measured: What was found.
        about: Lines about where and how, for the foot of the page.
    """
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    alarm = ' class="alarm"' if measured.failed else ""
    plots = "".join(_plots(measured))
    failed = _causes("Failed", "calls", measured.failures, measured.examples)
    unmoved = _causes("Not moved", "times", measured.moves_failed, measured.move_examples)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>firsthop load: {escape(measured.url)}</title>
<style>{_STYLE}</style>
<body>
<h1{alarm}>{escape(report.headline(measured))}</h1>
<p class="quiet">{escape(measured.url)} ({escape(measured.door)}) · {when}</p>
<main>
{failed}{unmoved}{_figures(measured)}{plots}
</main>
{"".join(f'<p class="quiet">{escape(line)}</p>' for line in about)}
</body>
</html>
"""


def _causes(heading: str, unit: str, counts: Mapping[str, int], examples: Mapping[str, str]) -> str:
    if not counts:
        return ""
    rows = "".join(
        f'<tr><td class="alarm">{escape(cause)}</td><td>{count:,}</td>'
        f'<td class="words">{escape(examples.get(cause, ""))}</td></tr>'
        for cause, count in counts.items()
    )
    head = f"<tr><th>because of</th><th>{escape(unit)}</th><th></th></tr>"
    return _section(
        heading, f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>", wide=True
    )


def _figures(measured: Measured) -> str:
    keys = ("p50", "p95", "p99", "max")
    rows = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td>{escape(report.shown(found[key]))}</td>" for key in keys)
        + f"<td>{escape(note)}</td></tr>"
        for name, found, note in report.rows_of(measured)
    )
    head = "<tr><th>ms</th>" + "".join(f"<th>{key}</th>" for key in keys) + "<th>of</th></tr>"
    table = f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>" if rows else ""
    lines = "".join(f"<p>{escape(line)}</p>" for line in report.lines(measured))
    doubts = "".join(
        f'<p class="alarm">doubtful: {escape(doubt)}</p>' for doubt in measured.own.doubts()
    )
    return _section("Figures", table + lines + doubts, wide=True)


def _plots(measured: Measured) -> Iterator[str]:
    if len(measured.instants) > 1:
        yield _plotted("Calls", _course(measured.instants))
        if any(instant.received or instant.lost for instant in measured.instants):
            yield _plotted("Packets lost", _losses(measured.instants))
        if any(instant.longest_gap_ms for instant in measured.instants):
            yield _plotted("Longest silence between packets", _silences(measured.instants))
    curves = [
        Series(STAGES[stage], style, _cumulative(measured.stages_ms[stage]))
        for stage, style in _CURVES.items()
        if measured.stages_ms.get(stage)
    ]
    if curves:
        # The slowest one in a hundred would press all others to the left.
        far = max(
            percentile(measured.stages_ms[stage], 99)
            for stage in _CURVES
            if measured.stages_ms.get(stage)
        )
        yield _plotted(
            "Set-up",
            Plot("ms", "calls, %", curves, x_range=(0.0, max(far * 1.1, 1.0)), y_top=100.0),
        )
    if sum(measured.gaps):
        yield _plotted("Time between packets", _gaps(measured.gaps))
    if measured.delays_ms:
        yield _plotted("Mouth to ear", _delays(measured.delays_ms))


def _plotted(heading: str, plot: Plot) -> str:
    legend = "".join(
        f'<li class="{escape(one.style, quote=True)}">{escape(one.name)}</li>'
        for one in plot.series
        if one.name
    )
    return _section(heading, plot.render(heading) + (f"<ul>{legend}</ul>" if legend else ""))


def _section(heading: str, body: str, *, wide: bool = False) -> str:
    kind = ' class="wide"' if wide else ""
    return f"<section{kind}><h2>{escape(heading)}</h2>{body}</section>\n"


def _course(instants: Sequence[Instant]) -> Plot:
    moved = list(accumulate(one.moved for one in instants))
    stride = -(-len(instants) // _MAX_INSTANTS)
    instants, moved = instants[::stride], moved[::stride]
    points = [(one.at_s, float(count)) for one, count in zip(instants, moved, strict=True)]
    return Plot(
        "seconds",
        "calls",
        [
            Series("connected", "c3", [(one.at_s, one.connected) for one in instants], "area"),
            Series("on their way", "c4", [(one.at_s, one.connecting) for one in instants]),
            Series("failed so far", "alarm", [(one.at_s, one.failed) for one in instants]),
            *([Series("moved so far", "c2", points)] if moved[-1] else []),
        ],
        x_range=(0.0, instants[-1].at_s),
    )


def _losses(instants: Sequence[Instant]) -> Plot:
    """In percent of each second's packets."""
    stride = -(-len(instants) // _MAX_INSTANTS)
    points = []
    for start in range(0, len(instants), stride):
        piece = instants[start : start + stride]
        lost, received = sum(one.lost for one in piece), sum(one.received for one in piece)
        points.append((piece[0].at_s, 100 * lost / (lost + received) if lost else 0.0))
    most = max(y for _, y in points)
    return Plot(
        "seconds",
        "lost, %",
        [Series("", "alarm", points, "area")],
        x_range=(0.0, instants[-1].at_s),
        y_top=max(most, 1.0),
    )


def _silences(instants: Sequence[Instant]) -> Plot:
    stride = -(-len(instants) // _MAX_INSTANTS)
    points = [
        (instants[start].at_s, max(one.longest_gap_ms for one in instants[start : start + stride]))
        for start in range(0, len(instants), stride)
    ]
    return Plot(
        "seconds",
        "ms",
        [Series("", "c2", points, "area")],
        x_range=(0.0, instants[-1].at_s),
        y_top=max(max(y for _, y in points), _LEAST_GAP_MS),
    )


def _cumulative(values: Sequence[float]) -> list[tuple[float, float]]:
    """Which part of the calls had come so far, at up to 200 points."""
    ordered = sorted(values)
    stride = max(1, len(ordered) // 200)
    places = [*range(0, len(ordered) - 1, stride), len(ordered) - 1]
    first = (ordered[0], 0.0)
    return [first, *((ordered[place], 100 * (place + 1) / len(ordered)) for place in places)]


def _gaps(gaps: Sequence[int]) -> Plot:
    """By the millisecond; how many is logarithmic, for the rare ones matter."""
    per_ms = round(1 / GAP_MS)
    counts = [sum(gaps[at : at + per_ms]) for at in range(0, len(gaps), per_ms)]
    usual = gap_percentile(gaps, 99.9) or 0.0
    edge = round(min(max(_LEAST_GAP_MS, usual * 1.25), len(counts) - 1))
    series = [Series("", "c2", list(enumerate(map(float, counts[:edge]))), "bars")]
    if longer := sum(counts[edge:]):
        series.append(
            Series(f"longer: {longer:,}", "alarm", [(edge, longer)], "bars", bar=edge * _LONGER)
        )
    return Plot("ms", "gaps", series, x_range=(0.0, edge * (1 + _LONGER)), log_y=True)


def _delays(delays_ms: Sequence[float]) -> Plot:
    low, high = min(delays_ms), max(delays_ms)
    width = max((high - low) / _DELAY_BINS, 1.0)
    counts = [0] * (_DELAY_BINS + 1)
    for delay in delays_ms:
        counts[min(int((delay - low) / width), _DELAY_BINS)] += 1
    points = [(low + place * width, float(count)) for place, count in enumerate(counts) if count]
    return Plot(
        "ms",
        "marks",
        [Series("", "c3", points, "bars", bar=width)],
        x_range=(max(low - 5 * width, 0.0), high + 5 * width),
    )
