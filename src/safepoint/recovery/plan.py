"""A restore as a plan, and the actions that carry it out.

write → offline proofs → WAL → configuration → recover → online proofs → promote → finish. Each action may be repeated
whole: killed anywhere, the same plan goes on, and a new plan for the same cluster starts the directory afresh.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.lsn import Lsn
from safepoint.model.measures import format_bytes, format_instant
from safepoint.postgres.binaries import Binaries, find_binaries
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.control import read_control
from safepoint.recovery.configuration import configure, end_recovery_settings
from safepoint.recovery.directory import RestoreDirectory
from safepoint.recovery.files import write_files
from safepoint.recovery.proofs import (
    Outcome,
    Proof,
    ProofKind,
    Question,
    proof_from_json,
    prove_files,
    prove_server,
    require_passed,
)
from safepoint.recovery.replay import ensure_replayed, ensure_running, promote_copy, recover, stopped_on_failure, url_of
from safepoint.recovery.staging import stage_wal
from safepoint.recovery.targets import PinnedRecovery, pinned_from_json, pinned_to_json
from safepoint.repository import Repository
from safepoint.steps.execute import Action, Context, Progress
from safepoint.steps.plan import Plan, Step

_STEPS = (
    ("check", "check the target directory and claim it"),
    ("write", "write the backup's files"),
    ("prove-files", "prove the files before a server touches them"),
    ("stage-wal", "put the WAL up to the pinned end in place"),
    ("configure", "make a configuration of the copy's own"),
    ("recover", "start the server and replay to the pinned end"),
    ("prove-server", "prove the running copy"),
    ("promote", "promote the copy"),
    ("finish", "hand the copy over"),
)


def plan_restore(
    pinned: PinnedRecovery,
    backup: BackupManifest,
    *,
    into: Path,
    promotes: bool = True,
    questions: Sequence[Question] = (),
    facts: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
) -> Plan:
    """The restore of a chosen recovery into a directory, with what will be read, where it will end, and `facts`."""
    arguments: dict[str, Json] = {
        "into": str(into.absolute()),
        "recovery": pinned_to_json(pinned),
        "questions": [[question.database, question.query] for question in questions],
        "promotes": promotes,
    }
    return Plan(
        verb="restore",
        subject=backup.database,
        title=f"restore {backup.database} to {pinned.target} into {into}",
        steps=tuple(
            Step(name=name, action=f"restore.{name}", title=title, arguments=arguments)
            for name, title in _STEPS
            if promotes or name != "promote"
        ),
        facts=(
            ("backup", f"{backup.id}, ended {format_instant(backup.stopped_at)}"),
            ("target", str(pinned.target)),
            ("ends at", f"{pinned.ending} on timeline {pinned.timeline}"),
            ("files", format_bytes(backup.raw_bytes)),
            ("WAL", format_bytes(pinned.wal_bytes)),
            ("server", f"PostgreSQL {backup.version.major}"),
            *facts,
        ),
        warnings=tuple(warnings),
    )


@contextmanager
def restore_actions(
    repository: Repository, *, find: Callable[[int], Binaries] = find_binaries
) -> Generator[Mapping[str, Action]]:
    """The actions of a restore plan; inside the context this process alone works in the directories they name."""
    restores = _Restores(repository=repository, find=find)
    actions: dict[str, Callable[[_Restore, Context], JsonObject]] = {
        "restore.check": _check,
        "restore.write": _write,
        "restore.prove-files": _prove_files,
        "restore.stage-wal": _stage_wal,
        "restore.configure": _configure,
        "restore.recover": _recover,
        "restore.prove-server": _prove_server,
        "restore.promote": _promote,
        "restore.finish": _finish,
    }
    try:
        yield {name: restores.bind(action) for name, action in actions.items()}
    except BaseException:
        restores.stop_unfinished()
        raise
    finally:
        restores.release()


def proofs_of(outcomes: Mapping[str, JsonObject]) -> tuple[Proof, ...]:
    """Every proof that a finished restore's steps made."""
    return tuple(
        proof_from_json(cast("Mapping[str, str]", proof))
        for name in ("prove-files", "prove-server", "promote")
        for proof in cast("Sequence[Json]", outcomes.get(name, {}).get("proofs", ()))
    )


@dataclass(slots=True, kw_only=True)
class _Restore:
    """What the actions of one restore share; all of it follows from the step's arguments."""

    repository: Repository
    pinned: PinnedRecovery
    backup: BackupManifest
    directory: RestoreDirectory
    binaries: Binaries
    questions: tuple[Question, ...]
    promotes: bool

    @property
    def cluster(self) -> Cluster:
        """The cluster in the directory; its files must be there."""
        return self.directory.cluster(self.binaries)


@contextmanager
def _truth_told(directory: RestoreDirectory, step: Step) -> Generator[None]:
    """No error says that nothing was changed where an unfinished copy is."""
    try:
        yield
    except errors.SafepointError as error:
        is_untouched = directory.is_finished or not directory.is_ours
        if is_untouched or error.changed != errors.NOTHING_CHANGED:
            raise
        begins = "begins afresh" if step.name in {"check", "write"} else "goes on"
        raise error.spec.error(
            error.message,
            changed=f"{directory.path} holds an unfinished copy, marked as such; production and repository are "
            f"untouched; the same command {begins}",
            hints=error.hints,
        ) from error


@dataclass(slots=True, kw_only=True)
class _Restores:
    repository: Repository
    find: Callable[[int], Binaries]
    _open: dict[str, _Restore] = field(default_factory=dict[str, _Restore])

    def bind(self, action: Callable[[_Restore, Context], JsonObject]) -> Action:
        def run(step: Step, context: Context) -> JsonObject:
            restore = self._of(step)
            with _truth_told(restore.directory, step):
                return action(restore, context)

        return run

    def stop_unfinished(self) -> None:
        """No server is left running on a copy that was not handed over."""
        for restore in self._open.values():
            if restore.directory.is_ours and not restore.directory.is_finished:
                restore.directory.stop_server(restore.binaries)

    def release(self) -> None:
        for restore in self._open.values():
            restore.directory.release()

    def _of(self, step: Step) -> _Restore:
        arguments = cast("dict[str, Any]", step.arguments)
        into = Path(arguments["into"])
        restore = self._open.get(str(into))
        if restore is None:
            pinned = pinned_from_json(arguments["recovery"])
            backup = self.repository.backup(pinned.backup_id)
            restore = _Restore(
                repository=self.repository,
                pinned=pinned,
                backup=backup,
                directory=RestoreDirectory(into),
                binaries=self.find(backup.version.major),
                questions=tuple(Question(database=name, query=query) for name, query in arguments["questions"]),
                promotes=arguments["promotes"],
            )
            self._open[str(into)] = restore
        if step.name != "check":
            restore.directory.hold()
        return restore


def _check(restore: _Restore, context: Context) -> JsonObject:
    note: dict[str, Json] = {
        "plan": context.plan.id,
        "backup": restore.backup.id,
        "system_identifier": restore.backup.system_identifier,
        "target": str(restore.pinned.target),
    }
    # Every leg's last segment is filled up, and promotion begins another.
    segments = len(restore.pinned.path) + 1
    needed = restore.backup.raw_bytes + restore.pinned.wal_bytes + segments * restore.backup.segment_size
    restore.directory.claim(restore.binaries, note, needed)
    return {"binaries": str(restore.binaries.directory), "needed_bytes": needed}


def _write(restore: _Restore, context: Context) -> JsonObject:
    restore.directory.stop_server(restore.binaries)
    restore.directory.clear()
    total = restore.backup.raw_bytes
    written = write_files(
        restore.repository,
        restore.backup,
        restore.directory.path,
        lambda done: context.report(Progress(done=done, total=total, unit="bytes")),
    )
    _ = restore.cluster  # adopting makes every file the server user's
    return {"bytes": written, "files": restore.backup.file_count}


def _prove_files(restore: _Restore, context: Context) -> JsonObject:
    del context
    proof = prove_files(restore.cluster)
    require_passed([proof])
    return {"proofs": [proof.to_json()]}


def _stage_wal(restore: _Restore, context: Context) -> JsonObject:
    total = restore.pinned.wal_bytes
    end = stage_wal(
        restore.repository,
        restore.pinned,
        restore.backup.segment_size,
        restore.directory.path,
        lambda done: context.report(Progress(done=done, total=max(done, total), unit="bytes")),
    )
    return {"end_of_wal": str(end), "bytes": total}


def _configure(restore: _Restore, context: Context) -> JsonObject:
    del context
    cluster = restore.cluster
    configure(cluster, read_control(cluster.binaries, cluster.data), restore.pinned)
    return {"port": cluster.port, "socket_directory": str(cluster.socket_directory)}


def _recover(restore: _Restore, context: Context) -> JsonObject:
    end_of_wal = Lsn.parse(str(context.outcomes["stage-wal"]["end_of_wal"]))
    begin = restore.backup.start_lsn
    total = max(restore.pinned.end, begin) - begin
    replayed = recover(
        restore.cluster,
        restore.pinned,
        end_of_wal,
        lambda lsn: context.report(Progress(done=max(0, lsn - begin), total=max(total, lsn - begin), unit="bytes")),
    )
    return {
        "replayed": str(replayed.lsn),
        "pinned": str(restore.pinned.end),
        "last_commit": None if replayed.last_commit is None else replayed.last_commit.isoformat(),
        "stopped_at_target": replayed.is_paused,
    }


def _prove_server(restore: _Restore, context: Context) -> JsonObject:
    cluster = restore.cluster
    replayed = Lsn.parse(str(context.outcomes["recover"]["replayed"]))
    with stopped_on_failure(cluster):
        ensure_replayed(cluster, restore.pinned, replayed)
        proofs = prove_server(cluster, restore.questions)
        require_passed(proofs)
    return {"proofs": [proof.to_json() for proof in proofs]}


def _promote(restore: _Restore, context: Context) -> JsonObject:
    del context
    cluster = restore.cluster
    timeline = promote_copy(cluster)
    if timeline <= restore.pinned.timeline:
        raise errors.RC003.error(
            f"found the promoted copy on timeline {timeline}, expected one after {restore.pinned.timeline}"
        )
    proof = Proof(kind=ProofKind.WRITES, name="accepts writes", outcome=Outcome.PASS, detail=f"on timeline {timeline}")
    return {"timeline": timeline.value, "proofs": [proof.to_json()]}


def _finish(restore: _Restore, context: Context) -> JsonObject:
    del context
    cluster = restore.cluster
    with stopped_on_failure(cluster):
        ensure_running(cluster)
    if restore.promotes:
        end_recovery_settings(cluster)
    restore.directory.finish()
    return {
        "data": str(cluster.data),
        "socket_directory": str(cluster.socket_directory),
        "port": cluster.port,
        "url": url_of(cluster, "postgres").redacted,
    }
