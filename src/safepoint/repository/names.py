"""What the objects of a repository are called: every prefix and every pattern of a name is said here, and only here.

Names are pure text: nothing here asks a store. What an object must be follows from its name (`kind_of`); a name that
none of the patterns knows is no object of this version. docs/FORMAT.md lists them with what they hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.repository.sealing.seal import Kind

DESCRIPTION_NAME = "safepoint.json"
KEYS_PREFIX = "keys/"
BACKUPS_PREFIX = "backups/"
PACKS_PREFIX = "packs/"
INDEXES_PREFIX = "indexes/"
WAL_PREFIX = "wal/"
RECORDS_PREFIX = "records/"
LEASES_PREFIX = "leases/"
TOMBSTONES_PREFIX = "tombstones/"
JOURNAL_PREFIX = "journal/"
TEMPORARY_PREFIX = "tmp/"
RANGES_PREFIX = f"{TEMPORARY_PREFIX}{WAL_PREFIX}"
"""WAL that a complete segment replaces later."""
RESERVE_PREFIX = f"{TEMPORARY_PREFIX}reserve/"
ASIDE_PREFIX = f"{TEMPORARY_PREFIX}repair/"
"""Before the name of an object that is being exchanged."""

WAL_PREFIXES = (WAL_PREFIX, RANGES_PREFIX)
SEALED_PREFIXES = (
    BACKUPS_PREFIX,
    PACKS_PREFIX,
    INDEXES_PREFIX,
    *WAL_PREFIXES,
    RECORDS_PREFIX,
    LEASES_PREFIX,
    TOMBSTONES_PREFIX,
    JOURNAL_PREFIX,
)
"""Below them lies everything that is sealed under its name."""

BEGIN, END, EXPIRED, RENEWAL = "begin", "end", "expired", "renewal-"
"""The parts of a lease; the last is followed by 8 digits."""
CONDEMNED, AWAITED, VERDICT = "packs", "leases", "verdict"
"""The parts of a tombstone set."""

_HISTORY = ".history"
_MEBIBYTE = 1024 * 1024
_SEGMENT_SIZES = frozenset(1 << power for power in range(11))
"""In MiB: what PostgreSQL knows, from 1 to 1,024."""

_PACK = r"([0-9a-f]{2})/(\1[0-9a-f]{62})"
_SIZED = r"\.([0-9]{1,4})MB"
_SEGMENT = rf"([0-9A-F]{{24}}){_SIZED}"
_RANGE = r"([0-9A-F]{16})-([0-9A-F]{16})"
_LINEAGE = r"([0-9A-F]{8})-[0-9a-f]{32}"
_WRITER = r"[0-9a-f]{32}"
_CLUSTER = r"[0-9]{1,20}"

PACK_ID = re.compile(r"[0-9a-f]{64}")
INDEX_NAME = re.compile(rf"{INDEXES_PREFIX}[0-9a-f]{{32}}")
_PACK_NAME = re.compile(rf"{PACKS_PREFIX}{_PACK}")
_ENTRY_NAME = re.compile(rf"{JOURNAL_PREFIX}({_WRITER})/([0-9]{{12}})")
_SLOT_NAME = re.compile(rf"{KEYS_PREFIX}([0-9a-f]{{32}})")
_GENERATION_NAME = re.compile(rf"{KEYS_PREFIX}generation-([0-9]{{8}})")
_LEASE_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{16}")
_WAL_PLACE = re.compile(rf"(?:{TEMPORARY_PREFIX})?{WAL_PREFIX}({_CLUSTER})/({_LINEAGE})/(.+)")
_WAL_LEAVES = (re.compile(_SEGMENT), re.compile(_RANGE))

_KINDS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (_PACK_NAME, Kind.PACK),
    (INDEX_NAME, Kind.INDEX),
    (re.compile(rf"{BACKUPS_PREFIX}.+"), Kind.MANIFEST),
    (re.compile(rf"{WAL_PREFIX}.+\{_HISTORY}"), Kind.HISTORY),
    (re.compile(rf"{WAL_PREFIX}.+{_SIZED}|{RANGES_PREFIX}.+/{_RANGE}"), Kind.WAL),
    (re.compile(rf"{RECORDS_PREFIX}.+"), Kind.RECORD),
    (re.compile(rf"{LEASES_PREFIX}[^/]+/({END}|{EXPIRED})"), Kind.END),
    (re.compile(rf"{LEASES_PREFIX}[^/]+/({BEGIN}|{RENEWAL}[0-9]{{8}})"), Kind.LEASE),
    (re.compile(rf"{TOMBSTONES_PREFIX}[^/]+/({CONDEMNED}|{AWAITED}|{VERDICT})"), Kind.TOMBSTONE),
    (_ENTRY_NAME, Kind.JOURNAL),
)


def kind_of(name: str) -> Kind | None:
    """What the object of this name is; None for a name that this version does not know."""
    return next((kind for shape, kind in _KINDS if shape.fullmatch(name)), None)


def pack_name(pack: bytes) -> str:
    """Where the pack of this id is stored; 256 folders keep each of them small."""
    return f"{PACKS_PREFIX}{pack.hex()[:2]}/{pack.hex()}"


def pack_of(name: str) -> bytes | None:
    """The id of the pack that has this name; None when none has."""
    match = _PACK_NAME.fullmatch(name)
    return bytes.fromhex(match[2]) if match else None


def manifest_name(cluster: str, lease_id: str) -> str:
    """Where the manifest of a backup of the cluster is put, under this lease."""
    return f"{BACKUPS_PREFIX}{cluster}/{lease_id}"


def lease_named_by(manifest: str) -> str | None:
    """The lease whose id is the last part of the manifest's name: nobody else commits this name for the first time."""
    last = manifest.rpartition("/")[2]
    return last if is_lease_id(last) else None


def record_prefix(kind: str) -> str:
    """Below it lie the records of this kind."""
    return f"{RECORDS_PREFIX}{kind}/"


def is_lease_id(text: str) -> bool:
    """Whether it is an instant, to the second, and 16 random digits."""
    return _LEASE_ID.fullmatch(text) is not None


def begin_name(lease_id: str) -> str:
    """Where its writer says who it is."""
    return lease_part(lease_id, BEGIN)


def renewal_name(lease_id: str, number: int) -> str:
    """Where its writer says for the `number`th time that it lives."""
    return lease_part(lease_id, f"{RENEWAL}{number:08d}")


def end_name(lease_id: str) -> str:
    """Where the lease ends."""
    return lease_part(lease_id, END)


def expired_name(lease_id: str) -> str:
    """Where its backup ends."""
    return lease_part(lease_id, EXPIRED)


def lease_part(lease_id: str, part: str) -> str:
    """Where this part of a lease is stored."""
    return f"{LEASES_PREFIX}{lease_id}/{part}"


def is_end(name: str) -> bool:
    """Whether a lease ends there."""
    return name.startswith(LEASES_PREFIX) and name.endswith(f"/{END}")


def packs_name(set_id: str) -> str:
    """Where the packs of a tombstone set are listed."""
    return tombstone_part(set_id, CONDEMNED)


def leases_name(set_id: str) -> str:
    """Where the leases are listed for which a tombstone set waits."""
    return tombstone_part(set_id, AWAITED)


def verdict_name(set_id: str) -> str:
    """Where the dead packs of a tombstone set are listed."""
    return tombstone_part(set_id, VERDICT)


def tombstone_part(set_id: str, part: str) -> str:
    """Where this part of a set is stored; the set's own name when there is none."""
    return f"{TOMBSTONES_PREFIX}{set_id}/{part}" if part else f"{TOMBSTONES_PREFIX}{set_id}"


def entry_name(writer: str, sequence: int) -> str:
    """Where the writer's entry of this sequence is stored."""
    return f"{JOURNAL_PREFIX}{writer}/{sequence:012d}"


def place_of(name: str) -> tuple[str, int] | None:
    """Writer and sequence, from 1, of an entry's name; None for anything else."""
    match = _ENTRY_NAME.fullmatch(name)
    return (match[1], int(match[2])) if match and int(match[2]) else None


def is_writer(text: str) -> bool:
    """Whether it has the shape of a writer's name."""
    return re.fullmatch(_WRITER, text) is not None


def slot_name(slot_id: str) -> str:
    """Where the key slot is stored."""
    return f"{KEYS_PREFIX}{slot_id}"


def slot_id_of(name: str) -> str | None:
    """The id in an object's name, None when it is not the name of a slot."""
    match = _SLOT_NAME.fullmatch(name)
    return match[1] if match else None


def generation_name(position: int) -> str:
    """Where the master at this position is handed out."""
    return f"{KEYS_PREFIX}generation-{position:08d}"


def position_of(name: str) -> int | None:
    """The position, from 2, in an object's name; None when it is not the name of a generation."""
    match = _GENERATION_NAME.fullmatch(name)
    return int(match[1]) if match and int(match[1]) > 1 else None


def is_cluster(text: str) -> bool:
    """Whether it has the shape of a system identifier in decimal."""
    return re.fullmatch(_CLUSTER, text) is not None


def cluster_of(name: str) -> str:
    """The cluster of an object below one of `WAL_PREFIXES`."""
    return name.removeprefix(TEMPORARY_PREFIX).split("/")[1]


def is_history(name: str) -> bool:
    """Whether it ends as a timeline's history does."""
    return name.endswith(_HISTORY)


def wal_folder(cluster: str, lineage: str) -> str:
    """Where complete segments of the timeline lie; no slash at its end."""
    return f"{WAL_PREFIX}{cluster}/{lineage}"


def segment_leaf(segment: WalSegment) -> str:
    """What a complete segment is called below the folder of its timeline."""
    return f"{segment.name}.{segment.size // _MEBIBYTE}MB"


def range_leaf(start: Lsn, end: Lsn) -> str:
    """What the range [start, end) is called below the folder of its timeline."""
    return f"{start.value:016X}-{end.value:016X}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WalPlace:
    """Where an object lies whose name is right as far as the folder of its timeline; `leaf` is the rest."""

    cluster: str
    lineage: str
    leaf: str

    @property
    def folder(self) -> str:
        """As `wal_folder`, also of what lies among the ranges."""
        return wal_folder(self.cluster, self.lineage)

    @property
    def timeline(self) -> TimelineId:
        """That of the folder."""
        return TimelineId(int(self.lineage[:8], 16))

    @property
    def segment(self) -> WalSegment | None:
        """The complete segment that lies there; None for anything else, and for a size that PostgreSQL has not."""
        match = _WAL_LEAVES[0].fullmatch(self.leaf)
        if match is None or int(match[2]) not in _SEGMENT_SIZES:
            return None
        return WalSegment.parse(match[1], int(match[2]) * _MEBIBYTE)

    @property
    def range(self) -> tuple[Lsn, Lsn] | None:
        """Start and end of the range that lies there; None for anything else, and for one that is empty."""
        match = _WAL_LEAVES[1].fullmatch(self.leaf)
        if match is None or match[1] >= match[2]:
            return None
        return Lsn(int(match[1], 16)), Lsn(int(match[2], 16))


def wal_place(name: str) -> WalPlace | None:
    """Where the object lies; None unless that is in the folder of a timeline."""
    match = _WAL_PLACE.fullmatch(name)
    return WalPlace(cluster=match[1], lineage=match[2], leaf=match[4]) if match else None
