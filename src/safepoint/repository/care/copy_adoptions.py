"""Adoptions go into a copy first: without them it would follow another lineage of a timeline than its source does.

A target that was copied before the adoption holds the lineage that was followed then. Once it has the adoption and the
adopted history, what it is found to lack is the adopted WAL, and that is let in. What it holds is kept, as a branch.
"""

from __future__ import annotations

from safepoint import errors
from safepoint.model.lsn import TimelineId
from safepoint.repository.names import record_prefix
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.objects import read_object, seal_object
from safepoint.repository.sealing.seal import Kind
from safepoint.repository.wal_lineages import ADOPTIONS


def copy_adoptions(source: Repository, target: Repository) -> None:
    """The target follows what the source follows; killed anywhere, the next copy goes on. RP005 for a damaged one."""
    prefix = record_prefix(ADOPTIONS)
    held = set(target.store.list(prefix))
    for name in [name for name in source.store.list(prefix) if name not in held]:
        body = read_object(source.store, source.keyring, Kind.RECORD, name).body
        target.store.put_if_absent(name, seal_object(target.keyring, Kind.RECORD, name, body))
    for record in target.records(ADOPTIONS):
        cluster, timeline = str(record["cluster"]), TimelineId(int(str(record["timeline"])))
        content = str(record["history"]).encode()
        if not timeline.has_history:
            continue
        try:
            target.put_history(cluster, timeline, content)
        except errors.Damaged as error:
            if error.spec is not errors.RP007:  # a later adoption took its place
                raise
