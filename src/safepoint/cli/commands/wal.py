"""`safepoint wal stream`."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType
from typing import Annotated

import typer

from safepoint.backup.receiver_state import ReceiverState
from safepoint.cli.options import EXIT_STATUS, ConfigOption, DatabaseArgument, JsonOption, RepositoryOption
from safepoint.cli.show import print_json, show_error, talk
from safepoint.errors import ExitCode, SafepointError
from safepoint.model.json_value import Json
from safepoint.model.measures import format_bytes, format_instant
from safepoint.workflows.project import load_project
from safepoint.workflows.stream import prepare_stream

app = typer.Typer(name="wal", no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_TELL_SECONDS = 10.0


@app.callback()
def wal() -> None:
    """Write-ahead log: streamed into the repository."""


@app.command("stream", epilog=EXIT_STATUS)
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
    repository: RepositoryOption = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Stream WAL into the repository until interrupted. The server may forget only what is durable there."""
    stop = threading.Event()
    _stop_on_signals(stop)
    teller = _Teller()
    receiver = prepare_stream(
        load_project(config),
        database,
        repository=repository,
        ship_seconds=ship_every,
        accept_gap=accept_gap,
        stop=stop,
        observer=teller,
    )
    receiver.run()
    if teller.last is not None:
        if is_json:
            print_json(_as_json(teller.last))
        else:
            talk.print(f"stopped; durable up to {teller.last.durable} on timeline {teller.last.timeline}")


def _stop_on_signals(stop: threading.Event) -> None:
    def leave(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            sys.exit(ExitCode.INTERRUPTED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)


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
            f"timeline {state.timeline}: durable up to {state.durable}{mark}; {format_bytes(state.lag_bytes)} behind"
        )

    def troubled(self, error: SafepointError) -> None:
        """The error; the receiver goes on trying."""
        show_error(error, is_json=False)


def _as_json(state: ReceiverState) -> dict[str, Json]:
    return {
        "cluster": state.cluster,
        "timeline": state.timeline.value,
        "durable": str(state.durable),
        "lag_bytes": state.lag_bytes,
    }
