"""Everything the acts share: the stage, the person's terminal, the shop, and what has been measured so far."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from safepoint.evidence.report import Judged
from safepoint.evidence.timeline import Event, Span
from safepoint.model.scenario import ScenarioContract, ScenarioMeasurement
from safepoint.postgres.url import DatabaseUrl
from safepoint.recovery.verdict import verdict_of
from safepoint.strategy import load_strategy
from vivr_demo.measure import Books, Outage
from vivr_demo.shop import Shop
from vivr_demo.stage import Stage, kill_below
from vivr_demo.terminal import PROGRAM, CommandFailed, Terminal

VIVR = Path(__file__).parents[1]
"""The example: the Prisma project and the next release."""

_BACK_WITHIN_SECONDS = 60.0
_TITLES = {
    "data-corruption": "data corruption",
    "database-unavailable": "database unavailable",
    "complete-loss": "complete loss",
}


@dataclass(slots=True, kw_only=True)
class Story:
    """One run of the demo; `url` and `data` are those of the server that serves at the moment."""

    stage: Stage
    terminal: Terminal
    orders: int
    url: DatabaseUrl
    data: Path
    began_at: datetime
    contracts: Mapping[str, ScenarioContract] = field(default_factory=dict[str, ScenarioContract])
    books: Books = field(default_factory=Books)
    events: list[Event] = field(default_factory=list[Event])
    spans: list[Span] = field(default_factory=list[Span])
    judged: list[Judged] = field(default_factory=list[Judged])
    facts: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    _shop: Shop | None = None
    _receiver: subprocess.Popen[bytes] | None = None

    @property
    def shop(self) -> Shop:
        """The shop, once it is open."""
        if self._shop is None:
            raise RuntimeError("found the shop closed, expected it open")
        return self._shop

    @shop.setter
    def shop(self, shop: Shop) -> None:
        self._shop = shop

    def happened(self, title: str, at: datetime | None = None) -> datetime:
        """Notes an event, now unless told otherwise, and tells it."""
        instant = at or datetime.now(UTC)
        self.events.append(Event(at=instant, title=title))
        print(f"  · {title}", flush=True)
        return instant

    def connect(self) -> psycopg.Connection[Any]:
        """A connection to the server that serves at the moment."""
        return psycopg.connect(self.url.conninfo(), autocommit=True)

    def serve_from(self, url: str, data: str) -> None:
        """From now on that server is the shop's, for safepoint and for whoever connects."""
        self.url, self.data = DatabaseUrl.parse(url), Path(data)
        self.terminal.export("DATABASE_URL", url)

    def start_receiver(self) -> None:
        """WAL streams into the repository."""
        arguments = [PROGRAM, "wal", "stream", "vivr", "--ship-every", "1"]
        self._receiver = self.terminal.start(arguments, is_shown=True)

    def adopt_copy(self) -> None:
        """The copy that the shop serves from is production now: its WAL may be taken."""
        self.terminal.safepoint("wal", "adopt", "vivr", "--data", str(self.data))

    def stop_receiver(self) -> None:
        """The receiver has shipped what it had and ended."""
        self._end_receiver(signal.SIGTERM)

    def kill_receiver(self) -> None:
        """The receiver is gone, with whatever it had not shipped."""
        self._end_receiver(signal.SIGKILL)

    def destroy_server(self) -> Outage:
        """Every process of the server is killed and its data directory removed."""
        failed_at = datetime.now(UTC)
        kill_below(self.data)
        closed_at = datetime.now(UTC)
        shutil.rmtree(self.data)
        return Outage(failed_at=failed_at, closed_at=closed_at)

    def recover(self, name: str, outage: Outage, *, by: str, restored: Mapping[str, Any], proofs: list[str]) -> None:
        """Points shop and safepoint at the restored server, waits for the first write, and settles the books."""
        self.serve_from(restored["url"], restored["data"])
        repointed_at = self.shop.repoint(restored["url"])
        first = self.shop.wait_for(
            "write after the recovery",
            lambda log: log.first_commit_after(repointed_at),
            seconds=_BACK_WITHIN_SECONDS,
        )
        self.happened(f"{_TITLES[name]}: the first order is acknowledged again", first.acknowledged_at)
        with self.connect() as connection:
            measurement = self.books.settle(
                connection,
                self.shop.log(),
                outage,
                contract=self.contracts[name],
                first_write=first,
                recovered_by=by,
                proofs=(*proofs, *_proofs(restored)),
            )
        self._record(measurement, outage)

    def load_contracts(self) -> None:
        """The promises, from the strategy file."""
        strategy = load_strategy(self.stage.project / "safepoint.toml")
        self.contracts = {
            scenario.name: ScenarioContract(
                name=scenario.name, title=_TITLES[scenario.name], rto=scenario.rto, rpo=scenario.rpo
            )
            for scenario in strategy.scenarios
        }

    def _record(self, measurement: ScenarioMeasurement, outage: Outage) -> None:
        self.judged.append(Judged(measurement=measurement, verdict=verdict_of(measurement)))
        back_at = measurement.recovered_at or datetime.now(UTC)
        self.spans.append(Span(began_at=outage.closed_at, ended_at=back_at, title=measurement.contract.title))

    def _end_receiver(self, how: signal.Signals) -> None:
        if self._receiver is None:
            raise RuntimeError("found no receiver, expected one")
        if self._receiver.poll() is not None:
            raise CommandFailed(f"found the receiver ended with {self._receiver.returncode}, expected it running")
        self._receiver.send_signal(how)
        self._receiver.wait(timeout=30)
        self._receiver = None


def _proofs(restored: Mapping[str, Any]) -> list[str]:
    return [f"{proof['name']}: {proof['outcome']} ({proof['detail']})" for proof in restored["proofs"]]
