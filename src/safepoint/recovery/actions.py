"""The actions that carry out a restore's plan. Each may be repeated whole.

No server is left running on a copy that was not handed over, and no error says that nothing was changed where an
unfinished copy is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.lsn import Lsn
from safepoint.postgres.binaries import Binaries, find_binaries
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.control import read_control
from safepoint.postgres.url import DatabaseUrl
from safepoint.recovery.configuration import configure, end_recovery_settings
from safepoint.recovery.directory import RestoreDirectory
from safepoint.recovery.export import export_wal
from safepoint.recovery.files import disk_errors, sync_filesystem, write_files
from safepoint.recovery.forecast import needed_bytes
from safepoint.recovery.online_proofs import prove_promoted, prove_server
from safepoint.recovery.options import Purpose, RestoreOptions, options_from_json
from safepoint.recovery.page_cache import forget_files
from safepoint.recovery.proofs import Outcome, Proof, ProofKind, Question, prove_files, require_passed
from safepoint.recovery.replay import (
    Recovery,
    ensure_replayed,
    ensure_running,
    promote_copy,
    recover,
    stopped_on_failure,
    url_of,
)
from safepoint.recovery.slot import UNTOUCHED, Reserved, give_up_wal, name_slot, reserve_wal, slot_name
from safepoint.recovery.staging import clear_wal, held_wal, stage_histories
from safepoint.recovery.standby import configure_standby, follow, hand_over
from safepoint.recovery.tablespaces import sizes_of
from safepoint.recovery.targets import PinnedRecovery, pinned_from_json
from safepoint.repository import Repository
from safepoint.steps.execute import Action, Context, Progress
from safepoint.steps.plan import Plan, Step

_AFRESH = frozenset({"check", "slot", "write"})
_BEFORE_SLOT = frozenset({"check", "slot"})


@contextmanager
def restore_actions(
    repository: Repository,
    *,
    primary: DatabaseUrl | None = None,
) -> Generator[Mapping[str, Action]]:
    """The actions of a restore plan; inside the context this process alone works in the directories they name.

    `primary` is whom a standby follows: no plan holds it, for it may hold a password.
    """
    restores = _Restores(repository=repository, primary=primary)
    try:
        yield {f"restore.{name}": restores.bind(action) for name, action in _ACTIONS.items()}
    except BaseException as error:
        restores.stop_unfinished(error)
        raise
    finally:
        restores.release()


def require_admission(repository: Repository, plan: Plan) -> None:
    """RC002 where the restore's first step would refuse the directory as it is now; nothing is claimed or touched."""
    restore = _Restores(repository=repository, primary=None).of(plan.steps[0])
    _claim(restore, plan, restore.directory.admit)


@dataclass(kw_only=True)
class _Restore:
    """What the actions of one restore share; all of it follows from the step's arguments."""

    repository: Repository
    pinned: PinnedRecovery
    backup: BackupManifest
    directory: RestoreDirectory
    binaries: Binaries
    questions: tuple[Question, ...]
    options: RestoreOptions
    primary: DatabaseUrl | None
    slot: str | None = None

    @property
    def cluster(self) -> Cluster:
        """The cluster in the directory; its files must be there."""
        return self.directory.cluster(self.binaries)

    @cached_property
    def recovery(self) -> Recovery:
        """The way to the pinned end, by the WAL that is listed when it is first asked for."""
        pieces = self.repository.wal_pieces(self.pinned.system_identifier, self.pinned.lineages)
        return Recovery(
            pinned=self.pinned,
            wal=held_wal(self.repository, pieces, self.pinned.path, self.backup.segment_size),
            start=self.backup.start_lsn,
            stop=self.backup.stop_lsn,
        )

    @property
    def followed(self) -> DatabaseUrl:
        """The primary of a standby."""
        if self.primary is None:
            raise errors.RC009.error("found no primary to follow, expected its URL in the strategy")
        return self.primary

    @property
    def needs_slot(self) -> bool:
        """Whether the primary shall keep WAL, and this process has not asked it to."""
        return self.options.purpose is Purpose.STANDBY and self.slot is None

    def reserve(self) -> Reserved:
        """The primary keeps WAL for the standby, until it is handed over or `stop` gives it up."""
        self.slot = slot_name(self.directory.path)
        try:
            return reserve_wal(self.followed, self.backup.system_identifier, self.slot)
        except errors.SafepointError as error:
            if error.spec is not errors.RC009:
                self.slot = None
            raise

    def stop(self, error: BaseException) -> None:
        """No server runs on it, and no primary keeps WAL for it, or the error says so."""
        self.directory.stop_server(self.binaries)
        if self.slot is not None and not give_up_wal(self.followed, self.backup.system_identifier, self.slot):
            name_slot(error, self.slot)


@contextmanager
def _truth_told(directory: RestoreDirectory, step: Step) -> Generator[None]:
    """No error says that nothing was changed where an unfinished copy is."""
    try:
        yield
    except errors.SafepointError as error:
        is_untouched = directory.is_finished or not directory.is_ours
        if is_untouched or error.changed != errors.NOTHING_CHANGED:
            raise
        then = "begins afresh" if step.name in _AFRESH else "goes on"
        raise error.spec.error(
            error.message,
            changed=f"{directory.path} holds an unfinished copy, marked as such; {UNTOUCHED}; the same command {then}",
            hints=error.hints,
        ) from error


@dataclass(slots=True, kw_only=True)
class _Restores:
    repository: Repository
    primary: DatabaseUrl | None
    _open: dict[str, _Restore] = field(default_factory=dict[str, _Restore])

    def bind(self, action: Callable[[_Restore, Context], JsonObject]) -> Action:
        def run(step: Step, context: Context) -> JsonObject:
            restore = self.of(step)
            with _truth_told(restore.directory, step):
                if restore.needs_slot and step.name not in _BEFORE_SLOT:
                    # An earlier process that made it may have failed, and given it up.
                    restore.reserve()
                return action(restore, context)

        return run

    def stop_unfinished(self, error: BaseException) -> None:
        """No server is left running on a copy that was not handed over, and no slot for it unsaid."""
        for restore in self._open.values():
            if restore.directory.is_ours and not restore.directory.is_finished:
                restore.stop(error)

    def release(self) -> None:
        for restore in self._open.values():
            restore.directory.release()

    def of(self, step: Step) -> _Restore:
        """The restore that a step is of, its directory held unless it is still to be claimed."""
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
                binaries=find_binaries(backup.version.major),
                questions=tuple(Question(database=name, query=query) for name, query in arguments["questions"]),
                options=options_from_json(arguments["options"]),
                primary=self.primary,
            )
            self._open[str(into)] = restore
        if step.name != "check":
            restore.directory.hold()
        return restore


def _check(restore: _Restore, context: Context) -> JsonObject:
    needed = _claim(restore, context.plan, restore.directory.claim)
    return {"binaries": str(restore.binaries.directory), "needed_bytes": needed}


def _claim(restore: _Restore, plan: Plan, claim: Callable[..., None]) -> int:
    """The directory claimed, or only looked at; the bytes that are needed."""
    note: dict[str, Json] = {
        "plan": plan.id,
        "backup": restore.backup.id,
        "system_identifier": restore.backup.system_identifier,
        "target": str(restore.pinned.target),
    }
    needed = needed_bytes(restore.backup, restore.pinned, restore.options)
    tablespaces = dict(restore.options.tablespaces)
    claim(
        restore.binaries,
        note,
        needed,
        tablespaces=tablespaces,
        tablespace_bytes=sizes_of(restore.repository, restore.backup) if tablespaces else {},
        is_delta=restore.options.is_delta,
    )
    return needed


def _slot(restore: _Restore, context: Context) -> JsonObject:
    del context
    reserved = restore.reserve()
    return {"slot": reserved.slot, "primary_lsn": str(reserved.position)}


def _write(restore: _Restore, context: Context) -> JsonObject:
    restore.directory.stop_server(restore.binaries)
    if not restore.options.is_delta:
        restore.directory.clear()
    total = restore.backup.raw_bytes
    written = write_files(
        restore.repository,
        restore.backup,
        restore.directory.path,
        lambda done: context.report(Progress(done=done, total=total, unit="bytes")),
        tablespaces=dict(restore.options.tablespaces),
        is_delta=restore.options.is_delta,
    )
    _ = restore.cluster  # adopting makes every file the server user's
    return {"bytes": written.bytes, "fetched_bytes": written.fetched_bytes, "files": written.files}


def _prove_files(restore: _Restore, context: Context) -> JsonObject:
    del context
    proof = prove_files(restore.cluster)
    require_passed([proof])
    forget_files(restore.directory.path)
    return {"proofs": [proof.to_json()]}


def _find_wal(restore: _Restore, context: Context) -> JsonObject:
    del context
    wal = restore.recovery.wal
    wal.require_listed()
    with disk_errors(restore.directory.path):
        clear_wal(restore.directory.path)
        stage_histories(restore.repository, restore.pinned, restore.directory.path)
    return {"end_of_wal": str(wal.last_record_end()), "bytes": restore.pinned.wal_bytes}


def _configure(restore: _Restore, context: Context) -> JsonObject:
    del context
    cluster = restore.cluster
    configure(cluster, read_control(cluster.binaries, cluster.data), restore.pinned)
    return {"port": cluster.port, "socket_directory": str(cluster.socket_directory)}


def _configure_standby(restore: _Restore, context: Context) -> JsonObject:
    del context
    cluster = restore.cluster
    configure_standby(cluster, read_control(cluster.binaries, cluster.data), restore.pinned)
    return {"port": cluster.port, "socket_directory": str(cluster.socket_directory)}


def _recover(restore: _Restore, context: Context) -> JsonObject:
    end_of_wal = Lsn.parse(str(context.outcomes["find-wal"]["end_of_wal"]))
    begin = restore.backup.start_lsn
    total = max(restore.pinned.end, begin) - begin
    replayed = recover(
        restore.cluster,
        restore.recovery,
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
        ensure_replayed(cluster, restore.recovery, replayed)
        proofs = prove_server(cluster, restore.questions, is_promoted_later=restore.options.promotes)
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
    writes = Proof(kind=ProofKind.WRITES, name="accepts writes", outcome=Outcome.PASS, detail=f"on timeline {timeline}")
    with stopped_on_failure(cluster):
        proofs = [*prove_promoted(cluster), writes]
        require_passed(proofs)
    return {"timeline": timeline.value, "proofs": [proof.to_json() for proof in proofs]}


def _stream(restore: _Restore, context: Context) -> JsonObject:
    cluster = restore.cluster
    slot, goal = (str(context.outcomes["slot"][name]) for name in ("slot", "primary_lsn"))
    replayed = Lsn.parse(str(context.outcomes["recover"]["replayed"]))
    with stopped_on_failure(cluster):
        ensure_replayed(cluster, restore.recovery, replayed)
        proof = follow(cluster, restore.followed, slot, Lsn.parse(goal))
        require_passed([proof])
    return {"proofs": [proof.to_json()]}


def _export_wal(restore: _Restore, context: Context) -> JsonObject:
    total = restore.pinned.wal_bytes
    export_wal(
        restore.repository,
        restore.recovery.wal,
        restore.pinned,
        restore.directory.path,
        lambda done: context.report(Progress(done=done, total=max(done, total), unit="bytes")),
    )
    _ = restore.cluster
    return {"bytes": total}


def _prove_export(restore: _Restore, context: Context) -> JsonObject:
    del context
    proof = prove_files(restore.cluster, with_wal=True)
    require_passed([proof])
    return {"proofs": [proof.to_json()]}


def _finish(restore: _Restore, context: Context) -> JsonObject:
    cluster = restore.cluster
    if restore.options.purpose is Purpose.EXPORT:
        restore.directory.finish()
        return {"data": str(cluster.data)}
    with stopped_on_failure(cluster):
        if restore.options.purpose is Purpose.STANDBY:
            hand_over(cluster, restore.followed, str(context.outcomes["slot"]["slot"]))
        ensure_running(cluster)
    if restore.options.purpose is Purpose.COPY and restore.options.promotes:
        end_recovery_settings(cluster)
    sync_filesystem(cluster.data)
    restore.directory.finish()
    return {
        "data": str(cluster.data),
        "socket_directory": str(cluster.socket_directory),
        "port": cluster.port,
        "url": url_of(cluster, "postgres").redacted,
    }


_ACTIONS: Mapping[str, Callable[[_Restore, Context], JsonObject]] = {
    "check": _check,
    "slot": _slot,
    "write": _write,
    "prove-files": _prove_files,
    "find-wal": _find_wal,
    "configure": _configure,
    "configure-standby": _configure_standby,
    "recover": _recover,
    "prove-server": _prove_server,
    "promote": _promote,
    "stream": _stream,
    "export-wal": _export_wal,
    "prove-export": _prove_export,
    "finish": _finish,
}
