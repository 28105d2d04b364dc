"""Reports: one set of figures in three forms, self-contained, with nothing executable in it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from safepoint.evidence.report import Judged, Report, report_to_html, report_to_json, scenario_rows
from safepoint.evidence.timeline import Event, Span, timeline_svg
from safepoint.model.scenario import ScenarioContract, ScenarioMeasurement, Verdict

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONTRACT = ScenarioContract(name="lost", title="disk lost", rto=timedelta(minutes=15), rpo=timedelta(hours=1))
KEPT = Judged(
    measurement=ScenarioMeasurement(
        contract=CONTRACT,
        failed_at=BEGAN,
        recovered_at=BEGAN + timedelta(seconds=9),
        rto=timedelta(seconds=9),
        rpo=timedelta(seconds=1),
        lost_commits=2,
        acknowledged_commits=40,
        recovered_by="restore",
        proofs=("pg_verifybackup: pass",),
    ),
    verdict=Verdict.KEPT,
)
UNPROVEN = Judged(
    measurement=replace(KEPT.measurement, recovered_at=None, rto=None, rpo=None, lost_commits=None),
    verdict=Verdict.UNPROVEN,
)
REPORT = Report(
    title="a <drill> & more",
    began_at=BEGAN,
    ended_at=BEGAN + timedelta(seconds=60),
    facts=(("server", "PostgreSQL 17"),),
    scenarios=(KEPT, UNPROVEN),
    events=(Event(at=BEGAN, title="</script><b>begin"),),
    spans=(Span(began_at=BEGAN, ended_at=BEGAN + timedelta(seconds=9), title="outage"),),
    rate=(5, 0, 7),
    commands=("safepoint backup",),
)


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def texts(svg: str, kind: str) -> list[str]:
    """The texts of a class, in the order in which they are drawn."""
    root = ET.fromstring(svg)  # noqa: S314 - our own picture
    return [element.text or "" for element in root.iter() if element.get("class") == kind]


def test_rows_say_unknown_for_what_was_not_measured() -> None:
    """What was measured stands beside its target; what was not is `unknown`, never zero or empty."""
    assert scenario_rows(REPORT.scenarios) == [
        ("disk lost", "9.0s", "15m 00s", "1.0s", "1h 00m", "2 of 40", "kept"),
        ("disk lost", "unknown", "15m 00s", "unknown", "1h 00m", "unknown", "unproven"),
    ]


def test_json_keeps_null_for_unknown() -> None:
    """In JSON a value that was not measured is null."""
    kept, unproven = json.loads(json.dumps(report_to_json(REPORT)))["scenarios"]
    assert (kept["rto_seconds"], kept["rto_target_seconds"], kept["lost_commits"]) == (9.0, 900.0, 2)
    assert (unproven["rto_seconds"], unproven["recovered_at"], unproven["verdict"]) == (None, None, "unproven")


def test_page_is_self_contained_and_escapes() -> None:
    """The page loads nothing, its texts are escaped, and the figures inside are the report's JSON."""
    page = report_to_html(REPORT)
    assert not re.search(r'(src|href)="|url\(|@import', page)
    assert "<b>begin" not in page
    assert "a &lt;drill&gt; &amp; more" in page
    figures = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert figures is not None
    assert json.loads(figures[1]) == json.loads(json.dumps(report_to_json(REPORT)))
    assert "Commands that were run" in page
    assert "Commands that were run" not in report_to_html(replace(REPORT, commands=()))


def test_events_are_told_in_order_of_time() -> None:
    """Flags are numbered by time, whatever the order given."""
    events = [Event(at=after(20), title="later"), Event(at=after(5), title="sooner")]
    svg = timeline_svg(began_at=BEGAN, ended_at=after(60), events=events, spans=(), rate=())
    assert texts(svg, "legend") == ["1 · 5.0 s · sooner", "2 · 20.0 s · later"]
    assert texts(svg, "flag-number") == ["1", "2"]


def test_crowded_flags_stand_on_levels() -> None:
    """Flags that would cover one another are lifted; when every level is taken they share the last."""
    events = [Event(at=after(5), title=str(number)) for number in range(6)]
    svg = timeline_svg(began_at=BEGAN, ended_at=after(60), events=events, spans=(), rate=())
    root = ET.fromstring(svg)  # noqa: S314 - our own picture
    heights = [float(item.get("y", 0)) for item in root.iter() if item.get("class") == "flag-number"]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 4


def test_nothing_at_all_still_draws() -> None:
    """A report of no length, without events or commits, is a picture all the same."""
    svg = timeline_svg(began_at=BEGAN, ended_at=BEGAN, events=(), spans=(), rate=())
    assert texts(svg, "tick") == ["0/s", "0 s"]


def test_long_reports_have_few_ticks() -> None:
    """Ticks are at most twenty, and a day apart when nothing finer will do."""
    for days in (1, 10, 30):
        svg = timeline_svg(began_at=BEGAN, ended_at=BEGAN + timedelta(days=days), events=(), spans=(), rate=(1,))
        assert len(texts(svg, "tick")) - 1 <= max(20, days) + 1


def test_what_lies_outside_is_drawn_at_the_edge() -> None:
    """An outage that began before the report or ends after it stays within the picture."""
    span = Span(began_at=after(-100), ended_at=after(100), title="long")
    svg = timeline_svg(began_at=BEGAN, ended_at=after(60), events=(), spans=[span], rate=())
    root = ET.fromstring(svg)  # noqa: S314 - our own picture
    [band] = [item for item in root.iter() if item.get("class") == "outage"]
    assert float(band.get("x", 0)) == 48
    assert float(band.get("x", 0)) + float(band.get("width", 0)) <= 960
