"""The gate before a deployment, wired to a real server and a real repository: what closes it, and what opens it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from backups import receiving
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
    assert said == ["found no backup, expected one of this cluster"]


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
