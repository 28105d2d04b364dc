"""`safepoint wal adopt`: a promoted copy is production from now on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safepoint import errors
from safepoint.backup.adopt import (
    Candidate,
    candidate_at,
    candidate_in,
    record_adoption,
    require_adoptable,
    unmark_directory,
    unmark_server,
)
from safepoint.backup.same_cluster import require_same_cluster
from safepoint.model.json_value import JsonObject
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Repository
from safepoint.steps.execute import Action, Context, Observer, Run, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Plan, Step
from safepoint.workflows.project import Project
from safepoint.workflows.repository_acknowledge import this_person

_RECORD, _UNMARK = "wal.record-adoption", "wal.unmark-copy"
_WARNING = "whatever else writes WAL of this cluster is refused from now on; what it stored so far is kept, as a branch"
_ARCHIVE_OFF = "a restored copy starts with archive_mode = off: set up archiving or streaming for it as for any server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """A planned adoption; `repositories` by the names that the strategy gives them."""

    plan: Plan
    candidate: Candidate
    repositories: Mapping[str, Repository]
    data: Path | None
    url: DatabaseUrl | None = field(repr=False)

    def execute(self, observer: Observer) -> Run:
        """Every repository follows the server's lineage, and the server is no marked copy. May be repeated."""
        actions: dict[str, Action] = {_RECORD: self._record, _UNMARK: self._unmark}
        return execute(self.plan, actions=actions, journal=MemoryJournal(), observer=observer)

    def _record(self, step: Step, _context: Context) -> JsonObject:
        name = str(step.arguments["repository"])
        record_adoption(self.candidate, self.repositories[name], by=str(step.arguments["by"]))
        return {"repository": name, "timeline": self.candidate.timeline.value}

    def _unmark(self, _step: Step, _context: Context) -> JsonObject:
        if self.url is not None:
            unmark_server(self.url)
        elif self.data is not None:
            unmark_directory(self.data)
        return {"was_copy_of": self.candidate.copy_of}


def prepare_adoption(
    project: Project, name: str | None, *, data: Path | None, url: str | None, by: str | None = None
) -> Adoption:
    """The plan to adopt the server of a data directory or at a URL, for this database.

    CF004 unless exactly one of both is given; CF006, PG002, PG004; WL001 when it is another cluster, WL011 when it was
    not promoted.
    """
    database = project.self_managed(name)
    if (data is None) == (url is None):
        raise errors.CF004.error(
            f"found {'neither --data nor --url' if data is None else 'both --data and --url'}, expected one of them",
            hints=[errors.run(f"name the server: `safepoint wal adopt {database.name} --data DIR`")],
        )
    place = None if url is None else DatabaseUrl.parse(url)
    candidate = candidate_at(place) if place is not None else candidate_in((data or Path()).absolute())
    strategies = project.strategy.wal_repositories(database.name)
    repositories = {each.name: project.open_repository(each) for each in strategies}
    for repository in repositories.values():
        require_same_cluster(candidate.cluster, repository, database.name, errors.WL001)
    require_adoptable(candidate, tuple(repositories.values()))
    plan = _plan(database.name, candidate, repositories, by or this_person())
    return Adoption(plan=plan, candidate=candidate, repositories=repositories, data=data and data.absolute(), url=place)


def _plan(database: str, candidate: Candidate, repositories: Mapping[str, Repository], by: str) -> Plan:
    lineages = {
        name: repository.lineage_of(candidate.timeline, candidate.history) for name, repository in repositories.items()
    }
    steps = [
        Step(
            name=f"record in {name}",
            action=_RECORD,
            title=f"follow {lineages[name]} in {name}",
            arguments={"repository": name, "cluster": candidate.cluster, "lineage": lineages[name], "by": by},
        )
        for name in repositories
    ]
    if candidate.copy_of:
        title = f"take the mark of a copy of {candidate.copy_of} from its settings, and reload them"
        steps.append(Step(name="unmark", action=_UNMARK, title=title, arguments={"place": candidate.place}))
    return Plan(
        verb="wal adopt",
        subject=database,
        title=f"adopt {candidate.place} as {database}",
        steps=tuple(steps),
        facts=(
            ("server", candidate.place),
            ("system identifier", candidate.cluster),
            ("timeline", str(candidate.timeline)),
            ("restored from", candidate.copy_of or "nothing says that it is a copy"),
            *_others(candidate, repositories, lineages),
        ),
        warnings=(_WARNING, *((_ARCHIVE_OFF,) if candidate.copy_of else ())),
    )


def _others(
    candidate: Candidate, repositories: Mapping[str, Repository], lineages: Mapping[str, str]
) -> list[tuple[str, str]]:
    """What claims the same timeline and becomes a branch."""
    return [
        (f"a branch in {name}", f"{stored.name}, up to {stored.end or 'its history alone'}")
        for name, repository in repositories.items()
        for stored in repository.wal_lineages(candidate.cluster)
        if stored.timeline == candidate.timeline and stored.name != lineages[name]
    ]
