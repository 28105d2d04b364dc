"""Whether a repository knows a database's name as that of the cluster at hand. Knows no server: pushes ask it, too."""

from __future__ import annotations

from safepoint import errors
from safepoint.repository import Repository


def require_same_cluster(system_identifier: str, repository: Repository, database: str, spec: errors.Spec) -> None:
    """Raises `spec` when backups under this name are another cluster's. Opens no manifest of the cluster's own."""
    if repository.clusters_backed_up() <= {system_identifier}:  # one listing: an inline push asks for every segment
        return
    names = [found.manifest for found in repository.backup_state().existing]
    foreign = [name for name in names if name.split("/")[1] != system_identifier]
    others = {name.split("/")[1] for name in foreign if repository.read_manifest(name).database == database}
    if others:
        raise spec.error(
            f"found the server to be cluster {system_identifier}, expected {', '.join(sorted(others))}, "
            f"of which the repository holds backups under the name {database}",
            hints=[
                errors.ask("does the URL lead to another server, or was the cluster made anew or upgraded?"),
                errors.run("give the new cluster a name of its own, or a repository of its own"),
            ],
        )
