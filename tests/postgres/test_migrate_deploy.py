"""Deployments of small folders on real servers: what is there afterwards, and what is refused."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg import errors as pg

from migrating import UNSAFE, ask, deploy, folder_of, invalid_indexes, ledger, open_transaction
from safepoint.errors import Misconfigured, Refused
from safepoint.migration.deploy import (
    DeploySettings,
    LockBudget,
    deploy_actions,
    open_deployment,
    plan_deploy,
    survey,
)
from safepoint.model.lsn import Lsn
from safepoint.model.proof import ProofLevel
from safepoint.model.safety import SafetyDemand, SafetyFacts
from safepoint.postgres.url import DatabaseUrl
from safepoint.steps.execute import execute

pytestmark = pytest.mark.pg("!= 17")

SHOP = {
    "20250114093015_init": 'CREATE TABLE "Order" (id int PRIMARY KEY, status text);\nINSERT INTO "Order" VALUES (1);',
    "20250204101147 with spaces.sql": """
        ALTER TABLE "Order" ADD COLUMN "couponCode" text;
        CREATE INDEX CONCURRENTLY "Order_couponCode_idx" ON "Order"("couponCode");
        UPDATE "Order" SET "couponCode" = 'none';
    """,
    "20250304152908_nothing_yet": "-- to be written\n",
}


def columns_of(url: DatabaseUrl, table: str) -> list[str]:
    query = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
    return [name for (name,) in ask(url, query, table)]


def test_a_folder_is_applied_whole_with_rows_as_prisma_leaves_them(database: DatabaseUrl, tmp_path: Path) -> None:
    """Mixed files, names with spaces and empty files end with one finished row each, with the file's checksum."""
    folder = folder_of(tmp_path, SHOP)
    deploy(database, folder)
    assert ledger(database) == [(name, True) for name in SHOP]
    checksums = [row for (row,) in ask(database, "SELECT checksum FROM _prisma_migrations ORDER BY started_at")]
    assert checksums == [hashlib.sha256(script.encode()).hexdigest() for script in SHOP.values()]
    assert columns_of(database, '"Order"') == ["id", "status", "couponCode"]
    assert ask(database, 'SELECT "couponCode" FROM "Order"') == [("none",)]
    assert plan_deploy(database, folder).steps == ()
    assert survey(database, folder).history.is_up_to_date


def test_nothing_of_ours_lies_in_prismas_schema(database: DatabaseUrl, tmp_path: Path) -> None:
    """A stray table would be drift: ours live in schema safepoint, each with a primary key."""
    deploy(database, folder_of(tmp_path, SHOP))
    tables = ask(database, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
    assert sorted(tables) == [("Order",), ("_prisma_migrations",)]
    keyless = ask(
        database,
        "SELECT relname FROM pg_class c WHERE relnamespace = 'safepoint'::regnamespace AND relkind = 'r'"
        " AND NOT EXISTS (SELECT 1 FROM pg_index WHERE indrelid = c.oid AND indisprimary)",
    )
    assert keyless == []


def test_the_schema_of_the_url_is_made_and_used(database: DatabaseUrl, tmp_path: Path) -> None:
    """`?schema=shop` puts tables and ledger there, as Prisma does, and makes the schema."""
    deploy(database, folder_of(tmp_path, SHOP), schema="shop")
    tables = ask(database, "SELECT relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r'")
    assert sorted(tables) == [("Order",), ("_prisma_migrations",)]


def test_a_failing_unit_is_rolled_back_and_says_what_stands(database: DatabaseUrl, tmp_path: Path) -> None:
    """The message has SQLSTATE, line and PostgreSQL's words; earlier units stay; no row blocks anybody."""
    script = "CREATE TABLE a (i int);\nVACUUM a;\nINSERT INTO a VALUES (1);\nSELECT 1,\n  nosuch FROM a;\n"
    folder = folder_of(tmp_path, {"1": script})
    with pytest.raises(Refused) as caught:
        deploy(database, folder)
    assert caught.value.spec.code == "MG004"
    assert '42703 column "nosuch" does not exist at line 5 of 1/migration.sql' in caught.value.message
    assert "units 1 to 2 are committed; no row was written" in caught.value.changed
    assert ask(database, "SELECT count(*) FROM a") == [(0,)]
    assert ledger(database) == []


def test_a_mended_file_goes_on_after_its_committed_units(database: DatabaseUrl, tmp_path: Path) -> None:
    """What is committed is not repeated; the row has the mended file's checksum."""
    start = "CREATE TABLE a (i int);\nVACUUM a;\n"
    folder = folder_of(tmp_path, {"1": start + "SELECT nosuch FROM a;"})
    with pytest.raises(Refused):
        deploy(database, folder)
    mended = start + "INSERT INTO a VALUES (1);"
    folder_of(tmp_path, {"1": mended})
    plan = plan_deploy(database, folder, settings=UNSAFE)
    assert [step.name for step in plan.steps] == ["gate", "ledger", "1/3", "confirm"]
    deploy(database, folder)
    checksum = hashlib.sha256(mended.encode()).hexdigest()
    assert ask(database, "SELECT checksum FROM _prisma_migrations") == [(checksum,)]
    assert ask(database, "SELECT i FROM a") == [(1,)]


def test_an_edit_of_committed_units_is_refused(database: DatabaseUrl, tmp_path: Path) -> None:
    """A half applied file may change behind its committed units only."""
    folder = folder_of(tmp_path, {"1": "CREATE TABLE a (i int);\nVACUUM a;\nSELECT nosuch FROM a;"})
    with pytest.raises(Refused):
        deploy(database, folder)
    folder_of(tmp_path, {"1": "CREATE TABLE a (i bigint);\nVACUUM a;\nSELECT 1;"})
    with pytest.raises(Refused, match=r"MG002: found unit 1 \(line 1\) changed"):
        plan_deploy(database, folder)


def test_a_row_taken_back_by_hand_makes_the_file_run_again(database: DatabaseUrl, tmp_path: Path) -> None:
    """The journal of an attempt that was complete says nothing about the next."""
    folder = folder_of(tmp_path, {"1": "CREATE TABLE a (i int);"})
    deploy(database, folder)
    ask(database, "DROP TABLE a")
    ask(database, "UPDATE _prisma_migrations SET rolled_back_at = now(), finished_at = NULL")
    deploy(database, folder)
    assert ask(database, "SELECT count(*) FROM a") == [(0,)]
    assert ask(database, "SELECT count(*) FROM _prisma_migrations WHERE rolled_back_at IS NULL") == [(1,)]


def test_an_edited_file_is_refused(database: DatabaseUrl, tmp_path: Path) -> None:
    """MG002 before anything is sent, with both checksums."""
    folder = folder_of(tmp_path, SHOP)
    deploy(database, folder)
    folder_of(tmp_path, {"20250114093015_init": "CREATE TABLE other (i int);", "9": "SELECT 1"})
    with pytest.raises(Refused, match=r"MG002: found 20250114093015_init/migration\.sql with checksum"):
        deploy(database, folder)
    assert len(ledger(database)) == len(SHOP)


def test_a_failed_row_is_refused(database: DatabaseUrl, tmp_path: Path) -> None:
    """MG001 with what Prisma logged, and the commands that settle it."""
    folder = folder_of(tmp_path, {"1": "CREATE TABLE a (i int);"})
    deploy(database, folder)
    ask(database, "INSERT INTO _prisma_migrations (id, checksum, migration_name, logs) VALUES ('x', 'y', '2', 'boom')")
    with pytest.raises(Refused, match=r"MG001: found 2 begun at .* and never finished \(boom\)") as caught:
        deploy(database, folder)
    assert any("migrate resolve --rolled-back '2'" in hint.text for hint in caught.value.hints)


def test_a_schema_with_tables_and_no_ledger_is_refused(database: DatabaseUrl, tmp_path: Path) -> None:
    """MG003, as Prisma's P3005; a view, a type and PostGIS's table do not count."""
    folder = folder_of(tmp_path, {"1": "SELECT 1"})
    ask(database, "CREATE TYPE kind AS ENUM ('a')")
    ask(database, "CREATE TABLE spatial_ref_sys (i int)")
    deploy(database, folder)
    ask(database, "DROP TABLE _prisma_migrations")
    ask(database, "CREATE TABLE old (i int)")
    with pytest.raises(Refused, match=r"MG003: found tables in schema public \(old\)"):
        deploy(database, folder)
    assert ask(database, "SELECT to_regclass('_prisma_migrations')") == [(None,)]


def test_set_holds_to_the_end_of_its_file_and_no_further(database: DatabaseUrl, tmp_path: Path) -> None:
    """A SET reaches later units of its file, CONCURRENTLY between them or not; SET LOCAL and the next file lose it."""
    note = "INSERT INTO seen SELECT '{}', current_setting('work_mem'), current_setting('statement_timeout');"
    first = f"""
        CREATE TABLE seen (place text, work_mem text, statement_timeout text);
        SET work_mem = '123kB';
        BEGIN; SET LOCAL statement_timeout = '77s'; {note.format("local")} COMMIT;
        CREATE INDEX CONCURRENTLY seen_place ON seen (place);
        {note.format("later")}
    """
    deploy(database, folder_of(tmp_path, {"1": first, "2": note.format("next")}))
    default = ask(database, "SELECT boot_val || unit FROM pg_settings WHERE name = 'work_mem'")[0][0]
    found = ask(database, "SELECT place, work_mem, statement_timeout FROM seen")
    assert found[:2] == [("local", "123kB", "77s"), ("later", "123kB", "0")]
    assert found[2][1] in {default, "4MB"}


def test_a_role_taken_in_the_file_writes_no_books(database: DatabaseUrl, tmp_path: Path) -> None:
    """SET ROLE to somebody who may not write the ledger does not keep its row from being written."""
    role = f"owner_{database.database}"
    ask(database, f"CREATE ROLE {role}")
    try:
        ask(database, f"GRANT CREATE, USAGE ON SCHEMA public TO {role}")
        script = f"SET ROLE {role}; CREATE TABLE a (i int); VACUUM; CREATE TABLE b (i int);"
        deploy(database, folder_of(tmp_path, {"1": script}))
        assert ledger(database) == [("1", True)]
        owners = ask(database, "SELECT tableowner FROM pg_tables WHERE tablename IN ('a', 'b')")
        assert owners == [(role,), (role,)]
    finally:
        ask(database, f"DROP OWNED BY {role}")
        ask(database, f"DROP ROLE {role}")


def test_isolation_asked_for_in_the_file_is_given(database: DatabaseUrl, tmp_path: Path) -> None:
    """SET TRANSACTION must come before any query: nothing of ours comes before it."""
    script = "BEGIN;\nSET TRANSACTION ISOLATION LEVEL REPEATABLE READ;\nCREATE TABLE a AS SELECT 1 AS i;\nCOMMIT;"
    other = "START TRANSACTION ISOLATION LEVEL SERIALIZABLE;"
    note = "CREATE TABLE b AS SELECT current_setting('transaction_isolation') AS level; COMMIT;"
    deploy(database, folder_of(tmp_path, {"1": script, "2": other + note}))
    assert ask(database, "SELECT level FROM b") == [("serializable",)]


def test_a_unique_violation_leaves_no_invalid_index(database: DatabaseUrl, tmp_path: Path) -> None:
    """A failed CREATE UNIQUE INDEX CONCURRENTLY would enforce nothing and cost every write."""
    script = "CREATE TABLE a (i int);\nINSERT INTO a VALUES (1), (1);\nCREATE UNIQUE INDEX CONCURRENTLY a_i ON a (i);"
    with pytest.raises(Refused, match=r"MG004: found 23505 .* at line 3") as caught:
        deploy(database, folder_of(tmp_path, {"1": script}))
    assert "no invalid index was left; of this file, unit 1 is committed" in caught.value.changed
    assert invalid_indexes(database) == []


def test_an_invalid_leftover_is_replaced(database: DatabaseUrl, tmp_path: Path) -> None:
    """IF NOT EXISTS would call the leftover of somebody's failed build a success."""
    deploy(database, folder_of(tmp_path, {"1": "CREATE TABLE a (i int); INSERT INTO a VALUES (1), (1);"}))
    with pytest.raises(pg.UniqueViolation):
        ask(database, "CREATE UNIQUE INDEX CONCURRENTLY a_i ON a (i)")
    ask(database, "DELETE FROM a")
    assert invalid_indexes(database) == ["a_i"]
    deploy(database, folder_of(tmp_path, {"2": "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_i ON a (i)"}))
    assert ask(database, "SELECT indisvalid, indisunique FROM pg_index WHERE indexrelid = 'a_i'::regclass") == [
        (True, True)
    ]


def test_a_deferred_violation_is_told_as_of_the_commit(database: DatabaseUrl, tmp_path: Path) -> None:
    """A constraint that is checked at COMMIT fails there, and nothing stays."""
    script = "CREATE TABLE a (i int UNIQUE DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO a VALUES (1), (1);"
    with pytest.raises(Refused, match=r"MG004: found 23505 .* at the COMMIT of unit 1 of 1 of 1"):
        deploy(database, folder_of(tmp_path, {"1": script}))
    assert ask(database, "SELECT to_regclass('a')") == [(None,)]
    assert ledger(database) == []


def test_two_deployments_at_once_are_one(database: DatabaseUrl, tmp_path: Path) -> None:
    """The second is told who runs, and since when."""
    plan = plan_deploy(database, folder_of(tmp_path, SHOP), settings=UNSAFE)
    with (
        open_deployment(database, plan, schema="public"),
        pytest.raises(Refused, match=r"MG006: found another deployment of safepoint .* pid \d+ \(safepoint migrate"),
    ):
        deploy(database, tmp_path / "migrations")
    deploy(database, tmp_path / "migrations")
    assert len(ledger(database)) == len(SHOP)


def test_prisma_at_work_is_waited_for_and_named(database: DatabaseUrl, tmp_path: Path) -> None:
    """Prisma's advisory lock is polled; who holds it for longer than the budget is named."""
    folder = folder_of(tmp_path, SHOP)
    settings = DeploySettings(locks=LockBudget(total=timedelta(seconds=0.5)), without_backup="a test")
    with open_transaction(database, "SELECT pg_advisory_lock(72707369)") as prisma:
        with pytest.raises(Refused, match=f"MG006: found `prisma migrate` .* pid {prisma.pid} "):
            deploy(database, folder, settings=settings)
        waiting = ask(database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        assert waiting == [(0,)]


def test_a_migration_that_somebody_else_applied_meanwhile_is_not_repeated(
    database: DatabaseUrl, tmp_path: Path
) -> None:
    """A container that runs `prisma migrate deploy` between plan and unit is noticed under Prisma's own lock."""
    folder = folder_of(tmp_path, {"1": "CREATE TABLE a (i int);"})
    deploy(database, folder)
    folder_of(tmp_path, {"2": "CREATE TABLE b (i int);"})
    plan = plan_deploy(database, folder, settings=UNSAFE)
    ask(
        database,
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at) VALUES ('x', 'y', '2', now())",
    )
    with (
        open_deployment(database, plan, schema="public") as deployment,
        pytest.raises(Refused, match="MG006: found 2 finished by somebody else"),
    ):
        execute(plan, actions=deploy_actions(deployment, safety=None), journal=deployment.journal)
    assert ask(database, "SELECT to_regclass('b')") == [(None,)]


class Repository:
    """What a repository would say, WAL growing by each question."""

    def __init__(self, facts: SafetyFacts, *, catches_up: bool = False) -> None:
        self.facts_given = facts
        self.catches_up = catches_up
        self.asked: list[Lsn] = []

    def facts(self, restore_point: Lsn) -> SafetyFacts:
        """Behind at first, there at the third question when it catches up."""
        self.asked.append(restore_point)
        durable = restore_point if self.catches_up and len(self.asked) > 2 else self.facts_given.durable_lsn
        given = self.facts_given
        return SafetyFacts(
            backup_id=given.backup_id, backup_age=given.backup_age, proof=given.proof, durable_lsn=durable
        )


FRESH = SafetyFacts(
    backup_id="b1", backup_age=timedelta(hours=1), proof=ProofLevel.STORED, durable_lsn=Lsn.parse("0/1")
)
DEMAND = DeploySettings(safety=SafetyDemand(deadline=timedelta(seconds=1)))


def test_the_gate_opens_when_wal_is_durable_up_to_the_restore_point(database: DatabaseUrl, tmp_path: Path) -> None:
    """It waits for WAL, and the restore point is kept with the plan and flushed on the server."""
    repository = Repository(FRESH, catches_up=True)
    settings = DeploySettings(safety=SafetyDemand(deadline=timedelta(seconds=30)))
    run = deploy(database, folder_of(tmp_path, SHOP), settings=settings, safety=repository)
    point = str(repository.asked[0])
    assert run.outcomes["gate"] == {
        "restore_point": point,
        "restore_point_is": f"safepoint_{run.plan.id}",
        "backup": "b1",
        "durable_lsn": point,
    }
    flushed = ask(database, "SELECT restore_point <= pg_current_wal_flush_lsn() FROM safepoint.plan")
    assert flushed == [(True,)]


def test_the_gate_stays_closed_and_says_what_is_missing(database: DatabaseUrl, tmp_path: Path) -> None:
    """Nothing of the migration runs; the message names the part and the command."""
    folder = folder_of(tmp_path, SHOP)
    with pytest.raises(
        Refused, match=r"MG007: found WAL held up to 0/1, expected it up to the restore point"
    ) as caught:
        deploy(database, folder, settings=DEMAND, safety=Repository(FRESH))
    assert any("safepoint wal stream" in hint.text for hint in caught.value.hints)
    with pytest.raises(Refused, match="MG007: found no repository to ask"):
        deploy(database, folder, settings=DEMAND, safety=None)
    assert ask(database, "SELECT to_regclass('_prisma_migrations')") == [(None,)]


def test_going_without_a_backup_is_recorded(database: DatabaseUrl, tmp_path: Path) -> None:
    """The reason stands in the journal."""
    deploy(database, folder_of(tmp_path, SHOP))
    query = "SELECT outcome ->> 'without_backup' FROM safepoint.journal WHERE step = 'gate' AND event = 'finished'"
    assert ask(database, query) == [("a test",)]


def test_an_ordinary_owner_can_deploy(database: DatabaseUrl, tmp_path: Path) -> None:
    """Without superuser: the restore point has no name, and everything else is the same."""
    role = f"plain_{database.database}"
    ask(database, f"CREATE ROLE {role} LOGIN")
    ask(database, f'ALTER DATABASE "{database.database}" OWNER TO {role}')
    try:
        ask(database, f"GRANT ALL ON SCHEMA public TO {role}")
        run = deploy(database.with_parameters(user=role), folder_of(tmp_path, SHOP))
        assert run.outcomes["gate"]["restore_point_is"] == "a position without a name"
        assert len(ledger(database)) == len(SHOP)
    finally:
        ask(database, f'ALTER DATABASE "{database.database}" OWNER TO CURRENT_USER')
        ask(database, f"DROP OWNED BY {role}")
        ask(database, f"DROP ROLE {role}")


def test_a_role_without_the_right_to_keep_a_journal_is_told_how_to_get_it(
    database: DatabaseUrl, tmp_path: Path
) -> None:
    """PG007 with the statement for the database's owner."""
    role = f"guest_{database.database}"
    ask(database, f"CREATE ROLE {role} LOGIN")
    try:
        with pytest.raises(Misconfigured, match="PG007: found no right to create schema safepoint") as caught:
            deploy(database.with_parameters(user=role), folder_of(tmp_path, SHOP))
        assert any("CREATE SCHEMA safepoint AUTHORIZATION" in hint.text for hint in caught.value.hints)
    finally:
        ask(database, f"DROP ROLE {role}")
