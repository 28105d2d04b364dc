"""After our deployment Prisma finds everything as if it had deployed itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from judging import LANGFUSE, SHOP, Prisma
from migrating import ask, deploy, ledger
from safepoint.errors import Refused
from safepoint.postgres.url import DatabaseUrl

pytestmark = [pytest.mark.pg("!= 17"), pytest.mark.needs("node")]

NewDatabase = Callable[[], DatabaseUrl]
PrismaOf = Callable[[Path], Prisma]

COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = '_prisma_migrations'::regclass AND attnum > 0 ORDER BY attnum
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE tablename = '_prisma_migrations'"
ROWS = """
SELECT checksum, migration_name, logs, rolled_back_at, applied_steps_count, finished_at >= started_at, length(id),
    row_number() OVER (ORDER BY started_at)
FROM _prisma_migrations ORDER BY started_at
"""
CATALOG = """
SELECT c.relkind, c.relname, a.attname,
    format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace ORDER BY c.relname, a.attnum
"""
CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint
WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
"""


def must_find_nothing(prisma: Prisma, url: DatabaseUrl) -> None:
    """Neither edited nor failed nor drifted nor pending."""
    judgement = prisma.judgement(url)
    history = judgement["history"]
    assert history["editedMigrationNames"] == []
    assert history["failedMigrationNames"] == []
    assert history.get("drift") is None
    assert history.get("history") is None
    assert judgement["dev"] == {"action": {"tag": "createMigration"}}


def test_prisma_finds_the_shop_as_it_would_have_left_it(new_database: NewDatabase, prisma_of: PrismaOf) -> None:
    """History clean, `migrate status` exits 0, `migrate deploy` finds nothing pending."""
    prisma, url = prisma_of(SHOP), new_database()
    deploy(url, prisma.folder)
    must_find_nothing(prisma, url)
    status = prisma.run(url, "status")
    assert status.returncode == 0, status.stdout + status.stderr
    again = prisma.run(url, "deploy")
    assert "No pending migrations to apply" in again.stdout
    assert len(ledger(url)) == len([path for path in prisma.folder.iterdir() if path.is_dir()])


@pytest.mark.pg(">= 18")
def test_table_rows_and_catalog_equal_those_of_prismas_own_deploy(
    new_database: NewDatabase, prisma_of: PrismaOf
) -> None:
    """Except ids and times; and what Prisma deployed is nothing new to us."""
    prisma, ours, theirs = prisma_of(SHOP), new_database(), new_database()
    deploy(ours, prisma.folder)
    done = prisma.run(theirs, "deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    for query in (COLUMNS, INDEXES, ROWS, CATALOG, CONSTRAINTS):
        assert ask(ours, query) == ask(theirs, query)
    assert deploy(theirs, prisma.folder).outcomes == {}


NO_TABLES = """
CREATE VIEW v AS SELECT 1 AS i; CREATE MATERIALIZED VIEW m AS SELECT 1 AS i; CREATE TYPE kind AS ENUM ('a');
CREATE SEQUENCE s; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE DOMAIN d AS int;
CREATE TABLE "Spatial_Ref_Sys" (i int); CREATE TABLE parent (i int) PARTITION BY LIST (i)
"""


@pytest.mark.parametrize(
    ("statements", "is_empty"),
    [(NO_TABLES, True), ("CREATE TABLE t (i int)", False)],
    ids=["no-tables", "one-table"],
)
@pytest.mark.pg(">= 18")
def test_what_counts_as_an_empty_schema_is_prismas_judgement(
    new_database: NewDatabase, prisma_of: PrismaOf, statements: str, *, is_empty: bool
) -> None:
    """P3005 there is MG003 here, and nothing else is."""
    prisma, ours, theirs = prisma_of(SHOP), new_database(), new_database()
    for url in (ours, theirs):
        ask(url, statements)
    done = prisma.run(theirs, "deploy")
    assert (done.returncode == 0, "P3005" in done.stdout + done.stderr) == (is_empty, not is_empty)
    if is_empty:
        deploy(ours, prisma.folder)
        assert ask(ours, ROWS) == ask(theirs, ROWS)
    else:
        with pytest.raises(Refused, match="MG003"):
            deploy(ours, prisma.folder)


@pytest.mark.skipif(not LANGFUSE.is_dir(), reason="the langfuse history is not beside this checkout")
@pytest.mark.pg(">= 18")
def test_a_long_real_history_is_clean(new_database: NewDatabase, prisma_of: PrismaOf) -> None:
    """434 files, 98 statements alone, explicit transactions, four years of them: Prisma finds nothing amiss."""
    prisma, url = prisma_of(LANGFUSE), new_database()
    run = deploy(url, prisma.folder)
    assert run.outcomes["confirm"]["rows"] == len(ledger(url)) == 434
    history = prisma.judgement(url)["history"]
    assert history["editedMigrationNames"] == []
    assert history["failedMigrationNames"] == []
    assert history.get("history") is None
    assert "No pending migrations to apply" in prisma.run(url, "deploy").stdout
