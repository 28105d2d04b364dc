"""`safepoint repository stats`: figures that agree with what is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from kept import Kept, make_kept
from repository_samples import CLUSTER, MARK, SEGMENT, sample_files, wal_bytes
from safepoint.repository.care import stored_sizes, wal_figures


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return make_kept(tmp_path)


def test_what_two_tiers_share_is_counted_once(kept: Kept) -> None:
    """Raw twice, unique once; each tier needs nearly all of it, and alone only its own maps."""
    kept.back_up("one", age=30)
    kept.back_up("two", tier="weekly")
    size = sum(map(len, sample_files().values()))

    found = kept.run("stats", "--json").json

    assert (found["backups"], found["raw_bytes"], found["unique_bytes"]) == (2, 2 * size, size)
    assert found["deduplication"] == 2.0
    assert found["tiers"]["daily"]["unique_bytes"] == found["tiers"]["weekly"]["unique_bytes"] == size
    assert found["tiers"]["daily"]["alone_bytes"] == 0
    assert found["databases"]["shop"]["alone_bytes"] == found["stored_bytes"]
    assert [day["day"] for day in found["growth"]] == ["2026-02-28", "2026-03-01"]


def test_packs_and_garbage_are_those_in_the_store(kept: Kept) -> None:
    """Bytes agree with the folder's; an expired backup's are garbage, and a table shows it all."""
    kept.back_up("one", seed=1, age=1)
    kept.back_up("two", seed=2)
    kept.opened().expire_backup("one", reason="a test")
    store = kept.store()
    sizes = {name: store.size(name) for name in store.list("packs/")}

    packs = kept.run("stats", "--json").json["packs"]
    shown = kept.run("stats").out

    assert (packs["packs"], packs["stored_bytes"]) == (len(sizes), sum(sizes.values()))
    assert packs["needed"] + packs["garbage"] == packs["packs"]
    assert packs["garbage"] > 0
    assert packs["garbage_bytes"] > 0.4 * packs["stored_bytes"]
    assert "database shop" in shown
    assert "`safepoint repository gc`" in shown


def test_packs_of_a_writer_at_work_are_no_garbage(kept: Kept) -> None:
    """They are counted as under way."""
    with kept.opened().write_backup(database="shop", cluster=CLUSTER) as writer:
        with writer.ingest.file("PG_VERSION", mode=0o600) as file:
            file.write(b"17\n" * 1000)
        writer.ingest.finish()
        packs = kept.run("stats", "--json").json["packs"]

    assert (packs["under_way"], packs["garbage"]) == (packs["packs"], 0)
    assert packs["under_way"] > 0


def test_wal_is_told_by_cluster(kept: Kept) -> None:
    """The raw bytes are the names', the stored ones the objects'."""
    kept.opened().put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
    (name,) = (name for name in kept.objects("wal/") if name.endswith("MB"))

    (wal,) = kept.run("stats", "--json").json["wal"]

    assert wal["system_identifier"] == CLUSTER
    assert (wal["segments"], wal["raw_bytes"], wal["is_estimate"]) == (1, SEGMENT.size, False)
    assert wal["stored_bytes"] == kept.store().size(name)


def test_many_objects_of_wal_are_estimated_and_that_is_said(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of the objects is asked for its size."""
    repository = kept.opened()
    for start in range(5):
        repository.put_wal_range(
            CLUSTER, SEGMENT.timeline, SEGMENT.start + start * 8192, wal_bytes(size=8192), history=b"", mark=None
        )
    sizes = [kept.store().size(name) for name in kept.objects("tmp/wal/")]
    monkeypatch.setattr(stored_sizes, "SAMPLE", 2)

    (found,) = wal_figures.wal_figures(kept.store())

    assert found.is_estimate
    assert (found.ranges, found.raw_bytes) == (5, 5 * 8192)
    assert found.stored_bytes == pytest.approx(sum(sizes), rel=0.05)


def test_what_does_not_open_makes_garbage_unknown(kept: Kept) -> None:
    """Exit 3, the backup named, garbage null."""
    kept.back_up("one")
    (manifest,) = kept.objects("backups/")
    path = kept.folder() / manifest
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"?")

    said = kept.run("stats", "--json", ends=3)

    assert manifest in said.json["unknown"][0]
    assert said.json["packs"]["garbage"] is None
    assert "unknown" in kept.run("stats", ends=3).out


@pytest.mark.parametrize(
    ("arguments", "variables", "ends", "error"),
    [
        (("nowhere",), {}, 11, "CF004"),
        (("dr",), {}, 11, "RP001"),
        ((), {"SAFEPOINT_KEY": "wrong"}, 11, "RP003"),
        (("open",), {}, 11, "RP001"),
        (("--repository", "file:/nowhere/at/all"), {}, 11, "RP001"),
        (("--repository", "ftp://host/x"), {}, 11, "ST003"),
    ],
)
def test_what_cannot_be_opened_is_said(
    kept: Kept, arguments: tuple[str, ...], variables: dict[str, str], ends: int, error: str
) -> None:
    """An unknown name, a repository that is not there, a wrong key, a URL that is none."""
    said = Kept(shell=kept.shell.knowing(**variables)).run("stats", *arguments, ends=ends)

    assert said.error == error


def test_a_url_and_a_key_are_enough(kept: Kept, tmp_path: Path) -> None:
    """After a complete loss: no strategy file, another machine."""
    kept.back_up("one")
    elsewhere = make_kept(tmp_path / "elsewhere", {"FOUND": "a passphrase"})
    (elsewhere.shell.folder / "safepoint.toml").unlink()

    found = elsewhere.run("stats", "--repository", f"file:{kept.folder()}", "--key", "env:FOUND", "--json").json

    assert found["backups"] == 1


def test_nothing_is_written_to_the_home(kept: Kept, tmp_path: Path) -> None:
    """Caches and state go where the environment says."""
    home = tmp_path / "home"
    home.mkdir()

    Kept(shell=kept.shell.knowing(HOME=str(home))).run("stats")

    assert not list(home.iterdir())
