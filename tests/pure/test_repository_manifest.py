"""Manifests: what is written is read, is small, and whatever is none is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repository_samples import sample_manifest
from safepoint import errors
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.repository.commit.manifest import manifest_from_json, manifest_to_json

_refs = st.builds(
    BlobRef,
    id=st.binary(min_size=32, max_size=32),
    pack=st.binary(min_size=32, max_size=32),
    offset=st.integers(0, 0xFFFFFFFF),
    length=st.integers(17, 0xFFFFFFFF),
    raw_length=st.integers(0, 0xFFFFFFFF),
)
_instants = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]))
_sizes = st.integers(0, 1 << 60)
_manifests = st.builds(
    replace,
    st.just(sample_manifest()),
    id=st.text(),
    timeline=st.builds(TimelineId, st.integers(1, 0xFFFFFFFF)),
    start_lsn=st.builds(Lsn, st.integers(0, (1 << 64) - 1)),
    started_at=_instants,
    stopped_at=_instants,
    has_checksums=st.booleans(),
    root=_refs,
    file_count=_sizes,
    raw_bytes=_sizes,
    added_bytes=_sizes,
)


@given(_manifests)
def test_a_manifest_reads_back_equal(manifest: BackupManifest) -> None:
    """Whatever the ids, positions, sizes and zones."""
    assert manifest_from_json(manifest_to_json(manifest)) == manifest


def test_a_manifest_is_small_however_large_the_backup() -> None:
    """It names the root of the listing, and no file."""
    huge = replace(sample_manifest(), file_count=10**9, raw_bytes=10**15, added_bytes=10**15)

    assert len(manifest_to_json(huge)) < 1000


def _changed(**changes: object) -> bytes:
    return json.dumps({**json.loads(manifest_to_json(sample_manifest())), **changes}).encode()


def _without(field: str) -> bytes:
    value = json.loads(manifest_to_json(sample_manifest()))
    del value[field]
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"7",
        b"null",
        b"\xff",
        _changed(root=[]),
        _changed(root=None),
        _changed(root=["aa", "bb" * 32, 1, 2, 3]),
        _changed(root=["aa" * 32, "bb" * 31, 1, 2, 3]),
        _changed(root=["x" * 64, "bb" * 32, 1, 2, 3]),
        _changed(root=["aa" * 32, "bb" * 32, -1, 2, 3]),
        _changed(root=["aa" * 32, "bb" * 32, 1, 2.5, 3]),
        _changed(root=["aa" * 32, "bb" * 32, 1, 2]),
        _changed(start_lsn="x"),
        _changed(stopped_at="yesterday"),
        _changed(timeline="one"),
        _changed(more=1),
        _without("root"),
        _without("stopped_at"),
        _without("format"),
    ],
)
def test_what_is_no_manifest_is_a_value_error(data: bytes) -> None:
    """Never a KeyError or worse."""
    with pytest.raises(ValueError):  # noqa: PT011 - several messages, one kind
        manifest_from_json(data)


@pytest.mark.parametrize("number", [-1, "7", 1.5, None, True])
@pytest.mark.parametrize("field", ["file_count", "raw_bytes", "added_bytes", "segment_size"])
def test_a_number_that_is_none_is_a_value_error(field: str, number: object) -> None:
    """Or it would fail where it is used, as something else."""
    with pytest.raises(ValueError):  # noqa: PT011 - several messages, one kind
        manifest_from_json(_changed(**{field: number}))


@pytest.mark.parametrize("field", ["id", "database", "tier", "system_identifier"])
def test_a_text_that_is_none_is_a_value_error(field: str) -> None:
    """Names are text."""
    with pytest.raises(ValueError):  # noqa: PT011 - several messages, one kind
        manifest_from_json(_changed(**{field: 7}))


@pytest.mark.parametrize("field", ["started_at", "stopped_at"])
def test_an_instant_without_a_zone_is_a_value_error(field: str) -> None:
    """It could not be compared with those of other backups."""
    with pytest.raises(ValueError):  # noqa: PT011 - several messages, one kind
        manifest_from_json(_changed(**{field: "2026-03-01T12:00:00"}))


def test_a_later_manifest_is_refused() -> None:
    """RP006 names both formats."""
    with pytest.raises(errors.Refused, match="RP006: found a manifest of format 2, expected 1"):
        manifest_from_json(_changed(format=2))
