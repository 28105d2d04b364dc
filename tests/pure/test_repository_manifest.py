"""Manifests: what is written is read, small, and never leads a restore outside its directory."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repository_samples import manifest_of
from safepoint import errors
from safepoint.model.backup import BackupFile, BackupManifest, BlobRef
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.repository.commit.manifest import manifest_from_json, manifest_to_json, packs_of

_hex = st.binary(min_size=32, max_size=32).map(bytes.hex)
_refs = st.builds(
    BlobRef,
    id=_hex,
    pack=st.sampled_from([character * 64 for character in "abc"]),
    offset=st.integers(0, 1 << 40),
    length=st.integers(17, 1 << 25),
    raw_length=st.integers(0, 1 << 25),
)
_bytes = st.binary(min_size=1).filter(lambda part: part not in {b".", b".."} and not {0, 47} & {*part})
_component = _bytes.map(os.fsdecode)
_paths = st.lists(_component, min_size=1, max_size=3).map("/".join)
_instants = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]))


@st.composite
def _files(draw: st.DrawFn) -> BackupFile:
    blobs = tuple(draw(st.lists(_refs, max_size=3)))
    size = sum(ref.raw_length for ref in blobs)
    return BackupFile(path=draw(_paths), size=size, mode=draw(st.integers(0, 0o7777)), blobs=blobs)


_manifests = st.builds(
    replace,
    st.just(manifest_of(())),
    id=st.text(),
    timeline=st.builds(TimelineId, st.integers(1, 0xFFFFFFFF)),
    start_lsn=st.builds(Lsn, st.integers(0, (1 << 64) - 1)),
    started_at=_instants,
    stopped_at=_instants,
    directories=st.lists(_paths).map(tuple),
    files=st.lists(_files(), max_size=4).map(tuple),
)


@given(_manifests)
def test_a_manifest_reads_back_equal(manifest: BackupManifest) -> None:
    """Whatever the paths, positions and zones; file names that are no UTF-8 included."""
    assert manifest_from_json(manifest_to_json(manifest)) == manifest


def _changed(**changes: object) -> bytes:
    return json.dumps({**json.loads(manifest_to_json(manifest_of(()))), **changes}).encode()


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "base/../../x", "", "base//x", "./x", "base/", "a\0b"])
def test_a_path_that_leads_outside_is_refused(path: str) -> None:
    """Both when it is written and when somebody else wrote it: restores write where paths say."""
    file = BackupFile(path=path, size=0, mode=0o600, blobs=())

    with pytest.raises(ValueError, match="expected a relative one"):
        manifest_to_json(replace(manifest_of(()), files=(file,)))
    with pytest.raises(ValueError, match="expected a relative one"):
        manifest_from_json(_changed(files=[[path, 0, 0o600, []]]))
    with pytest.raises(ValueError, match="expected a relative one"):
        manifest_from_json(_changed(directories=[path]))


def test_a_file_is_the_sum_of_its_blobs() -> None:
    """A size that its blobs do not reach is a mistake of whoever made the manifest."""
    ref = BlobRef(id="ab" * 32, pack="cd" * 32, offset=48, length=20, raw_length=3)
    file = BackupFile(path="PG_VERSION", size=4, mode=0o600, blobs=(ref,))

    with pytest.raises(ValueError, match="found blobs of 3 bytes for 'PG_VERSION', expected its size of 4"):
        manifest_to_json(replace(manifest_of(()), files=(file,)))


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff", _changed(files=[["x"]]), _changed(blobs=[[0, 1, 2, 3, "a"]]), _changed(start_lsn="x")],
)
def test_what_is_no_manifest_is_a_value_error(data: bytes) -> None:
    """Never a KeyError or worse."""
    with pytest.raises(ValueError):  # noqa: PT011 - several messages, one kind
        manifest_from_json(data)


def test_a_later_manifest_is_refused() -> None:
    """RP006 names both formats."""
    with pytest.raises(errors.Refused, match="RP006: found a manifest of format 2, expected 1"):
        manifest_from_json(_changed(format=2))


def test_packs_are_named_once_with_the_size_they_need() -> None:
    """The end of the last blob."""
    refs = tuple(
        BlobRef(id=f"{number:064x}", pack="ab" * 32, offset=48 + 20 * number, length=20, raw_length=3)
        for number in range(3)
    )
    manifest = manifest_of(refs)

    assert packs_of(manifest) == {"ab" * 32: 108}
    assert manifest_to_json(manifest).count(b"ab" * 32) == 1
