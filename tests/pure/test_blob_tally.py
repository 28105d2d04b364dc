"""Sums over blobs agree with sets of Python, whether or not they were spilled."""

from __future__ import annotations

import random

import pytest

from safepoint.model.backup import BlobRef
from safepoint.repository.care import blob_tally
from safepoint.repository.care.blob_tally import BlobTally
from safepoint.repository.packs import index_sort
from safepoint.repository.packs.pack import BlobKind

GROUPS, PACKS = 3, 5


@pytest.mark.parametrize("run_rows", [7, 1_000_000])
def test_sums_agree_with_sets(run_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each blob counts once, whoever needs it how often; `alone` is what nobody else needs; packs sum up alike."""
    monkeypatch.setattr(blob_tally, "RUN_ROWS", run_rows)
    monkeypatch.setattr(index_sort, "RUN_ROWS", run_rows)
    source = random.Random(3)
    refs = [_ref(source) for _ in range(200)]
    needs = [(source.randrange(GROUPS), source.choice(refs)) for _ in range(900)]

    with BlobTally() as tally:
        for group, ref in needs:
            tally.need(group, ref.pack[0], ref, _kind(ref))
        found = tally.sums({"first": {0}, "others": {1, 2}}, PACKS)

    _must_be(found.total, {ref for _, ref in needs}, set())
    first, others = {ref for group, ref in needs if group == 0}, {ref for group, ref in needs if group}
    _must_be(found.of["first"], first, others)
    _must_be(found.of["others"], others, first)
    for pack in range(PACKS):
        assert found.needed_bytes[pack] == sum(ref.length for ref in first | others if ref.pack[0] == pack)


def test_nothing_sums_up_to_nothing() -> None:
    """An empty repository."""
    with BlobTally() as tally:
        found = tally.sums({}, 0)

    assert (found.total.blobs, found.total.stored, len(found.needed_bytes)) == (0, 0, 0)


def _must_be(sums: blob_tally.BlobSums, refs: set[BlobRef], others: set[BlobRef]) -> None:
    assert sums.blobs == len(refs)
    assert sums.stored == sum(ref.length for ref in refs)
    assert sums.unique == sum(ref.raw_length for ref in refs if _kind(ref) is BlobKind.DATA)
    assert sums.maps == sum(ref.length for ref in refs if _kind(ref) is BlobKind.NODE)
    assert sums.alone == sum(ref.length for ref in refs - others)


def _ref(source: random.Random) -> BlobRef:
    pack = bytes([source.randrange(PACKS)]) * 32
    return BlobRef(id=source.randbytes(32), pack=pack, offset=48, length=source.randrange(1 << 32), raw_length=999)


def _kind(ref: BlobRef) -> BlobKind:
    return BlobKind(ref.id[0] % 2)
