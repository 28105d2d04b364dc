"""A report of recoveries: what was promised, what was measured, and when everything happened.

Takes values that were measured elsewhere and decides nothing: verdicts come with the values. One report, three forms:
JSON, text and a self-contained HTML page with the timeline as an inline picture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from safepoint.evidence.timeline import Event, Span, timeline_svg
from safepoint.model.json_value import Json
from safepoint.model.measures import format_duration, format_instant
from safepoint.model.scenario import ScenarioMeasurement, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A measurement with its verdict."""

    measurement: ScenarioMeasurement
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything one page says. `rate` is acknowledged commits in each second from `began_at`."""

    title: str
    began_at: datetime
    ended_at: datetime
    facts: tuple[tuple[str, str], ...]
    scenarios: tuple[Judged, ...]
    events: tuple[Event, ...]
    spans: tuple[Span, ...]
    rate: tuple[int, ...]
    commands: tuple[str, ...] = ()


def report_to_json(report: Report) -> dict[str, Json]:
    """The report's figures, durations in seconds."""
    return {
        "title": report.title,
        "began_at": report.began_at.isoformat(),
        "ended_at": report.ended_at.isoformat(),
        "facts": dict(report.facts),
        "scenarios": [_scenario_to_json(judged) for judged in report.scenarios],
        "events": [{"at": event.at.isoformat(), "title": event.title} for event in report.events],
    }


def scenario_rows(scenarios: Sequence[Judged]) -> list[tuple[str, ...]]:
    """The table every form shows: scenario, RTO and its target, RPO and its target, commits lost, verdict."""
    return [_row(judged) for judged in scenarios]


def report_to_html(report: Report) -> str:
    """One self-contained page: no script, no network."""
    environment = Environment(
        loader=PackageLoader("safepoint.evidence"), autoescape=select_autoescape(), undefined=StrictUndefined
    )
    picture = timeline_svg(
        began_at=report.began_at,
        ended_at=report.ended_at,
        events=report.events,
        spans=report.spans,
        rate=report.rate,
    )
    return environment.get_template("report.html").render(
        report=report,
        rows=list(zip(scenario_rows(report.scenarios), report.scenarios, strict=True)),
        picture=picture,
        format_instant=format_instant,
        json=json.dumps(report_to_json(report)),
    )


def _row(judged: Judged) -> tuple[str, ...]:
    measured, contract = judged.measurement, judged.measurement.contract
    return (
        contract.title,
        _or_unknown(measured.rto),
        format_duration(contract.rto),
        _or_unknown(measured.rpo),
        format_duration(contract.rpo),
        "unknown" if measured.lost_commits is None else f"{measured.lost_commits} of {measured.acknowledged_commits}",
        judged.verdict.value,
    )


def _or_unknown(duration: timedelta | None) -> str:
    return "unknown" if duration is None else format_duration(duration)


def _scenario_to_json(judged: Judged) -> dict[str, Json]:
    measured = judged.measurement
    return {
        "scenario": measured.contract.name,
        "failed_at": measured.failed_at.isoformat(),
        "recovered_at": measured.recovered_at.isoformat() if measured.recovered_at else None,
        "recovered_by": measured.recovered_by,
        "rto_seconds": _seconds(measured.rto),
        "rto_target_seconds": measured.contract.rto.total_seconds(),
        "rpo_seconds": _seconds(measured.rpo),
        "rpo_target_seconds": measured.contract.rpo.total_seconds(),
        "lost_commits": measured.lost_commits,
        "acknowledged_commits": measured.acknowledged_commits,
        "verdict": judged.verdict.value,
        "proofs": list(measured.proofs),
    }


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else round(duration.total_seconds(), 3)
