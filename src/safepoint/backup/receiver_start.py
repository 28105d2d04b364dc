"""Where a WAL receiver begins: decided by the repository, the slot and the server's own identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safepoint import errors
from safepoint.backup.coverage import Spans, contiguous_end, spans_of
from safepoint.backup.shipping import WalStreamId
from safepoint.model.history import Ancestor, parse_history
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.replication import PhysicalSlot, ReplicationSession, SystemIdentity
from safepoint.repository import Repository

_UNITS = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPoint:
    """Stream from `position`, the first byte of a segment; what lies before `durable` is in the repository."""

    stream: WalStreamId
    slot: str
    position: Lsn
    durable: Lsn


def starting_point(
    session: ReplicationSession,
    repository: Repository,
    *,
    database: str,
    slot: str,
    cluster: str | None,
    accept_gap: bool,
) -> StartingPoint:
    """Where to go on; the slot exists, made if it was absent.

    At the first byte that the repository lacks of what the slot still keeps, never beyond it because a backup has
    stored WAL of its own further on; with nothing held, or a gap accepted, at what the slot reserves. WL001 when the
    server is another cluster than before.
    """
    identity = session.identify_system()
    _require_same_cluster(identity, repository, database=database, cluster=cluster)
    found = session.read_slot(slot)
    if found is not None and accept_gap:
        # It may point at WAL that is gone, or be invalidated; a new one reserves what is there.
        session.drop_slot(slot)
        found = None
    found = found or _made_slot(session, slot)
    # Again, now that the slot is there: it reserves WAL from a checkpoint that may be younger than the first answer.
    identity = session.identify_system()
    size = segment_size(session)
    pieces = repository.wal_pieces(identity.system_identifier)
    own_history = session.fetch_history(identity.timeline)
    held = first_lacking(spans_of(pieces), found, identity.timeline, parse_history(own_history))
    if held is None or accept_gap:
        timeline, durable = identity.timeline, _reserved(found, identity).segment_start(size)
    else:
        timeline, durable = held
    _require_not_ahead(identity, timeline, durable)
    history = own_history if timeline == identity.timeline else session.fetch_history(timeline)
    if history:
        repository.put_history(identity.system_identifier, timeline, history)
    return StartingPoint(
        stream=WalStreamId(cluster=identity.system_identifier, timeline=timeline, history=history, segment_size=size),
        slot=slot,
        position=durable.segment_start(size),
        durable=durable,
    )


def segment_size(session: ReplicationSession) -> int:
    """The cluster's bytes a WAL segment."""
    text = session.show("wal_segment_size")
    digits = text.rstrip("kMGB")
    return int(digits) * _UNITS[text[len(digits) :]]


def require_same_cluster(system_identifier: str, repository: Repository, database: str, spec: errors.Spec) -> None:
    """Raises `spec` when backups under this name are another cluster's. Opens no manifest of the cluster's own."""
    names = [found.manifest for found in repository.backup_state().existing]
    foreign = [name for name in names if name.split("/")[1] != system_identifier]
    others = {name.split("/")[1] for name in foreign if repository.read_manifest(name).database == database}
    if others:
        raise spec.error(
            f"found the server to be cluster {system_identifier}, expected {', '.join(sorted(others))}, "
            f"of which the repository holds backups under the name {database}",
            hints=[
                errors.ask("does the URL lead to another server, or was the cluster made anew or upgraded?"),
                errors.run("give the new cluster a name of its own, or a repository of its own"),
            ],
        )


def _require_same_cluster(
    identity: SystemIdentity, repository: Repository, *, database: str, cluster: str | None
) -> None:
    if cluster is not None and cluster != identity.system_identifier:
        raise errors.WL001.error(
            f"found cluster {identity.system_identifier} at the address, expected {cluster} as before",
            hints=[errors.ask("was another server started in its place?")],
        )
    require_same_cluster(identity.system_identifier, repository, database, errors.WL001)


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


def _require_not_ahead(identity: SystemIdentity, timeline: TimelineId, durable: Lsn) -> None:
    if timeline == identity.timeline and durable > identity.flush_lsn:
        raise errors.WL001.error(
            f"found the server's WAL to end at {identity.flush_lsn} on timeline {timeline}, "
            f"expected at least {durable}, up to which the repository holds it",
            hints=[errors.ask("is this an older copy of the cluster, restored or cloned without a promotion?")],
        )
