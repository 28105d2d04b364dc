"""The check: a healthy repository passes, and each damage is found, named, and bounded to what it affects."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from repository_samples import (
    CLUSTER,
    MARK,
    MEBIBYTE,
    NOON,
    PASSPHRASE,
    SEGMENT,
    back_up,
    commit_manifest,
    fill,
    make_repository,
    read_files,
    sample_manifest,
    snapshot,
    take_files,
    wal_bytes,
)
from safepoint.model.backup import BackupManifest
from safepoint.repository import Repository, open_repository
from safepoint.repository.care.check import check
from safepoint.repository.care.finding import Finding, FindingKind, Loss
from safepoint.repository.care.progress import Progress
from safepoint.repository.care.rewrite import OldPack, RewritePlan, reseal
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verify import verify
from safepoint.repository.commit.journal_finding import Severity
from safepoint.repository.commit.leases import begin_lease
from safepoint.repository.commit.manifest import manifest_to_json
from safepoint.repository.maps.references import References
from safepoint.repository.packs.index import put_indexes
from safepoint.repository.packs.pack import BlobKind, PackContents, pack_name
from safepoint.repository.packs.writer import PackWriter
from safepoint.repository.sealing.objects import seal_object
from safepoint.repository.sealing.seal import Kind
from safepoint.stores import FolderStore

OTHER_CLUSTER = "1111111111111111111"
LARGE = MEBIBYTE


@dataclass(frozen=True)
class Sample:
    """A repository in a folder: two backups of shop on one another, one of billing, and what each of them holds."""

    root: Path
    repository: Repository
    first: BackupManifest
    second: BackupManifest
    billing: BackupManifest
    contents: dict[str, dict[str, bytes]]

    @property
    def backups(self) -> tuple[BackupManifest, ...]:
        """All of them."""
        return (self.first, self.second, self.billing)

    def path(self, name: str) -> Path:
        """The object's file."""
        return self.root / name

    def opened(self) -> Repository:
        """The repository as somebody else opens it, who remembers nothing."""
        return open_repository(FolderStore(self.root), PASSPHRASE)

    def manifest_name(self, manifest: BackupManifest) -> str:
        """The object's name."""
        names = {self.repository.read_manifest(name).id: name for name in self.repository.store.list("backups/")}
        return names[manifest.id]

    def packs(self, manifest: BackupManifest, kind: BlobKind) -> list[str]:
        """The packs that the backup needs, of one kind, by name."""
        references = References(self.repository.files(manifest).nodes)
        return sorted({pack_name(ref.pack) for ref, found in references.of(manifest.root) if found is kind})

    def own_packs(self, manifest: BackupManifest, kind: BlobKind) -> list[str]:
        """The packs that the backup alone needs."""
        others = {name for other in self.backups if other != manifest for name in self.packs(other, kind)}
        return [name for name in self.packs(manifest, kind) if name not in others]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Healthy, with what a life leaves behind: an expired backup and an abandoned writer. To be copied."""
    root = tmp_path_factory.mktemp("healthy") / "store"
    repository = make_repository(FolderStore(root))
    source = random.Random(3)
    large = source.randbytes(LARGE)
    first = {"base/5/16384": large, "base/5/16385": b"same" * 5000, "global/1260": b"roles"}
    second = {**first, "base/5/16384": large[:8192] + source.randbytes(8192) + large[16384:], "base/5/16999": b"new"}
    billing = {"base/7/20000": source.randbytes(MEBIBYTE)}
    expired = back_up(repository, {"base/5/1": source.randbytes(100_000)}, "expired", age=30)
    one = back_up(repository, first, "first", age=20)
    two = back_up(repository, second, "second", age=10, parent=one)
    manifest = replace(sample_manifest("billing"), database="billing", system_identifier=OTHER_CLUSTER)
    three = commit_manifest(repository, manifest, billing)
    fill_wal(repository)
    repository.expire_backup(expired.id, reason="retention")
    with pytest.raises(ZeroDivisionError):
        abandon(repository, source.randbytes(200_000))
    contents = {"first": first, "second": second, "billing": billing}
    return Sample(root=root, repository=repository, first=one, second=two, billing=three, contents=contents)


@pytest.fixture
def sample(healthy: Sample, tmp_path: Path) -> Sample:
    """A copy of it, for a test to damage."""
    root = tmp_path / "store"
    shutil.copytree(healthy.root, root)
    return replace(healthy, root=root, repository=open_repository(FolderStore(root), PASSPHRASE))


def fill_wal(repository: Repository) -> None:
    """A segment and a record."""
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
    repository.append_record("drill", {"database": "shop", "seconds": 1.5})


def abandon(repository: Repository, content: bytes) -> None:
    """A writer that dies after its packs were put."""
    with repository.write_backup(database="shop", cluster=CLUSTER) as writer:
        take_files(writer.ingest, {"base/5/7": content})
        writer.ingest.finish()
        raise ZeroDivisionError


def flip(path: Path, at: int) -> None:
    """One bit of the file is another."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def swap(one: Path, other: Path) -> None:
    """Each file has the bytes of the other."""
    ours, theirs = one.read_bytes(), other.read_bytes()
    one.write_bytes(theirs)
    other.write_bytes(ours)


def damage_of(findings: tuple[Finding, ...]) -> dict[FindingKind, Finding]:
    """What is proven wrong, by kind."""
    return {finding.kind: finding for finding in findings if finding.is_damage}


def unknown_of(findings: tuple[Finding, ...]) -> dict[FindingKind, Finding]:
    """What is unknown, by kind."""
    return {finding.kind: finding for finding in findings if finding.severity is Severity.UNKNOWN}


def must_restore(sample: Sample, *manifests: BackupManifest) -> None:
    """Each of the backups gives back what went in."""
    repository = sample.opened()
    for manifest in manifests:
        assert read_files(repository, manifest) == sample.contents[manifest.id]


def affected_ids(finding: Finding) -> set[str]:
    """The backups that it names."""
    return {affected.backup_id for affected in finding.affected}


def test_a_healthy_repository_passes_and_nothing_is_written(sample: Sample) -> None:
    """Two databases, an expired backup and an abandoned writer are notices at most; the store is as it was."""
    before = snapshot(sample.root)

    checked = check(sample.opened())

    assert [finding for finding in checked.findings if finding.severity is not Severity.NOTICE] == []
    assert checked.is_whole
    assert (checked.backups, checked.wal_objects) == (3, 1)
    assert checked.orphan_packs > 0
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


def test_exchanged_manifests_are_found_both(sample: Sample) -> None:
    """A manifest opens under its own name alone."""
    names = [sample.manifest_name(manifest) for manifest in (sample.first, sample.billing)]
    swap(sample.path(names[0]), sample.path(names[1]))

    checked = check(sample.opened())

    found = {finding.objects[0] for finding in checked.findings if finding.kind is FindingKind.DAMAGED_MANIFEST}
    assert found == set(names)
    must_restore(sample, sample.second)


def test_a_manifest_of_another_repository_is_found(sample: Sample, tmp_path: Path) -> None:
    """In the place of ours it is damage; beside ours it is unknown what it is."""
    other = make_repository(FolderStore(tmp_path / "other"))
    back_up(other, {"base/5/1": b"x"}, "first")
    foreign = next(iter(other.store.list("backups/")))
    ours = sample.manifest_name(sample.first)
    sample.path(ours).write_bytes(other.store.get(foreign))
    sample.path(foreign).write_bytes(other.store.get(foreign))

    findings = check(sample.opened()).findings

    assert damage_of(findings)[FindingKind.DAMAGED_MANIFEST].objects == (ours,)
    assert unknown_of(findings)[FindingKind.UNDECIDED_MANIFEST].objects == (foreign,)
    must_restore(sample, sample.second, sample.billing)


def test_a_manifest_that_was_sealed_anew_is_not_the_one_that_was_committed(sample: Sample) -> None:
    """Who has the key can seal another manifest under the name; the lease's end tells it apart."""
    name = sample.manifest_name(sample.first)
    repository = sample.repository
    sample.path(name).write_bytes(sealed_again(repository, name, replace(sample.first, added_bytes=7)))

    finding = damage_of(check(sample.opened()).findings)[FindingKind.REPLACED_MANIFEST]

    assert finding.objects == (name,)
    assert affected_ids(finding) == {"first"}


def sealed_again(repository: Repository, name: str, manifest: BackupManifest) -> bytes:
    """The bytes of a manifest's object."""
    return seal_object(repository.keyring, Kind.MANIFEST, name, manifest_to_json(manifest))


def test_a_hidden_newest_manifest_is_named_with_its_database_and_time(sample: Sample) -> None:
    """The lease still says that it was committed, whose it was and when it began."""
    name = sample.manifest_name(sample.billing)
    sample.path(name).unlink()

    finding = damage_of(check(sample.opened()).findings)[FindingKind.MISSING_MANIFEST]

    assert finding.objects == (name,)
    assert [affected.database for affected in finding.affected] == ["billing"]
    assert "a backup of billing begun at" in finding.text
    must_restore(sample, sample.first, sample.second)


def test_a_deleted_index_names_the_packs_that_no_index_lists(sample: Sample) -> None:
    """No backup is affected, and all restore."""
    for path in sample.path("indexes").iterdir():
        path.unlink()

    finding = damage_of(check(sample.opened()).findings)[FindingKind.UNLISTED_PACK]

    assert set(sample.packs(sample.billing, BlobKind.DATA)) <= set(finding.objects)
    assert finding.affected == ()
    must_restore(sample, *sample.backups)


def test_a_rolled_back_set_of_indexes_is_found(tmp_path: Path) -> None:
    """The indexes of yesterday do not list the packs of today's backup."""
    repository = make_repository(FolderStore(tmp_path / "store"))
    back_up(repository, {"a": b"1" * 100_000}, "yesterday")
    before = {path.name for path in (tmp_path / "store" / "indexes").iterdir()}
    today = back_up(repository, {"a": b"2" * 100_000}, "today")
    for path in (tmp_path / "store" / "indexes").iterdir():
        if path.name not in before:
            path.unlink()

    finding = damage_of(check(repository).findings)[FindingKind.UNLISTED_PACK]

    assert pack_name(today.root.pack) in finding.objects


def test_a_damaged_index_is_found(sample: Sample) -> None:
    """By its seal; backups restore without it."""
    path = next(iter(sample.path("indexes").iterdir()))
    flip(path, path.stat().st_size - 1)

    finding = damage_of(check(sample.opened()).findings)[FindingKind.DAMAGED_INDEX]

    assert finding.objects == (f"indexes/{path.name}",)
    must_restore(sample, *sample.backups)


def test_a_deleted_end_of_a_lease_leaves_a_backup_unknown(sample: Sample) -> None:
    """Its manifest is there, and nothing says that it was committed: the backup is named, never passed over."""
    name = sample.manifest_name(sample.second)
    sample.path(f"leases/{name.rpartition('/')[2]}/end").unlink()

    checked = check(sample.opened())

    finding = unknown_of(checked.findings)[FindingKind.UNDECIDED_MANIFEST]
    assert finding.objects == (name,)
    assert affected_ids(finding) == {"second"}
    assert not checked.is_whole


def test_a_damaged_end_is_found(sample: Sample) -> None:
    """It is unknown what the lease committed."""
    name = f"leases/{sample.manifest_name(sample.second).rpartition('/')[2]}/end"
    flip(sample.path(name), 60)

    assert damage_of(check(sample.opened()).findings)[FindingKind.DAMAGED_END].objects == (name,)


def test_a_deleted_entry_of_the_journal_is_unknown(sample: Sample) -> None:
    """A link of the chain is missing: what it said cannot be told."""
    entries = sorted(path for path in sample.path("journal").rglob("*") if path.is_file())
    entries[len(entries) // 2].unlink()

    checked = check(sample.opened())

    assert FindingKind.JOURNAL in unknown_of(checked.findings) | damage_of(checked.findings)
    assert not checked.is_whole


def test_a_backup_deleted_with_its_lease_is_told_by_the_journal(sample: Sample) -> None:
    """Nothing but the journal remembers it."""
    name = sample.manifest_name(sample.second)
    sample.path(name).unlink()
    for path in sample.path(f"leases/{name.rpartition('/')[2]}").iterdir():
        path.unlink()

    finding = damage_of(check(sample.opened()).findings)[FindingKind.JOURNAL]

    assert finding.objects == (name,)
    assert affected_ids(finding) == {name}


def test_a_strange_name_below_wal_is_told(sample: Sample) -> None:
    """Coverage would pass it over."""
    segment = next(iter(sample.repository.store.list("wal/")))
    strange = f"{segment.rpartition('/')[0]}/notes"
    sample.path(strange).write_bytes(b"x")

    findings = check(sample.opened()).findings

    assert [finding.objects for finding in findings if finding.kind is FindingKind.STRANGE_NAME] == [(strange,)]


def test_wal_of_two_histories_of_one_timeline_is_damage(sample: Sample) -> None:
    """A recovery would be refused."""
    other = f"wal/{CLUSTER}/00000001-{'0' * 32}/000000010000000000000003.1MB"
    sample.path(other).parent.mkdir(parents=True)
    sample.path(other).write_bytes(b"x")

    assert FindingKind.MIXED_WAL in damage_of(check(sample.opened()).findings)


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


def test_a_damaged_index_of_replaced_packs_hides_nothing_else(sample: Sample) -> None:
    """Its body does not open: it is named, and so is the manifest that is gone."""
    repository = sample.opened()
    before = set(repository.store.list("indexes/"))
    packs = tuple(
        OldPack(pack=pack, cluster=CLUSTER, stored_bytes=1, needed_bytes=1) for pack in repository.needed_packs()
    )
    reseal(repository, RewritePlan(packs=packs))
    (name, *_) = sorted(set(repository.store.list("indexes/")) - before)
    flip(sample.path(name), sample.path(name).stat().st_size - 40)
    sample.path(sample.manifest_name(sample.billing)).unlink()

    damage = damage_of(check(sample.opened()).findings)

    assert damage[FindingKind.DAMAGED_INDEX].objects == (name,)
    assert FindingKind.MISSING_MANIFEST in damage


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
