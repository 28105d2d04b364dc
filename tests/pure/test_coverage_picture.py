"""The picture of what can be restored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from xml.etree import ElementTree as ET

from coverage_samples import ONE, TWO, at
from safepoint.evidence.coverage_picture import coverage_svg
from safepoint.model.lsn import Lsn
from safepoint.model.reach import Cause, CoverageReport, Lineage, Loss, Reach, Within
from safepoint.model.speed import Speed

CAUSES = {"damaged": "an object <is> damaged"}
SVG = "{http://www.w3.org/2000/svg}"


def reach(earliest: datetime | None, latest: datetime | None, within: Within = Within.WINDOW) -> Reach:
    return Reach(
        backup_id="b",
        start=Lsn(1),
        end=Lsn(2),
        earliest=earliest,
        latest=latest,
        file_bytes=0,
        wal_bytes=0,
        seconds=None,
        own_end=Lsn(2),
        own_latest=None,
        within=within,
    )


def loss(after: datetime | None, before: datetime | None) -> Loss:
    return Loss(
        timeline=ONE, start=Lsn(5), end=Lsn(6), cause=Cause.DAMAGED, after=after, before=before, is_harmless=False
    )


def drawn(
    *lineages: Lineage, losses: tuple[Loss, ...] = (), database: str = "shop", causes: Mapping[str, str] = CAUSES
) -> ET.Element:
    """The picture, which must be XML."""
    report = CoverageReport(
        database=database,
        cluster="7",
        newest=at(10),
        window_start=at(2),
        lineages=lineages,
        losses=losses,
        speed=Speed(write=None, replay=None, other_seconds=0, restores=0),
    )
    return ET.fromstring(coverage_svg(report, causes))  # noqa: S314 - our own


def lineage(*reaches: Reach, is_followed: bool = True) -> Lineage:
    number = ONE if is_followed else TWO
    return Lineage(timeline=number, name=f"{number.hexadecimal}-0123", is_followed=is_followed, reaches=reaches)


def rectangles(picture: ET.Element, kind: str) -> list[tuple[float, float]]:
    """Left ends and widths of those of a kind."""
    found = (each for each in picture.iter(f"{SVG}rect") if each.get("class") == kind)
    return [(float(each.get("x", "")), float(each.get("width", ""))) for each in found]


def test_bars_lie_where_their_instants_are() -> None:
    """Half of the time takes half of the width; what precedes the window has a kind of its own."""
    picture = drawn(lineage(reach(at(0), at(5), Within.BEFORE), reach(at(5), at(10))))

    ((before, half),) = rectangles(picture, "before")
    ((within, other_half),) = rectangles(picture, "reach")
    assert half == other_half
    assert before + half == within


def test_a_gap_is_a_block_with_a_number_and_a_line_of_words() -> None:
    """One that no mark dates has the words alone."""
    picture = drawn(lineage(reach(at(0), at(10))), losses=(loss(at(4), at(6)), loss(None, None)))

    assert len(rectangles(picture, "gap")) == 1
    words = [each.text or "" for each in picture.iter(f"{SVG}text")]
    assert sum("an object <is> damaged" in text for text in words) == 2


def test_long_words_go_on_in_the_next_line_within_the_picture() -> None:
    """No line is wider than the picture, and the last one stands above its end."""
    told = drawn(lineage(reach(at(0), at(10))), losses=(loss(at(4), at(6)),) * 3, causes={"damaged": "so long " * 40})

    lines = [(float(each.get("y", "")), each.text or "") for each in told.iter(f"{SVG}text")]
    assert sum(text.count("long") for _, text in lines) == 120
    assert max(len(text) for _, text in lines) <= 120
    assert max(y for y, _ in lines) < float(told.get("height", ""))


def test_where_no_time_is_known_a_stub_says_so() -> None:
    """Nothing is drawn as if it were known."""
    picture = drawn(lineage(reach(at(0), None), reach(None, None)))

    assert len(rectangles(picture, "stub")) == 1
    assert any("unknown to unknown" in (each.text or "") for each in picture.iter(f"{SVG}text"))


def test_a_branch_that_is_not_followed_is_drawn_apart() -> None:
    """It must be asked for."""
    picture = drawn(lineage(reach(at(0), at(10))), lineage(reach(at(3), at(4)), is_followed=False))

    assert len(rectangles(picture, "other")) == 1
    assert any("not followed" in (each.text or "") for each in picture.iter(f"{SVG}text"))


def test_without_anything_it_is_still_a_picture() -> None:
    """It says that no instant is known."""
    assert any(each.text == "no instant is known" for each in drawn().iter(f"{SVG}text"))


def test_no_name_can_break_out_of_the_text() -> None:
    """Nor hold what XML does not allow."""
    picture = drawn(database='<script>&"\x07\x1b')

    assert not list(picture.iter(f"{SVG}script"))
    assert '<script>&"' in (picture.findtext(f"{SVG}title") or "")


def test_it_needs_nothing_from_outside() -> None:
    """No link, no image, no font to be fetched."""
    text = ET.tostring(drawn(lineage(reach(at(0), at(10))))).decode()

    assert "href" not in text
    assert "url(" not in text
    assert "@import" not in text
