"""Backup manifests as JSON and back. Packs and blobs are tables, so that a file is a line of indexes.

Reading trusts nothing: without encryption anybody who writes to the store can write a manifest, and its paths will be
written by whoever restores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from safepoint import errors
from safepoint.model.backup import BackupFile, BackupManifest, BlobRef
from safepoint.model.json_value import Json
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.version import PgVersion

MANIFEST_FORMAT = 1


def manifest_to_json(manifest: BackupManifest) -> bytes:
    """Compact JSON; ValueError when a file is not the sum of its blobs or a path leads outside."""
    _require_sound(manifest)
    blobs = tuple(dict.fromkeys(ref for file in manifest.files for ref in file.blobs))
    packs = tuple(dict.fromkeys(ref.pack for ref in blobs))
    blob_index, pack_index = _index(blobs), _index(packs)
    value: dict[str, Json] = {
        **_facts(manifest),
        "format": MANIFEST_FORMAT,
        "directories": manifest.directories,
        "packs": packs,
        "blobs": [[pack_index[ref.pack], ref.offset, ref.length, ref.raw_length, ref.id] for ref in blobs],
        "files": [
            [file.path, file.size, file.mode, [blob_index[ref] for ref in file.blobs]] for file in manifest.files
        ],
    }
    return json.dumps(value, separators=(",", ":")).encode()


def manifest_from_json(data: bytes) -> BackupManifest:
    """The manifest; ValueError when it is none, RP006 when it is of a later format."""
    value: Any = json.loads(data)
    try:
        _require_known(value["format"])
        manifest = _manifest_of(value)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"found a manifest without {error}, expected all fields of format {MANIFEST_FORMAT}"
        ) from error
    _require_sound(manifest)
    return manifest


def _require_known(found: int) -> None:
    if found != MANIFEST_FORMAT:
        raise errors.RP006.error(
            f"found a manifest of format {found}, expected {MANIFEST_FORMAT}",
            hints=[errors.run("use the version of safepoint that wrote it, or a later one")],
        )


def packs_of(manifest: BackupManifest) -> Mapping[str, int]:
    """Each pack the backup needs, and the least size it must have."""
    least: dict[str, int] = {}
    for file in manifest.files:
        for ref in file.blobs:
            least[ref.pack] = max(least.get(ref.pack, 0), ref.offset + ref.length)
    return least


def _facts(manifest: BackupManifest) -> dict[str, Json]:
    return {
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
    }


def _manifest_of(value: dict[str, Any]) -> BackupManifest:
    refs: list[BlobRef] = [_ref_of(value["packs"], blob) for blob in value["blobs"]]
    return BackupManifest(
        id=value["id"],
        database=value["database"],
        tier=value["tier"],
        system_identifier=value["system_identifier"],
        version=PgVersion(value["version"]),
        segment_size=value["segment_size"],
        timeline=TimelineId(value["timeline"]),
        start_lsn=Lsn.parse(value["start_lsn"]),
        stop_lsn=Lsn.parse(value["stop_lsn"]),
        started_at=datetime.fromisoformat(value["started_at"]),
        stopped_at=datetime.fromisoformat(value["stopped_at"]),
        has_checksums=value["has_checksums"],
        directories=tuple(value["directories"]),
        files=tuple(_file_of(refs, file) for file in value["files"]),
    )


def _file_of(refs: list[BlobRef], file: list[Any]) -> BackupFile:
    path, size, mode, indexes = file
    return BackupFile(path=path, size=size, mode=mode, blobs=tuple(refs[int(index)] for index in indexes))


def _ref_of(packs: list[str], blob: list[Any]) -> BlobRef:
    pack, offset, length, raw_length, identity = blob
    return BlobRef(id=str(identity), pack=packs[int(pack)], offset=offset, length=length, raw_length=raw_length)


def _index(values: Iterable[Any]) -> dict[Any, int]:
    return {value: index for index, value in enumerate(values)}


def _require_sound(manifest: BackupManifest) -> None:
    for path in (*manifest.directories, *(file.path for file in manifest.files)):
        _require_inside(path)
    for file in manifest.files:
        found = sum(ref.raw_length for ref in file.blobs)
        if found != file.size:
            raise ValueError(f"found blobs of {found} bytes for {file.path!r}, expected its size of {file.size}")


def _require_inside(path: str) -> None:
    """A restore writes where this says: below the data directory, nowhere else."""
    parts = path.split("/")
    if "\0" in path or any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"found the path {path!r}, expected a relative one that stays below the data directory")
