"""`safepoint repository init`: the repositories that a strategy file names come to be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from safepoint import errors
from safepoint.errors import SafepointError
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.secret import Secret
from safepoint.repository import create_repository
from safepoint.repository.names import DESCRIPTION_NAME
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing.keys import KEY_LOST_STATEMENT, Description, OpenedKeys
from safepoint.steps.execute import Context, Observer, Run, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Plan, Step
from safepoint.stores import FolderStore, open_store
from safepoint.stores.probe import require_capabilities
from safepoint.workflows.passphrases import require_strong, weakness_warnings
from safepoint.workflows.repository_location import NO_KEY, Located, is_url, require_two

CREATE_ACTION = "repository.create"
_ONE_WRITER = (
    "this store has no conditional put: only one safepoint at a time may write to the repository, from one host; "
    "nothing but care keeps a second one away, and two at once can replace each other's objects"
)
_SAME_KEY = "{} opens both: whoever loses it loses both, unless each has a recovery key of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryCreation:
    """A planned creation of one repository, perhaps as the sibling of another."""

    plan: Plan
    place: Located
    sibling_of: OpenedKeys | None = None
    allows_weak: bool = False

    def execute(self, observer: Observer) -> Run:
        """The repository is there and opens with its key, made now or before."""
        return execute(self.plan, actions={CREATE_ACTION: self._create}, journal=MemoryJournal(), observer=observer)

    def _create(self, _step: Step, _context: Context) -> JsonObject:
        place = self.place
        with place.named():
            return make_or_open(
                place.url,
                place.passphrase,
                reference=place.key,
                sibling_of=self.sibling_of,
                allows_weak=self.allows_weak,
            )


def prepare_creation(
    place: Located, sibling_of: Located | None = None, *, allows_weak: bool = False
) -> RepositoryCreation:
    """The plan to make the repository, or to open the one that is there.

    As a sibling it has the keys of the other, which is opened now: RP001, RP003, and CF004 when both are one. A
    passphrase that is easy to guess opens what is there, and makes nothing new unless that is allowed. RP002 for a
    place inside another repository.
    """
    require_apart(place.url)
    keys = None if sibling_of is None else _keys_of(sibling_of, place)
    arguments: dict[str, Json] = {"repository": place.name, "sibling_of": None if keys is None else keys.description.id}
    step = Step(
        name="create",
        action=CREATE_ACTION,
        title=f"create or open the repository {place.url}",
        arguments=arguments,
    )
    sibling = () if sibling_of is None else (("sibling of", _called(sibling_of)),)
    plan = Plan(
        verb="repository init",
        subject=place.name,
        title=f"make repository {place.name}",
        steps=(step,),
        facts=(("url", place.url), ("key", _describe_key(place)), *sibling),
        warnings=(*store_warnings(place.url), *_key_warnings(place, sibling_of)),
    )
    return RepositoryCreation(plan=plan, place=place, sibling_of=keys, allows_weak=allows_weak)


def make_or_open(
    url: str,
    passphrase: Secret | None,
    *,
    reference: str,
    sibling_of: OpenedKeys | None = None,
    allows_weak: bool = False,
) -> JsonObject:
    """A repository is at `url` and opens with the passphrase of `reference`; RP003 when one is there that does not.

    RP014 when it is to be made with a passphrase that is easy to guess, unless that is allowed.
    RP002 when something is there that is none, or that is no sibling. ST007 when the store cannot do what a repository
    needs; one that is there already is not asked, so that it opens with credentials that may only read.
    """
    store = open_store(url)
    try:
        found = open_keys(store, passphrase)
    except SafepointError as error:
        if error.spec is not errors.RP001:
            raise
        if passphrase is not None and not allows_weak:
            require_strong(passphrase, reference)
        require_capabilities(store)
        made = create_repository(store, passphrase, sibling_of=sibling_of)
        return _outcome(made.description, is_encrypted=made.is_encrypted, is_new=True)
    found.require_whole()
    if sibling_of is not None:
        _require_sibling(found.description, sibling_of.description)
    return _outcome(found.description, is_encrypted=found.keyring.is_encrypted, is_new=False)


def require_apart(url: str) -> None:
    """RP002 for a folder, not yet a repository, below one that is: what were made there would be strays in the other.

    Of object stores nothing is said: who may write below a prefix often may not look above it.
    """
    folder = folder_of(url)
    if folder is None or os.path.lexists(folder / DESCRIPTION_NAME):
        return
    for above in folder.parents:
        if os.path.lexists(above / DESCRIPTION_NAME):
            raise errors.RP002.error(
                f"found {folder} inside the repository at {above}, expected a place of its own",
                hints=[
                    errors.ask(f"is {above} the repository that you mean?"),
                    errors.run("choose a folder outside of it"),
                ],
            )


def folder_of(url: str) -> Path | None:
    """The folder that a repository's URL leads to, links followed; None for what is no folder. ST003."""
    store = open_store(url)
    return Path(str(store).removeprefix("file:")).resolve() if isinstance(store, FolderStore) else None


def store_warnings(url: str) -> list[str]:
    """What a person must know before a repository is made at `url`; ST003 when that cannot be a store."""
    return [] if open_store(url).capabilities.conditional_put else [_ONE_WRITER]


def _outcome(description: Description, *, is_encrypted: bool, is_new: bool) -> JsonObject:
    return {
        "repository": description.id,
        "is_new": is_new,
        "family": description.family,
        "is_encrypted": is_encrypted,
    }


def _keys_of(other: Located, place: Located) -> OpenedKeys:
    """The other's keys, when a repository with this one's key can be its sibling."""
    require_two(other, place)
    keys = other.open_keys()
    if keys.keyring.is_encrypted != (place.passphrase is not None):
        found, expected = ("encrypted", "a key") if keys.keyring.is_encrypted else ("not encrypted", "no key")
        raise errors.RP003.error(
            f"found {other.name} {found} and {place.name} with key {place.key}, expected {expected} for its sibling",
            hints=[
                errors.ask("shall it be a repository of its own? then leave --sibling-of out"),
                errors.run(f"name a key of its own, or `none`, in the entry of {place.name}: both are alike in this"),
            ],
        )
    return keys


def _require_sibling(found: Description, other: Description) -> None:
    if found.family != other.family:
        raise errors.RP002.error(
            f"found repository {found.id} of family {found.family}, expected a sibling, of family {other.family}",
            hints=[
                errors.ask("is it the place you mean? A repository is a sibling from its first day, or never"),
                errors.run("choose an empty place; `safepoint repository copy` also works between strangers"),
            ],
        )


def _called(place: Located) -> str:
    return place.url if is_url(place.name) else f"{place.name}, {place.url}"


def _describe_key(place: Located) -> str:
    return "none: whoever reads the store reads the data" if place.key == NO_KEY else place.key


def _key_warnings(place: Located, sibling_of: Located | None) -> list[str]:
    if place.key == NO_KEY:
        return []
    is_shared = sibling_of is not None and sibling_of.key == place.key
    weak = weakness_warnings(place.passphrase, place.key)
    return [KEY_LOST_STATEMENT, *weak, *([_SAME_KEY.format(place.key)] if is_shared else [])]
