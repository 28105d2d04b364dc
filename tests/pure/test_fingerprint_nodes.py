"""Lists of fingerprints: their bytes are one for one, changes are exact, forged bytes are refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from safepoint.model.backup import BlobRef
from safepoint.repository.maps import fingerprints as prints
from safepoint.repository.maps.fingerprints import Fingerprints
from safepoint.repository.maps.shape import CHUNK_PAGES

BASE = BlobRef(id=b"i" * 32, pack=b"p" * 32, offset=48, length=9, raw_length=13)
VALUES = st.integers(0, 2**64 - 1)
LISTS = st.lists(VALUES, max_size=50)
CHANGES = st.dictionaries(st.integers(0, 60) | st.integers(0, CHUNK_PAGES - 1), VALUES, max_size=30)


def whole(values: list[int]) -> Fingerprints:
    """Those of pages 0, 1 and so on."""
    return prints.whole(np.array(values, dtype=np.uint64))


def some(model: dict[int, int]) -> Fingerprints:
    """Those of some pages."""
    pages = sorted(model)
    values = np.array([model[page] for page in pages], dtype=np.uint64)
    return Fingerprints(pages=np.array(pages, dtype=np.int64), values=values)


def model_of(found: Fingerprints) -> dict[int, int]:
    """Page by page."""
    return dict(zip(found.pages.tolist(), found.values.tolist(), strict=True))


@given(LISTS)
def test_a_whole_list_survives_its_encoding(values: list[int]) -> None:
    """Eight bytes a page, in order of the pages."""
    encoded = prints.encode(whole(values), None)

    found, base = prints.decode(encoded)

    assert (found.values.tolist(), base) == (values, None)
    assert encoded == b"\x03" + struct.pack(f">I{len(values)}Q", len(values), *values)


@given(CHANGES)
def test_changes_survive_their_encoding(model: dict[int, int]) -> None:
    """Twelve bytes a page, and the node that they change."""
    encoded = prints.encode(some(model), BASE)

    found, base = prints.decode(encoded)

    assert (model_of(found), base) == (model, BASE)
    assert len(encoded) == 1 + 76 + 4 + 12 * len(model)


@given(CHANGES, CHANGES, CHANGES)
def test_changes_win_page_by_page(base: dict[int, int], older: dict[int, int], newer: dict[int, int]) -> None:
    """An overlay equals that of the model, and changes may be merged before they are laid over the rest."""
    one_by_one = prints.overlay(prints.overlay(some(base), some(older)), some(newer))
    merged_first = prints.overlay(some(base), prints.overlay(some(older), some(newer)))

    assert model_of(one_by_one) == model_of(merged_first) == base | older | newer
    assert one_by_one.pages.tolist() == sorted(base | older | newer)


@given(LISTS, LISTS)
def test_the_changes_between_two_lists_lead_from_one_to_the_other(before: list[int], after: list[int]) -> None:
    """Growing, shrinking and changing: what changed, laid over what was and cut at the new end, is what is."""
    changes = prints.changed(whole(before), np.array(after, dtype=np.uint64))

    found = prints.dense(prints.overlay(whole(before), changes), len(after))

    assert found.tolist() == after
    assert all(page >= len(before) or before[page] != after[page] for page in changes.pages.tolist())


@given(CHANGES, st.integers(0, 70))
def test_a_cut_list_ends_with_the_file(model: dict[int, int], pages: int) -> None:
    """Pages from that number on are gone; a dense list of the rest exists only without gaps."""
    found = prints.cut(some(model), pages)

    assert model_of(found) == {page: value for page, value in model.items() if page < pages}
    if set(range(pages)) <= set(model):
        assert prints.dense(some(model), pages).tolist() == [model[page] for page in range(pages)]
    else:
        with pytest.raises(ValueError, match=f"of the first {pages} pages, expected all"):
            prints.dense(some(model), pages)


@given(LISTS | CHANGES, st.data())
@settings(max_examples=300)
def test_changed_bytes_are_refused_or_mean_something(content: list[int] | dict[int, int], data: st.DataObject) -> None:
    """Whatever one does to a node's bytes, the decoder ends with ValueError or what those bytes say."""
    is_whole = isinstance(content, list)
    encoded = bytearray(prints.encode(whole(content), None) if is_whole else prints.encode(some(content), BASE))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    mutated = bytes(encoded[: data.draw(st.sampled_from([len(encoded), len(encoded) - 1]))])

    try:
        found, base = prints.decode(mutated)
    except ValueError:
        return
    assert prints.encode(found, base) == mutated


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (b"", "found 0 bytes at byte 0 of a node, expected 1"),
        (b"\x05", "found a node of type 5, expected 3 or 4"),
        (b"\x03" + b"\xff" * 4, "found 0 bytes after byte 5 of a node, expected 34359738360"),
        (b"\x03" + bytes(5), "found 1 bytes after byte 5 of a node, expected 0"),
        (b"\x04" + bytes(76 + 3), "found 3 bytes at byte 77 of a node, expected 4"),
        (b"\x04" + bytes(76) + struct.pack(">IIQIQ", 2, 7, 0, 7, 0), "page 7 after that of page 7"),
        (b"\x04" + bytes(76) + struct.pack(">IIQIQ", 2, 7, 0, 6, 0), "page 6 after that of page 7"),
        (b"\x04" + bytes(76) + struct.pack(">IIQ", 1, CHUNK_PAGES, 0), "page 32768, expected pages below 32768"),
        (b"\x03" + struct.pack(">I", 32769) + bytes(8 * 32769), "page 32768, expected pages below 32768"),
    ],
)
def test_each_lie_in_a_node_is_told_from_the_others(node: bytes, told: str) -> None:
    """Counts, order, range and trailing bytes are checked."""
    with pytest.raises(ValueError, match=told):
        prints.decode(node)


def test_a_whole_list_has_no_gaps() -> None:
    """Changes cannot be written as if they were all."""
    with pytest.raises(ValueError, match="found fingerprints of 1 of the first 4 pages, expected all"):
        prints.encode(some({3: 1}), None)


def test_keys_are_those_of_two_rows() -> None:
    """A page has 2,048 words, so a row has 2,049 keys of eight bytes; they are the keyed digest's output itself."""
    keys = prints.fingerprint_keys(b"k" * 32)

    assert len(keys) == 2 * 2049 * 8
    assert keys[:32] == blake3(b"", key=b"k" * 32).digest()
    assert keys != prints.fingerprint_keys(b"j" * 32)
