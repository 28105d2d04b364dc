"""Damage to packs that were replaced, or that replaced others: it is told by where each blob lies now."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from caring import collected, rotated
from repository_samples import back_up, make_repository
from rewriting import opened_again
from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository import Repository
from safepoint.repository.care.check import Checked, check
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.repair import repair
from safepoint.repository.care.rewrite import repack, reseal
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verify import verify
from safepoint.repository.names import pack_name
from safepoint.repository.packs.index import read_index
from safepoint.repository.packs.replacements import read_replacements
from safepoint.repository.severity import Severity
from safepoint.stores.memory import MemoryStore
from safepoint.stores.port import Store

VICTIM = "global/1260"
Named = dict[str, dict[str, set[str]]]
"""By object that is called damaged, the files of each backup that it concerns."""


def lived(*, backups: int = 3) -> Repository:
    """Two backups that share blobs; the packs also hold, in larger part, what an expired one needed alone."""
    source = random.Random(1)
    files = {"base/5/1": source.randbytes(4 * 8192), VICTIM: source.randbytes(3000), "PG_VERSION": b"17\n"}
    repository = make_repository(MemoryStore())
    parent = back_up(repository, {**files, "base/5/9": source.randbytes(20 * 8192)}, "b0", age=backups)
    for number in range(1, backups):
        files = {**files, f"base/5/{number + 1}": source.randbytes(3 * 8192)}
        parent = back_up(repository, files, f"b{number}", age=backups - number, parent=parent)
    repository.expire_backup("b0", reason="a test")
    return collected_from(repository)


def collected_from(repository: Repository) -> Repository:
    """After a collection."""
    collected(repository)
    return opened_again(repository)


def resealed_from(repository: Repository) -> Repository:
    """All packs are replaced by packs of a newer key; the old ones are still there."""
    repository = rotated(repository)
    assert reseal(repository).packs > 0
    return opened_again(repository)


def repacked_from(repository: Repository) -> Repository:
    """Packs of which backups need less than half are replaced; they are still there."""
    assert repack(repository).packs > 0
    return opened_again(repository)


STEPS: dict[str, Callable[[Repository], Repository]] = {
    "gc": collected_from,
    "reseal": resealed_from,
    "repack": repacked_from,
}
REPLACED = ["reseal gc", "repack gc", "reseal gc reseal gc", "reseal reseal gc", "repack reseal gc"]


def life(steps: str) -> Repository:
    """A repository that went through these steps."""
    repository = lived()
    for step in steps.split():
        repository = STEPS[step](repository)
    return repository


def blob_of(repository: Repository, path: str = VICTIM) -> BlobRef:
    """The only blob of the file, as backups refer to it."""
    (manifest, *_) = repository.backups()
    return next(entry for entry in repository.files(manifest).entries() if entry.path == path).blobs[0]


def places_of(repository: Repository, ref: BlobRef) -> list[BlobRef]:
    """Where the blob lies: first where backups need it, then where it lay before."""
    kept = read_replacements(repository.store, repository.keyring).places(ref, lambda _: True)
    return sorted(opened_again(repository).find_blob(ref.id), key=lambda place: place.pack not in kept)


def indexes_of(repository: Repository, pack: bytes) -> list[str]:
    """Those that list the pack."""
    store, keyring = repository.store, repository.keyring
    found = {name: read_index(store, keyring, name) for name in store.list("indexes/")}
    return [name for name, index in found.items() if pack in {listed.pack for listed in index.packs}]


def flip(store: Store, place: BlobRef) -> str:
    """One bit of the blob is another in this place; the pack's name."""
    name = pack_name(place.pack)
    data = bytearray(store.get(name))
    data[place.offset + place.length // 2] ^= 1
    store.delete(name)
    store.put_if_absent(name, bytes(data))
    return name


def unreadable_files(repository: Repository) -> dict[str, set[str]]:
    """By backup the files that do not read back, each read by itself."""
    found: dict[str, set[str]] = {}
    for manifest in repository.backups():
        files = opened_again(repository).files(manifest)
        for entry in files.entries():
            try:
                list(files.contents([entry]))
            except errors.Damaged:
                found.setdefault(manifest.id, set()).add(entry.path)
    return found


def named(findings: Sequence[Finding]) -> Named:
    """What the findings call damaged, and whom they name."""
    damage = [finding for finding in findings if finding.severity is not Severity.NOTICE]
    return {
        name: {affected.backup_id: set(affected.paths) for affected in finding.affected}
        for finding in damage
        for name in finding.objects
    }


def checked(repository: Repository) -> Checked:
    """By another process."""
    return check(opened_again(repository))


def verified(repository: Repository) -> tuple[Finding, ...]:
    """What a verification of all, by another process, finds."""
    return verify(opened_again(repository), Selection.all()).findings


@pytest.mark.parametrize("steps", ["gc", *REPLACED])
def test_one_flipped_bit_names_the_file_that_has_it(steps: str) -> None:
    """Replaced or not: verification and check name the one pack, and of each backup the one file."""
    repository = life(steps)
    (place,) = places_of(repository, blob_of(repository))
    name = flip(repository.store, place)
    harmed = unreadable_files(repository)
    assert harmed == {"b1": {VICTIM}, "b2": {VICTIM}}

    assert named(verified(repository)) == {name: harmed}
    assert named(checked(repository).findings) == {name: harmed}


@pytest.mark.parametrize("steps", ["gc", *REPLACED])
def test_a_missing_pack_is_the_one_that_should_be_there(steps: str) -> None:
    """Neither those that it replaced nor files that still read are named."""
    repository = life(steps)
    (place,) = places_of(repository, blob_of(repository))
    repository.store.delete(pack_name(place.pack))
    harmed = unreadable_files(repository)

    found = checked(repository)

    assert VICTIM in harmed["b1"]
    assert named(found.findings) == {pack_name(place.pack): harmed}
    assert found.orphan_packs is None


@pytest.mark.parametrize("steps", ["reseal", "repack", "reseal reseal"])
def test_damage_in_one_of_both_harms_nobody(steps: str) -> None:
    """While the replaced pack is there, no file is named for damage in its successor, nor the other way round."""
    repository = life(steps)
    new, *old = places_of(repository, blob_of(repository))
    name = flip(repository.store, new)

    assert unreadable_files(repository) == {}
    assert named(verified(repository)) == named(checked(repository).findings) == {name: {}}

    for place in old:
        flip(repository.store, place)

    harmed = unreadable_files(repository)
    assert harmed == {"b1": {VICTIM}, "b2": {VICTIM}}
    assert named(verified(repository)) == named(checked(repository).findings) == {name: harmed}


def test_nodes_that_were_moved_are_fetched_by_whole_packs() -> None:
    """A check does not ask the store for each node by itself because its pack was replaced and deleted."""
    repository = lived(backups=20)
    plain = checked(repository)
    repository = collected_from(resealed_from(repository))

    moved = checked(repository)

    assert moved.nodes == plain.nodes
    assert moved.requests <= plain.requests - (plain.packs - moved.packs)


@pytest.mark.parametrize("steps", ["reseal", "repack", "reseal reseal"])
def test_damage_in_a_replaced_pack_is_a_notice(steps: str) -> None:
    """It is told of, and nobody misses it."""
    repository = life(steps)
    name = flip(repository.store, places_of(repository, blob_of(repository))[-1])

    for findings in (verified(repository), checked(repository).findings):
        assert named(findings) == {}
        assert any(finding.objects == (name,) and not finding.affected for finding in findings)


def test_a_missing_successor_harms_nobody_while_the_old_pack_is_there() -> None:
    """Its blobs are where they were; what is left of the index is a matter for a collection."""
    repository = life("reseal")
    new, *_ = places_of(repository, blob_of(repository))
    repository.store.delete(pack_name(new.pack))

    found = checked(repository)

    assert unreadable_files(repository) == {}
    assert named(found.findings) == {}
    assert FindingKind.STALE_INDEX in {finding.kind for finding in found.findings}


@pytest.mark.parametrize("steps", ["gc", *REPLACED])
def test_needed_packs_are_no_orphans_while_an_index_is_missing(steps: str) -> None:
    """They stand in no index, which a repair mends; nothing is called lost, and nothing garbage."""
    repository = life(steps)
    (place,) = places_of(repository, blob_of(repository))
    listing = indexes_of(repository, place.pack)
    assert listing
    for name in listing:
        repository.store.delete(name)

    found = checked(repository)

    kinds = {finding.kind for finding in found.findings if finding.severity is not Severity.NOTICE}
    assert FindingKind.UNLISTED_PACK in kinds
    assert kinds <= {FindingKind.UNLISTED_PACK, FindingKind.JOURNAL}
    assert {FindingKind.ORPHAN_PACKS, FindingKind.STALE_INDEX}.isdisjoint(finding.kind for finding in found.findings)
    assert found.orphan_packs is None
    assert not any(finding.affected for finding in found.findings)
    repair(opened_again(repository))
    assert unreadable_files(repository) == {}
    assert checked(repository).orphan_packs is not None


def test_what_a_damaged_pack_replaced_is_kept() -> None:
    """A collection after a verification leaves the sound old pack, from which the blob is read until it is mended."""
    repository = life("reseal")
    ref = blob_of(repository)
    now, before = places_of(repository, ref)
    name = flip(repository.store, now)
    assert name in named(verified(repository))

    collected(opened_again(repository))

    repository = opened_again(repository)
    assert repository.store.size(pack_name(before.pack))
    assert repository.blobs.read_blob(ref)
