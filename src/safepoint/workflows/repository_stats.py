"""`safepoint repository stats`: what a repository holds, in figures."""

from __future__ import annotations

from safepoint.model.json_value import Json
from safepoint.repository.care.stats import Growth, Share, Stats, stats
from safepoint.repository.care.wal_figures import WalFigures
from safepoint.workflows.care_job import CareJob, care_plan
from safepoint.workflows.repository_location import Located


def prepare_stats(place: Located) -> CareJob[Stats]:
    """Reading the figures; opens the repository."""
    repository = place.open()
    plan = care_plan("stats", place.name, "read manifests, maps and indexes", url=place.url)
    return CareJob(
        plan=plan, repository=repository, work=lambda report: stats(repository, report=report), to_json=stats_to_json
    )


def stats_to_json(found: Stats) -> dict[str, Json]:
    """The figures for programs; null: unknown. Unless `is_exact`, sums over backups are lower bounds: see `unknown`."""
    packs = found.packs
    return {
        "repository": found.repository,
        "is_encrypted": found.is_encrypted,
        "is_exact": not found.unknown,
        **_share_to_json(found.total),
        "deduplication": found.deduplication,
        "compression": found.compression,
        "databases": {share.name: _share_to_json(share) for share in found.databases},
        "tiers": {share.name: _share_to_json(share) for share in found.tiers},
        "growth": [_growth_to_json(day) for day in found.growth],
        "added": [
            {
                "backup": backup.id,
                "database": backup.database,
                "tier": backup.tier,
                "stopped_at": backup.stopped_at.isoformat(),
                "added_bytes": backup.added_bytes,
            }
            for backup in found.backups
        ],
        "packs": {
            "packs": packs.packs,
            "stored_bytes": packs.stored_bytes,
            "blobs": packs.blobs,
            "unlisted": packs.unlisted,
            "needed": packs.needed_packs,
            "under_way": packs.under_way_packs,
            "under_way_bytes": packs.under_way_bytes,
            "garbage": packs.garbage_packs,
            "garbage_bytes": packs.garbage_bytes,
            "waste_bytes": packs.waste_bytes,
            "sparse": packs.sparse_packs,
            "sparse_bytes": packs.sparse_bytes,
        },
        "wal": [_wal_to_json(cluster) for cluster in found.wal],
        "unknown": list(found.unknown),
    }


def _share_to_json(share: Share) -> dict[str, Json]:
    return {
        "backups": share.backups,
        "raw_bytes": share.raw_bytes,
        "unique_bytes": share.blobs.unique,
        "stored_bytes": share.blobs.stored,
        "map_bytes": share.blobs.maps,
        "alone_bytes": share.blobs.alone,
        "blobs": share.blobs.blobs,
    }


def _growth_to_json(growth: Growth) -> dict[str, Json]:
    return {"day": growth.day.isoformat(), "backups": growth.backups, "added_bytes": growth.added_bytes}


def _wal_to_json(wal: WalFigures) -> dict[str, Json]:
    return {
        "system_identifier": wal.cluster,
        "segments": wal.segments,
        "ranges": wal.ranges,
        "raw_bytes": wal.raw_bytes,
        "stored_bytes": wal.stored_bytes,
        "is_estimate": wal.is_estimate,
    }
