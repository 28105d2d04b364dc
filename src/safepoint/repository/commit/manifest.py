"""Backup manifests as JSON and back: what a backup is, and the root of the listing of its files.

Reading trusts nothing: without encryption anybody who writes to the store can write a manifest.
"""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from safepoint import errors
from safepoint.model.backup import BackupManifest, BackupSource, BlobRef, Detection
from safepoint.model.json_value import Json
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.version import PgVersion
from safepoint.repository.commit.manifest_facts import (
    damage_of,
    damage_to_json,
    facts_of,
    facts_to_json,
    pairs_of,
    pairs_to_json,
    tablespaces_of,
    tablespaces_to_json,
)
from safepoint.repository.names import is_cluster
from safepoint.repository.sealing.objects import open_object
from safepoint.repository.sealing.seal import ID_BYTES, Keyring, Kind

MANIFEST_FORMAT = 1


def manifest_to_json(manifest: BackupManifest) -> bytes:
    """Compact JSON."""
    root = manifest.root
    value: dict[str, Json] = {
        "format": MANIFEST_FORMAT,
        "id": manifest.id,
        "database": manifest.database,
        "tier": manifest.tier,
        "system_identifier": manifest.system_identifier,
        "version": manifest.version.number,
        "segment_size": manifest.segment_size,
        "timeline": manifest.timeline.value,
        "start_lsn": str(manifest.start_lsn),
        "stop_lsn": str(manifest.stop_lsn),
        "started_at": manifest.started_at.isoformat(),
        "stopped_at": manifest.stopped_at.isoformat(),
        "has_checksums": manifest.has_checksums,
        "root": [root.id.hex(), root.pack.hex(), root.offset, root.length, root.raw_length],
        "file_count": manifest.file_count,
        "raw_bytes": manifest.raw_bytes,
        "added_bytes": manifest.added_bytes,
        "source": manifest.source.value,
        "is_from_standby": manifest.is_from_standby,
        "next_xid": manifest.next_xid,
        "detection": manifest.detection.value,
        "detection_reason": manifest.detection_reason,
        "share": manifest.share,
        "tablespaces": tablespaces_to_json(manifest.tablespaces),
        "outside": pairs_to_json(manifest.outside),
        "damaged_pages": damage_to_json(manifest.damaged_pages),
        "facts": facts_to_json(manifest.facts),
    }
    return json.dumps(value, separators=(",", ":")).encode()


def manifest_from_json(data: bytes) -> BackupManifest:
    """The manifest; ValueError when it is none, RP006 when it is of a later format."""
    try:
        value: Any = json.loads(data)
        _require_known(value.pop("format"))
        manifest = _manifest_of(value)
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"found a manifest without {error}, expected all fields of format {MANIFEST_FORMAT}"
        ) from error
    if not is_cluster(manifest.system_identifier):
        raise ValueError(f"found the system identifier {manifest.system_identifier[:40]!r}, expected it in decimal")
    if set(value) != {field.name for field in fields(BackupManifest)}:
        raise ValueError(f"found the fields {sorted(value)} in a manifest, expected those of format {MANIFEST_FORMAT}")
    return manifest


def open_manifest(keyring: Keyring, name: str, data: bytes) -> BackupManifest:
    """The manifest in the bytes of its object; RP005, RP006 when it is of a later format."""
    try:
        return manifest_from_json(open_object(keyring, Kind.MANIFEST, name, data).body)
    except ValueError as error:
        raise errors.RP005.error(f"cannot use the manifest {name}: {error}") from error


def _require_known(found: int) -> None:
    if found != MANIFEST_FORMAT:
        raise errors.RP006.error(
            f"found a manifest of format {found}, expected {MANIFEST_FORMAT}",
            hints=[errors.run("use the version of safepoint that wrote it, or a later one")],
        )


def _manifest_of(value: dict[str, Any]) -> BackupManifest:
    return BackupManifest(
        id=_text(value, "id"),
        database=_text(value, "database"),
        tier=_text(value, "tier"),
        system_identifier=_text(value, "system_identifier"),
        version=PgVersion(_number(value, "version")),
        segment_size=_number(value, "segment_size"),
        timeline=TimelineId(_number(value, "timeline")),
        start_lsn=Lsn.parse(_text(value, "start_lsn")),
        stop_lsn=Lsn.parse(_text(value, "stop_lsn")),
        started_at=_instant(value, "started_at"),
        stopped_at=_instant(value, "stopped_at"),
        has_checksums=bool(value["has_checksums"]),
        root=_ref_of(value["root"]),
        file_count=_number(value, "file_count"),
        raw_bytes=_number(value, "raw_bytes"),
        added_bytes=_number(value, "added_bytes"),
        source=BackupSource(_text(value, "source")),
        is_from_standby=bool(value["is_from_standby"]),
        next_xid=_number(value, "next_xid"),
        detection=Detection(_text(value, "detection")),
        detection_reason=_text(value, "detection_reason"),
        share=_number(value, "share"),
        tablespaces=tablespaces_of(value["tablespaces"]),
        outside=pairs_of(value["outside"]),
        damaged_pages=damage_of(value["damaged_pages"]),
        facts=facts_of(value["facts"]),
    )


def _text(value: dict[str, Any], field: str) -> str:
    found = value[field]
    if not isinstance(found, str):
        raise ValueError(f"found {found!r} as {field} of a manifest, expected text")  # noqa: TRY004 - data, no mistake
    return found


def _number(value: dict[str, Any], field: str) -> int:
    found = value[field]
    if not _is_number(found):
        raise ValueError(f"found {found!r} as {field} of a manifest, expected a whole number from 0 on")
    return found


def _instant(value: dict[str, Any], field: str) -> datetime:
    found = datetime.fromisoformat(_text(value, field))
    if found.tzinfo is None:
        raise ValueError(f"found {found} as {field} of a manifest, expected a zone with it")
    found.astimezone(UTC)  # OverflowError at the ends of time
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _ref_of(value: list[Any]) -> BlobRef:
    identity, pack, offset, length, raw_length = value
    ref = BlobRef(
        id=bytes.fromhex(identity), pack=bytes.fromhex(pack), offset=offset, length=length, raw_length=raw_length
    )
    if len(ref.id) != ID_BYTES or len(ref.pack) != ID_BYTES or not all(map(_is_number, (offset, length, raw_length))):
        raise ValueError(f"found the root {value}, expected two names of {ID_BYTES} bytes and three numbers")
    return ref
