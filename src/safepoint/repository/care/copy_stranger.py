"""Copying to a stranger: what objects hold is opened in the source and sealed anew in the target.

A backup is taken in on top of the target's copy of an earlier one: files that both have in the same blobs are referred
to and not read; of all others every page is read, and those that changed are stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby

from safepoint import errors
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.model.coverage import WalPiece
from safepoint.model.lsn import TimelineId, WalSegment
from safepoint.repository.care.copy_survey import Wanted, clusters_of
from safepoint.repository.care.copy_values import Copied
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.progress import Progress, Report
from safepoint.repository.care.sound_objects import fetch_named, open_sound
from safepoint.repository.commit.journal_event import record_put
from safepoint.repository.maps.files import BackupFiles
from safepoint.repository.maps.ingest import Ingest
from safepoint.repository.maps.listing import Entry, EntryKind
from safepoint.repository.names import RECORDS_PREFIX, WAL_PREFIX, is_history
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.objects import seal_object
from safepoint.repository.sealing.seal import Kind
from safepoint.repository.severity import Severity


def is_same_backup(one: BackupManifest, other: BackupManifest) -> bool:
    """Whether two repositories speak of one backup: all is the same but where its files lie and what they added."""
    return replace(one, root=other.root, added_bytes=other.added_bytes) == other


def copy_backup(
    source: Repository,
    target: Repository,
    manifest: BackupManifest,
    parent: BackupManifest | None,
    parent_copy: BackupManifest | None,
) -> Copied:
    """The backup exists in the target, durably, on top of `parent_copy`, its copy of `parent`.

    RP004, RP005 for what the source has lost; RP013 when the lease was revoked.
    """
    held = {} if parent is None else {entry.path: entry for entry in source.files(parent).entries()}
    try:
        with target.write_backup(
            database=manifest.database, cluster=manifest.system_identifier, parent=parent_copy
        ) as writer:
            _take_files(writer.ingest, source.files(manifest), held)
            taken = writer.ingest.finish()
            copied = replace(manifest, root=taken.root, added_bytes=taken.added_bytes)
            _require_all(manifest, taken.files, taken.raw_bytes)
            writer.commit(copied)
    except errors.SafepointError as error:
        if error.spec is errors.BK001:
            raise _revoked(manifest, error) from error
        raise
    return Copied(backups=(manifest.id,), packs=len(writer.ingest.writer.put_packs), objects=1)


def copy_sealed_anew(source: Repository, target: Repository, wanted: Wanted, report: Report) -> Iterator[Copied]:
    """Histories, WAL and records of the source are in the target, durably."""
    done = 0
    for cluster in clusters_of(source):
        histories = _copy_histories(source, target, cluster)
        for piece in wanted.wal.get(cluster, ()):
            yield _tried(piece.name, partial(_copy_wal, source, target, cluster, piece, histories))
            done += 1
            report(Progress(done=done, total=len(wanted.names), unit="objects"))
    target.flush_journal()
    for name in wanted.names:
        if name.startswith(RECORDS_PREFIX):
            yield _tried(name, partial(_copy_record, source, target, name))
            done += 1
            report(Progress(done=done, total=len(wanted.names), unit="objects"))


def _take_files(ingest: Ingest, files: BackupFiles, held: dict[str, Entry]) -> None:
    """All files and directories are taken in."""
    read: list[Entry] = []
    for entry in files.entries():
        if entry.kind is EntryKind.DIRECTORY:
            ingest.directory(entry.path, entry.mode)
        elif not _is_unchanged(ingest, entry, held):
            read.append(entry)
    for entry in read:
        if entry.size == 0:
            ingest.file(entry.path, mode=entry.mode).close()
    contents = files.contents(entry for entry in read if entry.size)
    for entry, pieces in groupby(contents, key=lambda piece: piece[0]):
        with ingest.file(entry.path, mode=entry.mode) as file:
            for _, _, data in pieces:
                file.write(bytes(data))


def _is_unchanged(ingest: Ingest, entry: Entry, held: dict[str, Entry]) -> bool:
    """Takes the file from the target's parent when that is a copy of the same blobs."""
    before = held.get(entry.path)
    if before is None or not entry.size or _content(before) != _content(entry):
        return False
    try:
        ingest.unchanged(entry.path)
    except KeyError:  # the parent was not built upon
        return False
    return True


def _content(entry: Entry) -> tuple[int, int, tuple[bytes, ...]]:
    """What of an entry decides over the bytes of its file."""
    refs: Iterable[BlobRef] = (*entry.blobs, *(chunk.map for chunk in entry.chunks))
    return entry.mode, entry.size, tuple(ref.id for ref in refs)


def _copy_histories(source: Repository, target: Repository, cluster: str) -> dict[TimelineId, bytes]:
    """The histories of all timelines above the first, now also in the target."""
    found: dict[TimelineId, bytes] = {}
    held = _timelines(target, cluster)
    for timeline in sorted(_timelines(source, cluster)):
        content = (target if timeline in held else source).read_history(cluster, timeline)
        if content is not None:
            found[timeline] = content
        if content is not None and timeline not in held:
            target.put_history(cluster, timeline, content)
    return found


def _timelines(repository: Repository, cluster: str) -> set[TimelineId]:
    """Those of which there is a history."""
    names = [name for name in repository.store.list(f"{WAL_PREFIX}{cluster}/") if is_history(name)]
    return {TimelineId(int(name.rpartition("/")[2][:8], 16)) for name in names}


def _copy_wal(
    source: Repository, target: Repository, cluster: str, piece: WalPiece, histories: dict[TimelineId, bytes]
) -> None:
    data = source.read_wal(piece)
    mark = source.read_mark(piece)
    history = histories.get(piece.timeline, b"")
    if piece.is_partial:
        target.put_wal_range(cluster, piece.timeline, piece.start, data, history=history, mark=mark)
    else:
        segment = WalSegment.holding(piece.timeline, piece.start, len(data))
        target.put_wal_segment(cluster, segment, data, history=history, mark=mark)


def _copy_record(source: Repository, target: Repository, name: str) -> None:
    body = open_sound(source.keyring, name, fetch_named(source, name)).body
    target.store.put_if_absent(name, seal_object(target.keyring, Kind.RECORD, name, body))
    with contextlib.suppress(errors.Unreachable):
        target.journal.append([record_put(name)])


def _tried(name: str, work: Callable[[], None]) -> Copied:
    """What the work copied; what the source has lost becomes a finding."""
    try:
        work()
    except errors.Damaged as error:
        text = f"not copied: {error.message}"
        return Copied(
            findings=(Finding(kind=FindingKind.DAMAGED_OBJECT, severity=Severity.DAMAGED, text=text, objects=(name,)),)
        )
    return Copied(objects=1)


def _require_all(manifest: BackupManifest, files: int, raw_bytes: int) -> None:
    if (files, raw_bytes) != (manifest.file_count, manifest.raw_bytes):
        raise errors.RP005.error(
            f"found {files} files of {raw_bytes} bytes in backup {manifest.id}, expected {manifest.file_count} of "
            f"{manifest.raw_bytes}, as its manifest says"
        )


def _revoked(manifest: BackupManifest, error: errors.SafepointError) -> errors.SafepointError:
    return errors.RP013.error(
        f"found the lease in the target revoked, expected it to be held until {manifest.id} was copied",
        changed="the backup is not in the target; what was put for it is left to the target's next collection",
        hints=[errors.ask(error.message), errors.run("copy again")],
    )
