"""WAL by its names alone: what is held is coverage's; here only what coverage would not see or would refuse."""

from __future__ import annotations

from collections.abc import Iterator

from safepoint import errors
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.names import WAL_PREFIXES, cluster_of, is_history, wal_place
from safepoint.repository.repository import Repository
from safepoint.repository.severity import Severity
from safepoint.repository.wal import pieces_at


def check_wal(repository: Repository) -> tuple[int, tuple[Finding, ...]]:
    """How many objects there are, and what is strange about their names."""
    names = {name for prefix in WAL_PREFIXES for name in repository.store.list(prefix)}
    clusters = sorted({cluster_of(name) for name in names})
    findings = tuple(finding for cluster in clusters for finding in _of_cluster(repository, cluster, names))
    return len(names), findings


def _of_cluster(repository: Repository, cluster: str, names: set[str]) -> Iterator[Finding]:
    ours = {name for name in names if cluster_of(name) == cluster}
    known = {name for name in ours if (place := wal_place(name)) is not None and any(pieces_at(name, place))}
    try:
        repository.wal_pieces(cluster)  # of two lineages of a timeline, one must be followed
    except errors.Damaged as error:
        yield Finding(kind=FindingKind.MIXED_WAL, severity=Severity.DAMAGED, text=error.message)
        return
    except ValueError:
        known = set[str]()
    for name in sorted(ours - known):
        if not is_history(name):
            text = f"found {name}, expected the name of a segment, a range or a history"
            yield Finding(kind=FindingKind.STRANGE_NAME, severity=Severity.NOTICE, text=text, objects=(name,))
