"""The newest backup has been read back, and no backup is known to be damaged."""

from __future__ import annotations

from safepoint.model.proof import ProofLevel
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import Situation

NAME = "proof"


def judge(situation: Situation) -> tuple[Finding, ...]:
    """Each damaged backup, and the newest of the others: unknown while it is merely stored."""
    cure = f"{situation.backup_command}, and look at the store"
    damaged = tuple(
        Finding(check=NAME, state=State.BAD, fact=f"{backup.id} is damaged", cure=cure)
        for backup in situation.backups
        if backup.is_damaged
    )
    unreadable = tuple(
        Finding(check=NAME, state=State.BAD, fact=f"manifest {name} does not open", cure=cure)
        for name in situation.unreadable
    )
    return damaged + unreadable + _newest(situation)


def _newest(situation: Situation) -> tuple[Finding, ...]:
    if not situation.sound_backups:
        return ()
    newest = situation.sound_backups[-1]
    fact = f"{newest.id} is {newest.proof.value}"
    if newest.proof is ProofLevel.STORED:
        cure = f"`safepoint verify {situation.database}`"
        return (
            Finding(
                check=NAME,
                state=State.UNKNOWN,
                fact=f"{fact}: its files were not yet compared with what the server said",
                cure=cure,
            ),
        )
    return (Finding(check=NAME, state=State.GOOD, fact=fact),)
