"""A restore as a plan: its steps, and the value that its actions share.

A copy: write → offline proofs → configuration → recover, fed with WAL → online proofs → promote → finish. A standby
follows production in the end; an export ends before any server. Each step may be repeated whole: killed anywhere, the
same plan goes on, and a new plan for the same cluster starts the directory afresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.measures import format_bytes, format_instant
from safepoint.recovery.forecast import absent, damage_warnings, needed_bytes, prepared_note
from safepoint.recovery.options import Purpose, RestoreOptions
from safepoint.recovery.proofs import Proof, Question, proof_from_json
from safepoint.recovery.targets import PinnedRecovery, pinned_to_json
from safepoint.steps.plan import Plan, Step

_TITLES = {
    "check": "check the target directory and claim it",
    "slot": "make the primary keep WAL for the standby",
    "write": "write the backup's files",
    "prove-files": "prove the files before a server touches them",
    "find-wal": "find the WAL up to the pinned end",
    "configure": "make a configuration of the copy's own",
    "configure-standby": "put production's configuration in place, as a standby's",
    "recover": "start the server and replay to the pinned end",
    "prove-server": "prove the running copy",
    "promote": "promote the copy",
    "stream": "follow the primary until it is caught up with",
    "export-wal": "put WAL and configuration in place, so that it starts by itself",
    "prove-export": "prove files and WAL",
    "finish": "hand it over",
}
_STEPS = {
    Purpose.COPY: (
        *("check", "write", "prove-files", "find-wal", "configure"),
        *("recover", "prove-server", "promote", "finish"),
    ),
    Purpose.STANDBY: (
        *("check", "slot", "write", "prove-files", "find-wal", "configure-standby"),
        *("recover", "prove-server", "stream", "finish"),
    ),
    Purpose.EXPORT: ("check", "write", "export-wal", "prove-export", "finish"),
}
_PROVING = ("prove-files", "prove-server", "promote", "stream", "prove-export")


def plan_restore(
    pinned: PinnedRecovery,
    backup: BackupManifest,
    *,
    into: Path,
    promotes: bool = True,
    questions: Sequence[Question] = (),
    facts: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
    options: RestoreOptions | None = None,
) -> Plan:
    """The restore of a chosen recovery into a directory, with what will be read, where it will end, and `facts`."""
    chosen = options or RestoreOptions(promotes=promotes)
    arguments: dict[str, Json] = {
        "into": str(into.absolute()),
        "recovery": pinned_to_json(pinned),
        "questions": [[question.database, question.query] for question in questions],
        "options": chosen.to_json(),
    }
    return Plan(
        verb="restore",
        subject=backup.database,
        title=f"{_VERBS[chosen.purpose]} {backup.database} to {pinned.target} into {into}",
        steps=tuple(
            Step(name=name, action=f"restore.{name}", title=_TITLES[name], arguments=arguments)
            for name in _STEPS[chosen.purpose]
            if chosen.promotes or name != "promote"
        ),
        facts=(*_facts(pinned, backup, chosen), *facts),
        warnings=(*damage_warnings(backup), *_delta_warnings(into, chosen), *warnings),
    )


_VERBS = {
    Purpose.COPY: "restore",
    Purpose.STANDBY: "restore a standby of",
    Purpose.EXPORT: "export",
}


def proofs_of(outcomes: Mapping[str, JsonObject]) -> tuple[Proof, ...]:
    """Every proof that a finished restore's steps made."""
    return tuple(
        proof_from_json(cast("Mapping[str, str]", proof))
        for name in _PROVING
        for proof in cast("Sequence[Json]", outcomes.get(name, {}).get("proofs", ()))
    )


def _delta_warnings(into: Path, options: RestoreOptions) -> list[str]:
    """What is lost with the first file that a delta overwrites; nothing where no cluster is."""
    if not options.is_delta or not (into / "PG_VERSION").exists():
        return []
    lost = "killed or failed midway, neither it nor the restored one can be started until the same command has finished"
    return [f"the cluster in {into} is given up from the moment this begins: {lost}"]


def _facts(pinned: PinnedRecovery, backup: BackupManifest, options: RestoreOptions) -> list[tuple[str, str]]:
    facts = [
        ("backup", f"{backup.id}, ended {format_instant(backup.stopped_at)}"),
        ("target", str(pinned.target)),
        ("ends at", f"{pinned.ending} on timeline {pinned.timeline}"),
        ("files", format_bytes(backup.raw_bytes)),
        ("WAL", format_bytes(pinned.wal_bytes)),
        ("disk", f"up to {format_bytes(needed_bytes(backup, pinned, options))}, files and WAL at once"),
        ("server", f"PostgreSQL {backup.version.major}"),
        ("not there", absent(backup, pinned, options)),
        ("prepared transactions", prepared_note(options)),
    ]
    if options.is_delta:
        facts.append(("delta", "what the directory holds is compared and overwritten; only what differs is fetched"))
    names = {space.oid: space.name for space in backup.tablespaces}
    facts += [("tablespace", f"{names.get(oid, oid)} in {path}") for oid, path in options.tablespaces]
    return facts
