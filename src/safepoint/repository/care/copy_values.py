"""What a copy will do, and what it did."""

from __future__ import annotations

from dataclasses import dataclass

from safepoint.repository.care.finding import Finding, is_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
    """What would be copied. `kept_out` are backups that the target had and expired: they are not brought back.

    About so many `requests` go to both. About `read_bytes` leave the source's store and `sent_bytes` go into the
    target's: objects as large as they are stored, all of them for a sibling. For a stranger the files count as large as
    they are opened, and what the target has of them already is not sent: of these it is the most that it can be.
    """

    is_sibling: bool
    backups: tuple[str, ...]
    kept_out: tuple[str, ...]
    packs: int
    objects: int
    read_bytes: int
    sent_bytes: int
    requests: int
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What was copied. `findings` name what is damaged in the source, and is not in the target therefore.

    `read_bytes` were fetched from the source's store while copying, maps included, and `sent_bytes` were put into the
    target's, with all that says what they are.
    """

    backups: tuple[str, ...] = ()
    packs: int = 0
    objects: int = 0
    read_bytes: int = 0
    sent_bytes: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether everything that was to be copied is in the target."""
        return is_whole(self.findings)

    def __add__(self, other: Copied) -> Copied:
        return Copied(
            backups=self.backups + other.backups,
            packs=self.packs + other.packs,
            objects=self.objects + other.objects,
            read_bytes=self.read_bytes + other.read_bytes,
            sent_bytes=self.sent_bytes + other.sent_bytes,
            findings=self.findings + other.findings,
        )
