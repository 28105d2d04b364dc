"""The picture of what can be restored: a row for each lineage of WAL, over time. Pure SVG text, nothing from outside.

A bar is what one backup restores; what the window does not keep is paler, a gap is red, and where no mark tells the
time the bar ends in a stub that says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from textwrap import wrap

from safepoint.model.measures import format_bytes, format_count, format_duration, format_instant
from safepoint.model.reach import CoverageReport, Lineage, Loss, Reach, Within

_WIDTH = 960
_LEFT = 150
_RIGHT = 24
_TOP = 56
_ROW = 52
_BAR = 22
_STUB = 5.0
_LINE = 20
_TICKS = 5
_SHORT = timedelta(minutes=10)
_LONG = timedelta(days=2)
_SHOWN = 12
_LETTERS = 115
"""So many fit into a line of the legend."""
_DIGEST = slice(9, 17)

_STYLE = """
svg { font: 13px system-ui, sans-serif; background: #fff; }
text { fill: #1f2430; } .faint { fill: #5b6474; }
.axis { stroke: #8a93a3; } .begin { stroke: #1f2430; stroke-width: 1.5; }
.reach { fill: #2f7d5b; } .before { fill: #a9cdbb; } .other { fill: #8f9bb3; } .stub { fill: none; stroke: #8a6d1a; }
.gap { fill: #c8372d; } .window { stroke: #3a66c4; stroke-dasharray: 5 4; } .window-label { fill: #3a66c4; }
@media (prefers-color-scheme: dark) {
  svg { background: #14171d; } text { fill: #e8ebf1; } .faint { fill: #a4adbd; } .axis { stroke: #6d7789; }
  .begin { stroke: #e8ebf1; } .reach { fill: #4fb286; } .before { fill: #2f5a47; } .other { fill: #5d6980; }
  .stub { stroke: #e0c060; } .gap { fill: #f0685e; } .window { stroke: #86a8f5; } .window-label { fill: #86a8f5; }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    began_at: datetime
    seconds: float

    def x(self, at: datetime) -> float:
        share = (at - self.began_at).total_seconds() / self.seconds
        return _LEFT + min(max(share, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)


def coverage_svg(report: CoverageReport, causes: Mapping[str, str]) -> str:
    """An SVG document, 960 units wide. `causes` are words for the causes of gaps, by their values."""
    scale = _scale_of(report)
    lineages = list(report.lineages)
    base = _TOP + _ROW * max(len(lineages), 1)
    shown = report.losses[:_SHOWN]
    legend = list(_legend(report, shown, causes))
    height = base + 3 * _LINE + _LINE * (len(legend) + 1)
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    parts = [
        f'<svg {size} role="img" xmlns="http://www.w3.org/2000/svg">',
        f"<title>what can be restored of {_text(report.database)}</title>",
        f"<style>{_STYLE}</style>",
        f'<text x="16" y="24" font-size="16">{_text(_heading(report))}</text>',
    ]
    if scale is None:
        parts.append(f'<text x="16" y="{_TOP + 20}" class="faint">no instant is known</text>')
    else:
        parts += _axis(scale, base)
        for number, lineage in enumerate(lineages):
            parts += _lineage(lineage, scale, _TOP + number * _ROW)
        parts += _gaps(shown, lineages, scale)
        parts += _window(report, scale, base)
    parts += _lines(legend, base + 2 * _LINE + 12)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(content: str) -> str:
    """As it may stand in XML, which has no control characters at all."""
    return escape("".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in content))


def _heading(report: CoverageReport) -> str:
    newest = "no instant known" if report.newest is None else f"up to {format_instant(report.newest)}"
    return f"{report.database}: what can be restored, {newest}"


def _scale_of(report: CoverageReport) -> _Scale | None:
    """From the first instant to the newest, those around gaps included; None when none is known."""
    reaches = [reach for lineage in report.lineages for reach in lineage.reaches]
    instants = [reach.earliest for reach in reaches] + [reach.latest for reach in reaches]
    instants += [loss.after for loss in report.losses] + [loss.before for loss in report.losses]
    known = [instant for instant in instants if instant is not None]
    if not known:
        return None
    return _Scale(began_at=min(known), seconds=max((max(known) - min(known)).total_seconds(), 1.0))


def _axis(scale: _Scale, base: int) -> Iterator[str]:
    yield f'<line class="axis" x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _RIGHT}" y2="{base}"/>'
    length = timedelta(seconds=scale.seconds)
    form = "%H:%M:%S" if length < _SHORT else "%m-%d %H:%M" if length < _LONG else "%Y-%m-%d"
    for number in range(_TICKS + 1):
        at = scale.began_at + length * number / _TICKS
        x = scale.x(at)
        anchor = "end" if number == _TICKS else "middle"
        yield f'<line class="axis" x1="{x:.1f}" y1="{base}" x2="{x:.1f}" y2="{base + 5}"/>'
        label = at.astimezone(UTC).strftime(form)
        yield f'<text class="faint" x="{x:.1f}" y="{base + _LINE}" text-anchor="{anchor}">{label}</text>'


def _lineage(lineage: Lineage, scale: _Scale, top: int) -> Iterator[str]:
    yield f'<text x="16" y="{top + 15}">timeline {lineage.timeline}</text>'
    told = lineage.name[_DIGEST] if lineage.is_followed else f"{lineage.name[_DIGEST]}, not followed"
    yield f'<text class="faint" x="16" y="{top + 31}" font-size="11">{_text(told)}</text>'
    if not lineage.reaches:
        yield f'<text class="faint" x="{_LEFT}" y="{top + 16}">no backup leads here</text>'
    for reach in lineage.reaches:
        yield from _bar(reach, lineage, scale, top)


def _bar(reach: Reach, lineage: Lineage, scale: _Scale, top: int) -> Iterator[str]:
    known = reach.earliest or reach.latest
    if known is None:
        yield f'<text class="faint" x="{_LEFT}" y="{top + 16}">{_text(_told(reach))}</text>'
        return
    left, right = scale.x(known), scale.x(reach.latest or known)
    kind = "other" if not lineage.is_followed else "before" if reach.within is Within.BEFORE else "reach"
    title = f"<title>{_text(_told(reach))}</title>"
    width = max(right - left, 1.5)
    yield f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}">{title}</rect>'
    if reach.latest is None or reach.earliest is None:
        x = left if reach.latest is None else left - _STUB
        yield f'<rect class="stub" x="{x:.1f}" y="{top}" width="{_STUB}" height="{_BAR}">{title}</rect>'
    yield f'<line class="begin" x1="{left:.1f}" y1="{top - 4}" x2="{left:.1f}" y2="{top + _BAR + 4}"/>'


def _told(reach: Reach) -> str:
    earliest = "unknown" if reach.earliest is None else format_instant(reach.earliest)
    latest = "unknown" if reach.latest is None else format_instant(reach.latest)
    takes = "unknown" if reach.seconds is None else format_duration(timedelta(seconds=reach.seconds))
    return (
        f"{reach.backup_id}: {reach.start} to {reach.end}, {earliest} to {latest}, "
        f"at most {format_bytes(reach.wal_bytes)} of WAL, takes {takes}"
    )


def _gaps(losses: Sequence[Loss], lineages: Sequence[Lineage], scale: _Scale) -> Iterator[str]:
    """Numbered blocks in the row of the lineage that is followed; one that no mark dates stands in the legend alone."""
    for number, loss in enumerate(losses, start=1):
        row = next(
            (at for at, each in enumerate(lineages) if each.is_followed and each.timeline == loss.timeline), None
        )
        after, before = loss.after or loss.before, loss.before or loss.after
        if row is None or after is None or before is None:
            continue
        left, right = scale.x(after), scale.x(before)
        top = _TOP + row * _ROW
        yield (
            f'<rect class="gap" x="{left:.1f}" y="{top}" width="{max(right - left, 3):.1f}" height="{_BAR}"/>'
            f'<text x="{(left + right) / 2:.1f}" y="{top + _BAR + 15}" text-anchor="middle">{number}</text>'
        )


def _window(report: CoverageReport, scale: _Scale, base: int) -> Iterator[str]:
    if report.window_start is None or report.window_start <= scale.began_at:
        return
    x = scale.x(report.window_start)
    yield f'<line class="window" x1="{x:.1f}" y1="{_TOP - 12}" x2="{x:.1f}" y2="{base}"/>'
    yield f'<text class="window-label" x="{x + 4:.1f}" y="{_TOP - 12}" font-size="11">window</text>'


def _legend(report: CoverageReport, losses: Sequence[Loss], causes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Lines that fit the width, each with its class."""
    yield (
        "faint",
        "instants in UTC; each upright line is a backup's end; where nothing is drawn, nothing can be restored",
    )
    yield "faint", format_count(len(report.losses), "gap") if report.losses else "no gap"
    for number, loss in enumerate(losses, start=1):
        cause = causes.get(loss.cause.value, loss.cause.value)
        told = f"{number} · timeline {loss.timeline}, {loss.start} up to {loss.end}: {cause}"
        yield from (("", line) for line in wrap(told, _LETTERS))
    if len(report.losses) > len(losses):
        yield "faint", f"and {len(report.losses) - len(losses)} more gaps"


def _lines(legend: Sequence[tuple[str, str]], top: int) -> Iterator[str]:
    for number, (kind, text) in enumerate(legend, start=1):
        yield f'<text x="16" y="{top + number * _LINE}" class="{kind}">{_text(text)}</text>'
