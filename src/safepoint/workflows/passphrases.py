"""Whether a new passphrase is easy to guess: whoever copies the store may try as many as he can pay for.

scrypt makes each try cost a good third of a second and 128 MiB, which helps a long passphrase and saves no short one.
Judged is the form alone, by the characters that count: a run or repeat (`aaaa`, `1234`) counts as one, and so does a
word that is tried first; digits among themselves count half; none counts more than twice. Eight that count are the
least that is taken unasked (NIST SP 800-63B, 5.1.1: the least for what a person chose); below twelve it is remarked on.
What passes may still be a line from a book; what does not pass will be guessed. A generated key is not judged: none is.
"""

from __future__ import annotations

import re
from itertools import pairwise

from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository.sealing.printed_key import form_of

LEAST = 8
"""Characters that count; a passphrase of fewer is refused unless that is insisted on."""
ENOUGH = 12
"""Characters that count; of fewer, a notice."""

_WORDS = re.compile(
    "password|passw0rd|p@ssw0rd|passwort|safepoint|postgresql|postgres|changeme|qwertyuiop|qwertzuiop|qwerty|qwertz"
    "|azerty|asdfgh|letmein|iloveyou|welcome|default|backup|secret|dragon|monkey|master|admin|login|hello|test|root",
    re.IGNORECASE,
)
_STEP = 1
_TIMES = 2


def characters_that_count(passphrase: str) -> int:
    """As the module says."""
    rest = _without_runs(_WORDS.sub("\0", passphrase))
    counted = len(rest) // 2 if rest.isdigit() else len(rest)
    return min(counted, _TIMES * len(set(rest)))


def require_strong(passphrase: Secret, reference: str) -> None:
    """RP014 for a passphrase that is easy to guess. No letter of it is told."""
    if form_of(passphrase) is not None:
        return
    length, counted = _lengths(passphrase)
    if counted < LEAST:
        raise errors.RP014.error(
            f"found {counted} characters that count among the {length} of {reference}, expected at least {LEAST}",
            hints=[
                errors.ask("did a person make it up? Runs, repeats and the words that are tried first hardly count"),
                errors.run("let a key be made, and keep a copy elsewhere: `safepoint repository key generate`"),
                errors.run("when it must be this one: the same command with --allow-weak-key"),
            ],
        )


def weakness_warnings(passphrase: Secret | None, reference: str) -> list[str]:
    """What a person is told of a new passphrase that could be better."""
    if passphrase is None or form_of(passphrase) is not None:
        return []
    length, counted = _lengths(passphrase)
    if counted >= ENOUGH:
        return []
    told = (
        f"{reference} has {length} characters, of which {counted} count; {ENOUGH} would be better, for whoever copies "
        "the store can try as long as he likes: `safepoint repository key generate` makes a key that nobody guesses"
    )
    return [told]


def _lengths(passphrase: Secret) -> tuple[int, int]:
    text = passphrase.reveal()
    return len(text), characters_that_count(text)


def _without_runs(text: str) -> str:
    """Without the characters that repeat the one before or go on counting from it."""
    return text[:1] + "".join(after for before, after in pairwise(text) if abs(ord(after) - ord(before)) > _STEP)
