"""What a writer may refer to: blobs that stay where they are, or where they were moved, until its lease has ended.

A replacement that came to count after the lease began changes nothing for its writer: the new packs are not condemned
before it ends. So what was replaced is looked up once, right after the lease was put.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from safepoint.model.backup import BlobRef
from safepoint.repository.commit.leases import HeldLease, list_packs
from safepoint.repository.packs.replacements import read_replacements
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores.port import Store


class UsableBlobs:
    """The blobs of other leases' packs to which the writer that holds `lease` may refer. To be made when it begins.

    Costs the listing of the indexes and, when any pack was ever replaced, one of the packs. Packs to `avoid`, because
    they are known to be damaged, are not referred to: what they hold is stored again.
    """

    def __init__(
        self, store: Store, keyring: Keyring, lease: HeldLease, avoid: AbstractSet[bytes] = frozenset()
    ) -> None:
        self._lease = lease
        self._avoided = avoid
        self._replacements = read_replacements(store, keyring, is_lenient=True)
        self._packs = list_packs(store) if self._replacements.packs else frozenset[bytes]()

    def is_usable(self, ref: BlobRef) -> bool:
        """Whether the blob can be found for ever by this reference, if the lease ends with a backup that needs it."""
        if ref.pack not in self._replacements.packs:
            return self._is_sound(ref.pack)
        return any(map(self._is_sound, self._replacements.places(ref, self._packs.__contains__)))

    def _is_sound(self, pack: bytes) -> bool:
        return pack not in self._avoided and self._lease.is_usable(pack)

    def first_unusable(self, refs: Iterable[BlobRef], own: AbstractSet[bytes] = frozenset()) -> BlobRef | None:
        """The first that may not be referred to and is in no pack of the writer's `own`."""
        sound: set[bytes] = set(own)
        for ref in refs:
            if ref.pack in sound:
                continue
            if not self.is_usable(ref):
                return ref
            if ref.pack not in self._replacements.packs:
                sound.add(ref.pack)
        return None
