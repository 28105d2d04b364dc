"""Which of the servers that may be the primary is it: not in recovery, and of the highest timeline.

An old primary that comes back is in no recovery either: its timeline tells it from the one that was promoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safepoint import errors
from safepoint.model.lsn import TimelineId
from safepoint.postgres.connect import replication_connection
from safepoint.postgres.replication import ReplicationSession
from safepoint.postgres.url import DatabaseUrl

_CONNECT_SECONDS = "3"
"""A dead host must not keep us from asking the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A server to stream from, and the session with it."""

    url: DatabaseUrl
    session: ReplicationSession


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    source: Source
    cluster: str
    timeline: TimelineId
    is_primary: bool


def servers_of(urls: Sequence[DatabaseUrl]) -> tuple[DatabaseUrl, ...]:
    """Each host of each URL by itself, in order, none twice."""
    return tuple(dict.fromkeys(server for url in urls for server in _hosts_of(url)))


def _hosts_of(url: DatabaseUrl) -> list[DatabaseUrl]:
    given = dict(url.parameters)
    hosts, ports = given.get("host", "").split(","), given.get("port", "").split(",")
    if len(hosts) == 1 or "hostaddr" in given:
        return [url]
    if len(ports) == 1:
        ports *= len(hosts)
    named = zip(hosts, ports, strict=False)
    return [
        url.with_parameters(host=host, **({"port": port} if port else {}), target_session_attrs="any")
        for host, port in named
    ]


def open_source(servers: Sequence[DatabaseUrl], cluster: str | None, application_name: str) -> Source:
    """A session with the primary of the cluster; with the only server there is, whatever it be.

    The cluster is that of the first server which answers, where it is not known. WL005 when none of several is one.

    Raises what the only server raises: PG004, PG007.
    """
    if len(servers) == 1:
        return _open(servers[0], application_name)
    asked: list[_Asked] = []
    answers: list[str] = []
    for server in servers:
        try:
            one = _ask(server, application_name)
        except errors.SafepointError as error:
            answers.append(f"{where(server)}: {error.message}")
            continue
        asked.append(one)
        role = "primary" if one.is_primary else "standby"
        answers.append(f"{where(server)}: {role} of cluster {one.cluster} on timeline {one.timeline}")
    wanted = cluster or next((one.cluster for one in asked), None)
    primaries = (one for one in asked if one.is_primary and one.cluster == wanted)
    best = max(primaries, key=lambda one: one.timeline, default=None)
    for one in asked:
        if one is not best:
            one.source.session.close()
    if best is None:
        raise errors.WL005.error(
            f"found no primary among {len(servers)} servers ({'; '.join(answers)}), expected one",
            hints=[errors.ask("is a failover under way? As soon as one of them is promoted, it is followed")],
        )
    return best.source


def _ask(server: DatabaseUrl, application_name: str) -> _Asked:
    source = _open(server.with_parameters(connect_timeout=_CONNECT_SECONDS), application_name)
    try:
        identity = source.session.identify_system()
        is_primary = source.session.show("in_hot_standby") == "off"
    except BaseException:
        source.session.close()
        raise
    return _Asked(
        source=Source(url=server, session=source.session),
        cluster=identity.system_identifier,
        timeline=identity.timeline,
        is_primary=is_primary,
    )


def _open(server: DatabaseUrl, application_name: str) -> Source:
    return Source(url=server, session=ReplicationSession(replication_connection(server, application_name)))


def where(server: DatabaseUrl) -> str:
    """Host and port, for people."""
    return f"{server.host or 'the default host'}:{server.port or '5432'}"
