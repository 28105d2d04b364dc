"""`safepoint status`."""

from __future__ import annotations

import typer

from safepoint.cli.options import ConfigOption, DatabaseArgument, JsonOption, command
from safepoint.cli.printable import line
from safepoint.cli.show import data, print_json
from safepoint.errors import ExitCode
from safepoint.model.json_value import Json
from safepoint.monitoring.checks import judge_all
from safepoint.monitoring.finding import Finding, State
from safepoint.strategy import unused_in_this_version
from safepoint.workflows.look_around import situation_of
from safepoint.workflows.project import load_project

_STYLE = {State.GOOD: "green", State.NOTICE: "yellow", State.BAD: "bold red", State.UNKNOWN: "yellow"}
_QUIET = frozenset({State.GOOD, State.NOTICE})


def status(database: DatabaseArgument = None, config: ConfigOption = None, is_json: JsonOption = False) -> None:
    """Say what is proven, what is wrong and what is unknown. Exits 3 unless everything is good.

    A notice is bad news that is over and that nothing can mend, as a hole in WAL before the newest backup: no alarm.
    """
    project = load_project(config)
    strategy = project.strategy
    names = [strategy.database(database).name] if database else [item.name for item in strategy.databases]
    findings = {name: judge_all(situation_of(project, name)) for name in names}
    unused = unused_in_this_version(strategy)
    if is_json:
        print_json(
            {
                "databases": {name: [_as_json(finding) for finding in found] for name, found in findings.items()},
                "stated_and_not_acted_on_by_this_version": list(unused),
            }
        )
    else:
        for name, found in findings.items():
            _print(name, found)
        if unused:
            data.print()
            data.print(f"stated, and not acted on by this version: {', '.join(unused)}")
    if any(finding.state not in _QUIET for found in findings.values() for finding in found):
        raise typer.Exit(ExitCode.ATTENTION)


app = command(status, "status")


def _print(name: str, findings: tuple[Finding, ...]) -> None:
    data.print(line(name, style="bold"))
    for finding in findings:
        cure = f"  → {finding.cure}" if finding.cure else ""
        style = _STYLE[finding.state]
        data.print(line((f"  {finding.state.value:<8}", style), f"{finding.check:<12}", finding.fact, cure))


def _as_json(finding: Finding) -> dict[str, Json]:
    return {"check": finding.check, "state": finding.state.value, "fact": finding.fact, "cure": finding.cure}
