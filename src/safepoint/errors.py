"""The error registry: every way in which safepoint refuses, fails or finds damage.

Five families, by whose fault it is and what to do next. Each error has a stable code that is never reused, and its
family decides the exit code. The core raises; the shells print. `docs/ERRORS.md` is generated from `REGISTRY`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum

NOTHING_CHANGED = "nothing was changed"


class ExitCode(IntEnum):
    """What the process returns; one table for every command."""

    OK = 0
    USAGE = 2
    ATTENTION = 3
    REFUSED = 10
    MISCONFIGURED = 11
    UNREACHABLE = 12
    DAMAGED = 13
    BUG = 70
    UNWRITTEN = 74
    INTERRUPTED = 130


class Family(Enum):
    """Whose fault, and what next."""

    REFUSED = "refused"
    MISCONFIGURED = "misconfigured"
    UNREACHABLE = "unreachable"
    DAMAGED = "damaged"
    BUG = "bug"


@dataclass(frozen=True, slots=True)
class Hint:
    """One line of help: a question that names the likely cause, or what to run."""

    text: str


def ask(question: str) -> Hint:
    """A question that names the likely cause."""
    return Hint(question)


def run(text: str) -> Hint:
    """What to do about it, with the command."""
    return Hint(text)


class SafepointError(Exception):
    """One fact with both values, whether anything was changed, and hints; `spec` gives its code and exit code.

    `place` are the options by which a command names the repository that this is about, when it is not the one that the
    command is for: the other end of a copy.
    """

    def __init__(self, spec: Spec, message: str, *, changed: str = NOTHING_CHANGED, hints: Sequence[Hint] = ()) -> None:
        super().__init__(message)
        self.spec = spec
        self.message = message
        self.changed = changed
        self.hints = tuple(hints)
        self.place: Mapping[str, str] = {}

    def __str__(self) -> str:
        return f"{self.spec.code}: {self.message}"


class Refused(SafepointError):
    """It would have been unsafe; nothing was changed."""


class Misconfigured(SafepointError):
    """The strategy file, the environment or a right is not as it must be."""


class Unreachable(SafepointError):
    """A server, a store or a program did not answer; trying again may help."""


class Damaged(SafepointError):
    """Data is proven wrong or missing."""


class Bug(SafepointError):
    """safepoint itself is at fault."""


_CLASS_OF: dict[Family, type[SafepointError]] = {
    Family.REFUSED: Refused,
    Family.MISCONFIGURED: Misconfigured,
    Family.UNREACHABLE: Unreachable,
    Family.DAMAGED: Damaged,
    Family.BUG: Bug,
}

_EXIT_OF: dict[Family, ExitCode] = {
    Family.REFUSED: ExitCode.REFUSED,
    Family.MISCONFIGURED: ExitCode.MISCONFIGURED,
    Family.UNREACHABLE: ExitCode.UNREACHABLE,
    Family.DAMAGED: ExitCode.DAMAGED,
    Family.BUG: ExitCode.BUG,
}


@dataclass(frozen=True, slots=True)
class Spec:
    """A registered kind of error: `title` is its line in docs/ERRORS.md, `hints` help where none nearer are known."""

    code: str
    family: Family
    title: str
    hints: tuple[Hint, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a command that ends with this error."""
        return _EXIT_OF[self.family]

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed later with nothing else changed."""
        return self.family is Family.UNREACHABLE

    def error(self, message: str, *, changed: str = NOTHING_CHANGED, hints: Sequence[Hint] = ()) -> SafepointError:
        """The exception to raise: `raise errors.RC003.error("found …, expected …", hints=[ask(…), run(…)])`."""
        return _CLASS_OF[self.family](self, message, changed=changed, hints=hints or self.hints)


def _refused(code: str, title: str) -> Spec:
    return Spec(code, Family.REFUSED, title)


def _misconfigured(code: str, title: str) -> Spec:
    return Spec(code, Family.MISCONFIGURED, title)


def _unreachable(code: str, title: str) -> Spec:
    return Spec(code, Family.UNREACHABLE, title)


def _damaged(code: str, title: str, *hints: Hint) -> Spec:
    return Spec(code, Family.DAMAGED, title, hints)


# Steps: plans, journals, gates.
SP001 = _refused("SP001", "a gate of the plan is closed")
SP002 = _refused("SP002", "another process runs this plan")
SP003 = _damaged("SP003", "a journal cannot be read")
SP004 = _refused("SP004", "the journal belongs to another plan")

# Configuration: the strategy file and what it refers to.
CF001 = _misconfigured("CF001", "the strategy file has mistakes")
CF002 = _misconfigured("CF002", "there is no strategy file")
CF003 = _misconfigured("CF003", "a secret reference leads nowhere")
CF004 = _misconfigured("CF004", "the strategy file names no such thing")
CF005 = _refused("CF005", "the strategy file already exists")
CF006 = _misconfigured("CF006", "this command needs a repository")
CF007 = _misconfigured("CF007", "a file of safepoint's own cannot be written")

# PostgreSQL: binaries, clusters, connections.
PG001 = _misconfigured("PG001", "no PostgreSQL binaries of the wanted major version")
PG002 = _refused("PG002", "the data directory cannot be used")
PG003 = _unreachable("PG003", "the server did not start")
PG004 = _unreachable("PG004", "the server cannot be reached")
PG005 = _refused("PG005", "the connection goes through a transaction pooler")
PG006 = _misconfigured("PG006", "the connection URL cannot be understood")
PG007 = _misconfigured("PG007", "the role lacks a right")
PG008 = _misconfigured("PG008", "no unprivileged user can run the server")
PG009 = _refused("PG009", "the server's version is not supported")
PG010 = _misconfigured("PG010", "a server setting forbids this")
PG011 = _unreachable("PG011", "a PostgreSQL program failed")
PG012 = _damaged("PG012", "the control file is damaged")

# Stores.
ST001 = _unreachable("ST001", "the store cannot be reached or written")
ST002 = _unreachable("ST002", "the store is full")
ST003 = _misconfigured("ST003", "the store's URL cannot be used")
ST004 = _misconfigured("ST004", "the store refuses the credentials, or they lack a right")
ST005 = _refused("ST005", "an object is larger than the store takes")
ST006 = Spec("ST006", Family.BUG, "a store was used on both sides of a fork")
ST007 = _misconfigured("ST007", "the store cannot do what the repository needs")

# Repository.
_MEND = (
    ask("does anything but safepoint write to this store, or delete from it?"),
    run("see which backups it concerns: `safepoint repository check`"),
    run("mend it, from a copy where there is one: `safepoint repository repair --from NAME|URL`"),
)
_LOOK = (
    ask("is the source of randomness sound here, and does nothing but safepoint write to this store?"),
    run("see what is stored under this name: `safepoint repository check`; then run the command again"),
)
RP001 = _misconfigured("RP001", "there is no repository at this place")
RP002 = _refused("RP002", "a repository exists already")
RP003 = _misconfigured("RP003", "the key does not open the repository")
RP004 = _damaged("RP004", "an object is missing", *_MEND)
RP005 = _damaged("RP005", "an object's seal does not hold", *_MEND)
RP006 = _refused("RP006", "the repository's format is not known to this version")
RP007 = _damaged("RP007", "the same name was stored with other bytes", *_LOOK)
RP008 = _misconfigured("RP008", "the key does not open this generation")
RP009 = _refused("RP009", "the keys cannot be changed like this")
RP010 = _refused("RP010", "the repository takes one writer at a time")
RP011 = _refused("RP011", "it is unknown which packs are referenced")
RP012 = _refused("RP012", "the lease may be a living writer's")
RP013 = _refused("RP013", "the lease of this work was revoked")
RP014 = _refused("RP014", "a passphrase is too easy to guess")
RP015 = _misconfigured("RP015", "no such finding of the journal")
RP016 = _misconfigured("RP016", "no such lineage of WAL")

# Backup.
BK001 = _refused("BK001", "the backup was voided")
BK002 = _refused("BK002", "another cluster is backed up under this name")
BK003 = _misconfigured("BK003", "no such backup")
BK004 = _damaged("BK004", "the backup does not hold")
BK005 = _refused("BK005", "the server reported damaged pages")
BK006 = _refused("BK006", "the cluster has something that this version cannot back up")
BK007 = _refused("BK007", "a database's best backup is not expired unasked")
BK008 = _misconfigured("BK008", "the data directory cannot be backed up as files")

# WAL.
WL001 = _refused("WL001", "WAL comes from another cluster")
WL002 = _damaged("WL002", "WAL gap")
WL003 = _refused("WL003", "another receiver uses the slot")
WL004 = _damaged("WL004", "the server no longer has the WAL that is needed")
WL005 = _unreachable("WL005", "the WAL stream broke")
WL006 = _refused("WL006", "a restored copy archives only when it was adopted")
WL007 = _damaged("WL007", "a WAL file is not what its name says")
WL008 = _refused("WL008", "WAL lies beyond the end of its timeline")
WL009 = _unreachable("WL009", "a timeline's history is not at hand")
WL010 = _refused("WL010", "another pusher serves this data directory")
WL011 = _refused("WL011", "the server cannot be adopted")

# Recovery.
RC001 = _refused("RC001", "the recovery target cannot be reached")
RC002 = _refused("RC002", "the target directory cannot be used")
RC003 = _damaged("RC003", "recovery ended before its pinned end")
RC004 = _damaged("RC004", "the restored cluster fails its proofs")
RC005 = _misconfigured("RC005", "the recovery target cannot be understood")
RC006 = _misconfigured("RC006", "a question cannot be asked")
RC007 = _refused("RC007", "the recovery target was not met")
RC008 = _refused("RC008", "the restore point is not in the WAL held")
RC009 = _unreachable("RC009", "the new standby does not stream")

# Migration.
MG001 = _refused("MG001", "a failed migration blocks the ledger")
MG002 = _refused("MG002", "an applied migration was edited")
MG003 = _refused("MG003", "the schema is not empty and has no ledger")
MG004 = _refused("MG004", "a migration failed")
MG005 = _unreachable("MG005", "a lock could not be had within its budget")
MG006 = _refused("MG006", "another deployment is running")
MG007 = _refused("MG007", "the safety gate is closed")
MG008 = _misconfigured("MG008", "the migrations folder cannot be read")
MG009 = _misconfigured("MG009", "a migration cannot be parsed")
MG010 = _refused("MG010", "it is unknown whether a unit was carried out")
MG011 = _refused("MG011", "PostgreSQL refuses what ledger or journal needs")

# Internal.
IN001 = Spec("IN001", Family.BUG, "safepoint has a bug")

REGISTRY: tuple[Spec, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Spec))
