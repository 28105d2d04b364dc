"""The timeline picture: acknowledged commits a second, outages as bands, events as numbered flags. Pure SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

_WIDTH = 960
_LEFT = 48
_TOP = 64
_PLOT_HEIGHT = 160
_ROW = 18
_LEGEND_ROW = 20
_LEVELS = 4
_LEVEL_HEIGHT = 13
_NUMBER_WIDTH = 14.0
_TICKS = (5, 10, 30, 60, 300, 900, 3600, 86400)
_MOST_TICKS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at one instant."""

    at: datetime
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Half-open [began_at, ended_at) in which nobody was served."""

    began_at: datetime
    ended_at: datetime
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    began_at: datetime
    seconds: float

    def x(self, at: datetime) -> float:
        share = (at - self.began_at).total_seconds() / self.seconds
        return _LEFT + min(max(share, 0.0), 1.0) * (_WIDTH - _LEFT - 8)


def timeline_svg(
    *, began_at: datetime, ended_at: datetime, events: Sequence[Event], spans: Sequence[Span], rate: Sequence[int]
) -> str:
    """An SVG element, 960 units wide, that needs nothing from outside. `rate` is commits per second from `began_at`."""
    scale = _Scale(began_at=began_at, seconds=max((ended_at - began_at).total_seconds(), 1.0))
    ordered = sorted(events, key=lambda event: event.at)
    height = _TOP + _PLOT_HEIGHT + 2 * _ROW + _LEGEND_ROW * len(ordered)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">',
        "<title>commits acknowledged each second, outages and events</title>",
        *(_band(span, scale) for span in spans),
        _bars(rate, scale),
        *_axis(scale, max(rate, default=0)),
        *_flags(ordered, scale),
        *(_legend(number, event, scale) for number, event in enumerate(ordered, start=1)),
        "</svg>",
    ]
    return "\n".join(parts)


def _band(span: Span, scale: _Scale) -> str:
    left, right = scale.x(span.began_at), scale.x(span.ended_at)
    seconds = (span.ended_at - span.began_at).total_seconds()
    return (
        f'<rect class="outage" x="{left:.1f}" y="{_TOP}" width="{max(right - left, 1):.1f}" height="{_PLOT_HEIGHT}">'
        f"<title>{escape(span.title)}: {seconds:.1f} s</title></rect>"
        f'<text class="outage-label" x="{(left + right) / 2:.1f}" y="{_TOP + _PLOT_HEIGHT // 2}">{seconds:.1f} s</text>'
    )


def _bars(rate: Sequence[int], scale: _Scale) -> str:
    tallest = max(max(rate, default=0), 1)
    width = (_WIDTH - _LEFT - 8) / scale.seconds
    bars = [
        f"M{_LEFT + second * width:.1f} {_TOP + _PLOT_HEIGHT}v{-count / tallest * _PLOT_HEIGHT:.1f}h{width:.2f}V"
        f"{_TOP + _PLOT_HEIGHT}z"
        for second, count in enumerate(rate)
        if count
    ]
    return f'<path class="rate" d="{"".join(bars)}"/>'


def _axis(scale: _Scale, tallest: int) -> list[str]:
    base = _TOP + _PLOT_HEIGHT
    step = next(step for step in _TICKS if scale.seconds / step <= _MOST_TICKS or step == _TICKS[-1])
    width = _WIDTH - _LEFT - 8
    ticks = [
        f'<text class="tick" x="{_LEFT + at / scale.seconds * width:.1f}" y="{base + _ROW}">{at} s</text>'
        for at in range(0, int(scale.seconds) + 1, step)
    ]
    return [
        f'<line class="axis" x1="{_LEFT}" y1="{base}" x2="{_WIDTH - 8}" y2="{base}"/>',
        f'<text class="tick" x="{_LEFT - 24}" y="{_TOP + 8}">{tallest}/s</text>',
        *ticks,
    ]


def _flags(ordered: Sequence[Event], scale: _Scale) -> list[str]:
    """Numbers over their instants; one that would cover the number before it stands a level higher."""
    flags: list[str] = []
    ends = [float("-inf")] * _LEVELS
    for number, event in enumerate(ordered, start=1):
        x = scale.x(event.at)
        level = next((level for level, end in enumerate(ends) if end < x), _LEVELS - 1)
        ends[level] = x + _NUMBER_WIDTH
        flags.append(_flag(number, x, _TOP - 8 - level * _LEVEL_HEIGHT))
    return flags


def _flag(number: int, x: float, lift: int) -> str:
    return (
        f'<line class="flag" x1="{x:.1f}" y1="{lift + 4}" x2="{x:.1f}" y2="{_TOP + _PLOT_HEIGHT}"/>'
        f'<text class="flag-number" x="{x:.1f}" y="{lift}">{number}</text>'
    )


def _legend(number: int, event: Event, scale: _Scale) -> str:
    y = _TOP + _PLOT_HEIGHT + 2 * _ROW + _LEGEND_ROW * (number - 1) + 6
    after = (event.at - scale.began_at).total_seconds()
    return f'<text class="legend" x="{_LEFT}" y="{y}">{number} · {after:.1f} s · {escape(event.title)}</text>'
