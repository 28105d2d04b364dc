"""The check of a repository: what is healthy passes, and what is damaged among packs is named with what it costs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from checked_samples import (
    Sample,
    affected_ids,
    copy_of_sample,
    damage_of,
    flip,
    make_sample,
    must_restore,
    sealed_again,
    swap,
    unknown_of,
)
from repository_samples import (
    CLUSTER,
    MEBIBYTE,
    NOON,
    back_up,
    fill,
    make_repository,
    sample_manifest,
    snapshot,
    take_files,
)
from safepoint.model.backup import BackupManifest
from safepoint.repository import Repository
from safepoint.repository.care.check import check
from safepoint.repository.care.finding import FindingKind, Loss
from safepoint.repository.care.progress import Progress
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verify import verify
from safepoint.repository.commit.journal_finding import Severity
from safepoint.repository.commit.leases import begin_lease
from safepoint.repository.maps.references import References
from safepoint.repository.names import pack_name
from safepoint.repository.packs.index import put_indexes
from safepoint.repository.packs.pack import BlobKind, PackContents
from safepoint.repository.packs.writer import PackWriter
from safepoint.stores import FolderStore


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """To be copied."""
    return make_sample(tmp_path_factory.mktemp("healthy") / "store")


@pytest.fixture
def sample(healthy: Sample, tmp_path: Path) -> Sample:
    """A copy, for a test to damage."""
    return copy_of_sample(healthy, tmp_path / "store")


def test_a_healthy_repository_passes_and_nothing_is_written(sample: Sample) -> None:
    """Two databases, an expired backup and an abandoned writer are notices at most; the store is as it was."""
    before = snapshot(sample.root)

    checked = check(sample.opened())

    assert [finding for finding in checked.findings if finding.severity is not Severity.NOTICE] == []
    assert checked.is_whole
    assert (checked.backups, checked.wal_objects) == (3, 1)
    assert (checked.orphan_packs or 0) > 0
    assert FindingKind.ORPHAN_PACKS in {finding.kind for finding in checked.findings}
    assert snapshot(sample.root) == before


def test_a_writer_at_work_is_a_notice(sample: Sample) -> None:
    """A lease without an end is told of, and whole is what was whole."""
    with sample.repository.write_backup(database="shop", cluster=CLUSTER) as writer:
        take_files(writer.ingest, {"base/5/7": b"x" * 100_000})
        writer.ingest.finish()
        checked = check(sample.opened())

    assert checked.is_whole
    assert [finding.text for finding in checked.findings if finding.kind is FindingKind.OPEN_LEASE] != []


def test_an_empty_repository_passes(tmp_path: Path) -> None:
    """Nothing is missing where nothing was put."""
    checked = check(make_repository(FolderStore(tmp_path / "store")))

    assert checked.is_whole
    assert (checked.backups, checked.packs) == (0, 0)


def test_every_object_of_one_kind_each_passes(tmp_path: Path) -> None:
    """Segments, ranges, histories and records among them."""
    repository = make_repository(FolderStore(tmp_path / "store"), None)
    fill(repository)

    assert check(repository).is_whole


@pytest.mark.parametrize("kept", [0, 40, 5_000, -1])
def test_a_truncated_pack_names_the_files_that_lost_bytes(sample: Sample, kept: int) -> None:
    """Cut anywhere, it is found by its end; only backups and files of which bytes are gone are named."""
    name = sample.own_packs(sample.billing, BlobKind.DATA)[0]
    data = sample.path(name).read_bytes()
    sample.path(name).write_bytes(data[:kept])

    finding = damage_of(check(sample.opened()).findings)[FindingKind.DAMAGED_PACK]

    assert finding.objects == (name,)
    lost = {(affected.backup_id, affected.loses, affected.paths) for affected in finding.affected}
    assert lost == (set() if kept == -1 else {("billing", Loss.FILES, ("base/7/20000",))})
    must_restore(sample, sample.first, sample.second)


def test_a_deleted_pack_of_data_names_every_backup_that_shares_it(sample: Sample) -> None:
    """Both backups of shop lose the file that they share; billing is not named and restores."""
    for name in sample.packs(sample.first, BlobKind.DATA):
        sample.path(name).unlink()

    checked = check(sample.opened())

    missing = [finding for finding in checked.findings if finding.kind is FindingKind.MISSING_PACK]
    assert all(finding.is_damage for finding in missing)
    assert {id_ for finding in missing for id_ in affected_ids(finding)} == {"first", "second"}
    paths = {path for finding in missing for affected in finding.affected for path in affected.paths}
    assert paths == {"base/5/16384", "base/5/16385", "global/1260"}
    assert not checked.is_whole
    must_restore(sample, sample.billing)


def test_a_deleted_pack_of_a_later_backup_spares_the_earlier(sample: Sample) -> None:
    """What only the second backup put is lost to the second alone."""
    for name in sample.own_packs(sample.second, BlobKind.DATA):
        sample.path(name).unlink()

    finding = damage_of(check(sample.opened()).findings)[FindingKind.MISSING_PACK]

    assert affected_ids(finding) == {"second"}
    assert set(finding.affected[0].paths) <= {"base/5/16384", "base/5/16999"}
    must_restore(sample, sample.first, sample.billing)


def test_a_deleted_pack_of_nodes_says_that_everything_is_lost(sample: Sample) -> None:
    """Without its listing a backup holds nothing that could be found."""
    for name in sample.own_packs(sample.second, BlobKind.NODE):
        sample.path(name).unlink()

    finding = damage_of(check(sample.opened()).findings)[FindingKind.MISSING_PACK]

    assert [(affected.backup_id, affected.loses) for affected in finding.affected] == [("second", Loss.EVERYTHING)]
    assert not finding.affected[0].is_complete
    must_restore(sample, sample.first, sample.billing)


def test_a_flipped_bit_in_a_needed_node_is_found(sample: Sample) -> None:
    """Every node of every backup is read and authenticated."""
    manifest = sample.billing
    flip(sample.path(pack_name(manifest.root.pack)), manifest.root.offset + 5)

    finding = damage_of(check(sample.opened()).findings)[FindingKind.DAMAGED_PACK]

    assert [(affected.backup_id, affected.loses) for affected in finding.affected] == [("billing", Loss.EVERYTHING)]
    must_restore(sample, sample.first, sample.second)


def test_packs_that_were_rewritten_are_no_loss(sample: Sample) -> None:
    """Their blobs are found by the indexes in the packs that replaced them, which are then no orphans."""
    before = check(sample.opened()).orphan_packs
    repository = sample.repository
    rewrite(repository, sample.billing)
    for kind in BlobKind:
        for name in sample.own_packs(sample.billing, kind):
            sample.path(name).unlink()

    checked = check(sample.opened())

    assert [finding for finding in checked.findings if finding.severity is not Severity.NOTICE] == []
    assert checked.orphan_packs == before
    must_restore(sample, *sample.backups)


def test_a_damaged_pack_that_was_replaced_is_a_notice(sample: Sample) -> None:
    """Until a collection takes it, it is told of; nobody misses it, and its replacement is no orphan."""
    before = check(sample.opened()).orphan_packs
    rewrite(sample.repository, sample.billing)
    name = sample.own_packs(sample.billing, BlobKind.DATA)[0]
    sample.path(name).write_bytes(sample.path(name).read_bytes()[:5000])

    checked = check(sample.opened())
    verified = verify(sample.opened(), Selection.all())

    for findings in (checked.findings, verified.findings):
        found = [finding for finding in findings if finding.kind is FindingKind.DAMAGED_PACK]
        assert [(finding.objects, finding.severity) for finding in found] == [((name,), Severity.NOTICE)]
    assert checked.is_whole
    assert checked.orphan_packs == before
    must_restore(sample, *sample.backups)


def rewrite(repository: Repository, manifest: BackupManifest) -> None:
    """Every blob of the backup lies in new packs as well, which an index lists, and which replace the old."""
    blobs = list(References(repository.files(manifest).nodes).of(manifest.root))
    old = {ref.pack for ref, _ in blobs}

    def put(packs: Sequence[PackContents]) -> None:
        put_indexes(repository.store, repository.keyring, manifest.system_identifier, packs, replaces=old)

    writer = PackWriter(repository.store, repository.keyring, on_packs=put)
    for ref, kind in blobs:
        writer.put_blob(repository.blobs.read_blob(ref), kind=kind)
    writer.finish()


def test_exchanged_packs_are_found_both(sample: Sample) -> None:
    """Each stands under the other's name: neither is itself, and both databases are named."""
    ours, theirs = sample.packs(sample.first, BlobKind.DATA)[0], sample.packs(sample.billing, BlobKind.DATA)[0]
    swap(sample.path(ours), sample.path(theirs))

    findings = [finding for finding in check(sample.opened()).findings if finding.kind is FindingKind.DAMAGED_PACK]

    assert {finding.objects for finding in findings} == {(ours,), (theirs,)}
    assert all("expected pack" in finding.text for finding in findings)
    assert "billing" in {id_ for finding in findings for id_ in affected_ids(finding)}


def test_a_backup_that_expires_while_it_is_checked_is_no_loss(sample: Sample) -> None:
    """A collection may take its packs at any time."""
    repository = sample.opened()
    packs = [*sample.own_packs(sample.billing, BlobKind.DATA), *sample.own_packs(sample.billing, BlobKind.NODE)]
    expired = False

    def expire(_: object) -> None:
        nonlocal expired
        if not expired:
            expired = True
            sample.repository.expire_backup("billing", reason="retention")
            for name in packs:
                sample.path(name).unlink()

    checked = check(repository, report=expire)

    assert expired
    assert [finding for finding in checked.findings if finding.kind is FindingKind.MISSING_PACK] == []
    assert checked.is_whole


def test_what_no_key_here_opens_is_unknown(tmp_path: Path) -> None:
    """A backup sealed under a later generation is neither damaged nor passed over, by check and by verification."""
    repository = make_repository(FolderStore(tmp_path / "store"))
    back_up(repository, {"a": b"1" * 100_000}, "known")
    masters = {**repository.keyring.masters, 2: b"2" * 32}
    later = Repository(
        repository.store, repository.description, replace(repository.keyring, masters=masters), repository.clock
    )
    lease = begin_lease(later.store, later.keyring, purpose="backup", database="shop", clock=later.clock)
    name = f"backups/{CLUSTER}/{lease.id}"
    lease.commit(name, sealed_again(later, name, sample_manifest("later")))

    checked = check(repository)
    verified = verify(repository, Selection.all())

    assert damage_of(checked.findings) == damage_of(verified.findings) == {}
    assert unknown_of(checked.findings)[FindingKind.LOCKED_OUT].objects == (f"leases/{lease.id}/end",)
    assert name in {finding.objects[0] for finding in verified.findings if finding.kind is FindingKind.LOCKED_OUT}
    assert not checked.is_whole
    assert not verified.is_whole


def test_a_backup_that_is_committed_while_it_is_checked_is_no_finding(sample: Sample) -> None:
    """Its manifest was seen before the end of its lease was put."""
    end = sample.path(f"leases/{sample.manifest_name(sample.second).rpartition('/')[2]}/end")
    content = end.read_bytes()
    end.unlink()

    def commit(_: Progress) -> None:
        end.write_bytes(content)

    checked = check(sample.opened(), report=commit)

    assert checked.is_whole
    assert [finding for finding in checked.findings if finding.kind is FindingKind.UNDECIDED_MANIFEST] == []


def test_findings_are_plain_values(sample: Sample) -> None:
    """As JSON they tell what they tell as objects."""
    sample.path(sample.own_packs(sample.billing, BlobKind.DATA)[0]).unlink()

    finding = damage_of(check(sample.opened()).findings)[FindingKind.MISSING_PACK]

    assert finding.to_json()["affected"] == [
        {
            "backup": "billing",
            "loses": "files",
            "database": "billing",
            "tier": "daily",
            "timeline": 1,
            "stop_lsn": "0/2000158",
            "stopped_at": NOON.isoformat(),
            "paths": ["base/7/20000"],
            "path_count": 1,
            "is_complete": True,
        }
    ]


def test_a_check_costs_metadata(tmp_path: Path) -> None:
    """Of 32 MiB that do not compress it reads less than 2 %."""
    repository = make_repository(FolderStore(tmp_path / "store"))
    back_up(repository, {"base/5/16384": random.Random(1).randbytes(32 * MEBIBYTE)})

    checked = check(repository)

    assert checked.is_whole
    assert checked.bytes < 32 * MEBIBYTE * 0.02


def test_what_a_verification_found_damaged_is_told_until_it_is_sound(sample: Sample) -> None:
    """A flipped bit in a blob, which a check alone does not see, and what the backup loses by it; and in WAL."""
    (name, *_) = sample.own_packs(sample.billing, BlobKind.DATA)
    (wal,) = sample.repository.store.list("wal/")
    for each in (name, wal):
        flip(sample.path(each), 200)
    assert check(sample.opened()).is_whole
    verify(sample.opened(), Selection.all())

    damage = damage_of(check(sample.opened()).findings)

    assert damage[FindingKind.DAMAGED_PACK].objects == (name,)
    assert affected_ids(damage[FindingKind.DAMAGED_PACK]) == {"billing"}
    assert damage[FindingKind.DAMAGED_OBJECT].objects == (wal,)
    assert "earlier verification" in damage[FindingKind.DAMAGED_OBJECT].text
    for each in (name, wal):
        flip(sample.path(each), 200)
    assert check(sample.opened()).is_whole
