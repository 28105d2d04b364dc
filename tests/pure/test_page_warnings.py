"""What a server's warnings say of damaged pages, in any language and of any version."""

from __future__ import annotations

import pytest

from safepoint.postgres.page_warnings import pages_named

SPACES = ((16500, "/srv/far away"), (16501, "pg_tblspc/16501"))


def named(*warnings: str, major: int = 18) -> tuple[tuple[str, int], ...]:
    return pages_named(warnings, tablespaces=SPACES, major=major, segment_blocks=131_072, block_size=8192)


@pytest.mark.parametrize(
    "warning",
    [
        'checksum verification failed in file "./base/5/16384", block 17: calculated 5A3F but expected C',
        "Checksummenüberprüfung in Datei »./base/5/16384«, Block 17 fehlgeschlagen: berechnet 1, erwartet FFFE",
        "échec de la vérification du fichier « ./base/5/16384 », bloc 17 : 10 calculé, 20 attendu",
        'ファイル"./base/5/16384"のブロック17でチェックサム検証が失敗: 計算された5A3Fですが想定値は1000です',
        '"./base/5/16384" 파일 체크섬 검사 실패(해당 블럭 17): 계산된 체크섬은 8192 값이지만, 기대값 8192',
    ],
)
def test_a_page_is_named_whatever_the_language(warning: str) -> None:
    """The path, the block and two checksums stand in all of them."""
    assert named(warning) == (("base/5/16384", 17),)


@pytest.mark.parametrize(
    "warning",
    [
        'file "./base/5/16384" has a total of 7 checksum verification failures',
        'further checksum verification failures in file "./base/5/16384" will not be reported',
        'could not verify checksum in file "./base/5/16384", block 3: read buffer size 1234 and page size 8192 differ',
        'skipping special file "./base/5/16384"',
        "7 total checksum verification failures",
        "",
    ],
)
def test_other_warnings_name_no_page(warning: str) -> None:
    """Totals and files that were cut off meanwhile are none."""
    assert named(warning) == ()


@pytest.mark.parametrize(
    ("path", "listed"),
    [
        ("./global/1262", "global/1262"),
        ("./base/1/2610_vm", "base/1/2610_vm"),
        ("/srv/far away/PG_16_202307071/5/16390", "pg_tblspc/16500/PG_16_202307071/5/16390"),
        ("pg_tblspc/16501/PG_18_202506291/5/16390", "pg_tblspc/16501/PG_18_202506291/5/16390"),
        ("./base/5/not-a-relation.txt", "base/5/not-a-relation.txt"),
    ],
)
def test_files_are_called_as_a_backup_lists_them(path: str, listed: str) -> None:
    """Wherever a tablespace lies."""
    warning = f'checksum verification failed in file "{path}", block 2: calculated AB but expected CD'
    assert named(warning) == ((listed, 2),)


@pytest.mark.parametrize(("version", "block"), [(15, 131_075), (16, 131_075), (17, 3), (18, 3)])
def test_before_17_blocks_count_from_the_beginning_of_a_file(version: int, block: int) -> None:
    """A later segment's first block is then 0; ours count through the fork."""
    warning = 'checksum verification failed in file "./base/5/16384.1", block 3: calculated AB but expected CD'
    assert named(warning, major=version) == (("base/5/16384.1", block),)
