"""What `stats` and `status` say agrees with what a repack, or a verification, would do next."""

from __future__ import annotations

from caring import collected, rotated, wasteful
from repository_samples import back_up, make_repository
from rewriting import large_files, opened_again
from safepoint.cli.commands.repository_stats import _waste
from safepoint.repository.care.rewrite import plan_repack, reseal
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.stats import stats
from safepoint.repository.care.verification_memory import read_memory, verified_share
from safepoint.repository.care.verify import plan_verify, verify
from safepoint.stores.memory import MemoryStore


def test_repack_is_named_when_it_would_act() -> None:
    """As many packs as its plan has, and as many bytes as that frees."""
    repository = wasteful(MemoryStore()).repository

    packs = stats(opened_again(repository)).packs
    plan = plan_repack(opened_again(repository))

    assert len(plan.packs) > 0
    assert (packs.sparse_packs, packs.sparse_bytes) == (len(plan.packs), plan.read_bytes - plan.written_bytes)
    assert "`safepoint repository repack`" in _waste(packs, packs.waste_bytes or 0)


def test_waste_that_is_too_little_for_a_repack_names_none() -> None:
    """Two thirds of the pack are needed: there is waste, and nothing to be done about it."""
    repository = make_repository(MemoryStore())
    files = {f"base/5/{number}": large_files(number, 5)["base/5/1"] for number in range(6)}
    first = back_up(repository, files, "b0", age=2)
    back_up(repository, {path: files[path] for path in list(files)[:5]}, "b1", parent=first)
    repository.expire_backup("b0", reason="a test")
    collected(repository)

    packs = stats(opened_again(repository)).packs

    assert plan_repack(opened_again(repository)).packs == ()
    assert packs.waste_bytes
    assert (packs.sparse_packs, packs.sparse_bytes) == (0, 0)
    assert "repository repack" not in _waste(packs, packs.waste_bytes)


def test_verified_objects_that_are_gone_do_not_count() -> None:
    """After a reseal and a collection, as many are verified as a plan to verify all takes for verified."""
    repository = make_repository(MemoryStore())
    back_up(repository, large_files(1, 5))
    verify(repository, Selection.all())
    before = len(read_memory(repository).times)
    repository = rotated(repository)
    reseal(repository)
    collected(repository)

    share = verified_share(opened_again(repository), read_memory(opened_again(repository)))

    plan = plan_verify(opened_again(repository), Selection.all())
    assert (share.objects, share.objects - share.verified) == (plan.objects, plan.unverified)
    assert 0 < share.verified < before
    assert share.newest is not None


def test_nothing_verified_has_no_instant() -> None:
    """None of all objects."""
    repository = make_repository(MemoryStore())
    back_up(repository, {"PG_VERSION": b"17\n"})

    share = verified_share(repository, read_memory(repository))

    assert (share.verified, share.newest) == (0, None)
    assert share.objects > 0
