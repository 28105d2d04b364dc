"""The policy of chains: shallow whatever happens, and no byte written more than logarithmically often."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safepoint.repository.maps.chain import swallowed

WHOLE = 262_149


def after(sizes: list[int], new: int, whole: int, spread: int = 0) -> tuple[list[int], int]:
    """The chain after one more backup with `new` bytes of changes, and how many bytes that one wrote."""
    count = swallowed(sizes, new, spread=spread)
    if count is None:
        return [whole], whole
    kept = len(sizes) - count
    written = new + sum(sizes[kept:])
    return [*sizes[:kept], written], written


@given(st.lists(st.integers(12, WHOLE), max_size=400), st.integers(0, 255))
@settings(max_examples=100)
def test_every_chain_is_shallow(changes: list[int], spread: int) -> None:
    """Each node of changes is more than twice the next, all together at most half the whole node: depth is a log."""
    sizes = [WHOLE]
    for new in changes:
        sizes, _ = after(sizes, new, WHOLE, spread)

        assert sum(sizes[1:]) * 2 <= WHOLE
        assert all(older > 2 * newer for older, newer in pairwise(sizes[1:]))
        assert len(sizes) <= 2 + math.log2(WHOLE / min([*sizes[1:], WHOLE]))


@given(st.lists(st.integers(12, 20_000), min_size=50, max_size=400))
@settings(max_examples=100)
def test_the_cost_of_a_history_is_that_of_its_changes(changes: list[int]) -> None:
    """All that is written is at most a logarithm times the changes: what is swallowed grows to 3/2 at least."""
    sizes, written = [WHOLE], 0
    for new in changes:
        sizes, cost = after(sizes, new, WHOLE)
        written += cost

    rewrites = 1 + math.log(WHOLE / 12, 1.5)
    assert written <= sum(changes) * (2 + rewrites)


@pytest.mark.parametrize("new", [120, 1_200, 4_000, 12_000])
def test_equal_changes_every_day_cost_little_more_than_themselves(new: int) -> None:
    """A thousand equal days: at most eight times the changes are written, whole nodes included."""
    sizes, written = [WHOLE], 0
    for _ in range(1_000):
        sizes, cost = after(sizes, new, WHOLE)
        written += cost

    assert written <= 8 * 1_000 * new


@given(st.integers(1, 10_000), st.integers(1, 200))
def test_changes_that_repeat_the_last_ones_replace_them(new: int, days: int) -> None:
    """The same pages each day: a chain of two nodes for ever, and each day writes its own bytes once."""
    sizes = [WHOLE]
    for _ in range(days):
        count = swallowed(sizes, new)
        assert count is not None
        sizes = [*sizes[: len(sizes) - count], new]

    assert sizes == [WHOLE, new]


@pytest.mark.parametrize(
    ("sizes", "new", "expected"),
    [
        ([], 10, None),
        ([100], 50, 0),
        ([100], 51, None),
        ([100, 30], 20, 1),
        ([100, 30], 21, None),
        ([1000, 201], 100, 0),
        ([1000, 200], 100, 1),
        ([1000, 80, 30, 14], 7, 3),
        ([1000, 200, 30, 14], 7, 2),
        ([1000, 200, 30, 15], 7, 0),
    ],
)
def test_what_is_swallowed_where_the_rule_turns(sizes: list[int], new: int, expected: int | None) -> None:
    """At most twice the size of what swallows it, as grown by what it swallowed before; whole beyond one half."""
    assert swallowed(sizes, new) == expected


def test_chains_changed_alike_are_not_all_written_whole_on_the_same_day() -> None:
    """Of 256 chains with 1 % of changes a day, at most a tenth are written whole on any day of the first hundred."""
    chains, most = [[10_000] for _ in range(256)], 0
    for _ in range(100):
        chains = [after(sizes, 100, 10_000, spread)[0] for spread, sizes in enumerate(chains)]
        most = max(most, sum(len(sizes) == 1 for sizes in chains))

    assert most <= 26


@pytest.mark.parametrize(("spread", "new"), [(0, 512), (1, 511), (255, 257)])
def test_a_node_is_written_whole_beyond_half_to_a_quarter_of_it(spread: int, new: int) -> None:
    """So much is still a change, and one byte more is not."""
    assert swallowed([1024], new, spread=spread) == 0
    assert swallowed([1024], new + 1, spread=spread) is None
