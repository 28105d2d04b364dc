"""Writers, collectors and expirers in any order of their store calls, and proof that each protective step is needed.

`make campaign-interleavings` runs many more schedules (`SAFEPOINT_INTERLEAVINGS`, default 200,000, over all cores) and
takes each protective step away in turn, to see that the invariants notice.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor

import pytest

from interleaving import Broken
from interleaving_actors import Attack, Ways, collector, expirer, play, reader, writer
from protective_steps import (
    STEPS,
    believes_that_what_it_deleted_is_gone,
    deletes_packs_when_it_gives_up,
    deletes_verdicts,
    each_collector_follows_its_own_verdict,
    lists_packs_before_tombstones,
    no_barrier_before_the_set_is_closed,
    puts_the_index_before_the_barrier,
)
from safepoint import errors

_SCHEDULES = int(os.environ.get("SAFEPOINT_INTERLEAVINGS", "0"))
_IN_A_BLOCK = 500
_MOST_UNTIL_CAUGHT = 10_000


def _play_all(seeds: Iterable[int]) -> tuple[int, int]:
    """Schedules and store calls; a failure names its seed."""
    schedules = calls = 0
    for seed in seeds:
        try:
            calls += play(seed).calls
        except BaseException as error:
            raise AssertionError(f"schedule {seed}: {error}") from error
        schedules += 1
    return schedules, calls


def test_no_schedule_breaks_a_backup() -> None:
    """250 known schedules: what exists is whole, what was acknowledged exists, and garbage goes in the end."""
    _play_all(range(250))


def test_no_schedule_drawn_today_breaks_a_backup() -> None:
    """50 schedules that nobody has seen before; a failure prints its seed."""
    first = random.SystemRandom().randrange(1 << 40)

    _play_all(range(first, first + 50))


@pytest.mark.skipif(not _SCHEDULES, reason="a campaign: `make campaign-interleavings`")
@pytest.mark.timeout(0)
def test_a_campaign_of_schedules_breaks_no_backup() -> None:
    """As many schedules as were asked for, from a random beginning."""
    first = random.SystemRandom().randrange(1 << 40)
    blocks = [range(at, at + _IN_A_BLOCK) for at in range(first, first + _SCHEDULES, _IN_A_BLOCK)]

    with ProcessPoolExecutor() as pool:
        found = list(pool.map(_play_all, blocks))

    schedules, calls = (sum(numbers) for numbers in zip(*found, strict=True))
    print(f"\n{schedules:,} schedules, {calls:,} store calls, from seed {first}")  # noqa: T201 - a campaign's result
    assert schedules >= _SCHEDULES


_COMMIT = "put backups/"
_eager = functools.partial(writer, reuses=1, abandons=0)
_ATTACKS: dict[Callable[[], contextlib.AbstractContextManager[Ways]], Attack] = {
    # The set was closed between the two listings of the writer, and its pack is still in the first.
    lists_packs_before_tombstones: Attack(
        cast=lambda ways: [("C1", collector(force=0)), ("W1", _eager(ways))],
        script=(("C1", "delete packs/"), ("W1", "list tombstones/"), ("C1", ""), ("W1", "")),
    ),
    # W0 rescues the pack, C2 closes the set, W1 reuses it, the backup of W0 expires; then C3 wakes up and marks.
    each_collector_follows_its_own_verdict: (
        _late_collector := Attack(
            cast=lambda ways: [
                *((name, collector(force=0)) for name in ("C1", "C2", "C3")),
                *((name, _eager(ways)) for name in ("W0", "W1")),
                ("E", expirer(share=1)),
            ],
            script=(
                *(("W0", _COMMIT), ("C1", ""), ("W0", ""), ("C3", "get tombstones/"), ("C3", "list leases/")),
                *(("C2", ""), ("W1", _COMMIT), ("E", ""), ("C3", ""), ("W1", "")),
            ),
        )
    ),
    deletes_verdicts: _late_collector,
    # The store restarts and brings a deleted pack back, after its set was closed; C3 knows the verdict.
    no_barrier_before_the_set_is_closed: Attack(
        cast=lambda ways: [
            *((name, collector(force=0)) for name in ("C1", "C2", "C3")),
            ("W0", writer(ways, reuses=0, abandons=1)),
            ("W1", _eager(ways)),
        ],
        script=(
            *(("W0", "barrier"), ("C1", ""), ("W0", ""), ("C3", "delete packs/"), ("C2", ""), ("restart", "")),
            *(("W1", _COMMIT), ("C3", ""), ("W1", "")),
        ),
    ),
    # The store restarts between delete and barrier, W1 reuses what came back, and a power cut brings back the set.
    believes_that_what_it_deleted_is_gone: Attack(
        cast=lambda ways: [("C1", collector(force=0)), ("W1", _eager(ways)), ("R", reader())],
        script=(("C1", "delete packs/"), ("C1", "barrier"), ("restart", ""), ("C1", ""), ("W1", ""), ("power cut", "")),
    ),
    # W2 learns of packs from an index, and a power cut takes them.
    puts_the_index_before_the_barrier: Attack(
        cast=lambda ways: [("W1", _eager(ways)), ("W2", _eager(ways))],
        script=(("W1", "barrier"), ("W2", ""), ("power cut", "")),
    ),
    # W2 reuses what W1 put, and W1 cleans up behind itself.
    deletes_packs_when_it_gives_up: Attack(
        cast=lambda ways: [("W1", writer(ways, reuses=0, abandons=1)), ("W2", _eager(ways))],
        script=(("W1", "put leases/"), ("W1", "put leases/"), ("W2", ""), ("W1", "")),
    ),
}


@pytest.mark.parametrize("step", _ATTACKS, ids=lambda step: step.__name__.strip("_"))
def test_known_attacks_are_harmless_and_one_step_is_why(
    step: Callable[[], contextlib.AbstractContextManager[Ways]],
) -> None:
    """The order of calls breaks nothing; without the step that was made against it, it breaks a backup.

    Or a collection finds the verdict that would have broken it.
    """
    attack = _ATTACKS[step]

    _play_attack(attack, Ways())

    with step() as ways, pytest.raises((Broken, errors.Refused), match=r"exists and lacks|RP011: .* dead in"):
        _play_attack(attack, ways)


def _play_attack(attack: Attack, ways: Ways) -> None:
    for seed in range(40):
        attack.play(seed, ways)


def schedules_until_caught(step: Callable[[], contextlib.AbstractContextManager[Ways]], most: int) -> tuple[int, str]:
    """How many schedules it took, and what was seen; (0, "") when nothing was."""
    for seed in range(most):
        try:
            with step() as ways:
                play(seed, ways)
        except (Broken, errors.SafepointError) as error:
            return seed + 1, str(error)
    return 0, ""


@pytest.mark.skipif(not _SCHEDULES, reason="a campaign: `make campaign-interleavings`")
@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    "step", [step for step in STEPS if step not in _ATTACKS], ids=lambda step: step.__name__.strip("_")
)
def test_every_protective_step_is_needed(step: Callable[[], contextlib.AbstractContextManager[Ways]]) -> None:
    """Without it some schedule breaks an invariant; those that few schedules would find have an attack above."""
    schedules, seen = schedules_until_caught(step, _MOST_UNTIL_CAUGHT)

    print(f"\n{schedules} schedules: {seen}")  # noqa: T201 - a campaign's result
    assert schedules
