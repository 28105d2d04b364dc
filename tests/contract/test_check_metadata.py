"""The check of a repository's metadata: manifests, indexes, ends and the journal, exchanged, hidden or damaged."""

from __future__ import annotations

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
    back_up,
    make_repository,
)
from safepoint.repository.care.check import check
from safepoint.repository.care.finding import FindingKind
from safepoint.repository.care.rewrite import OldPack, RewritePlan, reseal
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import BlobKind
from safepoint.stores import FolderStore


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """To be copied."""
    return make_sample(tmp_path_factory.mktemp("healthy") / "store")


@pytest.fixture
def sample(healthy: Sample, tmp_path: Path) -> Sample:
    """A copy, for a test to damage."""
    return copy_of_sample(healthy, tmp_path / "store")


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
