"""Charts as SVG, made here: no script is needed to see them, and they print.

Colours and lines are the style sheet's, by class, so that light and dark both work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from builder.web.fleet import natural

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 480, 150, 44, 18, 8
MOST_BARS = 1000
ROW = 22


@dataclass(frozen=True, slots=True)
class Line:
    """A name, and a value (or none) for each moment."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that took from `start_s` to `end_s` in a row; `kind` is a class of the style."""

    row: str
    start_s: float
    end_s: float
    kind: str
    title: str
    href: str


def nice(value: float) -> float:
    """The next of 1, 2, 5, 10 ... that is not below."""
    scale = 1.0
    while scale < value:
        for step in (2, 5, 10):
            if scale * step >= value:
                return scale * step
        scale *= 10
    while scale / 10 >= value > 0:
        scale /= 10
    return scale


def line_chart(title: str, times: Sequence[float], lines: Sequence[Line], unit: str = "") -> Markup:
    """Lines over the time that has passed; the newest is at the right."""
    values = [value for line in lines for value in line.values if value is not None]
    if len(times) < 2 or not values:
        return Markup('<p class="quiet">{}: no samples yet</p>').format(title)
    top = nice(max(values)) if max(values) > 0 else 1.0
    span = times[-1] - times[0] or 1.0
    parts = [_frame(title), _scale(top, unit, span)]
    for number, line in enumerate(lines):
        points = _points(times, line.values, top, span)
        parts += [f'<polyline class="line l{number}" points="{run}"/>' for run in points]
    legend = "".join(
        f'<li class="k{number}">{escape(line.name)}: {_latest(line.values, unit)}</li>'
        for number, line in enumerate(lines)
    )
    svg = "".join(parts)
    return Markup(  # noqa: S704 - numbers of ours, and names that are escaped
        f"<figure><figcaption>{escape(title)}</figcaption>{svg}</svg>"
        f'<ul class="legend">{legend}</ul></figure>'
    )


def _frame(title: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'


def _scale(top: float, unit: str, span: float) -> str:
    found = []
    for share in (0.0, 0.5, 1.0):
        y = HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
        label = shown(top * share, unit)
        found.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        found.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    minutes = f"{span / 60:.0f} min" if span >= 90 else f"{span:.0f} s"
    found.append(f'<text x="{LEFT}" y="{HEIGHT - 3}">{minutes} ago</text>')
    found.append(f'<text x="{WIDTH}" y="{HEIGHT - 3}" text-anchor="end">now</text>')
    return "".join(found)


def shown(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.0%}"
    for least, scale, sign in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= least:
            return f"{value / scale:.3g}{sign}{unit}"
    return f"{value:,.0f}{unit}" if value >= 1000 else f"{value:.3g}{unit}"


def _latest(values: Sequence[float | None], unit: str) -> str:
    known = [value for value in values if value is not None]
    return shown(known[-1], unit) if known else "-"


def _points(
    times: Sequence[float], values: Sequence[float | None], top: float, span: float
) -> list[str]:
    """Runs without gaps."""
    runs: list[list[str]] = [[]]
    for at, value in zip(times, values, strict=True):
        if value is None:
            runs.append([])
            continue
        x = LEFT + (at - times[0]) / span * (WIDTH - LEFT)
        y = HEIGHT - BOTTOM - min(value / top, 1.0) * (HEIGHT - BOTTOM - TOP)
        runs[-1].append(f"{x:.1f},{y:.1f}")
    return [" ".join(run * 2 if len(run) == 1 else run) for run in runs if run]


def gantt(bars: Sequence[Bar]) -> Markup:
    """Rows of bars over their common time; each is a link."""
    if not bars:
        return Markup("")
    bars = bars[:MOST_BARS]
    start = min(bar.start_s for bar in bars)
    span = max(max(bar.end_s for bar in bars) - start, 0.001)
    names = sorted({bar.row for bar in bars}, key=natural)
    rows = {row: number for number, row in enumerate(names)}
    width, left = 960, 130
    height = len(rows) * ROW + BOTTOM
    parts = [f'<svg class="gantt" viewBox="0 0 {width} {height}" role="img" aria-label="timeline">']
    for row, number in rows.items():
        y = number * ROW + 15
        parts.append(f'<text x="0" y="{y}">{escape(row[:18])}</text>')
    for bar in bars:
        x = left + (bar.start_s - start) / span * (width - left)
        wide = max((bar.end_s - bar.start_s) / span * (width - left), 1.5)
        parts.append(
            f'<a href="{escape(bar.href)}"><rect class="bar {escape(bar.kind)}" x="{x:.1f}" '
            f'y="{rows[bar.row] * ROW + 3}" width="{wide:.1f}" height="{ROW - 6}">'
            f"<title>{escape(bar.title)}</title></rect></a>"
        )
    parts.append(f'<text x="{left}" y="{height - 4}">0 s</text>')
    parts.append(f'<text x="{width}" y="{height - 4}" text-anchor="end">{span:.3g} s</text></svg>')
    return Markup("".join(parts))  # noqa: S704 - everything of clients is escaped above
