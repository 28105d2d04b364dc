"""`safepoint wal stream`."""

from __future__ import annotations

import threading
import time
from typing import Annotated

import typer

from safepoint.backup.receiver_state import ReceiverState
from safepoint.cli.options import ConfigOption, DatabaseArgument, JsonOption, RepositoryOption
from safepoint.cli.printable import line
from safepoint.cli.show import print_json, show_error, talk
from safepoint.cli.stopping import stop_on_signals
from safepoint.errors import SafepointError
from safepoint.model.json_value import Json
from safepoint.model.measures import format_bytes, format_instant
from safepoint.workflows.project import load_project
from safepoint.workflows.stream import plan_lines, prepare_stream

_TELL_SECONDS = 10.0


def stream(
    database: DatabaseArgument = None,
    ship_every: Annotated[
        float,
        typer.Option(
            min=0.1, metavar="SECONDS", help="Time between shipments of the open segment: the RPO in the worst case."
        ),
    ] = 10.0,
    accept_gap: Annotated[
        bool, typer.Option(help="Go on although the server no longer has WAL that is needed; take a new backup then.")
    ] = False,
    synchronous: Annotated[
        bool,
        typer.Option(
            "--synchronous",
            help="RPO 0: store and report every batch at once; says what to set as synchronous_standby_names.",
        ),
    ] = False,
    repository: RepositoryOption = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Stream WAL into the repositories until interrupted. The server may forget what all required ones hold.

    By default into all that [wal.DATABASE] names, or the strategy has; with --repository into that one alone.
    """
    stop = threading.Event()
    stop_on_signals(stop)
    teller = _Teller()
    receiver = prepare_stream(
        load_project(config),
        database,
        repository=repository,
        ship_seconds=ship_every,
        accept_gap=accept_gap,
        stop=stop,
        observer=teller,
        is_synchronous=synchronous,
    )
    for told in plan_lines(receiver):
        talk.print(line(told))
    receiver.run()
    if teller.last is not None:
        if is_json:
            print_json(_as_json(teller.last))
        else:
            talk.print(f"stopped; durable up to {teller.last.durable} on timeline {teller.last.timeline}")


class _Teller:
    """Tells where the receiver stands: at the start, then every ten seconds."""

    def __init__(self) -> None:
        self.last: ReceiverState | None = None
        self._told = 0.0

    def progressed(self, state: ReceiverState) -> None:
        """A line, if the last one is old enough."""
        self.last = state
        now = time.monotonic()
        if now - self._told < _TELL_SECONDS:
            return
        self._told = now
        mark = f", all commits until {format_instant(state.mark.clock)}" if state.mark else ""
        talk.print(
            line(
                f"timeline {state.timeline}: durable up to {state.durable}{mark}; "
                f"{format_bytes(max(0, state.lag_bytes))} behind{_lanes(state)}"
            )
        )

    def troubled(self, error: SafepointError) -> None:
        """The error; the receiver goes on trying."""
        show_error(error, is_json=False)


def _lanes(state: ReceiverState) -> str:
    """What is to be said of single repositories: those that do not keep up."""
    behind = [
        f"{lane.name} {'refuses' if lane.is_failing else 'catches up'}"
        + (f" from {lane.durable}" if lane.durable is not None else "")
        for lane in state.lanes
        if lane.is_failing or lane.is_catching_up
    ]
    return f"; {', '.join(behind)}" if behind else ""


def _as_json(state: ReceiverState) -> dict[str, Json]:
    return {
        "system_identifier": state.cluster,
        "timeline": state.timeline.value,
        "durable": str(state.durable),
        "lag_bytes": state.lag_bytes,
        "repositories": [
            {
                "name": lane.name,
                "is_required": lane.is_required,
                "durable": None if lane.durable is None else str(lane.durable),
                "is_catching_up": lane.is_catching_up,
                "is_failing": lane.is_failing,
            }
            for lane in state.lanes
        ],
    }
