"""What was verified when, remembered in the repository: records of kind `object-verification`.

    {"form": 1, "at": minutes, "ids": base64, "damaged": [names]}
    {"form": 1, "at": minutes, "ids": base64, "times": base64, "damaged": [names], "is_summary": true}

`ids` are 8 bytes an object, sorted: BLAKE3 of its name under a key of this purpose, so that nobody without the key
makes a name that counts as verified. `times` are 4 bytes each, big-endian; all times count minutes since 1970. A
record tells of one run or a part of it, a summary of all that came before: 65,000 packs take half a MiB, or
three quarters. Whoever reads begins with the newest and stops behind a summary and what may have crossed it.

A record that is lost or late costs time alone: what it told of is verified again.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from blake3 import blake3

from safepoint import errors
from safepoint.model.json_value import JsonObject
from safepoint.repository.names import SEALED_PREFIXES, kind_of, pack_of, record_prefix
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.objects import from_json, read_object
from safepoint.repository.sealing.seal import Kind

RECORD_KIND = "object-verification"
_FORM = 1
_ID_BYTES = 8
_IDS = np.dtype(">u8")
_TIMES = np.dtype(">u4")
_SUMMARISE_AFTER = 16
_MINUTE = timedelta(minutes=1)
_CROSSING = 2 * 24 * 60  # minutes by which the clocks of two machines may differ
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class VerificationMemory:
    """When each object was verified last, in minutes, by id; by id, too, the names of those found damaged since."""

    key: bytes
    times: dict[int, int] = field(default_factory=dict[int, int])
    damaged: dict[int, str] = field(default_factory=dict[int, str])
    records_since_summary: int = 0

    def id_of(self, name: str) -> int:
        """What stands for the object."""
        return int.from_bytes(blake3(name.encode(), key=self.key).digest(length=_ID_BYTES))

    def verified_at(self, name: str) -> datetime | None:
        """When it was verified last; None when never, or when it was found damaged since."""
        at = self.times.get(self.id_of(name))
        return None if at is None else _EPOCH + at * _MINUTE

    def remember(self, verified: Iterable[str], damaged: Iterable[str], at: datetime) -> JsonObject:
        """Takes this in; the record that tells it."""
        minute = minutes(at)
        ids = sorted(map(self.id_of, verified))
        names = sorted(damaged)
        self._take(ids, [minute] * len(ids), names)
        self.records_since_summary += 1
        return {"form": _FORM, "at": minute, "ids": _encode(ids, _IDS), "damaged": names}

    def summary(self, existing: Iterable[str], at: datetime) -> JsonObject | None:
        """A record of all that is known of the objects that exist; None while few records came since the last."""
        if self.records_since_summary < _SUMMARISE_AFTER:
            return None
        there = set(map(self.id_of, existing))
        ids = sorted(there & self.times.keys())
        return {
            "form": _FORM,
            "at": minutes(at),
            "ids": _encode(ids, _IDS),
            "times": _encode([self.times[each] for each in ids], _TIMES),
            "damaged": sorted(name for each, name in self.damaged.items() if each in there),
            "is_summary": True,
        }

    def take(self, record: Mapping[str, Any]) -> None:
        """Takes in what a record tells; ValueError, KeyError, TypeError when it is none."""
        ids = _decode(record["ids"], _IDS)
        times = _decode(record["times"], _TIMES) if "times" in record else [int(record["at"])] * len(ids)
        if len(times) != len(ids):
            raise ValueError(f"found {len(times)} times of {len(ids)} objects, expected one each")
        self._take(ids, times, [str(name) for name in record["damaged"]])

    def _take(self, ids: Iterable[int], times: Iterable[int], damaged: Iterable[str]) -> None:
        for each, minute in zip(ids, times, strict=True):
            self.times[each] = minute
            self.damaged.pop(each, None)
        for name in damaged:
            each = self.id_of(name)
            self.times.pop(each, None)
            self.damaged[each] = name


def read_memory(repository: Repository) -> VerificationMemory:
    """What the repository remembers; ST… when it cannot be read. Damaged records count as forgotten."""
    memory = VerificationMemory(key=repository.keyring.derive("object verification"))
    found = _newest_records(repository)
    memory.records_since_summary = next(
        (number for number, record in enumerate(found) if "is_summary" in record), len(found)
    )
    for record in reversed(found):
        try:
            memory.take(record)
        except (ValueError, KeyError, TypeError):
            continue
    return memory


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedShare:
    """Of so many `objects` that are stored so many have been `verified`, the last of them at `newest`."""

    objects: int
    verified: int
    newest: datetime | None


def verified_share(repository: Repository, memory: VerificationMemory) -> VerifiedShare:
    """What the memory says of the objects that are there now, from listings."""
    names = (name for prefix in SEALED_PREFIXES for name in repository.store.list(prefix))
    times = [memory.verified_at(name) for name in names if kind_of(name) is not None]
    known = [at for at in times if at is not None]
    return VerifiedShare(objects=len(times), verified=len(known), newest=max(known, default=None))


def minutes(at: datetime) -> int:
    """Since 1970."""
    return int((at - _EPOCH) / _MINUTE)


def _newest_records(repository: Repository) -> list[Mapping[str, Any]]:
    """Newest first, down to the newest summary and what was told within two days before it."""
    found: list[Mapping[str, Any]] = []
    horizon: int | None = None
    for name in sorted(repository.store.list(record_prefix(RECORD_KIND)), reverse=True):
        record = _read(repository, name)
        if record is None:
            continue
        if horizon is not None and int(record["at"]) < horizon:
            break
        found.append(record)
        if horizon is None and "is_summary" in record:
            horizon = int(record["at"]) - _CROSSING
    return found


def _read(repository: Repository, name: str) -> Mapping[str, Any] | None:
    try:
        body = read_object(repository.store, repository.keyring, Kind.RECORD, name).body
        record = from_json(name, Kind.RECORD, body)
    except errors.SafepointError as error:
        if error.spec in {errors.RP004, errors.RP005, errors.RP008}:
            return None
        raise
    return record if record.get("form") == _FORM and isinstance(record.get("at"), int) else None


def _encode(numbers: list[int], form: np.dtype[Any]) -> str:
    return base64.b64encode(np.array(numbers, form).tobytes()).decode()


def _decode(text: str, form: np.dtype[Any]) -> list[int]:
    return np.frombuffer(base64.b64decode(text, validate=True), form).tolist()


def damaged_packs(repository: Repository) -> frozenset[bytes]:
    """The packs that a verification found damaged and none found whole since: nothing should be built upon them."""
    found = (pack_of(name) for name in read_memory(repository).damaged.values())
    return frozenset(pack for pack in found if pack is not None)
