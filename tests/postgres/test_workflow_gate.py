"""The gate before a deployment, wired to a real server and a real repository: what closes it, and what opens it."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from backups import receiving, system_identifier, whole_coverage
from migrating import ask
from projects import SECOND, Project, back_up, initialised, make_project, opened, stream_once, verify
from safepoint import errors
from safepoint.errors import SafepointError
from safepoint.model.proof import ProofLevel
from safepoint.model.safety import SafetyDemand
from safepoint.postgres.cluster import Cluster, promote, start, stop
from safepoint.steps.execute import Run, Silence
from safepoint.workflows.held import Proven, proofs_of
from safepoint.workflows.migrate import prepare_deploy
from safepoint.workflows.verify import prepare_verification
from shell import fingerprint

pytestmark = pytest.mark.pg("17")

IMPATIENT = SafetyDemand(proof=ProofLevel.VERIFIED, max_age=timedelta(hours=26), deadline=timedelta(seconds=1))
PATIENT = SafetyDemand(proof=ProofLevel.VERIFIED, max_age=timedelta(hours=26), deadline=timedelta(seconds=30))


@pytest.fixture
def shop(server_root: Path, server: Cluster) -> Project:
    """A project with a pending migration and an empty repository."""
    project = initialised(make_project(server_root, server))
    project.migration(SECOND, "CREATE TABLE second (id int);\n")
    return project


@pytest.fixture
def proven(shop: Project) -> Project:
    """The same, with a verified backup."""
    back_up(shop)
    verify(shop)
    return shop


def deploy(project: Project, demand: SafetyDemand = IMPATIENT) -> Run:
    """As the command does, but for its patience."""
    return prepare_deploy(opened(project), None, None, without_backup=None, demand=demand).execute(Silence())


@contextmanager
def closed(project: Project) -> Generator[list[str]]:
    """The gate refuses with MG007, and the pending migration has left no trace. Gives the message."""
    said: list[str] = []
    with pytest.raises(SafepointError) as caught:
        yield said
    assert caught.value.spec is errors.MG007
    said.append(caught.value.message)
    assert ask(project.url, "SELECT to_regclass('second')") == [(None,)]
    assert ask(project.url, "SELECT count(*) FROM _prisma_migrations") == [(1,)]


def test_no_backup(shop: Project) -> None:
    """Without a backup the gate is closed."""
    with closed(shop) as said:
        deploy(shop)
    assert said == ["found no backup, expected one of this cluster"]


def test_not_verified(shop: Project) -> None:
    """A backup that nothing has read back does not open the gate."""
    back_up(shop)
    with closed(shop) as said:
        deploy(shop)
    assert "stored, expected it verified" in said[0]


def test_too_old(proven: Project) -> None:
    """A verified backup older than is demanded does not open the gate."""
    with closed(proven) as said:
        deploy(proven, SafetyDemand(proof=ProofLevel.VERIFIED, max_age=timedelta(0), deadline=timedelta(seconds=1)))
    assert "expected one not older than 0.0s" in said[0]


def test_wal_not_durable(proven: Project) -> None:
    """Without a receiver the restore point never gets into the repository, and the gate stays closed."""
    with closed(proven) as said:
        deploy(proven)
    assert "expected it up to the restore point" in said[0]


def tear_a_hole(project: Project) -> None:
    """A segment of WAL after the newest backup is gone from the repository, WAL on both sides is held."""
    for _ in range(3):
        ask(project.url, 'INSERT INTO "Order" SELECT max(id) + 1 FROM "Order"')
        ask(project.url, "SELECT pg_switch_wal()")
    stream_once(project)
    repository = opened(project).repository()
    cluster = system_identifier(project.cluster)
    newest = repository.backups()[-1]
    whole = [piece for piece in repository.wal_pieces(cluster) if not piece.is_partial]
    hole = next(piece for piece in whole if piece.start >= newest.stop_lsn)
    (project.repository / hole.name).unlink()
    [gap] = whole_coverage(repository, cluster).gaps
    assert (gap.start, gap.end) == (hole.start, hole.end)


def test_gap_behind_the_only_backup(proven: Project) -> None:
    """What a gap cuts off does not come by waiting: the gate says at once that a new backup is needed."""
    tear_a_hole(proven)
    began = time.monotonic()
    with closed(proven) as said, receiving(proven.url, opened(proven).repository()):
        deploy(proven, PATIENT)
    assert time.monotonic() - began < PATIENT.deadline.total_seconds() / 2
    assert "and after it a WAL gap" in said[0]
    assert "expected a new backup, taken after the gap" in said[0]


def test_newer_backup_after_a_gap(proven: Project) -> None:
    """A gap behind the verified backup and a newer one merely stored: to verify that one is what is asked, at once."""
    tear_a_hole(proven)
    back_up(proven)
    newest = opened(proven).repository().backups()[-1]
    with receiving(proven.url, opened(proven).repository()):
        with closed(proven) as said:
            deploy(proven, PATIENT)
        assert said[0].startswith(f"found backup {newest.id} stored, expected it verified")
        verify(proven)
        assert deploy(proven, PATIENT).outcomes["gate"]["backup"] == newest.id


def test_plan_says_what_is_needed_and_what_is_found(shop: Project) -> None:
    """Before anything is done the demand stands beside what is there; to look changes nothing and waits for nothing."""

    def told() -> str:
        return dict(prepare_deploy(opened(shop), None, None, without_backup=None).plan.facts)["backup"]

    needed = "needed: a backup verified, not older than 1d 2h; found: "
    assert told() == f"{needed}none"
    back_up(shop)
    backup = opened(shop).repository().backups()[0].id
    assert told().startswith(f"{needed}{backup}, stored, ended ")
    before = fingerprint(shop.repository)
    verify(shop)
    after = fingerprint(shop.repository)
    assert told().startswith(f"{needed}{backup}, verified, ended ")
    assert before != after == fingerprint(shop.repository)


def test_plan_without_a_repository(shop: Project) -> None:
    """Without a repository nothing is known of backups; with a reason to go without one it stands alone."""
    path = shop.shell.folder / "safepoint.toml"
    text = path.read_text()
    path.write_text(text[: text.index("[repository.main]")])
    plan = prepare_deploy(opened(shop), None, None, without_backup=None).plan
    assert dict(plan.facts)["backup"].endswith("found: unknown: no repository")
    assert (
        dict(prepare_deploy(opened(shop), None, None, without_backup="a test").plan.facts)["backup"] == "none: a test"
    )


def test_the_way_back_is_told(proven: Project) -> None:
    """What a deployment prints at its end holds the command that brings back the state before it."""
    with receiving(proven.url, opened(proven).repository()):
        said = proven.shell.safepoint("migrate", "deploy")
    [line] = [line for line in said.out.splitlines() if line.startswith("to go back")]
    query = "SELECT outcome ->> 'restore_point' FROM safepoint.journal WHERE outcome ->> 'backup' IS NOT NULL"
    [(point,)] = ask(proven.url, query)
    assert line.endswith(f"`safepoint restore --to {point} --into DIR`")


def test_open(proven: Project) -> None:
    """With a verified backup and a receiver at work the gate opens as soon as the restore point is durable."""
    repository = opened(proven).repository()
    with receiving(proven.url, repository):
        run = deploy(proven, PATIENT)
    assert run.outcomes["gate"]["backup"] == repository.backups()[0].id
    assert ask(proven.url, "SELECT to_regclass('second')") == [("second",)]


def test_after_a_promotion(proven: Project) -> None:
    """WAL of the old timeline says nothing of a promoted server; once its own timeline is streamed, the gate opens."""
    stream_once(proven)
    cluster = proven.cluster
    stop(cluster)
    (cluster.data / "standby.signal").touch()
    cluster.user.own(cluster.data / "standby.signal")
    start(cluster)
    promote(cluster)
    with closed(proven) as said:
        deploy(proven)
    assert "no WAL held since the backup" in said[0]
    with receiving(proven.url, opened(proven).repository()):
        deploy(proven, PATIENT)
    assert ask(proven.url, "SELECT to_regclass('second')") == [("second",)]


def test_damaged_backup_counts_for_nothing(proven: Project) -> None:
    """A backup whose last reading found damage is passed over, though it was verified before."""
    job = prepare_verification(opened(proven), None, None, None)
    pack = max((proven.repository / "packs").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    pack.chmod(0o600)
    pack.write_bytes(bytes(pack.stat().st_size))
    with pytest.raises(SafepointError) as caught:
        job.execute(Silence())
    assert caught.value.spec.family is errors.Family.DAMAGED
    assert proofs_of(job.repository)[job.backup.id] == Proven(level=ProofLevel.STORED, is_damaged=True)
    with closed(proven) as said:
        deploy(proven)
    assert said == ["found no backup but 1 damaged, expected one of this cluster"]


def test_role_that_may_not_see_the_cluster(proven: Project) -> None:
    """When the role may not read which cluster it is, that is said with the cure, and nothing is taken for granted."""
    ask(proven.cluster.url(), "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    ask(proven.url, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    ask(proven.cluster.url(), "CREATE ROLE app LOGIN")
    ask(proven.cluster.url(), "GRANT ALL ON DATABASE shop TO app")
    for schema in ("public", "safepoint"):
        ask(proven.url, f"GRANT ALL ON SCHEMA {schema} TO app")
        ask(proven.url, f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO app")
        ask(proven.url, f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO app")
    shell = proven.shell.knowing(DATABASE_URL=proven.url.with_parameters(user="app").reveal())
    said = shell.safepoint("migrate", "deploy", ends=errors.ExitCode.MISCONFIGURED)
    assert said.error == "PG007"
    assert 'GRANT EXECUTE ON FUNCTION pg_control_system() TO "app"' in said.err


def test_standby(proven: Project) -> None:
    """A deployment to a server in recovery is refused for what it is, not called a bug."""
    stop(proven.cluster)
    (proven.cluster.data / "standby.signal").touch()
    proven.cluster.user.own(proven.cluster.data / "standby.signal")
    start(proven.cluster)
    with pytest.raises(SafepointError, match="found a server in recovery") as caught:
        deploy(proven)
    assert caught.value.spec is errors.PG010
