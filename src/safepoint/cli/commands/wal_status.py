"""`safepoint wal status`."""

from __future__ import annotations

import typer

from safepoint.cli.options import ConfigOption, DatabaseArgument, JsonOption
from safepoint.cli.printable import line
from safepoint.cli.show import data, print_json, print_table
from safepoint.errors import ExitCode
from safepoint.model.json_value import Json
from safepoint.model.measures import format_bytes, format_duration, format_instant
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.wal_judgement import judge_wal
from safepoint.monitoring.wal_report import RepositoryReport, ServerReport, SlotReport, WalReport
from safepoint.workflows.project import load_project
from safepoint.workflows.wal_status import look_at_wal
from safepoint.workflows.wal_words import wal_report_to_json

_STYLE = {State.GOOD: "green", State.NOTICE: "yellow", State.BAD: "bold red", State.UNKNOWN: "yellow"}
_QUIET = frozenset({State.GOOD, State.NOTICE})
_SLOT_COLUMNS = ("server", "slot", "active", "restart_lsn", "wal_status", "held", "limit", "reached in")
_REPOSITORY_COLUMNS = ("repository", "mode", "last segment", "durable", "behind", "newest mark", "gaps")
_UNKNOWN = "-"


def status(database: DatabaseArgument = None, config: ConfigOption = None, is_json: JsonOption = False) -> None:
    """Say what WAL servers hold back and repositories have, and what would be lost now. Exits 3 unless all is good.

    RPO is measured: the server's clock minus the newest mark that every required repository holds.
    """
    report = look_at_wal(load_project(config), database)
    findings = judge_wal(report)
    if is_json:
        print_json({**wal_report_to_json(report), "findings": [_as_json(finding) for finding in findings]})
    else:
        _print(report, findings)
    if any(finding.state not in _QUIET for finding in findings):
        raise typer.Exit(ExitCode.ATTENTION)


def _print(report: WalReport, findings: tuple[Finding, ...]) -> None:
    for server in report.servers:
        data.print(line(_server(server, report.bytes_per_second)))
    data.print()
    slots = [_slot(server, slot, report.bytes_per_second) for server in report.servers for slot in server.slots]
    if slots:
        print_table(_SLOT_COLUMNS, slots)
        data.print()
    print_table(_REPOSITORY_COLUMNS, [_repository(repository) for repository in report.repositories])
    data.print()
    for finding in findings:
        cure = f"  → {finding.cure}" if finding.cure else ""
        style = _STYLE[finding.state]
        data.print(line((f"{finding.state.value:<8}", style), f"{finding.check:<11}", finding.fact, cure))


def _server(server: ServerReport, bytes_per_second: float | None) -> str:
    facts = server.facts
    if facts is None:
        return f"{server.where}: not seen"
    rate = "" if bytes_per_second is None else f", {format_bytes(round(bytes_per_second))}/s"
    role = "standby" if facts.is_in_recovery else f"primary on timeline {facts.timeline}"
    skew = "" if not server.skew else f", clock {server.skew.total_seconds():+.1f} s from this machine's"
    return f"{server.where}: {role} at {facts.position}{rate if server.is_primary else ''}{skew}"


def _slot(server: ServerReport, slot: SlotReport, bytes_per_second: float | None) -> tuple[str, ...]:
    facts, time_left = slot.facts, slot.time_left(bytes_per_second)
    return (
        server.where,
        facts.name,
        "yes" if facts.is_active else "no",
        str(facts.restart_lsn or _UNKNOWN),
        facts.wal_status or _UNKNOWN,
        _UNKNOWN if facts.held_bytes is None else format_bytes(max(0, facts.held_bytes)),
        format_bytes(slot.limit),
        _UNKNOWN if time_left is None else format_duration(time_left),
    )


def _repository(repository: RepositoryReport) -> tuple[str, ...]:
    return (
        repository.name,
        "required" if repository.is_required else "eventual",
        repository.last_segment or _UNKNOWN,
        str(repository.durable or _UNKNOWN),
        _UNKNOWN if repository.lag_bytes is None else format_bytes(max(0, repository.lag_bytes)),
        _UNKNOWN if repository.mark is None else format_instant(repository.mark.clock),
        str(len(repository.harmful)),
    )


def _as_json(finding: Finding) -> dict[str, Json]:
    return {"check": finding.check, "state": finding.state.value, "fact": finding.fact, "cure": finding.cure}
