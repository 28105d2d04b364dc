"""What every store promises: stores/port.py, sentence by sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from safepoint import errors
from safepoint.stores import FolderStore, MemoryStore, NotFound, Store, open_store

_BAD_NAMES = ("", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.hidden", ".put-1", "a b", "a\0", "ä", "a\n")


@pytest.mark.parametrize("server", ["s3_server", "azure_server"])
def test_the_suite_runs_over_the_stores_of_this_server(server: str, request: pytest.FixtureRequest) -> None:
    """Once here instead of in every test: which server is missing, and how to get it."""
    assert request.getfixturevalue(server).address.startswith("http://127.0.0.1:")


def test_an_object_reads_back_whole_and_in_ranges(store: Store) -> None:
    """What was put is got; a range ends where the object ends, and lies empty behind it."""
    assert store.put_if_absent("packs/ab/abc", b"0123456789") is True

    assert store.get("packs/ab/abc") == b"0123456789"
    assert store.get_range("packs/ab/abc", 2, 3) == b"234"
    assert store.get_range("packs/ab/abc", 8, 100) == b"89"
    assert store.get_range("packs/ab/abc", 10, 1) == b""
    assert store.get_range("packs/ab/abc", 99, 1) == b""
    assert store.size("packs/ab/abc") == 10


def test_an_empty_object_is_an_object(store: Store) -> None:
    """Zero bytes can be stored, and are not the same as absence."""
    store.put_if_absent("empty", b"")

    assert (store.get("empty"), store.size("empty"), list(store.list(""))) == (b"", 0, ["empty"])


def test_the_first_put_stays(store: Store) -> None:
    """A second put of a name, durable or not, equal or not, answers False and changes nothing."""
    store.put_if_absent("name", b"first")

    assert store.put_if_absent("name", b"second") is False
    assert store.put_if_absent("name", b"first") is False
    assert store.put_if_absent("name", b"third", durable=False) is False
    assert store.get("name") == b"first"


def test_of_many_writers_exactly_one_wins(store: Store) -> None:
    """Eight threads put one name at once: one gets True, and its bytes are the object."""
    gate = threading.Barrier(8)

    def contend(number: int) -> bool:
        gate.wait()
        return store.put_if_absent("contended", b"%d" % number * 1000)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(contend, range(8)))

    assert answers.count(True) == 1
    assert store.get("contended") == b"%d" % answers.index(True) * 1000


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.get("absent"),
        lambda store: store.get_range("absent", 0, 1),
        lambda store: store.size("absent"),
        lambda store: store.delete("absent"),
        lambda store: store.get("folder"),
        lambda store: store.get_range("folder", 0, 1),
        lambda store: store.get("folder/name/below"),
    ],
)
def test_what_is_absent_is_not_found(store: Store, ask: Callable[[Store], object]) -> None:
    """Absence is NotFound, also where a folder or an object's name would be a parent."""
    store.put_if_absent("folder/name", b"x")

    with pytest.raises(NotFound):
        ask(store)


def test_deleted_objects_are_gone_and_their_names_free(store: Store) -> None:
    """After a delete the name is neither listed nor read, and can be put again."""
    store.put_if_absent("a/b", b"old")
    store.delete("a/b")

    assert list(store.list("")) == []
    assert store.put_if_absent("a/b", b"new") is True
    assert store.get("a/b") == b"new"


def test_listing_gives_names_in_byte_order(store: Store) -> None:
    """Folders do not disturb the order: '-' and '.' sort before '/', digits after."""
    names = ["a-b", "a.b", "a/b", "a0", "ab", "a/b-c", "a/bc/d", "B", "_"]
    for name in names:
        store.put_if_absent(name, b"")

    assert list(store.list("")) == sorted(names)


@pytest.mark.parametrize("prefix", ["a", "a/", "a/b", "a/bc", "a/bc/", "a/bc/d", "z", "a/b/c", "a/b/", "ab"])
def test_a_prefix_is_any_beginning_of_a_name(store: Store, prefix: str) -> None:
    """Prefixes need not end at a slash, and one that fits nothing lists nothing."""
    names = ["a/b", "a/bc/d", "a/bc/e", "ab", "abc/d"]
    for name in names:
        store.put_if_absent(name, b"")

    assert list(store.list(prefix)) == [name for name in sorted(names) if name.startswith(prefix)]


def test_listing_outlives_deletes(store: Store) -> None:
    """Objects deleted while they are listed do no harm."""
    for number in range(10):
        store.put_if_absent(f"wal/{number}/x", b"")

    for name in store.list("wal/"):
        store.delete(name)

    assert list(store.list("")) == []


def test_a_barrier_may_come_at_any_time(store: Store) -> None:
    """Without puts, after puts that were not durable, after one of them was deleted, and after a delete in vain."""
    store.barrier()
    store.put_if_absent("packs/1", b"1", durable=False)
    store.put_if_absent("packs/2", b"2", durable=False)
    store.delete("packs/2")
    with pytest.raises(NotFound):
        store.delete("packs/2")
    with pytest.raises(NotFound):
        store.delete("nowhere/2")
    store.barrier()
    store.barrier()

    assert (store.get("packs/1"), list(store.list(""))) == (b"1", ["packs/1"])


@pytest.mark.parametrize("name", _BAD_NAMES)
def test_names_that_could_lead_elsewhere_are_refused(store: Store, name: str) -> None:
    """Only relative paths of plain components are names; nothing is stored for others."""
    for ask in (store.get, store.size, store.delete, lambda bad: store.put_if_absent(bad, b"x")):
        with pytest.raises(ValueError, match="expected a relative path"):
            ask(name)
    assert list(store.list("")) == []


@pytest.mark.parametrize("prefix", ["..", "../", "/", "a/../", "a//"])
def test_prefixes_that_could_lead_elsewhere_are_refused(store: Store, prefix: str) -> None:
    """A listing stays inside, too."""
    with pytest.raises(ValueError, match="expected a relative path"):
        list(store.list(prefix))


@pytest.mark.parametrize(
    "url", ["/srv/pg", "file:/srv/pg", "file:///srv/pg", "file://localhost/srv/pg", "file:///srv/%70g"]
)
def test_a_folder_has_several_spellings(url: str) -> None:
    """Paths and file URLs open the same folder, and opening touches nothing."""
    assert repr(open_store(url)) == repr(open_store("/srv/pg"))
    assert isinstance(open_store(url), FolderStore)


def test_memory_is_a_store() -> None:
    """Each `memory:` is a store of its own."""
    assert isinstance(open_store("memory:"), MemoryStore)


@pytest.mark.parametrize(
    "url", ["", "  ", "file:", "file://", "ftp://bucket/pg", "file://user:secret@host/pg", "memory:x", "C:\\pg"]
)
def test_other_urls_are_refused_by_name(url: str) -> None:
    """What this version cannot store in is said at once, without repeating a password."""
    with pytest.raises(errors.Misconfigured) as caught:
        open_store(url)

    assert caught.value.spec is errors.ST003
    assert "expected" in caught.value.message
    assert "secret" not in str(caught.value)
