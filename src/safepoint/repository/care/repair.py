"""Repair: what is damaged or missing is made whole from what is left and from other copies of the repository.

A copy is a sibling (or a mirror), whose objects are ours byte for byte, or a stranger that holds the same backups. Each
byte that is taken over is checked first: by its seal, or by its id under our key. Nothing is deleted but what does not
open, and that only when its successor is in the store: an object that must keep its name is put aside first
(`care/repair_exchange.py`), so that a kill between deleting and putting loses nothing, and the next run goes on. Packs
are never exchanged: their blobs are put into new ones.

What concerns only backups that were expired meanwhile is no damage: then it is looked anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.journalled_store import with_journalled_indexes
from safepoint.repository.care.progress import Report, no_report
from safepoint.repository.care.refill import (
    BlobSources,
    LostPacks,
    find_losses,
    link,
    link_actions,
    refill_actions,
    refill_all,
)
from safepoint.repository.care.reindex import index_actions, rebuild_indexes
from safepoint.repository.care.repair_exchange import (
    EXCHANGED,
    exchange,
    exchange_actions,
    finish_exchanges,
    sound_elsewhere,
    unfinished_actions,
)
from safepoint.repository.care.repair_manifest import commit_again, manifest_action, put_back, put_right
from safepoint.repository.care.repair_survey import RepairSurvey, names_now, survey_manifests
from safepoint.repository.care.repair_values import RepairAction, Repaired, RepairKind, RepairScope, finding_about
from safepoint.repository.care.sound_objects import fetch_if_there
from safepoint.repository.commit.backups import is_spent
from safepoint.repository.maps.marking import surviving_packs
from safepoint.repository.names import BACKUPS_PREFIX, INDEXES_PREFIX, is_end, kind_of, pack_of
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.seal import Kind

__all__ = ["RepairAction", "RepairKind", "RepairPlan", "Repaired", "plan_repair", "repair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What was found out for a plan, so that who carries it out need not look again.

    `given_up` are the objects that keep their names and that nobody has; `gone_indexes` were named as damaged, and are
    not there.
    """

    scope: RepairScope
    survey: RepairSurvey
    exchanges: tuple[RepairAction, ...]
    given_up: tuple[Finding, ...]
    gone_indexes: tuple[str, ...]
    losses: LostPacks
    sources: BlobSources


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairPlan:
    """What would be repaired now, and what no copy that was given can help with."""

    actions: tuple[RepairAction, ...]
    hopeless: tuple[Finding, ...]
    found: _Found = field(repr=False, compare=False)

    @property
    def read_bytes(self) -> int:
        """What is read, at most, beside metadata; about as much is put."""
        return sum(action.read_bytes for action in self.actions)


def plan_repair(
    repository: Repository,
    *,
    copies: Sequence[Repository] = (),
    damaged: Collection[str] = (),
    report: Report = no_report,
) -> RepairPlan:
    """What `repair` would do now; writes nothing. `damaged` are the objects that a check or a verification named.

    Finds by itself what is missing, which manifests, ends and indexes do not open, and which packs no index lists.
    """
    return _plan(RepairScope.of(with_journalled_indexes(repository), copies, damaged), report)


def repair(
    repository: Repository,
    plan: RepairPlan | None = None,
    *,
    copies: Sequence[Repository] = (),
    damaged: Collection[str] = (),
    report: Report = no_report,
) -> Repaired:
    """What can be repaired is; `Repaired.unrepaired` names the rest. Killed anywhere, the next run goes on. RP013.

    The journal tells of indexes that come and go, whoever calls. A `plan` that was made for this repository is carried
    out as it is, with the copies and the damage it was made of.
    """
    plan = plan or plan_repair(repository, copies=copies, damaged=damaged, report=report)
    done = _carry_out(plan, report)
    while done.unrepaired and _is_outdated(plan):
        kept = _about(done.unrepaired, _vanished(plan))
        plan = _plan(plan.found.scope, report)
        again = _carry_out(plan, report)
        done = replace(done, unrepaired=kept) + again
    return done


def _plan(scope: RepairScope, report: Report) -> RepairPlan:
    while True:
        plan = _plan_once(scope, report)
        if not plan.hopeless or not _is_outdated(plan):
            return plan


def _is_outdated(plan: RepairPlan) -> bool:
    """Whether a backup was expired since the plan was made. One that only came to be no backup was not."""
    return any(is_spent(plan.found.scope.repository.store, name) for name in _gone(plan))


def _gone(plan: RepairPlan) -> frozenset[str]:
    return plan.found.survey.names - names_now(plan.found.scope.repository)


def _vanished(plan: RepairPlan) -> frozenset[str]:
    """The manifests of the plan that are gone, and that nobody expired."""
    return frozenset(name for name in _gone(plan) if not is_spent(plan.found.scope.repository.store, name))


def _about(findings: Iterable[Finding], names: Collection[str]) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if any(name in names for name in finding.objects))


def _plan_once(scope: RepairScope, report: Report) -> RepairPlan:
    survey = survey_manifests(scope)
    exchanges = list(exchange_actions(scope))
    losses, sources = _losses(scope, survey, report)
    found = _Found(
        scope=scope,
        survey=survey,
        exchanges=tuple(each for each in exchanges if isinstance(each, RepairAction)),
        given_up=(*survey.hopeless, *(each for each in exchanges if isinstance(each, Finding))),
        gone_indexes=_gone_indexes(scope),
        losses=losses,
        sources=sources,
    )
    actions = [
        *unfinished_actions(scope.repository),
        *(manifest_action(manifest) for manifest in survey.manifests if manifest.action is not None),
        *found.exchanges,
        *index_actions(scope.repository, found.gone_indexes),
        *link_actions(losses),
        *refill_actions(scope, losses),
    ]
    hopeless = (*found.given_up, *losses.hopeless(scope))
    order = list(RepairKind)
    return RepairPlan(
        actions=tuple(sorted(actions, key=lambda action: order.index(action.kind))),
        hopeless=(*hopeless, *_rest(found, (*actions, *hopeless))),
        found=found,
    )


def _carry_out(plan: RepairPlan, report: Report) -> Repaired:
    """Ends of backups come last: they count when everything they need is there."""
    found, repository = plan.found, plan.found.scope.repository
    done = Repaired(actions=tuple(finish_exchanges(repository)))
    for manifest in found.survey.manifests:
        if manifest.action is RepairKind.PUT_BACK:
            done += put_back(repository, manifest)
        elif manifest.action is RepairKind.EXCHANGE:
            done += put_right(repository, manifest)
    for action in found.exchanges:
        done += _exchanged(found.scope, action)
    indexed = rebuild_indexes(repository, found.gone_indexes)
    losses, sources = found.losses, found.sources
    if indexed:  # these tell of places that were unknown when the plan was made, and that it remembers as unknown
        anew = replace(found.scope, repository=repository.through(repository.store))
        losses, sources = _losses(anew, found.survey, report)
    done += Repaired(actions=(*indexed, *link(repository, losses)))
    done += refill_all(found.scope, losses, sources, report)
    for manifest in found.survey.manifests:
        if manifest.action is RepairKind.COMMIT_AGAIN:
            done += commit_again(repository, manifest)
    done += Repaired(unrepaired=(*found.given_up, *losses.hopeless(found.scope)))
    return done + Repaired(unrepaired=_rest(found, (*done.actions, *done.unrepaired)))


def _exchanged(scope: RepairScope, action: RepairAction) -> Repaired:
    """The bytes are fetched again: to keep those of all objects since the plan would take much memory."""
    name = action.objects[0]
    _, data = sound_elsewhere(scope, name)
    if not data:
        text = f"found no sound {name} in any sibling, expected it as when the repair was planned"
        return Repaired(unrepaired=(finding_about(FindingKind.DAMAGED_OBJECT, text, action.objects),))
    if not exchange(scope.repository, name, data):
        text = f"found {name} still damaged after it was put from a sibling, expected it sound"
        return Repaired(unrepaired=(finding_about(FindingKind.DAMAGED_OBJECT, text, action.objects),))
    return Repaired(actions=(action,))


def _losses(scope: RepairScope, survey: RepairSurvey, report: Report) -> tuple[LostPacks, BlobSources]:
    repository, sources = scope.repository, BlobSources(scope)
    damaged = {pack for name in scope.damaged if (pack := pack_of(name)) is not None}
    stored = surviving_packs(repository.store, repository.keyring)
    backups = [found.manifest for found in survey.manifests]
    return find_losses(scope, backups, damaged, stored, sources, report), sources


def _gone_indexes(scope: RepairScope) -> tuple[str, ...]:
    named = (name for name in scope.damaged if name.startswith(INDEXES_PREFIX) and kind_of(name) is Kind.INDEX)
    return tuple(sorted(name for name in named if fetch_if_there(scope.repository, name) is None))


def _rest(found: _Found, told: Iterable[RepairAction | Finding]) -> tuple[Finding, ...]:
    """What was named as damaged, and nothing is done about; packs and indexes are dealt with before.

    A manifest that no lease and no entry speaks of any more was expired since it was named.
    """
    survey = found.survey
    known = {manifest.name for manifest in survey.manifests} | {name for done in told for name in done.objects}
    return tuple(
        finding_about(FindingKind.DAMAGED_OBJECT, f"found {name} damaged or missing: no repair is known", (name,))
        for name in sorted(found.scope.damaged - known)
        if pack_of(name) is None
        and not name.startswith((*EXCHANGED, INDEXES_PREFIX))
        and not (is_end(name) and name not in survey.unreadable)
        and not (name.startswith(BACKUPS_PREFIX) and name not in survey.names)
    )
