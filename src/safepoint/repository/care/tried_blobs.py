"""Whether blobs can be read whose packs are not sound or not there any more, and which packs are to blame if not.

A reference names the pack in which its blob lay first. Packs are replaced, and deleted then: so a blob is lost only
when it opens in no pack that has it now, and to blame is the pack where it lies, or the last one where it lay.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import cached_property

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.care.node_source import NodeSource
from safepoint.repository.maps.nodes import NodeReader
from safepoint.repository.packs.moved_blobs import MovedBlobs
from safepoint.repository.packs.pack import PackContents, read_table
from safepoint.repository.packs.replacements import Replacements, read_replacements
from safepoint.repository.repository import Repository

UNREADABLE = frozenset({errors.RP004, errors.RP005, errors.RP008})
_NOBODY: frozenset[bytes] = frozenset()


class TriedBlobs:
    """Tries blobs, the cheapest way first; one thread at a time.

    `listed` are the packs that are there, of which `is_sound` says whether a place in one can be taken for readable.
    `unlisted` of them stand in no index: what lies there is not found by readers, and is there all the same. `used` are
    the packs in which blobs were found that their references do not name.
    """

    def __init__(
        self,
        repository: Repository,
        listed: AbstractSet[bytes],
        is_sound: Callable[[BlobRef], bool],
        unlisted: AbstractSet[bytes] = _NOBODY,
    ) -> None:
        self.used: set[bytes] = set()
        self._repository = repository
        self._listed = listed
        self._is_sound = is_sound
        self._unlisted = unlisted
        self._known: dict[BlobRef, frozenset[bytes]] = {}

    def blamed(self, ref: BlobRef) -> frozenset[bytes]:
        """The packs to blame when the blob can be read nowhere; none otherwise.

        What no key here opens is not known to be lost.
        """
        if self._is_sound(ref):
            return _NOBODY
        found = self._known.get(ref)
        if found is None:
            places = self._repository.find_blob(ref.id)
            if self._is_in_sound(places):
                return _NOBODY
            found = self._known[ref] = _NOBODY if self._opens(ref, places) else self.culprits(ref)
        return found

    def culprits(self, ref: BlobRef) -> frozenset[bytes]:
        """The packs that are kept for the blob; when none is there, those that should be, and what lies elsewhere."""
        kept = self._replacements.places(ref, self._listed.__contains__)
        if kept:
            return kept
        elsewhere = {place.pack for place in self._repository.find_blob(ref.id)}
        return self._replacements.places(ref, lambda _: True) | elsewhere

    def reader(self, source: NodeSource) -> NodeReader:
        """Reads nodes as the source does, those in packs that no index lists as well."""

        def read(ref: BlobRef) -> bytes:
            try:
                return source.read_blob(ref)
            except errors.Damaged as error:
                place = self._unlisted_place(ref) if error.spec is errors.RP004 else None
                if place is None:
                    raise
            return source.read_blob(place)

        return NodeReader(read)

    def _is_in_sound(self, places: tuple[BlobRef, ...]) -> bool:
        for place in places:
            if self._is_sound(place):
                self.used.add(place.pack)
                return True
        return False

    def _opens(self, ref: BlobRef, places: tuple[BlobRef, ...]) -> bool:
        if (ref.pack in self._listed or places) and self._can_read(ref):
            self.used |= {place.pack for place in places}
            return True
        place = self._unlisted_place(ref)
        return place is not None and (self._is_sound(place) or self._can_read(place))

    def _can_read(self, ref: BlobRef) -> bool:
        try:
            self._repository.blobs.read_blob(ref)
        except errors.SafepointError as error:
            if error.spec not in UNREADABLE:
                raise
            return error.spec is errors.RP008
        return True

    def _unlisted_place(self, ref: BlobRef) -> BlobRef | None:
        """Where the blob lies in a pack that no index lists."""
        if not self._unlisted:
            return None
        for place in self._unindexed.refs_of(ref.id):
            self.used.add(place.pack)
            return replace(place, id=ref.id, raw_length=ref.raw_length)
        return None

    @cached_property
    def _replacements(self) -> Replacements:
        store, keyring = self._repository.store, self._repository.keyring
        return read_replacements(store, keyring, is_lenient=True)

    @cached_property
    def _unindexed(self) -> MovedBlobs:
        found = (self._table_of(pack) for pack in sorted(self._unlisted))
        return MovedBlobs((contents,) for contents in found if contents is not None)

    def _table_of(self, pack: bytes) -> PackContents | None:
        try:
            return read_table(self._repository.store, self._repository.keyring, pack)
        except errors.SafepointError as error:
            if error.spec not in UNREADABLE:
                raise
            return None
