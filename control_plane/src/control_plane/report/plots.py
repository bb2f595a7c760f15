"""Plots as SVG text: readable on white and on dark, on paper, and by a screen reader."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from control_plane.report.axes import Scale, plain, round_ticks, time_ticks

WIDTH = 720  # of the view box; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 22  # margins for the axes' words
HEIGHT = 170
ROW_HEIGHT, NAME_WIDTH = 34, 190  # of a line of `intervals`
NAME_CHARS_MAX = 24
HEADROOM = 1.08  # above the highest value, for the words of a limit

CURVE, BAND = "#1f6feb", "#6aa5ff"
LIMIT_COLOURS = {"warning": "#b26a00", "alarm": "#d03a2f", "limit": "#b26a00"}


class Moment(NamedTuple):
    """A value with its interval at a time (milliseconds since 1970 UTC); None is a break in the line."""

    time_ms: int
    value: float | None
    low: float | None = None
    high: float | None = None


class Limit(NamedTuple):
    """A horizontal (or, in `intervals`, vertical) line; `kind` is a key of `LIMIT_COLOURS`."""

    value: float
    text: str
    kind: str


class Row(NamedTuple):
    """One line of `intervals`; without a number the words in its place."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    words: str


def over_time(
    title: str, moments: Sequence[Moment], span_ms: tuple[int, int], limits: Sequence[Limit] = ()
) -> str:
    """A curve with its band over `span_ms`, and limits; from zero. `title` is for who cannot see it."""
    numbers = [x for m in moments for x in (m.value, m.high) if x is not None]
    top = max([*(limit.value for limit in limits), *numbers, 0.0]) * HEADROOM or 1.0
    ticks = round_ticks(min([0.0, *numbers]), top)
    x = Scale(*span_ms, LEFT, WIDTH - RIGHT)
    y = Scale(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = [
        *(_rule(y(tick), plain(tick)) for tick in ticks),
        *(_time(x(time_ms), text) for time_ms, text in time_ticks(*span_ms)),
        *(_band(run, x, y) for run in _runs(moments)),
        *(_curve(run, x, y) for run in _runs(moments)),
        *(_limit(limit, y(limit.value)) for limit in limits),
    ]
    return _svg(title, HEIGHT, parts)


def intervals(title: str, rows: Sequence[Row], limits: Sequence[Limit] = ()) -> str:
    """A line a row: its number as a dot, its interval as a bar, from zero."""
    numbers = [x for row in rows for x in (row.value, row.high) if x is not None]
    ticks = round_ticks(0.0, max([*(limit.value for limit in limits), *numbers, 0.0]) * HEADROOM or 1.0)
    x = Scale(ticks[0], ticks[-1], NAME_WIDTH, WIDTH - 2 * RIGHT)
    bottom = TOP + ROW_HEIGHT * len(rows)
    parts = [_upright(x(tick), bottom, plain(tick)) for tick in ticks]
    parts += [_upright_limit(limit, x(limit.value), bottom) for limit in limits]
    parts += [_row(row, x, TOP + ROW_HEIGHT * (n + 0.5)) for n, row in enumerate(rows)]
    return _svg(title, bottom + BOTTOM, parts)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" width="100%" role="img" font-size="11" '
        f'font-family="system-ui, sans-serif" fill="currentColor"><title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )


def _runs(moments: Sequence[Moment]) -> list[list[Moment]]:
    """The moments between breaks."""
    runs: list[list[Moment]] = [[]]
    for moment in moments:
        if moment.value is None:
            runs.append([])
        else:
            runs[-1].append(moment)
    return [run for run in runs if run]


def _curve(run: Sequence[Moment], x: Scale, y: Scale) -> str:
    points = " L".join(f"{x(m.time_ms):.1f} {y(m.value or 0.0):.1f}" for m in run)
    lone = " h0.1" if len(run) == 1 else ""
    return (
        f'<path d="M{points}{lone}" fill="none" stroke="{CURVE}" stroke-width="{3 if lone else 1.5}" '
        'stroke-linecap="round" stroke-linejoin="round"/>'
    )


def _band(run: Sequence[Moment], x: Scale, y: Scale) -> str:
    ends = [(m.time_ms, m.low, m.high) for m in run if m.low is not None and m.high is not None]
    if not ends:
        return ""
    up = [f"{x(time):.1f} {y(high):.1f}" for time, _, high in ends]
    down = [f"{x(time):.1f} {y(low):.1f}" for time, low, _ in reversed(ends)]
    return f'<path d="M{" L".join(up + down)} Z" fill="{BAND}" opacity="0.28"/>'


def _rule(y: float, text: str) -> str:
    return (
        f'<path d="M{LEFT} {y:.1f} H{WIDTH - RIGHT}" stroke="currentColor" opacity="0.14"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" opacity="0.75">{text}</text>'
    )


def _time(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="middle" opacity="0.75">{text}</text>'


def _limit(limit: Limit, y: float) -> str:
    colour = LIMIT_COLOURS[limit.kind]
    return (
        f'<path d="M{LEFT} {y:.1f} H{WIDTH - RIGHT}" stroke="{colour}" stroke-dasharray="5 4"/>'
        f'<text x="{LEFT + 4}" y="{y - 4:.1f}" fill="{colour}">{escape(limit.text)}</text>'
    )


def _upright(x: float, bottom: float, text: str) -> str:
    return (
        f'<path d="M{x:.1f} {TOP} V{bottom}" stroke="currentColor" opacity="0.14"/>'
        f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle" opacity="0.75">{text}</text>'
    )


def _upright_limit(limit: Limit, x: float, bottom: float) -> str:
    colour = LIMIT_COLOURS[limit.kind]
    return (
        f'<path d="M{x:.1f} {TOP} V{bottom}" stroke="{colour}" stroke-dasharray="5 4">'
        f"<title>{escape(limit.text)}</title></path>"
    )


def _row(row: Row, x: Scale, y: float) -> str:
    name = row.name if len(row.name) <= NAME_CHARS_MAX else f"{row.name[: NAME_CHARS_MAX - 1]}…"
    parts = [f'<text x="{NAME_WIDTH - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>']
    if row.value is None or row.low is None or row.high is None:
        parts.append(f'<text x="{NAME_WIDTH + 8}" y="{y + 4:.1f}">{escape(row.words)}</text>')
    else:
        width = max(x(row.high) - x(row.low), 1.0)
        parts += [
            f'<rect x="{x(row.low):.1f}" y="{y - 6:.1f}" width="{width:.1f}" height="12" rx="3" '
            f'fill="{BAND}" opacity="0.45"/>',
            f'<circle cx="{x(row.value):.1f}" cy="{y:.1f}" r="5" fill="{CURVE}"/>',
        ]
    return "".join(parts)
