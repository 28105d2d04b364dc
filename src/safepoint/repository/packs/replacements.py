"""Which packs were replaced by which, and where a blob that a backup refers to is kept because of that.

Packs are rewritten (under a new key, without what nobody needs, from another copy), but what refers to them never
changes: a reference names the pack in which its blob lay first. The index of the new packs says which ones they
replace. It counts only if the lease under which it was put ended well, with a backup or with this very index: then
whoever saw the lease end also sees the index, and whoever did not leaves the new packs alone. Replacements lead from
older packs to newer ones only, and none is ever taken back, so of two who decide what may go, both keep the newest.

A replacement is judged blob by blob: a blob that is not in the new packs is still needed where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.commit.lease_objects import Outcome, read_end, require_begun
from safepoint.repository.packs.index import IndexFacts, read_index, survey_indexes
from safepoint.repository.packs.moved_blobs import MovedBlobs
from safepoint.repository.packs.pack import PackContents
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores.port import Store

Exists = Callable[[bytes], bool]
_NUMBERS = tuple[int, ...]


class Replacements:
    """Replacements that count, of which the tables are read when a blob of a replaced pack is first asked for.

    `unreadable` names indexes and ends that do not open: what they say of replacements is unknown. May be used from
    one thread at a time; their blobs lie on disk (moved_blobs.py).
    """

    def __init__(
        self,
        replaced: Mapping[bytes, Sequence[str]],
        tables_of: Callable[[str], Sequence[PackContents]],
        unreadable: tuple[str, ...] = (),
    ) -> None:
        self.unreadable = unreadable
        self._sources = sorted({name for names in replaced.values() for name in names})
        number = {name: position for position, name in enumerate(self._sources)}
        self._replaced: dict[bytes, _NUMBERS] = {
            pack: tuple(number[name] for name in names) for pack, names in replaced.items()
        }
        self._tables_of = tables_of
        self._moved: MovedBlobs | None = None

    @property
    def packs(self) -> AbstractSet[bytes]:
        """The packs that were replaced."""
        return self._replaced.keys()

    def replaced_into(self) -> Mapping[bytes, frozenset[bytes]]:
        """By new pack, the packs of which blobs were moved into it."""
        if not self._replaced:
            return {}
        old_of: dict[int, set[bytes]] = {}
        for pack, numbers in self._replaced.items():
            for number in numbers:
                old_of.setdefault(number, set()).add(pack)
        return {
            pack: frozenset[bytes]().union(*(old_of[number] for number in numbers))
            for pack, numbers in self._blobs().numbers_of.items()
        }

    def earlier(self, packs: Iterable[bytes]) -> frozenset[bytes]:
        """The packs that lead to these, over however many others. RP004, RP005 when a table cannot be read."""
        into, found = self.replaced_into(), set[bytes]()
        following = list(packs)
        while following:
            new = into.get(following.pop(), frozenset()) - found
            found |= new
            following += new
        return frozenset(found)

    def places(self, ref: BlobRef, exists: Exists) -> frozenset[bytes]:
        """The packs that must be kept for whoever refers to this blob; empty when none of them exists.

        The pack that the reference names, unless the blob was moved to a pack that exists. More than one when the pack
        was replaced more than once.
        """
        if ref.pack not in self._replaced:
            return frozenset({ref.pack}) if exists(ref.pack) else frozenset()
        return self._ends(ref.pack, self._blobs().places_of(ref.id), exists, {ref.pack})

    def _ends(
        self, pack: bytes, known: Sequence[tuple[bytes, int]], exists: Exists, behind: AbstractSet[bytes]
    ) -> frozenset[bytes]:
        numbers = self._replaced.get(pack, ())
        following = {new for new, number in known if number in numbers and new not in behind}
        found = frozenset[bytes]().union(*(self._ends(new, known, exists, behind | {new}) for new in following))
        return found or (frozenset({pack}) if exists(pack) else found)

    def _blobs(self) -> MovedBlobs:
        if self._moved is None:
            self._moved = MovedBlobs(self._tables_of(name) for name in self._sources)
        return self._moved


def read_replacements(store: Store, keyring: Keyring, *, is_lenient: bool = False) -> Replacements:
    """What the indexes say now. Costs their listing, a short read of each and of the lease of each that replaces.

    What does not open is named in `unreadable`, or raised as RP005 when its table is needed; `is_lenient` passes over
    the latter, for who would rather not find a blob than fail.
    """
    survey = survey_indexes(store, keyring)
    replaced: dict[bytes, list[str]] = {}
    unreadable = [name for name in survey.current() if name in survey.damaged]
    for name in survey.current():
        facts = survey.facts.get(name)
        if facts is None or not facts.replaces:
            continue
        try:
            if counts(store, keyring, name, facts):
                for pack in facts.replaces:
                    replaced.setdefault(bytes.fromhex(pack), []).append(name)
        except errors.Damaged:
            unreadable.append(name)

    def tables_of(name: str) -> Sequence[PackContents]:
        try:
            return read_index(store, keyring, name).packs
        except errors.Damaged:
            if is_lenient:
                return ()
            raise

    return Replacements(replaced, tables_of, tuple(sorted(unreadable)))


def counts(store: Store, keyring: Keyring, name: str, facts: IndexFacts) -> bool:
    """Whether what the index says of replaced packs holds; RP005 when the end of its lease does not open.

    RP004 when nothing is there of the lease, which is never deleted: somebody hides it.
    """
    if facts.lease is None:
        return True
    try:
        end = read_end(store, keyring, facts.lease)
    except errors.Damaged as error:
        if error.spec is not errors.RP004:
            raise
        require_begun(store, facts.lease)
        return False
    return end.outcome is Outcome.COMMITTED or (end.outcome is Outcome.ABANDONED and end.manifest == name)
