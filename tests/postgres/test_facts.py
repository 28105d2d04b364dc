"""Facts of a server and of its control file."""

from __future__ import annotations

import psycopg
import pytest

from safepoint.errors import SafepointError
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import Cluster, stop
from safepoint.postgres.connect import connect
from safepoint.postgres.control import read_control
from safepoint.postgres.facts import fetch_server_facts
from servers import majors_at_hand, temporary_role

MIB = 1024 * 1024


def test_superuser_sees_everything(shared_server: Cluster) -> None:
    """For a superuser no fact is unknown, and the facts are those of the server that runs."""
    with connect(shared_server.url()) as connection:
        facts = fetch_server_facts(connection)
    assert facts.version.major == shared_server.binaries.version.major
    assert facts.data_directory == str(shared_server.data)
    assert (facts.wal_level, facts.archive_mode, facts.has_checksums) == ("logical", "off", True)
    assert (facts.segment_size, facts.block_size) == (16 * MIB, 8192)
    assert not facts.is_in_recovery
    assert facts.is_superuser
    assert facts.can_replicate
    assert facts.can_create_restore_point
    unknown = {name for name in facts.__slots__ if getattr(facts, name) is None}
    assert unknown == (set() if facts.version.major >= 17 else {"summarizes_wal"})


def test_ordinary_role_has_unknowns_and_no_rights(shared_server: Cluster) -> None:
    """What a role may not see is None, and its rights are those it has."""
    with temporary_role(shared_server, "plain") as url, connect(url) as connection:
        facts = fetch_server_facts(connection)
    assert (facts.role, facts.data_directory, facts.hba_file) == ("plain", None, None)
    assert facts.wal_level == "logical"
    assert not any(
        [
            facts.is_superuser,
            facts.can_replicate,
            facts.can_read_all_stats,
            facts.can_read_all_settings,
            facts.can_create_in_database,
            facts.can_create_restore_point,
            facts.can_switch_wal,
            facts.can_start_backup,
            facts.can_signal_backends,
        ]
    )


def test_granted_rights_are_seen(shared_server: Cluster) -> None:
    """Rights by membership and by grant count as those by attribute."""
    attributes = "LOGIN REPLICATION IN ROLE pg_read_all_stats, pg_read_all_settings"
    with temporary_role(shared_server, "monitor", attributes) as url, connect(url) as connection:
        facts = fetch_server_facts(connection)
    assert facts.can_replicate
    assert facts.can_read_all_stats
    assert facts.data_directory == str(shared_server.data)


def test_forbidden_control_file_makes_the_identifier_unknown(shared_server: Cluster) -> None:
    """Where `pg_control_system` may not be called the identifier is None, and a running transaction survives."""
    with temporary_role(shared_server, "plain") as url, connect(shared_server.url()) as admin:
        admin.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        try:
            with connect(url, autocommit=False) as connection:
                facts = fetch_server_facts(connection)
                assert connection.info.transaction_status is psycopg.pq.TransactionStatus.INTRANS
        finally:
            admin.execute("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
    assert facts.system_identifier is None


def test_control_file_agrees_with_the_server(server: Cluster) -> None:
    """What pg_controldata says of a stopped cluster is what the server said while it ran."""
    with connect(server.url()) as connection:
        facts = fetch_server_facts(connection)
    stop(server)
    control = read_control(server.binaries, server.data)
    assert control.system_identifier == facts.system_identifier
    assert (control.wal_level, control.has_checksums) == ("logical", True)
    assert (control.segment_size, control.block_size) == (16 * MIB, 8192)
    assert control.max_connections == facts.max_connections
    assert control.timeline.value == 1
    assert control.redo <= control.checkpoint
    assert control.state == "shut down"
    assert (control.minimum_recovery_end, control.backup_start) == (None, None)


def test_damaged_control_file_is_damage(server: Cluster) -> None:
    """A control file whose checksum does not hold is PG012, though pg_controldata itself exits with 0."""
    stop(server)
    path = server.data / "global" / "pg_control"
    content = bytearray(path.read_bytes())
    content[40] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(SafepointError, match="PG012: found a control file"):
        read_control(server.binaries, server.data)


@pytest.mark.pg("== 17")
def test_missing_control_file_is_refused(server: Cluster) -> None:
    """A data directory without its control file is PG002."""
    stop(server)
    (server.data / "global" / "pg_control").unlink()
    with pytest.raises(SafepointError, match="PG002: found no readable control file"):
        read_control(server.binaries, server.data)


@pytest.mark.pg("== 17")
def test_directory_that_is_no_cluster_is_refused(shared_server: Cluster) -> None:
    """A directory that is no cluster is PG002."""
    with pytest.raises(SafepointError, match="PG002: found no PG_VERSION"):
        read_control(shared_server.binaries, shared_server.data.parent)


@pytest.mark.pg("== 17")
def test_control_file_of_another_major_is_not_misread(shared_server: Cluster) -> None:
    """Programs of another major do not give facts of this one."""
    if 15 not in majors_at_hand():
        pytest.skip("no PostgreSQL 15 on this machine; enable with: apt-get install -y postgresql-15")
    with pytest.raises(SafepointError, match=r"PG002: found a data directory of PostgreSQL 17 .* expected 15"):
        read_control(find_binaries(15), shared_server.data)
