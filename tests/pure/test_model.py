"""Arithmetic of LSNs and segments, durations, versions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.model.measures import format_bytes, format_duration, format_instant, parse_duration, system_clock
from safepoint.model.proof import ProofLevel
from safepoint.model.secret import Secret
from safepoint.model.version import PgVersion

lsns = st.integers(min_value=0, max_value=2**64 - 1).map(Lsn)
sizes = st.sampled_from([1 << power for power in range(20, 31)])


@given(lsns)
def test_an_lsn_survives_its_spelling(lsn: Lsn) -> None:
    """parse undoes str."""
    assert Lsn.parse(str(lsn)) == lsn


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "0/100000000", "x/0", "0/0 "])
def test_what_is_no_lsn_is_refused(text: str) -> None:
    """The error names the text."""
    with pytest.raises(ValueError, match="expected an LSN"):
        Lsn.parse(text)


@given(st.integers(min_value=1, max_value=2**31), lsns, sizes)
def test_the_segment_that_holds_a_byte(timeline: int, lsn: Lsn, size: int) -> None:
    """Segments are half-open, their names round-trip, and the next begins where one ends."""
    segment = WalSegment.holding(TimelineId(timeline), lsn, size)

    assert segment.start <= lsn < segment.end
    assert segment.start == lsn.segment_start(size)
    assert segment.end - segment.start == size
    assert segment.next.start == segment.end
    assert WalSegment.parse(segment.name, size) == segment


def test_segment_names_are_postgresqls() -> None:
    """As `pg_walfile_name` spells them; timelines are hexadecimal."""
    assert WalSegment.holding(TimelineId(10), Lsn.parse("1/3000028"), 1 << 24).name == "0000000A0000000100000003"
    assert TimelineId(10).history_name == "0000000A.history"
    assert TimelineId(2).has_history
    assert not TimelineId(1).has_history
    assert str(TimelineId(10)) == "10"


def test_what_is_no_segment_is_refused() -> None:
    """A .partial or .history name is no segment."""
    with pytest.raises(ValueError, match="24 upper-case"):
        WalSegment.parse("0000000A.history", 1 << 24)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("30d", timedelta(days=30)),
        ("1y", timedelta(days=365)),
        ("200ms", timedelta(milliseconds=200)),
    ],
)
def test_durations_are_read(text: str, duration: timedelta) -> None:
    """As the strategy file writes them."""
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "30", "30x", "d", "1h 30m", "-1h", "1.5h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The error names the text and shows what would do."""
    with pytest.raises(ValueError, match="like 15m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.26, "0.3s"), (59.9, "59.9s"), (185, "3m 05s"), (7800, "2h 10m"), (273600, "3d 4h"), (-5, "-5.0s")],
)
def test_durations_are_shown_short(seconds: float, text: str) -> None:
    """Two units at most."""
    assert format_duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("count", "text"), [(812, "812 B"), (1 << 24, "16.0 MiB"), (4_509_715_661, "4.2 GiB"), (1 << 41, "2.0 TiB")]
)
def test_sizes_are_shown_in_binary_units(count: int, text: str) -> None:
    """Units of 1024."""
    assert format_bytes(count) == text


def test_instants_are_shown_in_utc_with_their_zone() -> None:
    """Nobody has to guess the zone at 3 a.m."""
    assert format_instant(datetime(2026, 3, 1, 2, 10, 7, 250999, tzinfo=UTC)) == "2026-03-01 02:10:07.250 UTC"
    assert system_clock().tzinfo is UTC


def test_versions_compare_and_print() -> None:
    """server_version_num, as PostgreSQL prints it."""
    assert PgVersion(150018) < PgVersion(170010)
    assert str(PgVersion(170010)) == "17.10"


def test_each_proof_level_outranks_the_one_before() -> None:
    """stored < verified < restored < queried."""
    assert [level.rank for level in ProofLevel] == [0, 1, 2, 3]


def test_a_secret_does_not_print() -> None:
    """Neither repr nor str nor formatting gives it away."""
    secret = Secret("hunter2")

    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"
