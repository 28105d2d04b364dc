"""The newest backup has been read back, and no backup is known to be damaged."""

from __future__ import annotations

from safepoint.model.proof import ProofLevel
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import Situation

NAME = "proof"


def judge(situation: Situation) -> tuple[Finding, ...]:
    """Unknown while the newest backup is merely stored; says nothing where there is no backup."""
    damaged = [backup for backup in situation.backups if backup.is_damaged]
    if damaged:
        cure = f"`safepoint backup {situation.database} --tier daily`, and look at the store"
        return tuple(
            Finding(check=NAME, state=State.BAD, fact=f"{backup.id} is damaged", cure=cure) for backup in damaged
        )
    if not situation.backups:
        return ()
    newest = max(situation.backups, key=lambda backup: backup.stopped_at)
    fact = f"{newest.id} is {newest.proof.value}"
    if newest.proof is ProofLevel.STORED:
        cure = f"`safepoint verify {situation.database}`"
        return (Finding(check=NAME, state=State.UNKNOWN, fact=f"{fact}, nothing has read it back yet", cure=cure),)
    return (Finding(check=NAME, state=State.GOOD, fact=fact),)
