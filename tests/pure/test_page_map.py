"""Page maps: laying changes over a map is exact, their bytes are one for one, and forged bytes are refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safepoint.model.backup import BlobRef
from safepoint.repository.maps import page_map as maps
from safepoint.repository.maps.page_map import PageMap
from safepoint.repository.maps.refs import REF_BYTES, decode_ref, encode_ref
from safepoint.repository.maps.shape import CHUNK_BYTES, CHUNK_GROUPS, CHUNK_PAGES, GROUP_PAGES, PAGE_BYTES, chunk_size

Row = tuple[int, int, BlobRef, int]
Pages = dict[int, tuple[BlobRef, int]]


def blob(number: int, pages: int = GROUP_PAGES, *, pack: int | None = None) -> BlobRef:
    """A made-up blob of so many pages; every eighth shares a pack."""
    return BlobRef(
        id=number.to_bytes(32, "big"),
        pack=(number // 8 if pack is None else pack).to_bytes(32, "little"),
        offset=48 + number,
        length=100 + number,
        raw_length=pages * PAGE_BYTES,
    )


BASE = blob(999)


@st.composite
def rows_of(draw: st.DrawFn, pages: int = 160) -> list[Row]:
    """Disjoint extents of a chunk's first pages, in order; few blobs, so that they are split and shared."""
    rows: list[Row] = []
    at = draw(st.integers(0, 40))
    while at < pages and draw(st.booleans() if rows else st.just(value=True)):
        count = draw(st.integers(1, min(GROUP_PAGES, pages - at)))
        rows.append((at, count, blob(draw(st.integers(0, 11))), draw(st.integers(0, GROUP_PAGES - count))))
        at += count + draw(st.sampled_from([0, 0, 1, 30]))
    return rows


def pages_of_rows(rows: list[Row]) -> Pages:
    """The naive model: each page by itself."""
    return {first + i: (ref, start + i) for first, count, ref, start in rows for i in range(count)}


def pages_of_map(found: PageMap) -> Pages:
    """Each page of the map by itself."""
    return pages_of_rows([(first, n, found.blobs[i], start) for first, n, i, start in found.extents.tolist()])


def must_be_tidy(found: PageMap) -> None:
    """The map survives its encoding, in which nothing unused, doubled or needlessly split may stand."""
    assert maps.encode(maps.decode(maps.encode(found, None))[0], None) == maps.encode(found, None)
    assert len(set(found.blobs)) == len(found.blobs)
    for (first, count, index, start), after in zip(found.extents.tolist(), found.extents.tolist()[1:], strict=False):
        assert [first + count, index, start + count] != [after[0], *after[2:]]


def forged(packs: int, blobs: list[tuple[int, int]], extents: list[tuple[int, int, int, int]]) -> bytes:
    """A whole map's bytes, with blobs as (pack's index, raw length)."""
    return b"".join(
        (
            b"\x01",
            struct.pack(">III", packs, len(blobs), len(extents)),
            *(number.to_bytes(32, "big") for number in range(packs)),
            *(struct.pack(">32sIIII", bytes(32), pack, 48, 9, raw) for pack, raw in blobs),
            *(struct.pack(">IIII", *extent) for extent in extents),
        )
    )


@given(rows_of(), st.none() | st.just(BASE))
def test_a_map_survives_its_encoding(rows: list[Row], base: BlobRef | None) -> None:
    """Decoding gives the same pages and the same base; the same content is the same bytes, in whatever order given."""
    encoded = maps.encode(maps.page_map(rows), base)

    decoded, found_base = maps.decode(encoded)

    assert (pages_of_map(decoded), found_base) == (pages_of_rows(rows), base)
    assert maps.encode(maps.page_map(reversed(rows)), base) == encoded
    must_be_tidy(decoded)


@given(rows_of(), rows_of())
def test_changes_win_page_by_page(base: list[Row], changes: list[Row]) -> None:
    """An overlay equals the model in which each page is overwritten by itself."""
    found = maps.overlay(maps.page_map(base), maps.page_map(changes))

    assert pages_of_map(found) == pages_of_rows(base) | pages_of_rows(changes)
    must_be_tidy(found)


@given(rows_of(), rows_of(), rows_of())
def test_changes_may_be_merged_before_they_are_laid_over_a_map(a: list[Row], b: list[Row], c: list[Row]) -> None:
    """Overlay is associative: a chain says the same however many of its changes were swallowed."""
    first, second, third = map(maps.page_map, (a, b, c))

    one_by_one = maps.overlay(maps.overlay(first, second), third)
    merged_first = maps.overlay(first, maps.overlay(second, third))

    assert maps.encode(one_by_one, None) == maps.encode(merged_first, None)


@given(rows_of(), st.integers(0, 200))
def test_a_cut_map_speaks_of_the_first_pages_only(rows: list[Row], pages: int) -> None:
    """Cutting drops pages from that number on, and the blobs that only they used; the map given stays as it was."""
    whole = maps.page_map(rows)

    found = maps.cut(whole, pages)

    assert pages_of_map(found) == {page: at for page, at in pages_of_rows(rows).items() if page < pages}
    assert pages_of_map(whole) == pages_of_rows(rows)
    must_be_tidy(found)


@given(rows_of(), st.integers(0, 170), st.integers(0, 60))
def test_slices_give_each_page_asked_for_or_nothing(rows: list[Row], first: int, pages: int) -> None:
    """Slices of a range are exactly its pages in order; a range with a hole gives no slice at all."""
    model, found = pages_of_rows(rows), maps.page_map(rows)
    wanted = range(first, first + pages)

    if all(page in model for page in wanted):
        slices = list(maps.slices(found, first, pages))
        assert pages_of_rows(slices) == {page: model[page] for page in wanted}
        assert [page for at, count, _, _ in slices for page in range(at, at + count)] == list(wanted)
    else:
        with pytest.raises(ValueError, match=f"expected {pages}"):
            next(maps.slices(found, first, pages))


@given(rows_of())
def test_blobs_are_counted_group_by_group(rows: list[Row]) -> None:
    """Counts by group equal those of the model; groups that the map does not speak of have none."""
    found, model = maps.page_map(rows), pages_of_rows(rows)

    counts = maps.blob_counts(found)

    assert len(counts) == CHUNK_GROUPS
    for group in range(6):
        expected = {ref for page, (ref, _) in model.items() if page // GROUP_PAGES == group}
        assert counts[group] == len(expected)


@given(rows_of(), st.data())
@settings(max_examples=300)
def test_changed_bytes_are_refused_or_mean_something(rows: list[Row], data: st.DataObject) -> None:
    """Whatever one does to a node's bytes, the decoder ends with ValueError or a map that encodes to those bytes."""
    encoded = bytearray(maps.encode(maps.page_map(rows), data.draw(st.none() | st.just(BASE))))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    mutated = bytes(encoded[: data.draw(st.sampled_from([len(encoded), len(encoded) - 1]))])

    try:
        found, base = maps.decode(mutated)
    except ValueError:
        return
    assert maps.decode(maps.encode(found, base))[0].blobs == found.blobs
    assert len(maps.encode(found, base)) <= len(mutated)


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    """Bytes that nobody encoded end with ValueError or the map they are."""
    try:
        found, base = maps.decode(noise)
    except ValueError:
        return
    assert maps.encode(found, base) == noise


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (b"", "found 0 bytes at byte 0 of a node, expected 1"),
        (b"\x03", "found a node of type 3, expected 1 or 2"),
        (b"\x02" + bytes(75), "expected 76"),
        (b"\x01" + b"\xff" * 12, "found 0 bytes after byte 13 of a node, expected 412316860320"),
        (forged(0, [], []) + b"\0", "found 1 bytes after byte 13 of a node, expected 0"),
        (forged(1, [(1, 8192)], [(0, 1, 0, 0)]), "found pack 1 used first after pack -1, expected 0"),
        (forged(2, [(0, 8192)], [(0, 1, 0, 0)]), "found 1 packs used, expected the 2 that are listed"),
        (forged(1, [(0, 8192)] * 2, [(0, 1, 1, 0)]), "found blob 1 used first after blob -1, expected 0"),
        (forged(1, [(0, 8192)] * 2, [(0, 1, 0, 0)]), "found 1 blobs used, expected the 2 that are listed"),
        (forged(1, [(0, 8192)], [(0, 1, 7, 0)]), "found blob 7 used first"),
        (forged(1, [(0, 8192)], [(0, 0, 0, 0)]), "no page"),
        (forged(1, [(0, 8192)], [(5, 1, 0, 0), (5, 1, 0, 0)]), "overlaps or precedes the extent before it"),
        (forged(1, [(0, 8192)], [(5, 1, 0, 0), (4, 1, 0, 0)]), "overlaps or precedes the extent before it"),
        (forged(1, [(0, 8192)], [(CHUNK_PAGES, 1, 0, 0)]), "outside the chunk"),
        (forged(1, [(0, 2**32 - 1)], [(1, 2**32 - 1, 0, 2**32 - 1)]), "outside the chunk"),
        (forged(1, [(0, 8192)], [(0, 2, 0, 0)]), "outside the blob"),
        (forged(1, [(0, 8193)], [(0, 1, 0, 2)]), "outside the blob"),
    ],
)
def test_each_lie_in_a_node_is_told_from_the_others(node: bytes, told: str) -> None:
    """Without encryption anybody can write a node: every index, count, order and overlap in it is checked."""
    with pytest.raises(ValueError, match=told):
        maps.decode(node)


def test_a_map_cannot_be_made_of_overlapping_rows() -> None:
    """Two blobs for one page are a mistake of the caller, told with the page."""
    with pytest.raises(ValueError, match="found 2 pages from 1 on"):
        maps.page_map([(0, 2, blob(1), 0), (1, 2, blob(2), 0)])


def test_the_largest_map_is_laid_over_and_encoded() -> None:
    """Every page in a blob of its own, every second one changed: as large as a chunk's map can be."""
    base = maps.page_map((page, 1, blob(page, 1), 0) for page in range(CHUNK_PAGES))
    changes = maps.page_map((page, 1, blob(page + CHUNK_PAGES, 1), 0) for page in range(0, CHUNK_PAGES, 2))

    found = maps.decode(maps.encode(maps.overlay(base, changes), None))[0]

    assert maps.is_whole(found, CHUNK_PAGES)
    assert [ref for _, _, ref, _ in maps.slices(found, 4, 2)] == [blob(4 + CHUNK_PAGES, 1), blob(5, 1)]


def test_neighbouring_pages_of_a_blob_are_one_extent() -> None:
    """A group given page by page is one extent, and the empty map is empty."""
    found = maps.page_map((page, 1, blob(1), page) for page in range(GROUP_PAGES))

    assert found.extents.tolist() == [[0, GROUP_PAGES, 0, 0]]
    assert maps.decode(maps.encode(maps.EMPTY, None))[0].extents.shape == (0, 4)
    assert maps.is_whole(maps.EMPTY, 0)


def test_a_map_with_a_hole_is_not_whole() -> None:
    """Whole means each page, and none beyond."""
    hole = maps.page_map([(0, 1, blob(1), 0), (2, 1, blob(1), 2)])

    assert not maps.is_whole(hole, 3)
    assert not maps.is_whole(maps.cut(hole, 1), 2)
    assert maps.is_whole(maps.cut(hole, 1), 1)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1))
def test_a_reference_survives_its_encoding(name: bytes, pack: bytes, number: int) -> None:
    """76 bytes, wherever in a buffer they stand; one byte less is refused."""
    ref = BlobRef(id=name, pack=pack, offset=number, length=number // 2, raw_length=number // 3)
    encoded = encode_ref(ref)

    assert len(encoded) == REF_BYTES == 76
    assert decode_ref(b"xyz" + encoded + b"x", 3) == ref
    with pytest.raises(ValueError, match="found 75 bytes at byte 1 of a node, expected 76"):
        decode_ref(encoded, 1)


def test_a_name_that_would_be_cut_is_refused() -> None:
    """A name of 33 bytes must not become another one of 32."""
    wrong = BlobRef(id=bytes(33), pack=bytes(32), offset=0, length=0, raw_length=PAGE_BYTES)

    with pytest.raises(ValueError, match="found names of 33 and 32 bytes, expected 32 each"):
        encode_ref(wrong)
    with pytest.raises(ValueError, match="found names of 33 and 32 bytes"):
        maps.encode(maps.page_map([(0, 1, wrong, 0)]), None)


@given(st.integers(0, 5 * CHUNK_BYTES))
def test_chunks_share_out_a_file(size: int) -> None:
    """The chunks of a file together hold its bytes, each but the last is full, and beyond the last there is nothing."""
    sizes = [chunk_size(size, chunk) for chunk in range(8)]

    assert sum(sizes) == size
    assert sizes == sorted(sizes, reverse=True)
    assert np.count_nonzero(np.array(sizes) % CHUNK_BYTES) <= 1
