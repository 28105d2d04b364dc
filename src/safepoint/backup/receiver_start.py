"""Where a WAL receiver begins: decided by the repository, the slot and the server's own identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from safepoint import errors
from safepoint.backup.coverage import Spans, contiguous_end, spans_of
from safepoint.backup.refill import Place
from safepoint.backup.same_cluster import require_same_cluster
from safepoint.backup.same_history import Sameness, compare_history
from safepoint.backup.shipping import WalStreamId
from safepoint.model.history import Ancestor, parse_history
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.replication import PhysicalSlot, ReplicationSession, SystemIdentity
from safepoint.repository import Repository
from safepoint.repository.wal_lineages import Followed

STORE_ERRORS = frozenset({errors.ST001, errors.ST002})
"""After these the store may answer, or take the same put, later."""

T = TypeVar("T")

_UNITS = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


_UNKNOWN_SETTING = "(42704)"  # undefined_object


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What decides where a repository stands: the server's history, and what its slot kept when we came."""

    cluster: str
    timeline: TimelineId
    ancestors: tuple[Ancestor, ...]
    slot: PhysicalSlot


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPoint:
    """Stream from `position`, the first byte of a segment; what lies before `durable` is in a required repository.

    `standings` are those of the repositories that answered, by name; None for one that holds nothing of this history.
    `is_leap`: over a gap that was accepted; whatever is held before it is of no interest.
    """

    stream: WalStreamId
    slot: str
    position: Lsn
    durable: Lsn
    ground: Ground
    standings: Mapping[str, Place | None]
    is_leap: bool = False


def starting_point(
    session: ReplicationSession,
    repositories: Mapping[str, Repository],
    *,
    database: str,
    slot: str,
    cluster: str | None,
    accept_gap: bool,
) -> StartingPoint:
    """Where to go on; the slot exists, made if it was absent.

    Where the repository that is furthest lacks the first byte of what the slot still keeps, never beyond it because a
    backup has stored WAL of its own further on; with nothing held, or a gap accepted, at what the slot reserves. WL001
    when the server is another cluster than before or an old primary, WL006 when it is a restored copy.
    """
    require_no_copy(session)
    identity = session.identify_system()
    _require_same_server(identity, cluster)
    repositories = _of_same_cluster(repositories, identity.system_identifier, database)
    found = session.read_slot(slot)
    if found is not None and accept_gap:
        # It may point at WAL that is gone, or be invalidated; a new one reserves what is there.
        session.drop_slot(slot)
        found = None
    known, found = found, found or _made_slot(session, slot)
    # Again, now that the slot is there: it reserves WAL from a checkpoint that may be younger than the first answer.
    identity = session.identify_system()
    size = segment_size(session)
    own_history = session.fetch_history(identity.timeline)
    ground = Ground(
        cluster=identity.system_identifier,
        timeline=identity.timeline,
        ancestors=parse_history(own_history),
        slot=found,
    )
    standings = _answers(repositories, lambda repository: standing(repository, ground))
    held = max((place for place in standings.values() if place is not None), default=None)
    if held is None or accept_gap:
        timeline, durable = identity.timeline, _reserved(found, identity).segment_start(size)
    else:
        timeline, durable = held
    _require_not_ahead(identity, timeline, durable)
    if held is not None and not accept_gap:
        of_place = {name: repositories[name] for name, place in standings.items() if place == held}
        _require_same_history(session, of_place, held, ground.cluster, size, known)
    history = own_history if timeline == identity.timeline else session.fetch_history(timeline)
    return StartingPoint(
        stream=WalStreamId(cluster=identity.system_identifier, timeline=timeline, history=history, segment_size=size),
        slot=slot,
        position=durable.segment_start(size),
        durable=durable,
        ground=ground,
        standings=standings,
        is_leap=accept_gap,
    )


def standing(repository: Repository, ground: Ground) -> Place | None:
    """Where the repository lacks the first byte of the server's history; None when it holds nothing of it.

    WL001 when it holds a timeline that the server has not reached, or one was adopted: another server has gone on
    since. What an adoption of an earlier timeline took production from is no longer reckoned with.
    """
    pieces = repository.wal_pieces(ground.cluster)
    followed = require_followed(repository, ground)
    newest = max(
        (piece.timeline for piece in pieces if piece.timeline not in followed.abandoned), default=ground.timeline
    )
    if newest > ground.timeline:
        raise errors.WL001.error(
            f"found the server on timeline {ground.timeline}, expected at least {newest}, of which WAL is held",
            hints=[
                errors.ask("is this the old primary, which came back after another server was promoted?"),
                errors.run("rebuild it from the new primary, with `pg_rewind` or from a backup"),
            ],
        )
    return first_lacking(spans_of(pieces), ground.slot, ground.timeline, ground.ancestors)


def require_followed(repository: Repository, ground: Ground) -> Followed:
    """What the newest adoption says; WL001 when by it production is not where the server is: one listing.

    It was adopted on a later timeline, or on an earlier one, which abandoned the server's.
    """
    followed = repository.newest_adoption(ground.cluster)
    if followed.timeline is None:
        return followed
    if followed.timeline > ground.timeline:
        expected = f"at least {followed.timeline}, which was adopted"
    elif ground.timeline in followed.abandoned:
        expected = f"another, because {followed.timeline} was adopted since and abandoned it"
    else:
        return followed
    raise errors.WL001.error(
        f"found the server on timeline {ground.timeline}, expected {expected}",
        changed="the WAL held is untouched, and nothing more of this server's is stored",
        hints=[
            errors.ask("is it the old production, which goes on beside the server that was adopted?"),
            errors.run("if it is production again, adopt it: `safepoint wal adopt DATABASE --url URL`"),
        ],
    )


def require_no_copy(session: ReplicationSession) -> None:
    """WL006 when the server says of itself that it was restored from a backup and not adopted since."""
    try:
        backup = session.show("safepoint.copy_of")
    except errors.SafepointError as error:
        if _UNKNOWN_SETTING not in error.message:
            raise
        while session.next_result() is not None:
            pass
        return
    if backup:
        raise errors.WL006.error(
            f"found a server that was restored from backup {backup}, expected one whose WAL may go beside production's",
            hints=[
                errors.ask("is it a copy for a test or a drill? Then let it be"),
                errors.run("if it takes production's place: `safepoint wal adopt DATABASE --url URL`"),
            ],
        )


def segment_size(session: ReplicationSession) -> int:
    """The cluster's bytes a WAL segment."""
    text = session.show("wal_segment_size")
    digits = text.rstrip("kMGB")
    return int(digits) * _UNITS[text[len(digits) :]]


def _of_same_cluster(repositories: Mapping[str, Repository], cluster: str, database: str) -> dict[str, Repository]:
    """Those that answer; WL001 when one knows another cluster by the name, before the server gets a slot."""
    checked = _answers(repositories, lambda each: require_same_cluster(cluster, each, database, errors.WL001))
    return {name: repositories[name] for name in checked}


def _answers(repositories: Mapping[str, Repository], ask: Callable[[Repository], T]) -> dict[str, T]:
    """Of those that answer; raises what the last one said when none does."""
    found: dict[str, T] = {}
    silence: errors.SafepointError | None = None
    for name, repository in repositories.items():
        try:
            found[name] = ask(repository)
        except errors.SafepointError as error:
            if error.spec not in STORE_ERRORS:
                raise
            silence = error
    if silence is not None and not found:
        raise silence
    return found


def _require_same_server(identity: SystemIdentity, cluster: str | None) -> None:
    if cluster is not None and cluster != identity.system_identifier:
        raise errors.WL001.error(
            f"found cluster {identity.system_identifier} at the address, expected {cluster} as before",
            hints=[errors.ask("was another server started in its place?")],
        )


def _made_slot(session: ReplicationSession, slot: str) -> PhysicalSlot:
    session.create_slot(slot)
    return session.read_slot(slot) or PhysicalSlot(name=slot, restart_lsn=None)


def _reserved(slot: PhysicalSlot, identity: SystemIdentity) -> Lsn:
    return slot.restart_lsn or identity.flush_lsn


def first_lacking(
    spans: Spans, slot: PhysicalSlot, timeline: TimelineId, ancestors: Sequence[Ancestor]
) -> tuple[TimelineId, Lsn] | None:
    """Where the server's own history goes on that the repository lacks; None when nothing of it is held.

    The end of the newest WAL held, unless the slot still keeps what comes before it: whatever the slot has let go was
    acknowledged, whatever it keeps may be missing in front of WAL that a backup stored for itself. What an old primary
    wrote after a switch is no part of the history.
    """
    switches = {ancestor.timeline: ancestor.switch for ancestor in ancestors}
    own = [candidate for candidate in (*switches, timeline) if spans.get(candidate)]
    if not own:
        return None
    newest = max(own)
    end = spans[newest][-1].end
    kept_on, kept = slot.restart_timeline, slot.restart_lsn
    if (
        kept_on is not None
        and kept is not None
        and kept_on in {*switches, timeline}
        and (kept_on, kept) < (newest, end)
    ):
        newest, end = kept_on, contiguous_end(spans, kept_on, kept)
    return newest, min(end, switches.get(newest, end))


def _require_same_history(
    session: ReplicationSession,
    repositories: Mapping[str, Repository],
    place: Place,
    cluster: str,
    size: int,
    known: PhysicalSlot | None,
) -> None:
    """WL001 when the server's WAL before the place is not what is held. Within a segment the shipper compares, too.

    On the boundary of two nothing that is streamed overlaps what is held. A server that no longer has the segment
    before is believed when the slot it had (`known`) stands right there: only we move it, and only to what we stored of
    that server's own WAL. It lies in the data directory, so that a snapshot put back has the slot of its moment.
    """
    timeline, durable = place
    if durable != durable.segment_start(size):
        return
    vouches = known is not None and (known.restart_timeline, known.restart_lsn) == place
    for name, repository in repositories.items():
        sameness = compare_history(session, repository, cluster, timeline, durable, size)
        if sameness is Sameness.GONE and not vouches:
            raise _not_comparable(name, place, cluster)
        if sameness is Sameness.OTHER:
            raise errors.WL001.error(
                f"found other WAL before {durable} on timeline {timeline} of cluster {cluster}, "
                f"expected the bytes that {f'repository {name}' if name else 'the repository'} holds",
                changed="nothing was stored; the WAL held is untouched",
                hints=[
                    errors.ask("was the server's disk put back to a snapshot, or is it a clone that went its own way?"),
                    errors.run("promote it to a timeline of its own, or give it a repository of its own"),
                ],
            )


def _not_comparable(name: str, place: Place, cluster: str) -> errors.SafepointError:
    """WL001 for a server that cannot show that what it sends continues what is held."""
    timeline, durable = place
    holder = f"repository {name}" if name else "the repository"
    return errors.WL001.error(
        f"found the segment before {durable} on timeline {timeline} of cluster {cluster} gone from the server, and no "
        f"slot that kept it, expected to compare it with what {holder} holds",
        changed="nothing was stored; the WAL held is untouched",
        hints=[
            errors.ask("was the slot dropped while no receiver ran? or the server's disk put back to a snapshot?"),
            errors.run("begin anew: `safepoint wal stream --accept-gap`, and take a new backup at once"),
        ],
    )


def _require_not_ahead(identity: SystemIdentity, timeline: TimelineId, durable: Lsn) -> None:
    if timeline == identity.timeline and durable > identity.flush_lsn:
        raise errors.WL001.error(
            f"found the server's WAL to end at {identity.flush_lsn} on timeline {timeline}, "
            f"expected at least {durable}, up to which the repository holds it",
            hints=[errors.ask("is this an older copy of the cluster, restored or cloned without a promotion?")],
        )
